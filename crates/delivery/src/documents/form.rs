//! A document as `multipart/form-data`, after RFC 7578.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use wellspring_core::{AccountId, ConnectionId, Document, DocumentId, Timestamp};

/// The body, in pieces so that the file is not copied.
pub(super) struct Form {
    boundary: String,
    /// What stands before the file, the file, and what stands behind it.
    pub(super) pieces: [Bytes; 3],
}

impl Form {
    /// Takes the message of a change; `None` when that is no JSON object.
    pub(super) fn new(message: &[u8], document: &Document, file: Bytes) -> Option<Self> {
        // Nobody can make a file that holds its own digest, and the JSON holds no line breaks.
        // Made of the digest, the boundary is the same for every repeat.
        let boundary = format!("wellspring-{}", hex::encode(&document.hash[..16]));
        let message = message.strip_suffix(b"}")?;
        let shown = serde_json::to_vec(&DocumentView::from(document)).ok()?;
        let mut head = Vec::with_capacity(message.len() + shown.len() + 512);
        let part = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"metadata\"\r\nContent-Type: application/json\r\n\r\n"
        );
        head.extend_from_slice(part.as_bytes());
        head.extend_from_slice(message);
        head.extend_from_slice(b",\"document\":");
        head.extend_from_slice(&shown);
        let part = format!(
            "}}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            file_name(&document.name),
            media_type(&document.media_type),
        );
        head.extend_from_slice(part.as_bytes());
        let tail = format!("\r\n--{boundary}--\r\n");
        Some(Self {
            boundary,
            pieces: [head.into(), file, tail.into()],
        })
    }

    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/form-data; boundary={}", self.boundary))
            .expect("the boundary is letters, digits and a hyphen")
    }
}

/// A document as the API shows it.
#[derive(Serialize)]
struct DocumentView<'a> {
    id: DocumentId,
    account: AccountId,
    connection: ConnectionId,
    kind: &'a str,
    name: &'a str,
    media_type: &'a str,
    size: u64,
    sha256: String,
    date: Option<&'a str>,
    origin: &'static str,
    source_id: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    created_at: Timestamp,
}

impl<'a> From<&'a Document> for DocumentView<'a> {
    fn from(document: &'a Document) -> Self {
        Self {
            id: document.id,
            account: document.account,
            connection: document.connection,
            kind: &document.kind,
            name: &document.name,
            media_type: &document.media_type,
            size: document.size,
            sha256: hex::encode(document.hash),
            date: document.date.as_deref(),
            origin: document.origin.as_str(),
            source_id: document.source_id.as_deref(),
            metadata: &document.metadata,
            created_at: document.created_at,
        }
    }
}

/// Writes a file name as browsers do: UTF-8, with what would end it or its line as `%22` and the like.
fn file_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '"' || character.is_ascii_control() {
            write!(text, "%{:02X}", u32::from(character)).expect("a string takes everything");
        } else {
            text.push(character);
        }
    }
    text
}

/// Returns what the source says of the file's type, unless it is nothing that a header may hold.
fn media_type(text: &str) -> &str {
    let is_type = text.split_once('/').is_some_and(|(kind, rest)| {
        let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        !kind.is_empty() && !rest.is_empty() && plain(kind) && plain(rest)
    });
    if is_type {
        text
    } else {
        "application/octet-stream"
    }
}
