//! Subscriptions, and a channel to them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wellspring_core::{
    AccountId, ConnectionId, Document, DocumentId, Error, ErrorClass, Shard, SubscriptionId,
    TenantId,
};
use wellspring_delivery::{
    Deliveries, DeliveryOptions, DeliveryParts, DocumentFiles, FileError, SigningSecret,
};
use wellspring_engine::{
    Channel, Clock, Message, SendFailure, SendOrder, SendResult, Subscription, SubscriptionKind,
};
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::VerifyingKey;
use wellspring_vault::{MasterKey, SubscriptionSecrets, Vault};

use crate::support::{NOW, Stopped, TENANT, secrets};

/// A channel with one vault, the tenant's secret 1 and whatever file is set.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) vault: Vault,
    pub(crate) file: Arc<OneFile>,
    pub(crate) deliveries: Deliveries,
}

#[derive(Debug)]
pub(crate) struct OneFile(pub(crate) Mutex<Result<Option<(Document, Bytes)>, FileError>>);

impl DocumentFiles for OneFile {
    fn read(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<(Document, Bytes)>, FileError>> {
        let file = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let of_others =
            move |(document, _): &(Document, Bytes)| document.tenant == tenant && document.id == id;
        Box::pin(async move { file.map(|file| file.filter(of_others)) })
    }
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self::with(AddressPolicy::unrestricted(), Arc::new(Stopped), |_| {})
    }

    pub(crate) fn with(
        policy: AddressPolicy,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut DeliveryOptions),
    ) -> Self {
        let vault = Vault::create(MasterKey::new([5; 32]), 0);
        let file = Arc::new(OneFile(Mutex::new(Ok(None))));
        let mut options = DeliveryOptions::default();
        change(&mut options);
        let parts = DeliveryParts {
            secrets: secrets([1]),
            vault: vault.clone(),
            files: Arc::clone(&file) as Arc<dyn DocumentFiles>,
            clock,
        };
        Self {
            vault,
            file,
            deliveries: Deliveries::new(policy, options, parts).unwrap(),
        }
    }

    /// A webhook subscription with these secrets.
    pub(crate) fn webhook(&self, url: &str, secrets: &SubscriptionSecrets) -> Subscription {
        Subscription {
            sealed_secrets: secrets.seal(&self.vault, SUBSCRIPTION.as_bytes()),
            ..subscription(SubscriptionKind::Webhook, url)
        }
    }

    pub(crate) async fn send(&self, subscription: Subscription) -> SendResult {
        self.send_message(&Arc::new(subscription), message()).await
    }

    pub(crate) async fn send_message(
        &self,
        subscription: &Arc<Subscription>,
        message: Message,
    ) -> SendResult {
        let order = SendOrder {
            subscription: Arc::clone(subscription),
            message: Arc::new(message),
        };
        self.deliveries.send(order).await
    }
}

pub(crate) fn subscription(kind: SubscriptionKind, url: &str) -> Subscription {
    Subscription {
        id: SUBSCRIPTION,
        tenant: TENANT,
        kind,
        patterns: vec!["* /**".parse().unwrap()],
        url: url.into(),
        description: None,
        created_at: NOW,
        version: 1,
        enabled: true,
        disabled: None,
        sealed_secrets: Vec::new(),
    }
}

pub(crate) fn message() -> Message {
    Message {
        id: "msg_1".to_owned(),
        at: NOW,
        tenant: TENANT,
        shard: Shard::of(CONNECTION.as_bytes()),
        seq: 7,
        line: *CONNECTION.as_bytes(),
        document: Some(DOCUMENT),
        body: Bytes::from_static(BODY.as_bytes()),
    }
}

/// Secrets that were made long ago and never replaced.
pub(crate) fn only(secret: SigningSecret) -> SubscriptionSecrets {
    SubscriptionSecrets::new(secret, 0)
}

pub(crate) fn hmac(byte: u8) -> SigningSecret {
    SigningSecret::generate([byte; 32])
}

pub(crate) fn pair(byte: u8) -> SigningSecret {
    SigningSecret::generate_pair([byte; 32])
}

/// What verifies what `secret` signs.
pub(crate) fn key(secret: &SigningSecret) -> VerifyingKey {
    let text = secret.public().unwrap_or_else(|| secret.expose());
    text.parse().unwrap()
}

pub(crate) fn failure(class: ErrorClass, code: &str, message: &str) -> SendFailure {
    SendFailure {
        error: Error {
            class,
            code: code.to_owned(),
            message: message.to_owned(),
        },
        gone: false,
        retry_at: None,
        unreachable: false,
    }
}

pub(crate) fn unreachable(failure: SendFailure) -> SendFailure {
    SendFailure {
        unreachable: true,
        ..failure
    }
}

pub(crate) const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_bytes([0x5b; 16]);
pub(crate) const DOCUMENT: DocumentId = DocumentId::from_bytes([0xd0; 16]);
pub(crate) const CONNECTION: ConnectionId = ConnectionId::from_bytes([0xc0; 16]);
pub(crate) const ACCOUNT: AccountId = AccountId::from_bytes([0xac; 16]);
pub(crate) const BODY: &str =
    r#"{"type":"connection.state.updated","timestamp":"2026-11-18T11:06:40.999Z","data":{"id":1}}"#;
