//! How many calls a source takes in which time.

use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;
use wellspring_core::budget::{Limit, Scope, Window};

use super::ConnectorKind;
use super::fault::{self, Faults};
use super::file::WindowFile;

/// Reads the windows; `per_minute` is the short form of one.
///
/// The first are those of fetches and attempts as such, the others count what is called in them.
/// A fetch of a kind without connections is one call, so that windows of all of them are the same.
pub(super) fn budget(
    per_minute: Option<&Spanned<String>>,
    windows: &[WindowFile],
    kind: Option<ConnectorKind>,
    faults: &mut Faults,
) -> (Vec<Window>, Vec<Limit>) {
    let short = per_minute.and_then(|value| {
        let calls = faults.read("per_minute", value, |text| {
            fault::number(text, 1, MAX_PER_MINUTE)
        });
        calls.map(|calls| Window { calls, per: MINUTE })
    });
    let mut budget: Vec<Window> = short.into_iter().collect();
    let counts_calls = kind.is_some_and(|kind| kind.native().is_some());
    let mut limits: Vec<(Scope, Option<&str>, Vec<Window>)> = Vec::new();
    for file in windows {
        let Some((scope, endpoint, window)) = window(file, kind, faults) else {
            continue;
        };
        let known = limits
            .iter()
            .position(|(s, e, _)| (*s, *e) == (scope, endpoint));
        let others = match known {
            _ if scope == Scope::Source && !counts_calls => &mut budget,
            Some(place) => &mut limits[place].2,
            None => {
                limits.push((scope, endpoint, Vec::new()));
                let last = limits.len() - 1;
                &mut limits[last].2
            }
        };
        if others.iter().any(|other| other.per == window.per) {
            let line = file.per.referenced.line();
            let reason = "`budget.per` has two windows of the same length".to_owned();
            faults.add(Some(line), reason);
        }
        others.push(window);
    }
    let limits = limits.into_iter().map(|(scope, endpoint, windows)| Limit {
        scope,
        endpoint: endpoint.map(Arc::from),
        windows: windows.into(),
    });
    (budget, limits.collect())
}

fn window<'f>(
    file: &'f WindowFile,
    kind: Option<ConnectorKind>,
    faults: &mut Faults,
) -> Option<(Scope, Option<&'f str>, Window)> {
    let calls = faults.read("budget.calls", &file.calls, |text| {
        fault::number(text, 1, MAX_CALLS)
    });
    let per = faults.read("budget.per", &file.per, |text| {
        let per = fault::duration(text, Some(LONGEST))?;
        if per < SHORTEST {
            return Err("must not be less than 1s".to_owned());
        }
        Ok(per)
    });
    let written = file.scope.as_ref();
    let scope = faults.read_or("budget.scope", written, Scope::Source, |text| {
        scope(text, kind)
    });
    let written = file.endpoint.as_ref();
    let endpoint = written.map(|value| {
        let known = faults.read("budget.endpoint", value, |text| endpoint(text, kind));
        known.map(|()| value.value.as_str())
    });
    let (calls, per) = (calls?, per?);
    let endpoint = match endpoint {
        Some(endpoint) => Some(endpoint?),
        None => None,
    };
    Some((scope, endpoint, Window { calls, per }))
}

fn scope(text: &str, kind: Option<ConnectorKind>) -> Result<Scope, String> {
    let has_connections = kind.is_none_or(|kind| kind.native().is_some());
    let known = Scope::ALL
        .into_iter()
        .filter(|scope| has_connections || *scope != Scope::Connection);
    let found = known.clone().find(|scope| scope.as_str() == text);
    found.ok_or_else(|| format!("must be {}", one_of(known.map(Scope::as_str))))
}

fn endpoint(text: &str, kind: Option<ConnectorKind>) -> Result<(), String> {
    let Some(kind) = kind else { return Ok(()) };
    let Some(native) = kind.native() else {
        return Err(format!(
            "is not for `connector: {}`, which calls one endpoint only",
            kind.as_str()
        ));
    };
    let known = native.endpoints().iter().copied();
    if known.clone().any(|name| name == text) {
        return Ok(());
    }
    Err(format!("must be {}", one_of(known)))
}

fn one_of(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(" or ")
}

const MINUTE: Duration = Duration::from_secs(60);
const MAX_PER_MINUTE: u32 = 60_000;
const MAX_CALLS: u32 = 10_000_000;
/// Calls are late on their way by times that differ, so that a shorter window says nothing.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
