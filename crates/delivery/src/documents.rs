//! Documents to the receivers of their tenants.

mod files;
mod form;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::Document;
use wellspring_engine::{Clock, Message, SendOrder};
use wellspring_outbound::{AddressPolicy, Client, Target};
use wellspring_vault::{SigningSecret, signatures};

use crate::Secrets;
use crate::failure::{Failure, Recipient};
use crate::post::{self, Attempt, Post};
pub use files::{DocumentFiles, FileError, StoredFiles};
use form::Form;

/// Posts documents with their files, signed with the callback secrets of their tenant.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) client: Client,
    pub(crate) policy: AddressPolicy,
    pub(crate) deadline: Duration,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) files: Arc<dyn DocumentFiles>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Documents {
    pub(crate) async fn send(&self, order: &SendOrder) -> Result<Attempt, Failure> {
        let message = &order.message;
        // What has been erased is done with, whatever else there may be.
        let Some((document, file)) = self.read(message).await? else {
            return Ok(Attempt::needless("erased"));
        };
        let target = Target::parse(&order.subscription.url, &self.policy)
            .map_err(|error| Recipient::Endpoint.bad_url(&error))?;
        let secrets = self.secrets.callback(message.tenant).unwrap_or_default();
        if secrets.is_empty() {
            let message = "the tenant has no callback secret";
            return Err(Failure::ours("no_secret", message));
        }
        let Some(form) = Form::new(&message.body, &document, file) else {
            return Err(Failure::of_message(
                "not_an_object",
                "the message is no JSON object",
            ));
        };
        let now = self.clock.now();
        let seconds = post::unix_seconds(now);
        let signatures = sign(secrets, &message.id, seconds, &form).await?;
        let content_type = form.content_type();
        let Some(headers) = post::headers(content_type, &message.id, seconds, signatures) else {
            return Err(post::bad_id());
        };
        let [head, file, tail] = form.pieces;
        let post = Post {
            target,
            headers,
            body: (head, vec![file, tail]),
            deadline: self.deadline,
        };
        Ok(post.send(&self.client, &*self.clock).await)
    }

    /// Returns the document, unless it was erased before it was sent.
    async fn read(&self, message: &Message) -> Result<Option<(Document, Bytes)>, Failure> {
        let Some(id) = message.document else {
            return Ok(None);
        };
        self.files
            .read(message.tenant, id)
            .await
            .map_err(|error| match error {
                FileError::Unavailable(detail) => {
                    tracing::warn!(document.id = %id, detail, "Document cannot be read");
                    Failure::ours(
                        "document_unavailable",
                        "the document cannot be read at present",
                    )
                }
                FileError::Damaged(detail) => {
                    tracing::error!(document.id = %id, detail, "Document is damaged");
                    Failure::of_message("document_damaged", "the document is damaged")
                }
            })
    }
}

/// Signs the form, away from the tasks of others if that takes long.
async fn sign(
    secrets: Arc<[SigningSecret]>,
    id: &str,
    seconds: i64,
    form: &Form,
) -> Result<String, Failure> {
    let size: usize = form.pieces.iter().map(Bytes::len).sum();
    if size < LONG {
        return Ok(signatures(&*secrets, id, seconds, &slices(&form.pieces)));
    }
    let (id, pieces) = (id.to_owned(), form.pieces.clone());
    let signed = move || signatures(&*secrets, &id, seconds, &slices(&pieces));
    let signed = tokio::task::spawn_blocking(signed).await;
    signed.map_err(|_cancelled| Failure::ours("stopping", "the document was not signed"))
}

fn slices(pieces: &[Bytes; 3]) -> [&[u8]; 3] {
    pieces.each_ref().map(|piece| &**piece)
}

/// From how many bytes on signing is a matter of milliseconds.
const LONG: usize = 256 * 1024;
