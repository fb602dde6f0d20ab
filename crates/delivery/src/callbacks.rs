//! The channel that posts signed messages to callbacks.

mod body;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wellspring_engine::{Channel, Clock, DeliverOrder, DeliverResult};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions, Request, Target};

use crate::{Secrets, SigningSecret};

/// Posts the messages of collections to their callbacks.
#[derive(Debug)]
pub struct Callbacks {
    client: Client,
    policy: AddressPolicy,
    deadline: Duration,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

/// How callbacks are called.
#[derive(Debug, Clone)]
pub struct CallbackOptions {
    /// The limit for one whole attempt.
    pub deadline: Duration,
    /// How connections are made and pooled.
    pub client: ClientOptions,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(15),
            client: ClientOptions::default(),
        }
    }
}

impl Callbacks {
    /// Calls what `policy` allows, and signs with what `secrets` knows.
    ///
    /// # Errors
    ///
    /// When the options make no client.
    pub fn new(
        policy: AddressPolicy,
        options: CallbackOptions,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::new(policy.clone(), options.client)?,
            policy,
            deadline: options.deadline,
            secrets,
            clock,
        })
    }

    async fn send(&self, order: &DeliverOrder) -> DeliverResult {
        let target = match Target::parse(&order.callback_url, &self.policy) {
            Ok(target) => target,
            Err(error) => return failure::bad_url(&error),
        };
        let Some(body) = body::of(order) else {
            return failure::ours("payload_missing", "the fetched data is no longer there");
        };
        let secrets = self.secrets.callback(order.tenant).unwrap_or_default();
        if secrets.is_empty() {
            return failure::ours("no_secret", "the tenant has no callback secret");
        }
        let request = Request {
            method: Method::POST,
            target,
            headers: self.headers(order, &secrets, &body),
            body,
            deadline: self.deadline,
            max_body: MAX_ANSWER,
        };
        match self.client.send_for_status(request).await {
            Ok(answer) if answer.status.is_success() => DeliverResult::Delivered,
            Ok(answer) => failure::refused(&answer, self.clock.now()),
            Err(error) => {
                tracing::debug!(detail = %error, "Callback gave no answer");
                failure::no_answer(&error)
            }
        }
    }

    fn headers(&self, order: &DeliverOrder, secrets: &[SigningSecret], body: &[u8]) -> HeaderMap {
        let id = format!("msg_{}_{}", order.id.uuid().simple(), order.message);
        let unix_seconds = self.clock.now().as_millis().div_euclid(1_000);
        let signatures: Vec<String> = secrets
            .iter()
            .map(|secret| secret.sign(&id, unix_seconds, body))
            .collect();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ID, plain(&id));
        headers.insert(TIMESTAMP, HeaderValue::from(unix_seconds));
        headers.insert(SIGNATURE, plain(&signatures.join(" ")));
        headers
    }
}

impl Channel for Callbacks {
    fn deliver(&self, order: DeliverOrder) -> BoxFuture<'_, DeliverResult> {
        Box::pin(async move { self.send(&order).await })
    }
}

fn plain(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, letters and punctuation of ASCII only")
}

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const MAX_ANSWER: usize = 64 * 1024;
