use std::future::Future;
use std::time::Duration;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use crate::answer::{JSON, cut, empty, fail, json_answer, junk, set_retry_after};
use crate::bank::Refusal;
use crate::control::{Control, Outage, Verdict};
use crate::limit;
use crate::providers::Source;
use crate::serve::{Aborted, Body, Link};

/// Counts a call to `source` and answers it with `usual`, or as its settings have it.
///
/// `endpoint` is what is asked for, and `known` whether the source has it.
pub(crate) async fn pass(
    control: &Control,
    source: Source,
    (endpoint, known): (&str, bool),
    link: &Link,
    usual: impl Future<Output = Result<Response<Body>, Aborted>> + Send,
) -> Result<Response<Body>, Aborted> {
    let (decision, _in_flight) = control.decide(source, endpoint, known);
    link.hold(decision.latency).await?;
    match decision.verdict {
        Verdict::Data | Verdict::NotFound => {
            let mut answer = usual.await?;
            if let Some((tells, fill)) = decision.standing {
                limit::tell(&mut answer, tells, fill);
            }
            Ok(answer)
        }
        Verdict::Fail | Verdict::Outage(Outage::ServerError) => Ok(fail()),
        Verdict::Junk => Ok(junk()),
        Verdict::Throttled { retry_after } => Ok(throttled(source, retry_after)),
        Verdict::OverBudget { tells, fill } | Verdict::Blocked { tells, fill } => {
            Ok(limit::refuse(source, tells, fill))
        }
        Verdict::Maintenance { until, retry_after } => Ok(maintenance(source, until, retry_after)),
        Verdict::Outage(Outage::Reset) => Err(link.reset()),
        Verdict::Outage(Outage::Timeout) => {
            link.hold(TOO_LATE).await?;
            usual.await
        }
        Verdict::Outage(Outage::Truncate) => Ok(cut(usual.await?)),
    }
}

fn throttled(source: Source, retry_after: u64) -> Response<Body> {
    let mut answer = match source {
        Source::Gas | Source::Internet | Source::Other => empty(StatusCode::TOO_MANY_REQUESTS),
        Source::SandboxBank => Refusal::Throttled.answer(),
    };
    set_retry_after(&mut answer, retry_after);
    answer
}

fn maintenance(source: Source, until: Timestamp, retry_after: u64) -> Response<Body> {
    let mut answer = match source {
        Source::Gas | Source::Internet | Source::Other => {
            let body = json!({ "error": "maintenance", "until": until });
            json_answer(StatusCode::SERVICE_UNAVAILABLE, JSON, &body)
        }
        Source::SandboxBank => Refusal::Maintenance.answer(),
    };
    set_retry_after(&mut answer, retry_after);
    answer
}

const TOO_LATE: Duration = Duration::from_secs(60);
