//! Messages and what becomes of them, as rows.

use std::time::Duration;

use serde_json::{Map, Value};
use wellspring_core::notification::{
    Channel, Contact, NotificationKind, Preferences, Reach, plan, retry_after,
};
use wellspring_core::{AccountId, NotificationId, TenantId, Timestamp};

use crate::{Notice, NoticeAddress, NoticeResult, NoticeStatus, Notification};

/// A message that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) id: NotificationId,
    pub(crate) tenant: TenantId,
    pub(crate) account: AccountId,
    pub(crate) kind: NotificationKind,
    pub(crate) event: Map<String, Value>,
    /// How many messages said that what this one says to be over had begun; 0 where nothing is over.
    pub(crate) mends: usize,
}

/// Returns the rows of a message to a person; `over` says which channels may be used at all.
pub(crate) fn write_up(
    now: Timestamp,
    draft: Draft,
    preferences: &Preferences,
    contact: &Contact,
    over: impl Fn(Channel) -> bool,
) -> (Notification, Vec<Notice>) {
    let planned = plan(now, draft.kind, preferences, &Reach::of(contact), over);
    let in_app = planned.iter().any(|one| one.channel == Channel::InApp);
    let notices = planned.into_iter().map(|one| Notice {
        notification: draft.id,
        channel: one.channel,
        slot: one.slot,
        tenant: draft.tenant,
        account: draft.account,
        kind: draft.kind,
        due: one.due,
        gathers: one.gathers,
        // What is listed is there with its row.
        status: match one.channel {
            Channel::InApp => NoticeStatus::Sent,
            Channel::Email | Channel::Push | Channel::Sms | Channel::Webhook => {
                NoticeStatus::Planned
            }
        },
        attempts: 0,
        epoch: 0,
        order: None,
        reason: None,
        receipt: None,
    });
    let notices = notices.collect();
    let notification = Notification {
        id: draft.id,
        tenant: draft.tenant,
        account: draft.account,
        kind: draft.kind,
        at: now,
        read_at: None,
        in_app,
        event: draft.event,
        request: None,
    };
    (notification, notices)
}

/// Returns the language of a person.
pub(super) fn language(contact: &Contact) -> String {
    contact.language.clone().unwrap_or_else(|| "en".to_owned())
}

/// Returns what the templates of a message to a person are filled with.
pub(super) fn event(one: &Notification, contact: &Contact) -> Map<String, Value> {
    let mut event = one.event.clone();
    if let Some(name) = &contact.name {
        event.insert("person".to_owned(), name.as_str().into());
    }
    event
}

/// Puts together what goes out as one message: what was sent together before, and what gathered.
pub(super) fn gathered(notices: Vec<Notice>) -> Vec<Vec<Notice>> {
    let mut orders: Vec<Vec<Notice>> = Vec::new();
    for notice in notices {
        let mate = orders.iter_mut().find(|order| {
            order.first().is_some_and(|first| {
                let same = (first.account, first.channel, first.slot, first.kind)
                    == (notice.account, notice.channel, notice.slot, notice.kind);
                let together = match (first.order, notice.order) {
                    (Some(one), Some(other)) => one == other,
                    (None, None) => first.gathers && notice.gathers,
                    (Some(_), None) | (None, Some(_)) => false,
                };
                same && together && order.len() < MOST_TOGETHER
            })
        });
        match mate {
            Some(order) => order.push(notice),
            None => orders.push(vec![notice]),
        }
    }
    orders
}

/// Returns where a message goes; nothing where the person has no such address any more.
pub(super) fn address(contact: &Contact, channel: Channel, slot: u64) -> Option<NoticeAddress> {
    match channel {
        Channel::InApp => None,
        Channel::Email => contact.email.clone().map(NoticeAddress::Email),
        Channel::Sms => contact.phone.clone().map(NoticeAddress::Sms),
        Channel::Webhook => contact.webhook.clone().map(NoticeAddress::Webhook),
        Channel::Push => {
            let mut browsers = contact.push.iter();
            let browser = browsers.find(|browser| browser.slot() == slot)?;
            Some(NoticeAddress::Push {
                endpoint: browser.endpoint.clone(),
                p256dh: browser.p256dh.clone(),
                auth: browser.auth.clone(),
            })
        }
    }
}

/// Takes an address out of a contact; returns whether it was there.
pub(super) fn forget(contact: &mut Contact, address: &NoticeAddress) -> bool {
    let emptied = |kept: &mut Option<String>, gone: &String| {
        let is_it = kept.as_ref() == Some(gone);
        if is_it {
            *kept = None;
        }
        is_it
    };
    match address {
        NoticeAddress::Email(gone) => emptied(&mut contact.email, gone),
        NoticeAddress::Sms(gone) => emptied(&mut contact.phone, gone),
        NoticeAddress::Webhook(gone) => emptied(&mut contact.webhook, gone),
        NoticeAddress::InApp => false,
        NoticeAddress::Push { endpoint, .. } => {
            let before = contact.push.len();
            contact.push.retain(|browser| browser.endpoint != *endpoint);
            contact.push.len() < before
        }
    }
}

/// Notes on a message what came of sending it.
pub(super) fn settle(notice: &mut Notice, now: Timestamp, result: &NoticeResult) {
    let (reason, retry_at) = match result {
        NoticeResult::Sent { receipt } => {
            notice.receipt.clone_from(receipt);
            notice.reason = None;
            return end(notice, now, NoticeStatus::Sent);
        }
        NoticeResult::Refused { reason, .. } | NoticeResult::Stopped { reason } => {
            notice.reason = Some(reason.clone());
            return end(notice, now, NoticeStatus::Failed);
        }
        NoticeResult::Unknown { reason } if notice.channel == Channel::Sms => {
            notice.reason = Some(reason.clone());
            return end(notice, now, NoticeStatus::Unknown);
        }
        NoticeResult::Unknown { reason } => (reason, None),
        NoticeResult::Failed { reason, retry_at } => (reason, *retry_at),
    };
    notice.reason = Some(reason.clone());
    match retry_after(notice.channel, notice.attempts) {
        Some(pause) => {
            let next = now.after(pause);
            // A far side that says when may be wrong about it.
            let latest = now.after(LONGEST_WAIT);
            notice.due = retry_at.map_or(next, |at| at.min(latest).max(next));
            notice.status = NoticeStatus::Planned;
        }
        None => end(notice, now, NoticeStatus::Failed),
    }
}

/// Returns whether a message says that what another says to have begun is over.
pub(super) fn mends(over: &Notification, opened: &Notice, event: &Map<String, Value>) -> bool {
    let same = |name: &str| over.event.get(name) == event.get(name);
    let about = match over.kind {
        NotificationKind::BankMaintenance => same("source"),
        NotificationKind::PlaidConnectionIssue
        | NotificationKind::DataSyncStatus
        | NotificationKind::SecurityAlert
        | NotificationKind::ComplianceUpdate
        | NotificationKind::SystemMaintenance
        | NotificationKind::FeatureUpdate
        | NotificationKind::AccountUpdate => same("connection_id"),
    };
    let opens = event.get("state").is_some_and(|state| state == "opened");
    (over.account, over.kind) == (opened.account, opened.kind) && opens && about
}

/// Notes on a message that it is not needed any more.
pub(super) fn drop(notice: &mut Notice, now: Timestamp) {
    notice.reason = Some("it was over before the message went out".to_owned());
    end(notice, now, NoticeStatus::Dropped);
}

pub(super) const fn end(notice: &mut Notice, now: Timestamp, status: NoticeStatus) {
    notice.due = now;
    notice.status = status;
}

/// How long a far side may have a message wait.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// Events of one message.
const MOST_TOGETHER: usize = 50;
