//! Signed messages to the callbacks of collections.

mod body;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use wellspring_engine::{Clock, DeliverOrder, DeliverResult};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions, Request, Target};
use wellspring_vault::{SigningSecret, signatures};

use crate::failure::{Failure, Recipient};
use crate::{Secrets, post, traced};

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
        let client = Client::new(policy.clone(), options.client)?;
        Ok(Self::with(client, policy, options.deadline, secrets, clock))
    }

    pub(crate) const fn with(
        client: Client,
        policy: AddressPolicy,
        deadline: Duration,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            policy,
            deadline,
            secrets,
            clock,
        }
    }

    /// Sends the order's message, within the deadline.
    pub async fn deliver(&self, order: DeliverOrder) -> DeliverResult {
        match self.send(&order).await {
            Ok(()) => DeliverResult::Delivered,
            Err(failure) => failure.into(),
        }
    }

    async fn send(&self, order: &DeliverOrder) -> Result<(), Failure> {
        let to = Recipient::Callback;
        let target = Target::parse(&order.callback_url, &self.policy);
        let target = target.map_err(|error| to.bad_url(&error))?;
        let Some(body) = body::of(order) else {
            let message = "the fetched data is no longer there";
            return Err(Failure::of_message("payload_missing", message));
        };
        let secrets = self.secrets.callback(order.tenant).unwrap_or_default();
        if secrets.is_empty() {
            let message = "the tenant has no callback secret";
            return Err(Failure::ours("no_secret", message));
        }
        let mut request = Request {
            method: Method::POST,
            target,
            headers: self.headers(order, &secrets, &body),
            body,
            deadline: self.deadline,
            max_body: MAX_ANSWER,
        };
        let exchange = traced::begin_told(&mut request);
        let answer = self.client.send_for_status(request).await;
        traced::end(exchange, &answer);
        match answer {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(to.refused(&answer, self.clock.now())),
            Err(error) => {
                tracing::debug!(detail = %error, "Callback gave no answer");
                Err(to.no_answer(&error))
            }
        }
    }

    fn headers(&self, order: &DeliverOrder, secrets: &[SigningSecret], body: &[u8]) -> HeaderMap {
        let id = format!("msg_{}_{}", order.id.uuid().simple(), order.message);
        let seconds = post::unix_seconds(self.clock.now());
        let signatures = signatures(secrets, &id, seconds, &[body]);
        let json = HeaderValue::from_static("application/json");
        post::headers(json, &id, seconds, signatures)
            .expect("digits, letters and punctuation of ASCII only")
    }
}

const MAX_ANSWER: usize = 64 * 1024;
