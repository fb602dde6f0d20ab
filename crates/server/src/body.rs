//! Bodies: read with a limit, and taken apart so that every fault is found.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::problem::{Fault, Problem};
use crate::router::App;

/// Why there is no body to work with.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is larger than the limit.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// The connection broke, or its framing is wrong.
    Broken,
    /// It is not JSON.
    Malformed(serde_json::Error),
}

/// The fields of a body that is to be an object, in their order, duplicates included.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, Value)>);

/// Reads a whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, BodyError> {
    if axum::body::HttpBody::size_hint(&body).lower() > LIMIT as u64 {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(TIMEOUT, Limited::new(body, LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_broken)) => Err(BodyError::Broken),
        Err(_elapsed) => Err(BodyError::TooSlow),
    }
}

impl Fields {
    /// Takes a JSON body apart; what is JSON but no object is a fault.
    pub(crate) fn read(body: &[u8], faults: &mut Vec<Fault>) -> Result<Self, BodyError> {
        if is_object(body) {
            return serde_json::from_slice(body).map_err(BodyError::Malformed);
        }
        let _other: Value = serde_json::from_slice(body).map_err(BodyError::Malformed)?;
        faults.push(Fault::at("", "the body must be a JSON object"));
        Ok(Self(Vec::new()))
    }

    /// As [`Self::read`] where no body is a body that says nothing.
    pub(crate) fn read_or_empty(body: &[u8], faults: &mut Vec<Fault>) -> Result<Self, BodyError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Vec::new()));
        }
        Self::read(body, faults)
    }

    /// Takes the field `name` out; a second one of that name is a fault.
    pub(crate) fn take(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<Value> {
        let place = self.0.iter().position(|(have, _)| have == name)?;
        let (_, value) = self.0.remove(place);
        let rest = self.0.len();
        self.0.retain(|(have, _)| have != name);
        if self.0.len() < rest {
            faults.push(Fault::at(pointer("", name), "is there more than once"));
        }
        Some(value)
    }

    /// Names what was not taken.
    pub(crate) fn finish(self, faults: &mut Vec<Fault>) {
        let unknown = self.0.into_iter().take(MOST_FAULTS);
        faults.extend(unknown.map(|(name, _)| Fault::at(pointer("", &name), "is not known here")));
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Returns whether the body, if it is JSON, is an object.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// Returns the JSON pointer (RFC 6901) of a member.
pub(crate) fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Refuses a body with anything in it, for operations that need none.
pub(crate) fn expect_nothing(body: &[u8]) -> Result<(), NotEmpty> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut faults = Vec::new();
    Fields::read(body, &mut faults)?.finish(&mut faults);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(NotEmpty::Faults(faults))
    }
}

/// Why a body that should be empty is refused.
#[derive(Debug)]
pub(crate) enum NotEmpty {
    /// It cannot be read.
    Body(BodyError),
    /// It says something.
    Faults(Vec<Fault>),
}

impl From<BodyError> for NotEmpty {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<NotEmpty> for Problem {
    fn from(error: NotEmpty) -> Self {
        match error {
            NotEmpty::Body(error) => error.into(),
            NotEmpty::Faults(faults) => Self::invalid(faults),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "A body has at most 1 MiB",
            ),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The body did not come in time",
            ),
            BodyError::Broken => Self::new(
                StatusCode::BAD_REQUEST,
                "malformed_body",
                "The body could not be read to its end",
            ),
            BodyError::Malformed(error) => Self::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("The body is not JSON: {error}"),
            ),
        }
    }
}

/// Returns a response with a JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(bytes(status, "application/json", Bytes::from(body)))
}

/// Returns the response to what made the thing at `path`.
pub(crate) fn created(app: &App, path: &str, body: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(StatusCode::CREATED, body)?;
    if let Ok(location) = HeaderValue::try_from(app.links.to(path)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Returns a response that says nothing but that it is done.
pub(crate) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Returns a response with a body of this type.
pub(crate) fn bytes(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

const LIMIT: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);
/// Unknown fields that are named; a body of a million of them gets no answer as long as itself.
const MOST_FAULTS: usize = 50;
