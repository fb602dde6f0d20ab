use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{MessageFormatter, Options, Spanned, UserMessageFormatter};
use wellspring_core::Rule;
use wellspring_core::source::Written;

use super::ConfigError;

/// A source file as written; numbers are read later, so that their faults name the key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Spanned<String>,
    pub(super) connector: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) retry: Option<Spanned<RetryFile>>,
    pub(super) deliver: Option<Spanned<RetryFile>>,
    pub(super) schedule: Option<Spanned<ScheduleFile>>,
    pub(super) slow_plan: Option<Spanned<Vec<String>>>,
    pub(super) concurrency: Option<Spanned<String>>,
    pub(super) per_minute: Option<Spanned<String>>,
    pub(super) budget: Option<Vec<WindowFile>>,
    pub(super) maintenance: Option<Vec<Spanned<Written>>>,
    pub(super) backlog_alert: Option<Spanned<String>>,
    pub(super) max_body: Option<Spanned<String>>,
    pub(super) headers: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) errors: Option<Spanned<String>>,
    pub(super) rules: Option<Vec<LinedRule>>,
}

/// The `retry` or the `deliver` block.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryFile {
    pub(super) interval: Option<Spanned<String>>,
    pub(super) rate: Option<Spanned<String>>,
    pub(super) max_delay: Option<Spanned<String>>,
    pub(super) max_retries: Option<Spanned<String>>,
    pub(super) give_up_after: Option<Spanned<String>>,
}

/// One window of the `budget` block.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowFile {
    pub(super) calls: Spanned<String>,
    pub(super) per: Spanned<String>,
    pub(super) scope: Option<Spanned<String>>,
    pub(super) endpoint: Option<Spanned<String>>,
}

/// The `schedule` block.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleFile {
    pub(super) every: Option<String>,
    pub(super) cron: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) manual: Option<String>,
}

pub(super) type LinedRule = Spanned<Rule>;

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        // A snippet would show the values of headers.
        let options: Options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError {
            line: error.location().map(|location| location.line()),
            reason: reason(&error),
        })
    }
}

fn reason(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        let keys = expected.join(", ");
        return format!("`{}` is not a key, there are {keys}", field.escape_debug());
    }
    if let serde_saphyr::Error::SerdeMissingField { field, .. } = error {
        return format!("`{field}` is missing");
    }
    let reason = UserMessageFormatter.format_message(error);
    reason.escape_debug().to_string()
}
