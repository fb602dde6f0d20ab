use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::TimeoutPhase;

/// How far an exchange has come; shared with the body that is being sent.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// Notes that a connection took the request.
    pub(super) fn request_began(&self) {
        self.0.fetch_max(REQUEST_BEGAN, Ordering::Relaxed);
    }

    pub(super) fn response_began(&self) {
        self.0.fetch_max(RESPONSE_BEGAN, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> TimeoutPhase {
        match self.0.load(Ordering::Relaxed) {
            RESPONSE_BEGAN => TimeoutPhase::Body,
            REQUEST_BEGAN => TimeoutPhase::Headers,
            _ => TimeoutPhase::Connect,
        }
    }
}

const REQUEST_BEGAN: u8 = 1;
const RESPONSE_BEGAN: u8 = 2;
