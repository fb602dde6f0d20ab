use std::time::Duration;

use serde_saphyr::Spanned;
use wellspring_core::{CollectionPolicy, RetryPolicy, format_duration};

use super::fault::{self, Faults};
use super::file::RetryFile;

/// Builds the policy of both stages; what `deliver` leaves out has the value of `retry`.
pub(super) fn policy(
    retry: Option<&RetryFile>,
    deliver: Option<&RetryFile>,
    faults: &mut Faults,
) -> CollectionPolicy {
    let default = CollectionPolicy::default();
    let collect = stage("retry", retry, default.collect, faults);
    let give_up_after = retry.and_then(|retry| retry.give_up_after.as_ref());
    let give_up_after = faults.read_or(
        "retry.give_up_after",
        give_up_after,
        default.give_up_after,
        |text| fault::duration(text, None),
    );
    if let Some(misplaced) = deliver.and_then(|deliver| deliver.give_up_after.as_ref()) {
        let reason = "`deliver.give_up_after` is not a key: both stages use that of `retry`";
        faults.add(Some(misplaced.referenced.line()), reason.to_owned());
    }
    CollectionPolicy {
        collect,
        deliver: stage("deliver", deliver, collect, faults),
        give_up_after,
    }
}

fn stage(
    block: &str,
    file: Option<&RetryFile>,
    default: RetryPolicy,
    faults: &mut Faults,
) -> RetryPolicy {
    let Some(file) = file else { return default };
    let mut gap = |key: &str, value: Option<&Spanned<String>>, default: Duration| {
        faults.read_or(&format!("{block}.{key}"), value, default, |text| {
            fault::duration(text, None)
        })
    };
    let base = gap("interval", file.interval.as_ref(), default.base);
    let cap = gap("max_delay", file.max_delay.as_ref(), default.cap);
    let factor = faults.read_or(
        &format!("{block}.rate"),
        file.rate.as_ref(),
        default.factor,
        at_least_one,
    );
    let max_retries = faults.read_or(
        &format!("{block}.max_retries"),
        file.max_retries.as_ref(),
        default.max_retries,
        |text| fault::number(text, 0, u16::MAX),
    );
    if cap < base {
        let line = file.max_delay.as_ref().or(file.interval.as_ref());
        let reason = format!(
            "`{block}.max_delay` ({}) must not be less than `{block}.interval` ({})",
            format_duration(cap),
            format_duration(base)
        );
        faults.add(line.map(|value| value.referenced.line()), reason);
    }
    RetryPolicy {
        base,
        factor,
        cap,
        max_retries,
        jitter: true,
    }
}

fn at_least_one(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| rate.is_finite() && *rate >= 1.0)
        .ok_or("must be a number of at least 1")
}
