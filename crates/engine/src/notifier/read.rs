//! What the log says that people should know.

use serde::Deserialize;
use serde_json::{Map, Value};
use wellspring_core::notification::{NotificationKind, Observation, Telling};
use wellspring_core::{AccountId, ConnectionId, FetchId, SourceName, TenantId, Timestamp, Verb};

use crate::LogEntry;
use crate::traces::message::FETCH;

/// An entry of the log that concerns a person.
#[derive(Debug)]
pub(super) enum Heard {
    /// A connection came into a state.
    State(Place, Box<State>),
    /// A connection is gone.
    Gone(Place),
}

/// Whose connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    pub(super) account: AccountId,
    pub(super) connection: ConnectionId,
}

/// What is written with a state.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    #[serde(skip)]
    state: String,
    source: String,
    access: String,
    outcome: Option<String>,
    reason: Option<String>,
    code: Option<String>,
    next_attempt_at: Option<Timestamp>,
    #[serde(default)]
    fetch_id: Option<FetchId>,
}

impl Heard {
    /// Reads an entry; most concern nobody.
    pub(super) fn of(entry: &LogEntry) -> Option<Self> {
        let mut path = entry.view.path.strip_prefix("/accounts/")?.split('/');
        let account = path.next()?.parse().ok()?;
        if path.next()? != "connections" {
            return None;
        }
        let place = Place {
            tenant: entry.tenant,
            account,
            connection: path.next()?.parse().ok()?,
        };
        match (path.next(), path.next(), entry.view.verb) {
            (None, None, Verb::Deleted) => Some(Self::Gone(place)),
            (Some("state"), Some(state), _) => {
                let body = serde_json::from_str(entry.view.body.get()).ok()?;
                let state = State {
                    state: state.to_owned(),
                    ..body
                };
                Some(Self::State(place, Box::new(state)))
            }
            (_, _, _) => None,
        }
    }

    /// Returns whose connection it is and at which source, where it says so.
    pub(super) fn at_source(&self) -> Option<(AccountId, SourceName)> {
        match self {
            Self::State(place, state) => Some((place.account, state.source.parse().ok()?)),
            Self::Gone(_) => None,
        }
    }

    pub(super) const fn place(&self) -> Place {
        match self {
            Self::State(place, _) | Self::Gone(place) => *place,
        }
    }
}

impl State {
    pub(super) fn observation(&self) -> Observation<'_> {
        Observation {
            state: &self.state,
            access: &self.access,
            outcome: self.outcome.as_deref(),
            reason: self.reason.as_deref(),
        }
    }

    /// Returns the kind and the event of a message that says so.
    pub(super) fn event(
        &self,
        place: Place,
        telling: Telling,
    ) -> (NotificationKind, Map<String, Value>) {
        let (kind, key, state) = match telling {
            Telling::Tell(kind, key) => (kind, key, "opened"),
            Telling::Mended(kind, key) => (kind, key, "mended"),
        };
        let mut event = Map::new();
        let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
        put("state", state.into());
        put("reason", key.as_str().into());
        put("source", self.source.as_str().into());
        put("connection_id", place.connection.to_string().into());
        // By it the message is a part of the fetch's trace.
        if let Some(fetch) = self.fetch_id {
            put(FETCH, fetch.to_string().into());
        }
        if let Some(code) = &self.code {
            put("code", code.as_str().into());
        }
        if let Some(at) = self.next_attempt_at.filter(|_| state == "opened") {
            put("until", at.to_string().into());
        }
        (kind, event)
    }
}

/// Returns whether an entry says that an incident began, changed or ended.
pub(super) fn is_of_incident(entry: &LogEntry) -> bool {
    let path = entry.view.path.strip_prefix("/sources/");
    path.and_then(|path| path.split('/').nth(1)) == Some("incidents")
}
