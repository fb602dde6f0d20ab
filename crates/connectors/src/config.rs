//! One source file: what may stand in it, and what that means.

mod budget;
mod connections;
mod fault;
mod file;
mod headers;
mod maintenance;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use wellspring_core::budget::{Limit, Window};
use wellspring_core::source::Announced;
use wellspring_core::{
    CollectionPolicy, Disposition, ErrorClass, ErrorModel, Rule, RuleTable, SourceName,
};
use wellspring_engine::{ConnectionDefaults, Source};
use wellspring_outbound::{AddressPolicy, Target};

use crate::Native;
use crate::sandbox_bank::SandboxBank;

pub use fault::ConfigError;
use fault::Faults;
use file::{File, LinedRule};

/// One configured source, checked and ready to be asked.
///
/// Its debug form shows neither the path of the URL nor the values of headers.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name, also the `provider` of a collection.
    pub name: SourceName,
    /// How it is talked to.
    pub connector: ConnectorKind,
    /// Where it is.
    pub target: Target,
    /// The limit for one whole call.
    pub timeout: Duration,
    /// How long and how often it, and the callbacks of its collections, are tried.
    pub policy: CollectionPolicy,
    /// How many calls to it may be in flight.
    pub concurrency: u32,
    /// How many fetches and attempts may begin in which time, all of it at once.
    pub budget: Arc<[Window]>,
    /// What holds for a part of its calls.
    pub limits: Arc<[Limit]>,
    /// What its connections need; none where it only serves collections.
    pub connections: Option<ConnectionDefaults>,
    /// Times of maintenance.
    pub maintenance: Arc<[Announced]>,
    /// How long a connection may be due and wait before the operator is told.
    pub backlog_alert: Duration,
    /// The largest answer that is taken, in bytes.
    pub max_body: usize,
    /// What every call sends.
    pub headers: HeaderMap,
    /// Its own rules, then those of its kind, then the shipped ones.
    pub rules: RuleTable,
}

/// How a source is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorKind {
    /// One `GET`, answered with one JSON document.
    HttpJson,
    /// The bank of the sandbox.
    SandboxBank,
}

impl SourceConfig {
    /// The limit for a call to a source that sets none.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The largest answer of a source that sets no limit.
    pub const DEFAULT_MAX_BODY: usize = 8 * 1024 * 1024;

    /// Reads one source file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; only the first thing where it cannot be read at all.
    pub fn from_yaml(text: &str) -> Result<Self, Vec<ConfigError>> {
        let file = File::parse(text).map_err(|error| vec![error])?;
        let mut faults = Faults::default();
        let name = faults.read("name", &file.name, source_name);
        let connector = faults.read("connector", &file.connector, ConnectorKind::from_name);
        let target = faults.read("url", &file.url, |text| {
            Target::parse(text, &AddressPolicy::unrestricted())
        });
        if let (Some(kind), Some(target)) = (connector, &target)
            && kind.native().is_some()
            && target.uri().query().is_some()
        {
            // Paths and queries of its own are put behind it.
            let line = Some(file.url.referenced.line());
            faults.add(
                line,
                format!("`url` of {} must have no query", kind.as_str()),
            );
        }
        let timeout = faults.read_or(
            "timeout",
            file.timeout.as_ref(),
            Self::DEFAULT_TIMEOUT,
            |text| fault::duration(text, Some(MAX_TIMEOUT)),
        );
        let policy = retry::policy(
            file.retry.as_ref().map(|block| &block.value),
            file.deliver.as_ref().map(|block| &block.value),
            &mut faults,
        );
        let connections = connector
            .and_then(|kind| connections::connections(kind, &file, policy.collect, &mut faults));
        let concurrency = faults.read_or(
            "concurrency",
            file.concurrency.as_ref(),
            Source::DEFAULT_CONCURRENCY,
            |text| fault::number(text, 1, MAX_CONCURRENCY),
        );
        let (budget, limits) = budget::budget(
            file.per_minute.as_ref(),
            file.budget.as_deref().unwrap_or_default(),
            connector,
            &mut faults,
        );
        let maintenance =
            maintenance::maintenance(file.maintenance.as_deref().unwrap_or_default(), &mut faults);
        let backlog_alert = faults.read_or(
            "backlog_alert",
            file.backlog_alert.as_ref(),
            Source::DEFAULT_BACKLOG_ALERT,
            |text| fault::duration(text, Some(MAX_BACKLOG_ALERT)),
        );
        let max_body = faults.read_or(
            "max_body",
            file.max_body.as_ref(),
            Self::DEFAULT_MAX_BODY,
            |text| fault::number(text, 1, MAX_BODY),
        );
        let headers = headers::headers(file.headers.unwrap_or_default(), &mut faults);
        let shipped = connector.and_then(ConnectorKind::native).map(Native::rules);
        let errors = faults.read_or(
            "errors",
            file.errors.as_ref(),
            ErrorModel::Http,
            error_model,
        );
        let rules = rules(
            errors,
            file.rules.unwrap_or_default(),
            &shipped.unwrap_or_default(),
            &mut faults,
        );
        match (name, connector, target, faults.into_errors()) {
            (Some(name), Some(connector), Some(target), errors) if errors.is_empty() => Ok(Self {
                name,
                connector,
                target,
                timeout,
                policy,
                concurrency,
                budget: budget.into(),
                limits: limits.into(),
                connections,
                maintenance: maintenance.into(),
                backlog_alert,
                max_body,
                headers,
                rules,
            }),
            (_, _, _, errors) => Err(errors),
        }
    }
}

impl ConnectorKind {
    /// Every kind there is.
    pub const ALL: [Self; 2] = [Self::HttpJson, Self::SandboxBank];

    /// Returns the name used in source files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpJson => "http_json",
            Self::SandboxBank => "sandbox_bank",
        }
    }

    /// Returns what fetches its connections; `None` for a kind that only serves collections.
    pub fn native(self) -> Option<&'static dyn Native> {
        match self {
            Self::HttpJson => None,
            Self::SandboxBank => Some(&SandboxBank),
        }
    }

    fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| format!("must be {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}

fn source_name(text: &str) -> Result<SourceName, &'static str> {
    text.parse()
        .map_err(|_unfit| "must be 1 to 64 of a-z, 0-9, `-` and `_`")
}

fn error_model(name: &str) -> Result<ErrorModel, String> {
    let found = ErrorModel::ALL
        .into_iter()
        .find(|model| model.as_str() == name);
    found.ok_or_else(|| {
        format!(
            "must be {}",
            ErrorModel::ALL.map(ErrorModel::as_str).join(" or ")
        )
    })
}

fn rules(
    errors: ErrorModel,
    own: Vec<LinedRule>,
    of_kind: &[Rule],
    faults: &mut Faults,
) -> RuleTable {
    let shipped = || {
        RuleTable::of(errors)
            .with_first(of_kind.to_vec())
            .unwrap_or_else(|_untested| RuleTable::of(errors))
    };
    let lines: Vec<_> = own
        .iter()
        .map(|rule| (rule.value.name.clone(), rule.referenced.line()))
        .collect();
    let own: Vec<Rule> = own
        .into_iter()
        .map(|rule| {
            let line = rule.referenced.line();
            let mut rule = rule.value;
            // Failures carry header names in lower case.
            let header = rule.matcher.header.take();
            rule.matcher.header = header.map(|name| name.to_ascii_lowercase());
            if rule.until.is_some() && rule.class.disposition() != Disposition::Wait {
                let reason = format!(
                    "`rules` `until` of `{}` is for classes that wait, {} and {}, not for {}",
                    rule.name,
                    ErrorClass::RateLimitExceeded,
                    ErrorClass::BankMaintenance,
                    rule.class
                );
                faults.add(Some(line), reason);
            }
            rule
        })
        .collect();
    match shipped().with_first(own) {
        Ok(table) => table,
        Err(error) => {
            let line = lines.iter().find(|(name, _)| *name == error.rule);
            let reason = error.reason.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            let reason = format!(
                "`rules` the message pattern of `{}` is not a regular expression: {reason}",
                error.rule
            );
            faults.add(line.map(|(_, line)| *line), reason);
            shipped()
        }
    }
}

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_CONCURRENCY: u32 = 4096;
const MAX_BACKLOG_ALERT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often a connection is fetched when nobody says.
const DEFAULT_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_BODY: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
