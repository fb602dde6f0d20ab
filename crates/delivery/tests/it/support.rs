use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;
use wellspring_core::{CollectionId, Error, ErrorClass, Kind, TenantId, Timestamp};
use wellspring_delivery::{CallbackOptions, Callbacks, Secrets, SigningSecret};
use wellspring_engine::{Clock, DeliverOrder, DeliverResult, SystemClock};
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::{Delivery, Receiver, ReceiverHandle};

/// A receiver that notes every delivery; it ends when dropped.
pub(crate) struct World {
    pub(crate) handle: ReceiverHandle,
    address: SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    _running: JoinSet<()>,
}

impl World {
    pub(crate) fn start() -> Self {
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&deliveries);
        let receiver = Receiver::bind(LOOPBACK, 7).unwrap().on_delivery(Arc::new(
            move |delivery: &Delivery| {
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.push(delivery.clone());
            },
        ));
        let (handle, address) = (receiver.handle(), receiver.local_addr());
        let mut running = JoinSet::new();
        running.spawn(receiver.run(std::future::pending()));
        Self {
            handle,
            address,
            deliveries,
            _running: running,
        }
    }

    pub(crate) fn order(&self, path: &str) -> DeliverOrder {
        order(&self.url(path))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        let noted = self.deliveries.lock();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The secrets of one tenant.
#[derive(Debug)]
pub(crate) struct OneTenant(pub(crate) Arc<[SigningSecret]>);

impl Secrets for OneTenant {
    fn callback(&self, tenant: TenantId) -> Option<Arc<[SigningSecret]>> {
        (tenant == TENANT).then(|| Arc::clone(&self.0))
    }
}

#[derive(Debug)]
pub(crate) struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub(crate) fn secrets<const N: usize>(bytes: [u8; N]) -> Arc<dyn Secrets> {
    let secrets = bytes.map(|byte| SigningSecret::generate([byte; 32]));
    Arc::new(OneTenant(secrets.into()))
}

/// Callbacks to any address at the real time.
pub(crate) fn callbacks(secrets: Arc<dyn Secrets>) -> Callbacks {
    build(
        AddressPolicy::unrestricted(),
        secrets,
        Arc::new(SystemClock),
    )
}

pub(crate) fn build(
    policy: AddressPolicy,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
) -> Callbacks {
    Callbacks::new(policy, CallbackOptions::default(), secrets, clock).unwrap()
}

pub(crate) fn order(url: &str) -> DeliverOrder {
    DeliverOrder {
        id: CollectionId::from_bytes([0xab; 16]),
        tenant: TENANT,
        kind: Kind::Success,
        message: 1,
        at: NOW,
        source: "gas".parse().unwrap(),
        callback_url: url.into(),
        created_at: NOW,
        payload: Bytes::from_static(b"[{\"amount\": 30.00}]"),
    }
}

/// Delivers at a stopped clock with one secret.
pub(crate) async fn deliver(order: DeliverOrder) -> DeliverResult {
    let callbacks = build(
        AddressPolicy::unrestricted(),
        secrets([1]),
        Arc::new(Stopped),
    );
    callbacks.deliver(order).await
}

pub(crate) fn failed(class: ErrorClass, code: &str, message: &str) -> DeliverResult {
    DeliverResult::Failed {
        error: Error {
            class,
            code: code.to_owned(),
            message: message.to_owned(),
        },
        gone: false,
        retry_at: None,
        down: false,
    }
}

pub(crate) fn down(result: DeliverResult) -> DeliverResult {
    match result {
        DeliverResult::Failed {
            error,
            gone,
            retry_at,
            ..
        } => DeliverResult::Failed {
            error,
            gone,
            retry_at,
            down: true,
        },
        DeliverResult::Delivered => DeliverResult::Delivered,
    }
}

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const TENANT: TenantId = TenantId::from_bytes([9; 16]);
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_999);
