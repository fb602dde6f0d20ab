//! Requests as the traces of what they are sent for show them.

use http::{HeaderName, HeaderValue};
use wellspring_engine::traces::Exchange;
use wellspring_outbound::{Request, Response, SendError};

/// Begins an exchange with somebody who has nothing to do with the tenant.
pub(crate) fn begin(request: &Request) -> Exchange {
    let target = &request.target;
    Exchange::begin(request.method.as_str(), target.host(), target.port())
}

/// Begins an exchange with a receiver of the tenant's, which is told of the trace where that is
/// configured.
pub(crate) fn begin_told(request: &mut Request) -> Exchange {
    let exchange = begin(request);
    let value = exchange.traceparent().map(HeaderValue::try_from);
    if let Some(Ok(value)) = value {
        request.headers.insert(TRACEPARENT, value);
    }
    exchange
}

/// Ends an exchange.
pub(crate) fn end(exchange: Exchange, answer: &Result<Response, SendError>) {
    exchange.end(match answer {
        Ok(answer) => Ok(answer.status.as_u16()),
        Err(error) => Err(error.code()),
    });
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
