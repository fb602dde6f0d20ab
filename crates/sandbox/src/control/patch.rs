mod bank;
mod budget;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Budget, Outage, RateLimit, Settings};
use crate::Source;

use bank::BankPatch;

/// A subset of a source's settings, to be merged with what is set.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Patch {
    pub(super) common: CommonPatch,
    pub(super) bank: BankPatch,
}

/// The part that every source has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct CommonPatch {
    failure_rate: Option<f64>,
    latency: Option<Duration>,
    outage: Option<Option<Outage>>,
    rate_limit: Option<Option<RateLimit>>,
    budget: Option<Option<Budget>>,
    maintenance_until: Option<Option<Timestamp>>,
    junk_rate: Option<f64>,
}

/// One thing wrong with a patch.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The body is not JSON.
    NotJson,
    /// The body is JSON with these faults.
    Faults(Vec<Fault>),
}

impl Patch {
    pub(crate) fn parse(body: &[u8], source: Source) -> Result<Self, Unreadable> {
        let Ok(value) = serde_json::from_slice(body) else {
            return Err(Unreadable::NotJson);
        };
        let Value::Object(fields) = value else {
            return Err(Unreadable::Faults(vec![Fault::new(
                "",
                "must be an object",
            )]));
        };
        let mut patch = Self::default();
        let faults: Vec<_> = fields
            .iter()
            .filter_map(|(name, value)| patch.read(source, name, value).err())
            .collect();
        if faults.is_empty() {
            Ok(patch)
        } else {
            Err(Unreadable::Faults(faults))
        }
    }

    fn read(&mut self, source: Source, name: &str, value: &Value) -> Result<(), Fault> {
        match source {
            Source::Gas | Source::Internet | Source::Other => {}
            Source::SandboxBank => {
                if let Some(read) = self.bank.read(name, value) {
                    return read.map_err(|detail| Fault::new(&pointer(name), detail));
                }
            }
        }
        if name == "budget" {
            self.common.budget = Some(budget::budget(value, source.endpoints())?);
            return Ok(());
        }
        self.common.read(name, value)
    }
}

impl CommonPatch {
    pub(super) fn apply(self, settings: &mut Settings) {
        let Self {
            failure_rate,
            latency,
            outage,
            rate_limit,
            budget,
            maintenance_until,
            junk_rate,
        } = self;
        merge(&mut settings.failure_rate, failure_rate);
        merge(&mut settings.latency, latency);
        merge(&mut settings.outage, outage);
        merge(&mut settings.rate_limit, rate_limit);
        merge(&mut settings.budget, budget);
        merge(&mut settings.maintenance_until, maintenance_until);
        merge(&mut settings.junk_rate, junk_rate);
    }

    fn read(&mut self, name: &str, value: &Value) -> Result<(), Fault> {
        let wrong = |detail: &str| Fault::new(&pointer(name), detail);
        match name {
            "failure_rate" => self.failure_rate = Some(rate(value).map_err(wrong)?),
            "junk_rate" => self.junk_rate = Some(rate(value).map_err(wrong)?),
            "latency_ms" => self.latency = Some(latency(value).map_err(wrong)?),
            "outage" => self.outage = Some(outage(value).map_err(wrong)?),
            "maintenance_until" => self.maintenance_until = Some(time(value).map_err(wrong)?),
            "rate_limit" => self.rate_limit = Some(rate_limit(value)?),
            _ => return Err(wrong("is not a setting")),
        }
        Ok(())
    }
}

impl Fault {
    fn new(pointer: &str, detail: &str) -> Self {
        Self {
            pointer: pointer.to_owned(),
            detail: detail.to_owned(),
        }
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", escaped(name))
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn merge<T>(present: &mut T, change: Option<T>) {
    if let Some(change) = change {
        *present = change;
    }
}

fn rate(value: &Value) -> Result<f64, &'static str> {
    value
        .as_f64()
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or("must be a number from 0 to 1")
}

fn latency(value: &Value) -> Result<Duration, &'static str> {
    value
        .as_u64()
        .filter(|millis| *millis <= MAX_LATENCY_MS)
        .map(Duration::from_millis)
        .ok_or("must be a whole number of milliseconds from 0 to 600000")
}

fn outage(value: &Value) -> Result<Option<Outage>, &'static str> {
    match value {
        Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(Outage::ServerError)),
        Value::String(kind) if kind == "500" => Ok(Some(Outage::ServerError)),
        Value::String(kind) if kind == "reset" => Ok(Some(Outage::Reset)),
        Value::String(kind) if kind == "timeout" => Ok(Some(Outage::Timeout)),
        Value::String(kind) if kind == "truncate" => Ok(Some(Outage::Truncate)),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(r#"must be true, false, "500", "reset", "timeout" or "truncate""#)
        }
    }
}

fn time(value: &Value) -> Result<Option<Timestamp>, &'static str> {
    if value.is_null() {
        return Ok(None);
    }
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or("must be an RFC 3339 time or null")
}

fn rate_limit(value: &Value) -> Result<Option<RateLimit>, Fault> {
    if value.is_null() {
        return Ok(None);
    }
    let wrong = || {
        Fault::new(
            "/rate_limit",
            r#"must be {"per_second": N}, {"per_minute": N} or null"#,
        )
    };
    let (name, calls) = value.as_object().and_then(only_entry).ok_or_else(wrong)?;
    let limit = match name {
        "per_second" => RateLimit::PerSecond,
        "per_minute" => RateLimit::PerMinute,
        _ => return Err(wrong()),
    };
    calls
        .as_u64()
        .and_then(|calls| u32::try_from(calls).ok())
        .filter(|calls| *calls > 0)
        .map(|calls| Some(limit(calls)))
        .ok_or_else(|| {
            Fault::new(
                &format!("/rate_limit/{name}"),
                "must be a whole number above 0",
            )
        })
}

fn only_entry(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => Some((name.as_str(), value)),
        (Some(_) | None, _) => None,
    }
}

const MAX_LATENCY_MS: u64 = 600_000;
