use std::time::Duration;

use serde_json::Value;

use super::Fault;
use crate::control::{Budget, BudgetWindow, Tells};

/// Reads a budget; `endpoints` are those that a window may count for itself.
pub(super) fn budget(value: &Value, endpoints: &[&str]) -> Result<Option<Budget>, Fault> {
    if value.is_null() {
        return Ok(None);
    }
    let Some(fields) = value.as_object() else {
        return Err(Fault::new("/budget", "must be an object or null"));
    };
    let mut budget = Budget::default();
    for (name, value) in fields {
        let at = format!("/budget/{}", super::escaped(name));
        match name.as_str() {
            "windows" => budget.windows = windows(value, &at, endpoints)?,
            "block_ms" => {
                budget.block = millis(value, 0).ok_or_else(|| Fault::new(&at, A_BLOCK))?;
            }
            "tells" => budget.tells = tells(value).ok_or_else(|| Fault::new(&at, TELLS))?,
            _ => return Err(Fault::new(&at, "is not a setting")),
        }
    }
    if budget.windows.is_empty() {
        return Err(Fault::new("/budget/windows", "must be at least one window"));
    }
    Ok(Some(budget))
}

fn windows(value: &Value, at: &str, endpoints: &[&str]) -> Result<Vec<BudgetWindow>, Fault> {
    let windows = value
        .as_array()
        .filter(|windows| windows.len() <= MOST_WINDOWS)
        .ok_or_else(|| Fault::new(at, "must be a list of at most 16 windows"))?;
    windows
        .iter()
        .enumerate()
        .map(|(place, value)| window(value, &format!("{at}/{place}"), endpoints))
        .collect()
}

fn window(value: &Value, at: &str, endpoints: &[&str]) -> Result<BudgetWindow, Fault> {
    let fields = value
        .as_object()
        .ok_or_else(|| Fault::new(at, "must be an object"))?;
    let (mut calls, mut per, mut endpoint) = (None, None, None);
    for (name, value) in fields {
        let at = format!("{at}/{}", super::escaped(name));
        match name.as_str() {
            "calls" => {
                let number = value.as_u64().and_then(|calls| u32::try_from(calls).ok());
                let number = number.filter(|calls| *calls > 0);
                calls =
                    Some(number.ok_or_else(|| Fault::new(&at, "must be a whole number above 0"))?);
            }
            "per_ms" => per = Some(millis(value, 1).ok_or_else(|| Fault::new(&at, A_WINDOW))?),
            "endpoint" => {
                let name = value.as_str().filter(|name| endpoints.contains(name));
                let wrong = || {
                    let known = endpoints.join(", ");
                    Fault::new(&at, &format!("must be one of: {known}"))
                };
                endpoint = Some(name.ok_or_else(wrong)?.to_owned());
            }
            _ => return Err(Fault::new(&at, "is not a setting")),
        }
    }
    let missing = |name: &str| Fault::new(&format!("{at}/{name}"), "is missing");
    Ok(BudgetWindow {
        calls: calls.ok_or_else(|| missing("calls"))?,
        per: per.ok_or_else(|| missing("per_ms"))?,
        endpoint,
    })
}

fn millis(value: &Value, least: u64) -> Option<Duration> {
    let millis = value.as_u64()?;
    let allowed = (least..=A_DAY_MS).contains(&millis);
    allowed.then(|| Duration::from_millis(millis))
}

fn tells(value: &Value) -> Option<Tells> {
    match value.as_str()? {
        "retry_after" => Some(Tells::RetryAfter),
        "retry_after_date" => Some(Tells::RetryAfterDate),
        "rate_limit" => Some(Tells::RateLimit),
        "x_rate_limit" => Some(Tells::XRateLimit),
        "daily_quota" => Some(Tells::DailyQuota),
        "nothing" => Some(Tells::Nothing),
        _ => None,
    }
}

const MOST_WINDOWS: usize = 16;
const A_DAY_MS: u64 = 86_400_000;
const A_BLOCK: &str = "must be a whole number of milliseconds from 0 to 86400000";
const A_WINDOW: &str = "must be a whole number of milliseconds from 1 to 86400000";
const TELLS: &str = "must be \"retry_after\", \"retry_after_date\", \"rate_limit\", \
                     \"x_rate_limit\", \"daily_quota\" or \"nothing\"";
