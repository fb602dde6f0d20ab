//! Requests as the traces of what they ask for show them.

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use wellspring_core::TraceParent;
use wellspring_engine::{Aggregate, Wish, traces};

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

/// Returns the wish for a fetch, with the caller's span where the fetch is to be linked to it.
pub(crate) fn fetch(headers: &HeaderMap) -> Wish {
    asked_in(headers).map_or(Wish::Fetch, Wish::FetchIn)
}

/// Returns the caller's span, where traces are made.
pub(crate) fn asked_in(headers: &HeaderMap) -> Option<TraceParent> {
    traceparent(headers).filter(|_| traces::is_tracing())
}

/// Returns the caller's span, where the request names one; what is malformed is left out, as W3C
/// Trace Context wants.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceParent::parse(value.to_str().ok()?)
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
