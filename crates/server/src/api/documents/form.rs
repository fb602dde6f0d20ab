//! The form that a document is uploaded with.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use multer::{Field, Multipart};

use super::content::{UNKNOWN_TYPE, file_name, media_type};
use crate::api::accounts::is_name;
use crate::api::connections::is_date;
use crate::body::pointer;
use crate::problem::{Fault, Problem};

/// An upload without a fault.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) file: Bytes,
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) kind: String,
    pub(super) date: Option<String>,
    pub(super) source_id: Option<String>,
}

/// What came of the form so far.
#[derive(Default)]
struct Parts {
    file: Option<(Bytes, Option<String>, Option<String>)>,
    texts: [Option<String>; TEXTS.len()],
    faults: Vec<Fault>,
}

impl Form {
    /// Reads a `multipart/form-data` body.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let content_type = headers.get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(|text| multer::parse_boundary(text).ok());
        let Some(boundary) = boundary else {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "A document is uploaded as multipart/form-data with a part `file`",
            ));
        };
        if axum::body::HttpBody::size_hint(&body).lower() > LIMIT + ROOM {
            return Err(too_large());
        }
        let form = Multipart::new(body.into_data_stream(), boundary);
        match tokio::time::timeout(TIMEOUT, Parts::read(form)).await {
            Ok(parts) => parts?.judge(),
            Err(_elapsed) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The body did not come in time",
            )),
        }
    }
}

impl Parts {
    async fn read(mut form: Multipart<'_>) -> Result<Self, Problem> {
        let mut parts = Self::default();
        let mut room = LIMIT + ROOM;
        while let Some(field) = within(form.next_field()).await? {
            let name = field.name().unwrap_or_default().to_owned();
            let text = TEXTS.iter().position(|known| *known == name);
            if name == FILE && parts.file.is_none() {
                let file_name = field.file_name().map(str::to_owned);
                let media_type = field.content_type().map(ToString::to_string);
                let file = bytes(field, LIMIT, &mut room).await?;
                parts.file = Some((file, file_name, media_type));
            } else if let Some(place) = text
                && parts.texts[place].is_none()
            {
                let text = bytes(field, LONGEST_TEXT, &mut room).await?;
                match String::from_utf8(text.into()) {
                    Ok(text) => parts.texts[place] = Some(text),
                    Err(_no_text) => parts.fault(&name, "is no text"),
                }
            } else {
                let known = name == FILE || text.is_some();
                let detail = if known {
                    "is there more than once"
                } else {
                    "is not known here"
                };
                parts.fault(&name, detail);
                if parts.faults.len() >= MOST_FAULTS {
                    break;
                }
            }
        }
        Ok(parts)
    }

    fn fault(&mut self, name: &str, detail: &str) {
        self.faults.push(Fault::at(pointer("", name), detail));
    }

    fn judge(mut self) -> Result<Form, Problem> {
        let [kind, date, name, source_id] = std::mem::take(&mut self.texts);
        let file = self.file.take();
        if file.is_none() {
            self.fault(FILE, "is required");
        }
        if file.as_ref().is_some_and(|(file, _, _)| file.is_empty()) {
            self.fault(FILE, "is empty");
        }
        if kind.as_deref().is_some_and(|kind| !is_kind(kind)) {
            self.fault(
                "kind",
                "must be one word of a-z, 0-9 and `_` such as `statement`",
            );
        }
        if date.as_deref().is_some_and(|date| !is_date(date)) {
            self.fault("date", "must be a day such as 2026-11-21");
        }
        if name
            .as_deref()
            .is_some_and(|name| !is_name(name, LONGEST_NAME))
        {
            self.fault(
                "name",
                "must be 1 to 200 characters without control characters",
            );
        }
        if source_id
            .as_deref()
            .is_some_and(|id| !is_name(id, LONGEST_NAME))
        {
            self.fault(
                "source_id",
                "must be 1 to 200 characters without control characters",
            );
        }
        let Some((file, told_name, told_type)) = file.filter(|_| self.faults.is_empty()) else {
            return Err(Problem::invalid(self.faults));
        };
        let name = name.or(told_name).unwrap_or_default();
        let told_type = told_type.as_deref().unwrap_or(UNKNOWN_TYPE);
        Ok(Form {
            file,
            name: file_name(&name),
            media_type: media_type(told_type).to_owned(),
            kind: kind.unwrap_or_else(|| "document".to_owned()),
            date,
            source_id,
        })
    }
}

/// Reads a part of at most `limit` bytes; `room` is what is left for the whole body.
async fn bytes(mut field: Field<'_>, limit: u64, room: &mut u64) -> Result<Bytes, Problem> {
    let limit = limit.min(*room);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = within(field.chunk()).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
    }
    *room -= bytes.len() as u64;
    Ok(bytes.freeze())
}

/// Waits for the next piece for as long as a client may be silent.
async fn within<T>(next: impl Future<Output = multer::Result<T>>) -> Result<T, Problem> {
    match tokio::time::timeout(SILENCE, next).await {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(error)) => {
            tracing::debug!(%error, "An upload is no form");
            Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed_body",
                "The body is not multipart/form-data, or it ended early",
            ))
        }
        Err(_elapsed) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The body did not come in time",
        )),
    }
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "A document has at most 50 MiB, and what is said of it at most 4 KiB",
    )
}

fn is_kind(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

const FILE: &str = "file";
const TEXTS: [&str; 4] = ["kind", "date", "name", "source_id"];
/// How large a document may be.
const LIMIT: u64 = 50 << 20;
/// What a form has besides its file.
const ROOM: u64 = 64 << 10;
const LONGEST_TEXT: u64 = 4 << 10;
const LONGEST_NAME: usize = 200;
const MOST_FAULTS: usize = 20;
/// How long an upload may take.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);
