//! Requests as the traces of what they ask for show them.

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use wellspring_engine::{Aggregate, TraceParent, traces};

/// Tells that a request was accepted, with a link to the caller's own trace.
pub(crate) fn accepted(made: &Aggregate, came: Instant, headers: &HeaderMap) {
    if !traces::is_tracing() {
        return;
    }
    match made {
        Aggregate::Collection(id) => {
            traces::accepted(id.as_bytes(), came, traceparent(headers)).end();
        }
        Aggregate::Account(_) | Aggregate::Connection(_) | Aggregate::Source(_) => {}
    }
}

/// Returns the caller's span, where the request names one; what is malformed is left out, as W3C
/// Trace Context wants.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceParent::parse(value.to_str().ok()?)
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
