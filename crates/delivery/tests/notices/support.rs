use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_core::{AccountId, NotificationId, TenantId, Timestamp};
use wellspring_delivery::{
    NoticeError, NoticeOptions, NoticeParts, Notices, Secrets, SigningSecret,
};
use wellspring_engine::{Clock, NoticeAddress, NoticeOrder};
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::{Delivery, Receiver, ReceiverHandle};

/// Somebody who gets HTTP requests and notes them; it ends when dropped.
pub(crate) struct Counterpart {
    pub(crate) handle: ReceiverHandle,
    address: SocketAddr,
    noted: Arc<Mutex<Vec<Delivery>>>,
    _running: JoinSet<()>,
}

impl Counterpart {
    pub(crate) fn start() -> Self {
        let noted = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&noted);
        let receiver = Receiver::bind(LOOPBACK, 7).unwrap().on_delivery(Arc::new(
            move |delivery: &Delivery| {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.push(delivery.clone());
            },
        ));
        let (handle, address) = (receiver.handle(), receiver.local_addr());
        let mut running = JoinSet::new();
        running.spawn(receiver.run(std::future::pending()));
        Self {
            handle,
            address,
            noted,
            _running: running,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Delivery> {
        let noted = self.noted.lock();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
struct OneTenant;

impl Secrets for OneTenant {
    fn callback(&self, tenant: TenantId) -> Option<Arc<[SigningSecret]>> {
        (tenant == TENANT).then(|| [SigningSecret::generate([1; 32])].into())
    }
}

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub(crate) fn notices(options: NoticeOptions) -> Notices {
    guarded(options, AddressPolicy::unrestricted())
}

pub(crate) fn guarded(options: NoticeOptions, policy: AddressPolicy) -> Notices {
    Notices::new(options, parts(policy)).unwrap()
}

pub(crate) fn try_notices(options: NoticeOptions) -> Result<Notices, NoticeError> {
    Notices::new(options, parts(AddressPolicy::unrestricted()))
}

fn parts(policy: AddressPolicy) -> NoticeParts {
    NoticeParts {
        policy,
        secrets: Arc::new(OneTenant),
        clock: Arc::new(Stopped),
    }
}

/// Options with a limit short enough to be waited for.
pub(crate) fn impatient() -> NoticeOptions {
    NoticeOptions {
        deadline: Duration::from_millis(700),
        ..NoticeOptions::default()
    }
}

pub(crate) fn order(channel: Channel, to: NoticeAddress) -> NoticeOrder {
    NoticeOrder {
        id: NotificationId::from_bytes([0xab; 16]),
        tenant: TENANT,
        account: AccountId::from_bytes([3; 16]),
        kind: NotificationKind::PlaidConnectionIssue,
        channel,
        to,
        language: "en".to_owned(),
        events: vec![facts()],
        at: NOW,
        unsubscribe_url: Some("https://app.example/u/abc".to_owned()),
    }
}

pub(crate) fn facts() -> Map<String, Value> {
    let facts = json!({
        "person": "Jörg Müller",
        "source": "Städtische <Bank>",
        "connection": "Girokonto",
        "state": "opened",
        "reason": "reauth_required",
        "until": "2026-12-01T06:00:00.000Z",
        "link": "https://app.example/connections/1?a=b&c=d",
        "app": "Haushaltsbuch",
    });
    facts.as_object().unwrap().clone()
}

/// A port of this machine at which nobody listens.
pub(crate) fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind(LOOPBACK).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const TENANT: TenantId = TenantId::from_bytes([9; 16]);
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_999);
