//! The channel to everything that messages are sent to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use wellspring_engine::{
    Channel, Clock, DeliverOrder, DeliverResult, SendOrder, SendResult, SubscriptionKind,
};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions};
use wellspring_vault::Vault;

use crate::documents::Documents;
use crate::webhooks::Webhooks;
use crate::{Callbacks, DocumentFiles, Secrets};

/// Sends collections to callbacks, changes to webhooks and documents to receivers.
///
/// All of them share one guarded client and its connections.
#[derive(Debug)]
pub struct Deliveries {
    callbacks: Callbacks,
    webhooks: Webhooks,
    documents: Documents,
}

/// How messages are sent.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// The limit for one whole attempt at a callback.
    pub callback_deadline: Duration,
    /// The limit for one whole attempt at a webhook.
    pub webhook_deadline: Duration,
    /// The limit for one whole attempt at a document, which may be large.
    pub document_deadline: Duration,
    /// How connections are made and pooled.
    pub client: ClientOptions,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            callback_deadline: Duration::from_secs(15),
            webhook_deadline: Duration::from_secs(15),
            document_deadline: Duration::from_secs(60),
            client: ClientOptions::default(),
        }
    }
}

/// What [`Deliveries`] are made of.
#[derive(Debug, Clone)]
pub struct DeliveryParts {
    /// The secrets of tenants, which sign callbacks and documents.
    pub secrets: Arc<dyn Secrets>,
    /// What opens the secrets of subscriptions.
    pub vault: Vault,
    /// Where documents are read.
    pub files: Arc<dyn DocumentFiles>,
    /// The clock of the attempts.
    pub clock: Arc<dyn Clock>,
}

impl Deliveries {
    /// Calls what `policy` allows.
    ///
    /// # Errors
    ///
    /// When the options make no client.
    pub fn new(
        policy: AddressPolicy,
        options: DeliveryOptions,
        parts: DeliveryParts,
    ) -> Result<Self, ClientError> {
        let client = Client::new(policy.clone(), options.client)?;
        let callbacks = Callbacks::with(
            client.clone(),
            policy.clone(),
            options.callback_deadline,
            Arc::clone(&parts.secrets),
            Arc::clone(&parts.clock),
        );
        let webhooks = Webhooks::new(
            client.clone(),
            policy.clone(),
            options.webhook_deadline,
            parts.vault,
            Arc::clone(&parts.clock),
        );
        let documents = Documents {
            client,
            policy,
            deadline: options.document_deadline,
            secrets: parts.secrets,
            files: parts.files,
            clock: parts.clock,
        };
        Ok(Self {
            callbacks,
            webhooks,
            documents,
        })
    }
}

impl Channel for Deliveries {
    fn deliver(&self, order: DeliverOrder) -> BoxFuture<'_, DeliverResult> {
        Box::pin(self.callbacks.deliver(order))
    }

    fn send(&self, order: SendOrder) -> BoxFuture<'_, SendResult> {
        Box::pin(async move {
            let begun = Instant::now();
            let sent = match order.subscription.kind {
                SubscriptionKind::Webhook => self.webhooks.send(&order).await,
                SubscriptionKind::Documents => self.documents.send(&order).await,
            };
            let attempt = sent.unwrap_or_else(Into::into);
            attempt.into_result(begun.elapsed())
        })
    }
}
