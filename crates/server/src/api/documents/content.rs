//! `GET /v1/documents/{document}/content`.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use wellspring_core::{Document, DocumentId};
use wellspring_engine::{BlobError, Blobs};

use super::find;
use super::range::{Wanted, wanted};
use crate::Caller;
use crate::path::Place;
use crate::problem::Problem;
use crate::router::App;

/// Returns the bytes of a document, all or a range of them.
///
/// One range at a time is served, `bytes=0-499`, `bytes=500-` or `bytes=-500`; `If-Range` takes the `ETag`, which is the SHA-256 of the bytes.
/// `Repr-Digest` is that of the whole document, `Content-Digest` that of what is sent (RFC 9530).
#[utoipa::path(
    get, path = "/v1/documents/{document}/content", tag = "documents", operation_id = "documentContent",
    params(
        ("document" = String, Path, description = "The document's id"),
        ("Range" = Option<String>, Header, description = "Which bytes"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is of"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that is known already"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream", body = String, headers(("ETag" = String, description = "The SHA-256 of the bytes"), ("Repr-Digest" = String, description = "The same as a digest"), ("Content-Disposition" = String, description = "The name of the file"))),
        (status = 206, description = "Some of the bytes", content_type = "application/octet-stream", body = String, headers(("Content-Range" = String, description = "Which"))),
        (status = 304, description = "They are known already"),
        (status = 404, description = "There is no such document"),
        (status = 416, description = "There are no such bytes (`range_not_satisfiable`)"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn show(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let document = find(&app, &caller, &place).await?;
    let etag = format!("\"{}\"", hex::encode(document.hash));
    let mut response = Response::new(Body::empty());
    if knows(&parts.headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        describe(response.headers_mut(), &document, &etag);
        return Ok(response);
    }
    let part = match range(&parts, &document, &etag) {
        Wanted::All => None,
        Wanted::Part(part) => Some(part),
        Wanted::Beyond => return Err(beyond(document.size)),
    };
    let bytes = part.clone().unwrap_or(0..document.size);
    let headers = response.headers_mut();
    describe(headers, &document, &etag);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    put(headers, REPR_DIGEST, &digest(&document.hash));
    if parts.method == Method::HEAD {
        put(headers, CONTENT_DIGEST, &digest(&document.hash));
        return Ok(response);
    }
    let first = bytes.start..bytes.end.min(bytes.start + CHUNK);
    let chunk = read(app.blobs.as_ref(), document.id, first.clone()).await?;
    match part {
        None => put(headers, CONTENT_DIGEST, &digest(&document.hash)),
        Some(part) => {
            let text = format!("bytes {}-{}/{}", part.start, part.end - 1, document.size);
            put(headers, CONTENT_RANGE, &text);
            if first == part {
                let hash = Sha256::digest(&chunk);
                put(headers, CONTENT_DIGEST, &digest(&hash));
            }
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
    let blobs = Arc::clone(&app.blobs);
    *response.body_mut() = stream(blobs, document.id, chunk, first.end..bytes.end);
    Ok(response)
}

/// Sends the first chunk and reads the others as they are wanted, so that no download is in memory whole.
fn stream(blobs: Arc<dyn Blobs>, id: DocumentId, first: Bytes, rest: Range<u64>) -> Body {
    let rest = stream::try_unfold(rest, move |rest| {
        let blobs = Arc::clone(&blobs);
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let end = rest.end.min(rest.start + CHUNK);
            let chunk = chunk(blobs.as_ref(), id, rest.start..end).await;
            if let Err(error) = &chunk {
                tracing::warn!(document.id = %id, %error, "A download broke off");
            }
            chunk.map(|chunk| Some((chunk, end..rest.end)))
        }
    });
    let first = stream::once(std::future::ready(Ok(first)));
    Body::from_stream(futures_util::StreamExt::chain(first, rest))
}

async fn read(blobs: &dyn Blobs, id: DocumentId, range: Range<u64>) -> Result<Bytes, Problem> {
    chunk(blobs, id, range).await.map_err(|error| match error {
        BlobError::Unavailable(_) => Problem::unavailable(
            "documents_unavailable",
            "The bytes of documents cannot be read at present",
            error,
        ),
        BlobError::Damaged { .. } => Problem::internal(error),
    })
}

async fn chunk(blobs: &dyn Blobs, id: DocumentId, range: Range<u64>) -> Result<Bytes, BlobError> {
    let length = range.end - range.start;
    let damaged = |reason: &str| BlobError::Damaged {
        document: id,
        reason: reason.to_owned(),
    };
    let chunk = blobs.read(id, Some(range)).await?;
    let chunk = chunk.ok_or_else(|| damaged("it is not there"))?;
    if u64::try_from(chunk.len()).is_ok_and(|have| have == length) {
        Ok(chunk)
    } else {
        Err(damaged("it is shorter than its row says"))
    }
}

/// Reads the conditions of the request: a range counts for a GET of the bytes that are meant.
fn range(parts: &Parts, document: &Document, etag: &str) -> Wanted {
    let mut values = parts.headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Wanted::All;
    };
    let meant = parts.headers.get(IF_RANGE);
    if parts.method != Method::GET || meant.is_some_and(|meant| meant.as_bytes() != etag.as_bytes())
    {
        return Wanted::All;
    }
    value
        .to_str()
        .map_or(Wanted::All, |text| wanted(text, document.size))
}

/// Returns whether the client has these bytes already.
fn knows(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn describe(headers: &mut HeaderMap, document: &Document, etag: &str) {
    let media_type = media_type(&document.media_type);
    put(headers, CONTENT_TYPE, media_type);
    put(headers, CONTENT_DISPOSITION, &disposition(&document.name));
    put(headers, ETAG, etag);
    for (name, value) in [
        (ACCEPT_RANGES, "bytes"),
        (CACHE_CONTROL, "private, no-cache"),
        // Whatever it says it is, it came from elsewhere: no browser is to run it here.
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Adds a header that is made of plain characters alone.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Returns the type if it has the form of one.
pub(super) fn media_type(text: &str) -> &str {
    let token = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.bytes().all(allowed)
    };
    let essence = text.split(';').next().unwrap_or(text).trim();
    let is_type = essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    let plain = text.len() <= 200 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_type && plain { text } else { UNKNOWN_TYPE }
}

/// Returns the header that names the file (RFC 6266): once for everybody, once with all its characters.
fn disposition(name: &str) -> String {
    let name = file_name(name);
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .map(|c| if matches!(c, '"' | '%') { '_' } else { c })
        .collect();
    let mut header = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        header.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                header.push(char::from(byte));
            } else {
                write!(header, "%{byte:02X}").expect("writing to a string does not fail");
            }
        }
    }
    header
}

/// Returns the name without what makes it a path, a hidden file or a trick.
pub(super) fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let plain = |c: &char| {
        // Marks that turn the writing around make a name look like another one.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !c.is_control() && !turns && !matches!(c, '<' | '>' | ':' | '|' | '?' | '*')
    };
    let name: String = last.chars().filter(plain).take(LONGEST_NAME).collect();
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() {
        "document".to_owned()
    } else {
        name.to_owned()
    }
}

fn digest(hash: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(hash))
}

fn beyond(size: u64) -> Problem {
    let value = HeaderValue::try_from(format!("bytes */{size}"));
    let problem = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        format!("The document has {size} bytes"),
    );
    match value {
        Ok(value) => problem.with_header(CONTENT_RANGE, value),
        Err(_impossible) => problem,
    }
}

pub(super) const UNKNOWN_TYPE: &str = "application/octet-stream";
const LONGEST_NAME: usize = 200;
/// How much of a document is in memory at once.
const CHUNK: u64 = 1 << 20;
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_and_keep_their_letters() {
        for (name, header) in [
            ("a b.pdf", "attachment; filename=\"a b.pdf\""),
            ("../../etc/passwd", "attachment; filename=\"passwd\""),
            (
                "..\\x\r\nSet-Cookie: a=b",
                "attachment; filename=\"xSet-Cookie a=b\"",
            ),
            ("...", "attachment; filename=\"document\""),
            (
                "q\"100%\".pdf",
                "attachment; filename=\"q_100__.pdf\"; filename*=UTF-8''q%22100%25%22.pdf",
            ),
            (
                "Kündigung \u{202e}fdp.exe",
                "attachment; filename=\"K_ndigung fdp.exe\"; filename*=UTF-8''K%C3%BCndigung%20fdp.exe",
            ),
        ] {
            assert_eq!(disposition(name), header, "{name}");
        }
        assert_eq!(file_name(&"ä".repeat(500)).chars().count(), 200);
        for bad in ["", "pdf", "a/b/c", "text/html\r\nx: y", "a b/c", "/", "ä/b"] {
            assert_eq!(media_type(bad), UNKNOWN_TYPE, "{bad}");
        }
        assert_eq!(
            media_type("text/plain; charset=utf-8"),
            "text/plain; charset=utf-8"
        );
    }
}
