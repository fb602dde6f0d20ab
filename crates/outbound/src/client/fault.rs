use std::error::Error;
use std::io;

use hyper_util::client::legacy;

use crate::{SendError, TimeoutPhase};

/// Maps what went wrong before the response began.
pub(super) fn in_head(error: &legacy::Error) -> SendError {
    classify(error, &SendError::Reset, TimeoutPhase::Headers)
}

/// Maps what went wrong within the response body.
pub(super) fn in_body(error: &hyper::Error) -> SendError {
    classify(error, &SendError::Truncated, TimeoutPhase::Body)
}

/// Walks down the causes to the first that says something; `cut` is what an early end means.
fn classify(error: &(dyn Error + 'static), cut: &SendError, phase: TimeoutPhase) -> SendError {
    let mut detail = None;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(known) = cause.downcast_ref::<SendError>() {
            return known.clone();
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return SendError::Tls {
                detail: tls.to_string(),
            };
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            if http.is_incomplete_message() {
                return cut.clone();
            }
            if http.is_canceled() || http.is_closed() {
                return SendError::Reset;
            }
            detail.get_or_insert_with(|| http.to_string());
        }
        next = match cause.downcast_ref::<io::Error>() {
            Some(io) => match of_kind(io.kind(), cut, phase) {
                Some(found) => return found,
                // What an i/o error wraps is not among its sources.
                None => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            },
            None => cause.source(),
        };
    }
    SendError::Protocol {
        detail: detail.unwrap_or_else(|| error.to_string()),
    }
}

fn of_kind(kind: io::ErrorKind, cut: &SendError, phase: TimeoutPhase) -> Option<SendError> {
    const RESETS: [io::ErrorKind; 4] = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::NotConnected,
    ];
    if RESETS.contains(&kind) {
        Some(SendError::Reset)
    } else if kind == io::ErrorKind::UnexpectedEof {
        Some(cut.clone())
    } else if kind == io::ErrorKind::TimedOut {
        Some(SendError::Timeout { phase })
    } else {
        None
    }
}
