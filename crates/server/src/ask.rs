//! Has the engine do what a request wants, and says what came of it.

use std::time::Duration;

use http::StatusCode;
use wellspring_core::connection;
use wellspring_engine::{Aggregate, Answer, Busy, Key, Request};

use crate::idempotency::Refusal;
use crate::problem::Problem;
use crate::router::App;

/// Why the engine did not do it.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is nothing of this id.
    NotFound,
    /// The collection's state does not take it.
    Rejected,
    /// The connection's state does not take it.
    State(connection::Rejected),
    /// The idempotency key was used meanwhile.
    KeyTaken,
    /// A request with the same idempotency key is under way.
    KeyBusy,
    /// Not now; nothing was stored.
    Busy(Busy),
    /// No answer in time; whether it was done is not known.
    Timeout,
}

/// Has the engine do it; returns what was made or changed once it is durable.
pub(crate) async fn ask(
    app: &App,
    request: Request,
    key: Option<Key>,
) -> Result<Aggregate, Refused> {
    let answer = tokio::time::timeout(PATIENCE, app.engine.request(request, key)).await;
    match answer {
        Ok(Answer::Done(id)) => Ok(id),
        Ok(Answer::NotFound) => Err(Refused::NotFound),
        Ok(Answer::Rejected(_)) => Err(Refused::Rejected),
        Ok(Answer::Refused(rejected)) => Err(Refused::State(rejected)),
        Ok(Answer::KeyTaken) => Err(Refused::KeyTaken),
        Ok(Answer::KeyBusy) => Err(Refused::KeyBusy),
        // The engine leaves such requests for their owner itself; the others are no answers to these.
        Ok(
            Answer::Elsewhere
            | Answer::Ended
            | Answer::Leave(_)
            | Answer::Dispatched
            | Answer::Tried(_),
        ) => Err(Refused::Busy(Busy::NotReady)),
        Ok(Answer::Busy(busy)) => Err(Refused::Busy(busy)),
        Ok(Answer::Unknown) => Err(Refused::Timeout),
        Err(_elapsed) => Err(Refused::Timeout),
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::not_found("It is not there any more"),
            Refused::Rejected => Self::new(
                StatusCode::CONFLICT,
                "not_failed",
                "Only a collection that failed can be retried",
            ),
            Refused::State(rejected) => Self::new(
                StatusCode::CONFLICT,
                "wrong_state",
                format!(
                    "A connection in state `{}` does not take this",
                    rejected.from
                ),
            ),
            Refused::KeyTaken | Refused::KeyBusy => Refusal::InUse.into(),
            Refused::Busy(Busy::Queue) => Self::busy(
                "overloaded",
                "More requests come in than can be stored at present; nothing was stored",
            ),
            Refused::Busy(Busy::Backlog) => Self::busy(
                "overloaded",
                "There are too many unfinished collections at present; nothing was stored",
            ),
            Refused::Busy(Busy::Database) => Self::busy(
                "database_unavailable",
                "The database cannot be written at present; nothing was stored",
            ),
            Refused::Busy(Busy::NotReady) => Self::busy(
                "not_ready",
                "The server is starting or stopping; nothing was stored",
            ),
            Refused::Timeout => Self::unavailable(
                "outcome_unknown",
                "Whether the request was done is not known yet; repeat it with the same Idempotency-Key",
                "no answer from the engine in time",
            ),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
