use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_core::{AccountId, NotificationId};
use wellspring_delivery::{NoticeError, NoticeOptions, NoticeParts, Notices};
use wellspring_engine::{NoticeAddress, NoticeOrder};
use wellspring_outbound::AddressPolicy;

use crate::support::{LOOPBACK, Stopped, secrets};
pub(crate) use crate::support::{NOW, TENANT, World};

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
        secrets: secrets([1]),
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
