//! Changes to the endpoints of subscriptions.

mod endpoints;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use wellspring_engine::{Clock, SendOrder};
use wellspring_outbound::{AddressPolicy, Client};
use wellspring_vault::{Vault, signatures};

use crate::failure::Failure;
use crate::post::{self, Attempt, Post};
use endpoints::Endpoints;

/// Posts changes, signed with the secrets of their subscription.
#[derive(Debug)]
pub(crate) struct Webhooks {
    client: Client,
    deadline: Duration,
    endpoints: Endpoints,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    pub(crate) const fn new(
        client: Client,
        policy: AddressPolicy,
        deadline: Duration,
        vault: Vault,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            deadline,
            endpoints: Endpoints::new(policy, vault),
            clock,
        }
    }

    pub(crate) async fn send(&self, order: &SendOrder) -> Result<Attempt, Failure> {
        let endpoint = self.endpoints.of(&order.subscription)?;
        let message = &order.message;
        let now = self.clock.now();
        let seconds = post::unix_seconds(now);
        let secrets = endpoint.secrets.live(now.as_millis());
        let secrets = secrets.map(|key| &key.secret);
        let signatures = signatures(secrets, &message.id, seconds, &[&message.body]);
        let json = HeaderValue::from_static("application/json");
        let Some(headers) = post::headers(json, &message.id, seconds, signatures) else {
            return Err(post::bad_id());
        };
        let post = Post {
            target: endpoint.target.clone(),
            headers,
            body: (message.body.clone(), Vec::new()),
            deadline: self.deadline,
        };
        Ok(post.send(&self.client, &*self.clock).await)
    }
}
