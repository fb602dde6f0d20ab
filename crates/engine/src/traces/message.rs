//! Which trace a message belongs to, as its facts say.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};
use wellspring_core::{AnyId, CollectionId, FetchId};

use crate::Message;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    body: Facts,
}

#[derive(Deserialize)]
struct Facts {
    #[serde(default)]
    fetch_id: Option<FetchId>,
}

/// Returns the trace of a message about a change: that of its collection or fetch, if it names one.
pub(super) fn trace_of(message: &Message) -> Option<AnyId> {
    let envelope: Envelope<'_> = serde_json::from_slice(&message.body).ok()?;
    let collection = || {
        let path = envelope.data.path.strip_prefix("/collections/")?;
        let id: CollectionId = path.split('/').next()?.parse().ok()?;
        Some(*id.as_bytes())
    };
    let fetch = envelope.data.body.fetch_id.as_ref();
    fetch.map(|fetch| *fetch.as_bytes()).or_else(collection)
}

/// Returns the trace of an event that a person is told of.
pub(super) fn trace_in(event: &Map<String, Value>) -> Option<AnyId> {
    let fetch: FetchId = event.get(FETCH)?.as_str()?.parse().ok()?;
    Some(*fetch.as_bytes())
}

/// What the fetch is called in an event that a person is told of.
pub(crate) const FETCH: &str = "fetch_id";
