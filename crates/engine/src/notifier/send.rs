//! Takes due messages to their transports.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use wellspring_core::notification::{
    Channel, Contact, IssueKey, NotificationKind, Preferences, quiet_until,
};
use wellspring_core::{AccountId, ConnectionId, NotificationId, Shard, Timestamp};

use super::{Loop, NotifierParts, compose};
use crate::{
    CommitError, Holding, Notice, NoticeAddress, NoticeBatch, NoticeOrder, NoticeResult,
    NoticeStatus, Notification, StoreError,
};

/// Names one message over one channel to one address.
pub(super) type NoticeKey = (NotificationId, Channel, u64);

/// What came of sending.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) notices: Vec<Notice>,
    to: NoticeAddress,
    result: NoticeResult,
}

pub(super) type Sending = BoxFuture<'static, Done>;

pub(super) const fn key(notice: &Notice) -> NoticeKey {
    (notice.notification, notice.channel, notice.slot)
}

impl Loop {
    /// Sends what is due, as far as there is room; returns whether there may be more.
    pub(super) async fn send_due(&mut self, holding: &Holding) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let shards: Vec<Shard> = holding.shards.iter().map(|(shard, _)| *shard).collect();
        self.unsent
            .retain(|key, epoch| super::epoch(holding, key.0.shard()) == Some(*epoch));
        let mut more = false;
        for channel in SENT {
            let flying = self.flying.iter().filter(|key| key.1 == channel).count();
            let room = ROOM.saturating_sub(flying);
            if room == 0 {
                continue;
            }
            let limit = LOOK + flying;
            let due = self
                .parts
                .store
                .due_notices(channel, shards.clone(), now, limit);
            let mut due = due.await?;
            let is_cut = due.len() >= limit;
            due.retain(|notice| !self.flying.contains(&key(notice)));
            let (lost, due): (Vec<Notice>, Vec<Notice>) = due
                .into_iter()
                .partition(|notice| notice.channel == Channel::Sms && self.may_have_left(notice));
            for mut notice in lost {
                notice.reason = Some("the program ended while it was being sent".to_owned());
                compose::end(&mut notice, now, NoticeStatus::Unknown);
                count(&notice);
                self.unrecorded.push(here(holding, notice));
            }
            let orders = compose::gathered(due);
            // Where there is no room, the end of a sending is waited for.
            more |= is_cut && orders.len() < room;
            let orders = orders.into_iter().take(room).collect();
            more |= self.send(holding, now, orders).await? && is_cut;
        }
        Ok(more)
    }

    /// Returns whether a message that is in nobody's hands was marked by somebody who may have sent it.
    fn may_have_left(&self, notice: &Notice) -> bool {
        let unsent = self.unsent.get(&key(notice));
        notice.status == NoticeStatus::Sending && unsent != Some(&notice.epoch)
    }

    /// Has messages leave; returns whether some stayed.
    async fn send(
        &mut self,
        holding: &Holding,
        now: Timestamp,
        orders: Vec<Vec<Notice>>,
    ) -> Result<bool, StoreError> {
        if orders.is_empty() {
            return Ok(false);
        }
        let mut stayed = false;
        let all = || orders.iter().flatten();
        let accounts: BTreeSet<AccountId> = all().map(|notice| notice.account).collect();
        let ids: BTreeSet<NotificationId> = all().map(|notice| notice.notification).collect();
        let people = self.parts.people(accounts.into_iter().collect()).await?;
        let texts = self.parts.store.notifications_of(ids.into_iter().collect());
        let texts: BTreeMap<NotificationId, _> =
            texts.await?.into_iter().map(|one| (one.id, one)).collect();
        let nobody = (Preferences::default(), Contact::default());
        let (mut marked, mut leaving) = (Vec::new(), Vec::new());
        for mut notices in orders {
            let Some(first) = notices.first().cloned() else {
                continue;
            };
            let (preferences, contact) = people.get(&first.account).unwrap_or(&nobody);
            let wanted = preferences.wants(first.kind, first.channel);
            let to = compose::address(contact, first.channel, first.slot).filter(|_| wanted);
            let Some(to) = to else {
                let is_sms = first.channel == Channel::Sms;
                let (reason, status) = if is_sms && self.parts.is_stopped(contact).await? {
                    (STOPPED, NoticeStatus::Dropped)
                } else if wanted {
                    (NO_ADDRESS, NoticeStatus::Failed)
                } else {
                    (SWITCHED_OFF, NoticeStatus::Failed)
                };
                for mut notice in notices {
                    notice.reason = Some(reason.to_owned());
                    compose::end(&mut notice, now, status);
                    count(&notice);
                    self.unrecorded.push(here(holding, notice));
                }
                stayed = true;
                continue;
            };
            // What was planned in time may be late.
            if let Some(until) = quiet_until(now, first.kind, first.channel, preferences) {
                for mut notice in notices {
                    notice.gathers |= notice.attempts == 0;
                    notice.status = NoticeStatus::Planned;
                    notice.due = until;
                    self.unrecorded.push(here(holding, notice));
                }
                stayed = true;
                continue;
            }
            let id = first.order.unwrap_or(first.notification);
            for notice in &mut notices {
                // What was marked and did not leave is the same try.
                if notice.status != NoticeStatus::Sending || self.may_have_left(notice) {
                    notice.attempts = notice.attempts.saturating_add(1);
                }
                notice.status = NoticeStatus::Sending;
                notice.order = Some(id);
                *notice = here(holding, notice.clone());
            }
            let mut events = Vec::new();
            for notice in &notices {
                let text = texts.get(&notice.notification);
                events.extend(text.map(|text| self.parts.event(text, contact, now)));
            }
            let order = NoticeOrder {
                id,
                tenant: first.tenant,
                account: first.account,
                kind: first.kind,
                channel: first.channel,
                to,
                language: compose::language(contact),
                events,
                at: texts.get(&id).map_or(now, |text| text.at),
                unsubscribe_url: self.parts.addresses.unsubscribe_url(
                    first.account,
                    first.kind,
                    first.channel,
                ),
            };
            marked.extend(notices.iter().cloned());
            leaving.push((notices, order));
        }
        // Nothing leaves before it is written down that it does.
        let failed = self.commit(holding, marked).await;
        for error in failed.values() {
            tracing::warn!(%error, "Messages to people could not be marked, trying again");
        }
        for (notices, order) in leaving {
            if failed.contains_key(&order.account.shard()) {
                // They may be marked for all that, and still have not left.
                let keys = notices.iter().map(|notice| (key(notice), notice.epoch));
                self.unsent.extend(keys);
                continue;
            }
            for notice in &notices {
                self.unsent.remove(&key(notice));
            }
            self.flying.extend(notices.iter().map(key));
            self.sending.push(sending(&self.parts, notices, order));
        }
        Ok(stayed)
    }

    /// Takes in what came of sending a message.
    pub(super) async fn done(&mut self, done: Done) {
        let now = self.parts.clock.now();
        let Done {
            notices,
            to,
            result,
        } = done;
        if matches!(
            &result,
            NoticeResult::Refused {
                address_gone: true,
                ..
            }
        ) && let Some(first) = notices.first()
        {
            let account = first.account;
            if let Err(error) = self.forget(account, &to).await {
                tracing::warn!(%error, "An address that is gone could not be removed");
            }
        }
        if let (NoticeResult::Stopped { .. }, NoticeAddress::Sms(phone)) = (&result, &to) {
            let mark = self.parts.addresses.mark(phone);
            if let Err(error) = self.parts.store.hear_phone(mark, None, true).await {
                tracing::warn!(%error, "That a number wants no SMS could not be noted");
            }
        }
        for mut notice in notices {
            compose::settle(&mut notice, now, &result);
            count(&notice);
            if notice.status == NoticeStatus::Failed {
                let channel = notice.channel.as_str();
                tracing::info!(notification = %notice.notification, channel, reason = notice.reason, "Message to a person was given up");
            }
            self.unrecorded.push(notice);
        }
    }

    /// Writes down what came of sending.
    pub(super) async fn record(&mut self, holding: &Holding) {
        if self.unrecorded.is_empty() {
            return;
        }
        let notices = std::mem::take(&mut self.unrecorded);
        // What was sent in a shard that is another's by now, or was, is that one's to find out about.
        let (ours, theirs): (Vec<Notice>, Vec<Notice>) = notices.into_iter().partition(|notice| {
            super::epoch(holding, notice.account.shard()) == Some(notice.epoch)
        });
        for notice in theirs.iter().chain(&ours) {
            self.flying.remove(&key(notice));
        }
        let mut failed = self.commit(holding, ours.clone()).await;
        failed.retain(|_, error| *error != CommitError::Fenced);
        for error in failed.values() {
            tracing::warn!(%error, "What came of messages could not be written, trying again");
        }
        for notice in ours {
            if failed.contains_key(&notice.account.shard()) {
                self.flying.insert(key(&notice));
                self.unrecorded.push(notice);
            }
        }
    }

    /// Writes how messages stand, shard by shard; returns where that failed.
    async fn commit(
        &mut self,
        holding: &Holding,
        notices: Vec<Notice>,
    ) -> BTreeMap<Shard, CommitError> {
        let mut shards: BTreeMap<Shard, Vec<Notice>> = BTreeMap::new();
        for notice in notices {
            let shard = notice.account.shard();
            shards.entry(shard).or_default().push(notice);
        }
        let mut failed = BTreeMap::new();
        for (shard, notices) in shards {
            let Some(epoch) = super::epoch(holding, shard) else {
                failed.insert(shard, CommitError::Fenced);
                continue;
            };
            let batch = NoticeBatch {
                incarnation: holding.incarnation,
                shard,
                epoch,
                cursor: None,
                issues: Vec::new(),
                maintenance: Vec::new(),
                incidents: Vec::new(),
                notifications: Vec::new(),
                notices,
            };
            if let Err(error) = self.parts.store.commit_notices(batch).await {
                failed.insert(shard, error);
            }
        }
        self.wrote.send_modify(|number| *number += 1);
        failed
    }

    async fn forget(&mut self, account: AccountId, gone: &NoticeAddress) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let people = self.parts.store.people(vec![account]).await?;
            let Some(mut person) = people.into_iter().next() else {
                return Ok(());
            };
            let Some(mut contact) = self.parts.addresses.open(&person) else {
                return Ok(());
            };
            if !compose::forget(&mut contact, gone) {
                return Ok(());
            }
            let version = person.version;
            person.version = version.saturating_add(1);
            person.contact = Some(self.parts.addresses.seal(account, &contact));
            person.phone = self.parts.mark(&contact);
            if self.parts.store.put_person(person, version).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl NotifierParts {
    /// Returns what a message that leaves is filled with: with a link, where the person can mend something.
    fn event(&self, one: &Notification, contact: &Contact, now: Timestamp) -> Map<String, Value> {
        let mut event = compose::event(one, contact);
        let said = |name: &str| event.get(name).and_then(Value::as_str);
        let reason = said("reason");
        let needs = one.kind == NotificationKind::PlaidConnectionIssue
            && said("state") == Some("opened")
            && (reason == Some(IssueKey::ReauthRequired.as_str())
                || reason == Some(IssueKey::Question.as_str()));
        let connection = said("connection_id").and_then(|id| id.parse::<ConnectionId>().ok());
        let connection = connection.filter(|_| needs && said("link").is_none());
        let url = connection.and_then(|connection| {
            let until = now.after(LINK);
            self.addresses.mend_url(one.account, connection, until)
        });
        if let Some(url) = url {
            event.insert("link".to_owned(), url.into());
        }
        event
    }
}

/// Notes on a message that it is in our hands.
fn here(holding: &Holding, notice: Notice) -> Notice {
    let epoch = super::epoch(holding, notice.account.shard());
    Notice {
        epoch: epoch.unwrap_or(0),
        ..notice
    }
}

/// Counts what came of an attempt to reach somebody.
fn count(notice: &Notice) {
    let outcome = match notice.status {
        NoticeStatus::Planned => "retried",
        NoticeStatus::Sending => "sending",
        NoticeStatus::Sent => "sent",
        NoticeStatus::Failed => "failed",
        NoticeStatus::Unknown => "unknown",
        NoticeStatus::Dropped => "dropped",
    };
    let channel = notice.channel.as_str();
    metrics::counter!("wellspring_notices_total", "channel" => channel, "outcome" => outcome)
        .increment(1);
}

fn sending(parts: &NotifierParts, notices: Vec<Notice>, order: NoticeOrder) -> Sending {
    let transport = std::sync::Arc::clone(&parts.transport);
    Box::pin(async move {
        let to = order.to.clone();
        let span = crate::traces::notice(&order);
        let sent = span.within(transport.send(order));
        let result = tokio::time::timeout(LONGEST, sent).await;
        let result = result.unwrap_or_else(|_late| NoticeResult::Unknown {
            reason: "the transport did not say in time what became of it".to_owned(),
        });
        span.told(&result);
        Done {
            notices,
            to,
            result,
        }
    })
}

const SENT: [Channel; 4] = [
    Channel::Email,
    Channel::Push,
    Channel::Sms,
    Channel::Webhook,
];
/// Messages in flight over one channel.
const ROOM: usize = 32;
/// Due messages that are looked at together.
const LOOK: usize = 256;
const TRIES: usize = 5;
/// How long the link in a message leads to the page on which its connection is mended.
const LINK: std::time::Duration = std::time::Duration::from_secs(14 * 86_400);
const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);
const NO_ADDRESS: &str = "the person has no such address any more";
const STOPPED: &str = "stopped";
const SWITCHED_OFF: &str = "the person has switched this off";
