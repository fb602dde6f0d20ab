//! What people have to be told, by the log, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wellspring_core::notification::{Channel, Contact, NotificationKind, Preferences};
use wellspring_core::{
    AccountId, Change, ConnectionId, ConnectionState, ErrorClass, Facts, NotificationId,
    OutcomeKind, Reason, Shard, SourceName, StateFacts, Subject, Timestamp, Verb,
};
use wellspring_engine::{Notice, NoticeAddress, NoticeBatch, NoticeOrder, NoticeStatus};

use super::Broken;

/// One message about a connection: whether something began or ended, and what.
type Telling = (bool, &'static str);
type Key = (NotificationId, Channel, u64);

/// Everything that people were told, and have to be.
#[derive(Debug, Default)]
pub(crate) struct Told {
    by_connection: BTreeMap<ConnectionId, Heard>,
    /// What who was told of the maintenance of which source.
    maintenance: BTreeMap<(AccountId, String), Spells>,
    notices: BTreeMap<Key, Notice>,
    texts: BTreeMap<NotificationId, Text>,
    /// What left over each way: under which id, and whether it may have come to the person.
    left: BTreeMap<Key, (NotificationId, bool)>,
}

/// What the log says of one connection, and what of it was told.
#[derive(Debug, Default)]
struct Heard {
    matters: BTreeSet<&'static str>,
    /// Whether the person is there in the present fetch.
    there: bool,
    expected: Vec<Telling>,
    told: usize,
    source: Option<SourceName>,
}

/// How often the maintenance of a source was told.
#[derive(Debug, Default)]
struct Spells {
    begun: u64,
    ended: u64,
    /// How often a beginning may have been told anew: whose connection rests or is gone is not
    /// told of the end, and what a source said to one person alone is a day later another matter.
    anew: u64,
    last: Option<Timestamp>,
}

#[derive(Debug)]
struct Text {
    account: AccountId,
    kind: NotificationKind,
    at: Timestamp,
    /// Whether something began, and what it is about.
    opened: bool,
    about: String,
}

impl Told {
    /// Takes in an entry of the log.
    pub(super) fn hear(&mut self, change: &Change) {
        let (account, heard) = match &change.subject {
            Subject::ConnectionState(account, id, state) => {
                let (Verb::Updated, Facts::State(facts)) = (change.verb, &change.body) else {
                    return;
                };
                let heard = self.by_connection.entry(*id).or_default();
                heard.state(*state, facts);
                if *state != ConnectionState::Disabled {
                    return;
                }
                (*account, heard)
            }
            Subject::Connection(account, id) if change.verb == Verb::Deleted => {
                (*account, self.by_connection.entry(*id).or_default())
            }
            Subject::Collection(_)
            | Subject::CollectionStatus(..)
            | Subject::Account(_)
            | Subject::Connection(..)
            | Subject::ConnectionAccess(..)
            | Subject::Interaction(..)
            | Subject::Document(..)
            | Subject::Alert(_)
            | Subject::AlertState(..)
            | Subject::Source(_)
            | Subject::SourceState(..)
            | Subject::Incident(..)
            | Subject::IncidentState(..) => return,
        };
        if let Some(source) = &heard.source {
            let about = (account, source.as_str().to_owned());
            self.maintenance.entry(about).or_default().anew += 1;
        }
    }

    /// Takes in what a notifier has written.
    pub(crate) fn written(
        &mut self,
        batch: &NoticeBatch,
        is_there: impl Fn(&AccountId) -> bool,
    ) -> Result<(), Broken> {
        let there = |account: &AccountId| is_there(account);
        for one in batch.notifications.iter().filter(|one| there(&one.account)) {
            let text = |name: &str| one.event.get(name).and_then(|value| value.as_str());
            let began = text("state") == Some("opened");
            let reason = text("reason").unwrap_or_default();
            let id: Option<ConnectionId> = text("connection_id").and_then(|id| id.parse().ok());
            let about = match one.kind {
                NotificationKind::BankMaintenance => text("source"),
                NotificationKind::PlaidConnectionIssue
                | NotificationKind::DataSyncStatus
                | NotificationKind::SecurityAlert
                | NotificationKind::ComplianceUpdate
                | NotificationKind::SystemMaintenance
                | NotificationKind::FeatureUpdate
                | NotificationKind::AccountUpdate => text("connection_id"),
            };
            let known = Text {
                account: one.account,
                kind: one.kind,
                at: one.at,
                opened: began,
                about: about.unwrap_or_default().to_owned(),
            };
            self.texts.insert(one.id, known);
            if reason == "maintenance" {
                let about = text("source").unwrap_or_default().to_owned();
                let of_incident = text("incident_id").is_some();
                let spells = self.maintenance.entry((one.account, about)).or_default();
                spells.told(one.at, began, of_incident).map_err(|spells| {
                    ("nobody is told twice", format!("{:?}: {spells}", one.event))
                })?;
                continue;
            }
            let Some(heard) = id.and_then(|id| self.by_connection.get_mut(&id)) else {
                let seen = format!("{:?}", one.event);
                return Err(("people are told what the log says, once", seen));
            };
            if heard.expected.get(heard.told) != Some(&(began, known_reason(reason))) {
                let seen = format!("{:?} after {} of {heard:?}", one.event, heard.told);
                return Err(("people are told what the log says, once", seen));
            }
            heard.told += 1;
        }
        for notice in batch.notices.iter().filter(|one| there(&one.account)) {
            let key = (notice.notification, notice.channel, notice.slot);
            let was = self.notices.insert(key, notice.clone());
            // What became of it may be written once more, where nobody knew whether it was.
            let again = was.as_ref().is_some_and(|was| {
                was.status == NoticeStatus::Sending || was.attempts == notice.attempts
            });
            let marked = was
                .as_ref()
                .is_some_and(|was| was.status == NoticeStatus::Sending && was.epoch == batch.epoch);
            let over = was.filter(|was| !was.status.is_open() && was.status != notice.status);
            if let Some(was) = over {
                let seen = format!("{notice:?} was {was:?}");
                return Err(("what became of a message stays", seen));
            }
            let unknown = notice.status == NoticeStatus::Unknown;
            if unknown && marked && !self.left.contains_key(&key) {
                let seen = format!("{notice:?}");
                return Err(("what is marked and did not leave is sent", seen));
            }
            // What a crash left marked is repeated, for nobody knows what became of it.
            if notice.attempts > most(notice.channel) && !again {
                let seen = format!("{notice:?}");
                return Err(("a message is tried as often as is written", seen));
            }
        }
        Ok(())
    }

    /// Takes in that a message left a node, `owns` its shard or does not know better yet.
    pub(crate) fn left(
        &mut self,
        order: &NoticeOrder,
        owns: bool,
        taken: bool,
        unknown: bool,
    ) -> Result<(), Broken> {
        let slot = match &order.to {
            NoticeAddress::Push { endpoint, .. } => Some(endpoint),
            NoticeAddress::Email(_)
            | NoticeAddress::Sms(_)
            | NoticeAddress::Webhook(_)
            | NoticeAddress::InApp => None,
        };
        let carried: Vec<Key> = self
            .notices
            .iter()
            .filter(|((_, channel, to), notice)| {
                *channel == order.channel
                    && notice.account == order.account
                    && notice.order == Some(order.id)
                    && slot.is_none_or(|slot| *to == slot_of(slot))
                    && (!owns || notice.status == NoticeStatus::Sending)
            })
            .map(|(key, _)| *key)
            .collect();
        let seen = || format!("{order:?}, owned {owns}, carries {carried:?}");
        if carried.is_empty() && self.texts.contains_key(&order.id) {
            return Err(("nothing leaves before it is written that it does", seen()));
        }
        for key in &carried {
            let before = self.left.get(key).copied();
            if before.is_some_and(|(id, _)| id != order.id) {
                return Err(("a message is repeated under its own id", seen()));
            }
            let came = before.is_some_and(|(_, came)| came);
            if came && order.channel == Channel::Sms {
                return Err(("an SMS that may have come is not repeated", seen()));
            }
            let came = came || taken || unknown;
            self.left.insert(*key, (order.id, came));
        }
        Ok(())
    }

    pub(crate) fn swept(&mut self, before: Timestamp) {
        let texts = &mut self.texts;
        texts.retain(|_, text| text.at >= before);
        self.notices.retain(|(id, ..), _| texts.contains_key(id));
    }

    pub(super) fn erased(&mut self, account: AccountId) {
        self.texts.retain(|_, text| text.account != account);
        self.notices.retain(|_, notice| notice.account != account);
    }

    /// Returns when the next message is due, given by how much the clock is ahead of who has its shard.
    pub(crate) fn next_due(&self, ahead: impl Fn(Shard) -> Option<i64>) -> Option<i64> {
        let open = self.notices.values();
        let open = open.filter(|one| one.status.is_open() && one.channel != Channel::InApp);
        let due = |one: &Notice| Some(one.due.as_millis() - ahead(one.account.shard())?);
        open.filter_map(due).min()
    }

    /// Returns a message that was to come about and did not.
    pub(crate) fn untold(
        &self,
        connections: &BTreeMap<ConnectionId, AccountId>,
        clock: Timestamp,
        reach: impl Fn(AccountId) -> Option<(Preferences, Contact)>,
    ) -> Option<String> {
        for (id, account) in connections {
            let heard = self.by_connection.get(id);
            if let Some(heard) = heard.filter(|heard| heard.told < heard.expected.len()) {
                return Some(format!("{account} of {id}: {heard:?}"));
            }
        }
        let mut notices = self.notices.values();
        // What has just come about may be for a digest that is not due yet.
        let open = notices.find(|notice| notice.status.is_open() && notice.due <= clock);
        if let Some(notice) = open {
            return Some(format!("{notice:?} is open"));
        }
        for (key, notice) in &self.notices {
            let left = self.left.get(key);
            if notice.status == NoticeStatus::Dropped && !self.may_drop(key) {
                return Some(format!("{notice:?} was dropped, left {left:?}"));
            }
            let sent = notice.status == NoticeStatus::Sent && notice.channel != Channel::InApp;
            let unexplained = notice.status == NoticeStatus::Failed && notice.reason.is_none();
            if sent && !left.is_some_and(|(_, came)| *came) || unexplained {
                return Some(format!("{notice:?}, left {left:?}"));
            }
        }
        for (id, text) in &self.texts {
            let Some((preferences, contact)) = reach(text.account) else {
                continue;
            };
            let ways = [
                (Channel::InApp, true),
                (Channel::Email, contact.email.is_some()),
                (Channel::Sms, contact.phone.is_some()),
                (Channel::Webhook, contact.webhook.is_some()),
            ];
            let missing = ways.into_iter().find(|(channel, has)| {
                *has && preferences.wants(text.kind, *channel)
                    && !self.notices.contains_key(&(*id, *channel, 0))
                    && !self.was_dropped(text, *channel)
            });
            if let Some((channel, _)) = missing {
                return Some(format!("{id}: {text:?} went not by {channel}"));
            }
        }
        None
    }
}

impl Spells {
    fn told(&mut self, at: Timestamp, began: bool, of_incident: bool) -> Result<(), String> {
        if began {
            let is_stale = |last: Timestamp| at.since(last) >= Duration::from_secs(86_400);
            self.anew += u64::from(of_incident && self.last.is_some_and(is_stale));
            self.begun += 1;
        } else {
            self.ended += 1;
        }
        self.last = began.then_some(at);
        if self.begun > self.ended + 1 + self.anew || self.ended > self.begun {
            return Err(format!("{self:?}"));
        }
        Ok(())
    }
}

impl Told {
    /// Whether somebody was not told of the end of something because its beginning was never tried.
    fn was_dropped(&self, over: &Text, channel: Channel) -> bool {
        let mut texts = self.texts.iter();
        !over.opened
            && texts.any(|(id, text)| {
                let notice = self.notices.get(&(*id, channel, 0));
                is_about(text, over)
                    && notice
                        .is_some_and(|one| one.status == NoticeStatus::Dropped && one.attempts == 0)
            })
    }

    /// Whether a message may come to nothing: what it told of is over.
    fn may_drop(&self, key: &Key) -> bool {
        let Some(text) = self.texts.get(&key.0) else {
            return true;
        };
        let mut texts = self.texts.values();
        texts.any(|over| !over.opened && is_about(text, over))
    }

    /// Checks that a message leaves at a moment at which its person may be disturbed.
    pub(crate) fn disturbs(
        order: &NoticeOrder,
        preferences: &Preferences,
        clock: Timestamp,
    ) -> Result<(), Broken> {
        let quiet = preferences.quiet_hours.as_ref().filter(|_| {
            order.kind != NotificationKind::SecurityAlert
                && matches!(order.channel, Channel::Email | Channel::Push | Channel::Sms)
        });
        let Some(quiet) = quiet else { return Ok(()) };
        let minute = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
            let at = at.in_tz(&preferences.time_zone).ok()?;
            u16::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).ok()
        };
        let within = |at| minute(at).is_some_and(|minute| quiet.has(minute));
        // What was read before they began is on its way.
        if within(clock) && within(clock.before(ON_ITS_WAY)) {
            let seen = format!("{order:?} at {clock}, {preferences:?}");
            return Err(("nothing disturbs people in their quiet hours", seen));
        }
        Ok(())
    }
}

/// Whether one message tells of the end of what another told of.
fn is_about(opened: &Text, over: &Text) -> bool {
    let same = (opened.account, opened.kind) == (over.account, over.kind);
    opened.opened && same && opened.about == over.about
}

impl Heard {
    /// What a state means for the person (section 8 of the domain).
    fn state(&mut self, state: ConnectionState, facts: &StateFacts) {
        self.source = Some(facts.source.clone());
        let in_maintenance = facts.reason == Some(Reason::Maintenance)
            || facts.outcome == Some(OutcomeKind::Failed(ErrorClass::BankMaintenance));
        match state {
            ConnectionState::Created | ConnectionState::Manual => self.there = true,
            ConnectionState::Question if !self.there => self.begins(QUESTION),
            ConnectionState::Disabled => {
                self.matters.clear();
                self.there = false;
            }
            ConnectionState::Waiting
            | ConnectionState::Retrying
            | ConnectionState::Error
            | ConnectionState::Completed => {
                let good = matches!(
                    facts.outcome,
                    Some(OutcomeKind::Success | OutcomeKind::Partial)
                );
                if matches!(facts.access, "reauth_required" | "revoked") {
                    self.begins(REAUTH);
                } else if state == ConnectionState::Error && !in_maintenance {
                    self.begins(FAILING);
                } else if facts.outcome == Some(OutcomeKind::UserNeeded) {
                    self.begins(QUESTION);
                } else if good && !in_maintenance {
                    self.ends();
                }
                self.there &= state == ConnectionState::Completed;
            }
            ConnectionState::Question
            | ConnectionState::Answered
            | ConnectionState::Connecting
            | ConnectionState::Uploading => {}
        }
    }

    fn begins(&mut self, what: &'static str) {
        if self.matters.insert(what) {
            self.expected.push((true, what));
        }
    }

    /// All is well again: that is said once, of the gravest matter.
    fn ends(&mut self) {
        let gravest = [REAUTH, QUESTION, FAILING];
        let gravest = gravest.into_iter().find(|what| self.matters.contains(what));
        self.matters.clear();
        self.expected.extend(gravest.map(|what| (false, what)));
    }
}

fn known_reason(reason: &str) -> &'static str {
    let known = [QUESTION, REAUTH, FAILING].into_iter();
    known.into_iter().find(|one| *one == reason).unwrap_or("?")
}

/// How often a message is tried at most.
const fn most(channel: Channel) -> u16 {
    match channel {
        Channel::Email | Channel::Webhook => 8,
        Channel::Push => 5,
        Channel::Sms => 4,
        Channel::InApp => 0,
    }
}

fn slot_of(endpoint: &str) -> u64 {
    let browser = wellspring_core::notification::PushSubscription {
        endpoint: endpoint.to_owned(),
        p256dh: String::new(),
        auth: String::new(),
    };
    browser.slot()
}

/// How long a message may take from when it is looked for to when it leaves.
const ON_ITS_WAY: Duration = Duration::from_secs(300);
const QUESTION: &str = "question";
const REAUTH: &str = "reauth_required";
const FAILING: &str = "failing";
