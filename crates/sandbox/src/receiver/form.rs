//! Deliveries that are forms, as documents are.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use hyper::header::CONTENT_TYPE;
use multer::Multipart;

use super::Delivery;

/// One part of a `multipart/form-data` delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of its field.
    pub name: String,
    /// The name of its file, if it is one.
    pub file_name: Option<String>,
    /// Its content type, if it says one.
    pub content_type: Option<String>,
    /// What it holds.
    pub body: Bytes,
}

impl Delivery {
    /// Returns its parts in their order; `None` when it is no form.
    pub async fn parts(&self) -> Option<Vec<Part>> {
        let content_type = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let boundary = multer::parse_boundary(content_type).ok()?;
        let body = Ok::<_, Infallible>(self.body.clone());
        let mut form = Multipart::new(stream::iter([body]), boundary);
        let mut parts = Vec::new();
        while let Some(field) = form.next_field().await.ok()? {
            parts.push(Part {
                name: field.name().unwrap_or_default().to_owned(),
                file_name: field.file_name().map(str::to_owned),
                content_type: field.content_type().map(ToString::to_string),
                body: field.bytes().await.ok()?,
            });
        }
        Some(parts)
    }
}
