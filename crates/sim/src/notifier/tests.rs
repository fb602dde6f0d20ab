//! What a notifier does about what seldom happens, each on a store with people of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::Map;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use wellspring_core::connection::{self, Patch};
use wellspring_core::notification::{Channel, Contact, NotificationKind, Preferences, QuietHours};
use wellspring_core::source::{Input, Policy, Source};
use wellspring_core::{Account, AccountId, Actor, Connection, NotificationId, Shard, Timestamp};
use wellspring_engine::{
    AddressBook, Backend, Before, Clock, Entry, Holding, Notice, NoticeOrder, NoticeResult,
    NoticeStatus, Notices, Notification, Notifier, NotifierParts, Person, SourceWrite, Write,
};
use wellspring_store::MemoryStore;
use wellspring_store::conformance::{Node, START, TENANT};

use super::outside::{Heard, OpenBook, Outside, Post};
use super::way::{Fate, Way};
use crate::clock::{MINUTE, SECOND, VirtualClock};

/// A notifier, and the only node of its store.
struct Rig {
    runtime: Runtime,
    clock: Arc<VirtualClock>,
    at: i64,
    store: MemoryStore,
    node: Node,
    outside: Arc<Outside>,
    holding: watch::Sender<Holding>,
    stop: CancellationToken,
    rng: ChaCha8Rng,
    gates: Vec<(i64, oneshot::Sender<()>)>,
    left: Vec<NoticeOrder>,
    accounts: BTreeMap<AccountId, Account>,
}

impl Rig {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("builds");
        let clock = Arc::<VirtualClock>::default();
        let at = START.as_millis();
        clock.set(at);
        let store = MemoryStore::new(Arc::<VirtualClock>::clone(&clock), 2, None);
        let backend: Arc<dyn Backend> = Arc::new(store.clone());
        let node = runtime.block_on(Node::join(backend));
        let outside = Arc::new(Outside::new(1, None));
        outside.script();
        let mut rig = Self {
            runtime,
            clock,
            at,
            store,
            holding: watch::Sender::new(super::nothing(node.incarnation)),
            node,
            outside,
            stop: CancellationToken::new(),
            rng: ChaCha8Rng::seed_from_u64(1),
            gates: Vec::new(),
            left: Vec::new(),
            accounts: BTreeMap::new(),
        };
        rig.start();
        rig.holds(true);
        rig
    }

    fn start(&mut self) {
        let parts = NotifierParts {
            store: Arc::new(Way::new(self.store.clone(), Arc::clone(&self.outside))),
            transport: Arc::new(Post {
                node: 0,
                clock: Arc::clone(&self.clock),
                outside: Arc::clone(&self.outside),
            }),
            addresses: Arc::new(OpenBook),
            clock: Arc::<VirtualClock>::clone(&self.clock),
        };
        let grew = watch::Sender::new(0).subscribe();
        let holding = self.holding.subscribe();
        let (_, running) = Notifier::running(parts, holding, grew, 1, &self.stop);
        self.runtime.spawn(running);
    }

    /// Shows the notifier what the node holds: all of it, or nothing as it is on its way out.
    fn holds(&self, all: bool) {
        let shards = if all { self.node.holds() } else { Vec::new() };
        self.holding.send_replace(Holding {
            shards,
            ..super::nothing(self.node.incarnation)
        });
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    fn run(&mut self, millis: i64) {
        let ends = self.at + millis;
        while self.at < ends {
            let step = STEP.min(ends - self.at);
            self.at += step;
            self.clock.set(self.at);
            self.runtime.block_on(async {
                tokio::time::advance(super::span(step)).await;
                for _ in 0..ROUNDS {
                    tokio::task::yield_now().await;
                }
            });
            let (heard, gates, _) = self.outside.take();
            let gates = gates
                .into_iter()
                .map(|(after, gate)| (self.at + after, gate));
            self.gates.extend(gates);
            for heard in heard {
                if let Heard::Left { order, .. } = heard {
                    self.left.push(*order);
                }
            }
            let (open, shut) = std::mem::take(&mut self.gates)
                .into_iter()
                .partition(|(at, _)| *at <= self.at);
            self.gates = shut;
            for (_, gate) in open {
                gate.send(()).ok();
            }
        }
    }

    fn ask<T>(&self, asked: BoxFuture<'_, T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Makes a person of a shard.
    fn person(&mut self, shard: u8, contact: &Contact, preferences: Preferences) -> AccountId {
        let now = self.now();
        let id = AccountId::mint_in(now, Shard(shard), &mut self.rng);
        let step = Account::create(now, id, TENANT, None, Actor::Operator);
        self.accounts.extend(step.next.clone().map(|one| (id, one)));
        let batch = self
            .node
            .account_batch(now, (id, Before::New, TENANT), step);
        self.runtime.block_on(self.node.commit(batch));
        let person = Person {
            account: id,
            tenant: TENANT,
            version: 1,
            contact: Some(OpenBook.seal(id, contact)),
            preferences,
            phone: contact.phone.as_deref().map(|phone| OpenBook.mark(phone)),
            heard: Vec::new(),
        };
        assert_eq!(self.ask(self.store.put_person(person, 0)), Ok(true));
        id
    }

    /// Connects a person to the source.
    fn connect(&mut self, account: AccountId) -> Connection {
        let connecting = self
            .node
            .connected(self.clock.now(), &self.accounts[&account]);
        self.runtime.block_on(connecting)
    }

    /// Takes the source a step further.
    fn source(&mut self, source: &Source, input: Input) -> Source {
        let now = self.now();
        let step = source.clone().handle(now, input, Policy::default());
        let step = step.expect("something changes");
        let next = step.next.clone();
        let write = SourceWrite {
            id: source.id(),
            before: match source.version {
                0 => Before::New,
                version => Before::Live(version),
            },
            next: step.next,
            incidents: step.incidents,
            alerts: step.alerts,
        };
        let changes = step.changes.into_iter().map(|(_, change)| change);
        let write = Write::Source(Box::new(write));
        let batch = self.node.batch_of(now, TENANT, write, changes);
        self.runtime.block_on(self.node.commit(batch));
        next
    }

    /// Has the source be in maintenance.
    fn maintenance(&mut self) -> Source {
        let source = Source::fresh("gas".parse().expect("a name"));
        let met = Input::MaintenanceMet {
            until: None,
            code: "maintenance".to_owned(),
        };
        self.source(&source, met)
    }

    /// Lets much time pass at once.
    fn leap(&mut self, millis: i64) {
        self.at += millis;
        self.clock.set(self.at);
        let leap = tokio::time::advance(super::span(millis));
        self.runtime.block_on(leap);
        self.run(3 * SECOND);
    }

    /// Returns what has left about the source: to whom, over what, and whether it begins or ends.
    fn told(&self) -> Vec<(AccountId, Channel, String)> {
        let states = self.left.iter().flat_map(|order| {
            let events = order.events.iter();
            let states = events.filter_map(|event| event.get("state")?.as_str());
            states.map(|state| (order.account, order.channel, state.to_owned()))
        });
        states.collect()
    }

    /// Writes a message to a person that is due at once.
    fn message(&mut self, account: AccountId, channel: Channel) -> NotificationId {
        let id = NotificationId::mint_in(self.now(), account.shard(), &mut self.rng);
        let notification = Notification {
            id,
            tenant: TENANT,
            account,
            kind: NotificationKind::AccountUpdate,
            at: self.now(),
            read_at: None,
            in_app: true,
            event: Map::new(),
            request: None,
        };
        let notice = Notice {
            notification: id,
            channel,
            slot: 0,
            tenant: TENANT,
            account,
            kind: notification.kind,
            due: self.now(),
            gathers: false,
            status: NoticeStatus::Planned,
            attempts: 0,
            epoch: 0,
            order: None,
            reason: None,
            receipt: None,
        };
        let added = self.store.add_notification(notification, vec![notice]);
        assert_eq!(self.ask(added), Ok(None));
        id
    }

    fn notice_by_email(&self, id: NotificationId) -> Notice {
        let notices = self.ask(self.store.notices(id)).expect("reads");
        let mut notices = notices.into_iter();
        let found = notices.find(|notice| notice.channel == Channel::Email);
        found.expect("goes by e-mail")
    }

    fn notice(&self, id: NotificationId) -> Notice {
        let notices = self.ask(self.store.notices(id)).expect("reads");
        notices.into_iter().next().expect("one way")
    }
}

fn reached() -> Contact {
    Contact {
        email: Some("ann@example.com".to_owned()),
        phone: Some("+15550100".to_owned()),
        ..Contact::default()
    }
}

fn failed(retry_at: Option<Timestamp>) -> NoticeResult {
    let reason = "451 later".to_owned();
    NoticeResult::Failed { reason, retry_at }
}

fn wanting_sms() -> Preferences {
    let mut wants = Preferences::default();
    wants.set(NotificationKind::AccountUpdate, Channel::Sms, true);
    wants
}

#[test]
fn an_sms_whose_mark_was_written_and_that_did_not_leave_is_sent() {
    // The second shard's mark fails, and the first's answer is lost, in turn.
    for fates in [
        [Fate::Done, Fate::Refused],
        [Fate::Unheard, Fate::Done],
        [Fate::Done, Fate::Unheard],
        [Fate::Lost, Fate::Unheard],
    ] {
        let mut rig = Rig::new();
        let people = [0, 1].map(|shard| rig.person(shard, &reached(), wanting_sms()));
        rig.outside.fates(fates);
        let ids = people.map(|account| rig.message(account, Channel::Sms));
        rig.run(5 * SECOND);
        for id in ids {
            let notice = rig.notice(id);
            assert_eq!(notice.status, NoticeStatus::Sent, "{fates:?}: {notice:?}");
            assert_eq!(notice.attempts, 1, "{fates:?}: it left once");
        }
        assert_eq!(rig.left.len(), 2, "{fates:?}");
    }
}

#[test]
fn an_sms_that_a_crash_left_is_not_repeated() {
    let mut rig = Rig::new();
    let account = rig.person(0, &reached(), wanting_sms());
    rig.outside
        .answers([(MINUTE, NoticeResult::Sent { receipt: None })]);
    let id = rig.message(account, Channel::Sms);
    rig.run(2 * SECOND);
    assert_eq!(rig.notice(id).status, NoticeStatus::Sending);
    let store: Arc<dyn Backend> = Arc::new(rig.store.clone());
    rig.node = rig.runtime.block_on(Node::join(store));
    rig.holding
        .send_replace(super::nothing(rig.node.incarnation));
    rig.stop.cancel();
    rig.run(15 * SECOND);
    rig.stop = CancellationToken::new();
    rig.start();
    rig.holds(true);
    rig.run(5 * SECOND);
    assert_eq!(rig.notice(id).status, NoticeStatus::Unknown);
    assert_eq!(rig.left.len(), 1);
}

#[test]
fn what_came_of_messages_is_written_although_another_shard_is_lost() {
    let mut rig = Rig::new();
    let people = [0, 1].map(|shard| rig.person(shard, &reached(), wanting_sms()));
    let ids = people.map(|account| rig.message(account, Channel::Email));
    // Both marks, then both results: the first of these finds the shard to be another's.
    rig.outside
        .fates([Fate::Done, Fate::Done, Fate::Fenced, Fate::Done]);
    rig.run(5 * SECOND);
    assert_eq!(rig.notice(ids[1]).status, NoticeStatus::Sent);
    let again = rig.left.iter().filter(|order| order.id == ids[1]);
    assert_eq!(again.count(), 1, "it is not repeated");
}

#[test]
fn messages_leave_and_end_while_there_is_much_of_the_log_to_read() {
    let mut rig = Rig::new();
    let account = rig.person(0, &reached(), wanting_sms());
    let now = rig.now();
    let other = AccountId::mint_in(now, Shard(0), &mut rig.rng);
    let step = Account::create(now, other, TENANT, None, Actor::Operator);
    let mut batch = rig
        .node
        .account_batch(now, (other, Before::New, TENANT), step);
    let entry = batch.entries[0].clone();
    let long = (1..10_000).map(|more| Entry {
        seq: entry.seq + more,
        ..entry.clone()
    });
    batch.entries.extend(long);
    rig.runtime.block_on(rig.node.commit(batch));
    let id = rig.message(account, Channel::Email);
    rig.outside.slow(20);
    rig.run(3 * SECOND);
    assert_eq!(rig.notice(id).status, NoticeStatus::Sent);
    let read = rig.ask(rig.store.notice_cursors(vec![Shard(0)]));
    let read = read.expect("reads").get(&Shard(0)).copied();
    assert!(
        read.unwrap_or(0) < 9_000,
        "it is far from its end: {read:?}"
    );
}

#[test]
fn what_is_under_way_when_a_node_stops_is_still_written() {
    let mut rig = Rig::new();
    let people = [0, 1].map(|shard| rig.person(shard, &reached(), wanting_sms()));
    rig.outside.answers([
        (3 * SECOND, NoticeResult::Sent { receipt: None }),
        (MINUTE, NoticeResult::Sent { receipt: None }),
    ]);
    let [soon, late] = people.map(|account| rig.message(account, Channel::Sms));
    rig.run(SECOND);
    assert_eq!(rig.notice(soon).status, NoticeStatus::Sending);
    // An engine that stops shows that it holds nothing.
    rig.holds(false);
    rig.stop.cancel();
    let new = rig.message(people[0], Channel::Email);
    // What comes of it cannot be written at the first try.
    rig.outside.fates([Fate::Refused]);
    rig.run(8 * SECOND);
    assert_eq!(rig.notice(soon).status, NoticeStatus::Sent);
    assert_eq!(rig.notice(late).status, NoticeStatus::Sending);
    assert_eq!(rig.notice(new).status, NoticeStatus::Planned);
    assert_eq!(rig.left.len(), 2);
}

#[test]
fn what_was_to_be_tried_again_is_dropped_when_it_is_over_and_the_end_is_told() {
    let mut rig = Rig::new();
    let account = rig.person(0, &reached(), Preferences::default());
    rig.connect(account);
    rig.outside.answers([(50, failed(None))]);
    let source = rig.maintenance();
    rig.run(4 * SECOND);
    let told = |state: &str| (account, Channel::Email, state.to_owned());
    assert_eq!(rig.told(), [told("opened")]);
    let opened = rig.notice_by_email(rig.left[0].id);
    assert_eq!((opened.status, opened.attempts), (NoticeStatus::Planned, 1));
    rig.source(&source, Input::Answered);
    rig.run(40 * SECOND);
    assert_eq!(rig.told(), [told("opened"), told("mended")]);
    let opened = rig.notice_by_email(opened.notification);
    assert_eq!(opened.status, NoticeStatus::Dropped);
}

#[test]
fn what_comes_late_into_quiet_hours_waits_for_their_end() {
    let mut rig = Rig::new();
    let mut wants = wanting_sms();
    // It is 14:13:20.
    let quiet = |from: &str| QuietHours {
        from: from.parse().expect("a time"),
        to: "16:00".parse().expect("a time"),
    };
    wants.quiet_hours = Some(quiet("14:00"));
    let inside = rig.person(0, &reached(), wants.clone());
    wants.quiet_hours = Some(quiet("14:14"));
    let soon = rig.person(0, &reached(), wants);
    let ends = START.after(std::time::Duration::from_secs(106 * 60 + 40));
    // They were due before, and nobody was there to send them.
    let late = [Channel::Email, Channel::Sms].map(|channel| rig.message(inside, channel));
    rig.outside.answers([(50, failed(None))]);
    let again = rig.message(soon, Channel::Email);
    rig.run(3 * SECOND);
    assert_eq!(rig.left.len(), 1);
    rig.leap(5 * MINUTE);
    assert_eq!(rig.left.len(), 1, "the next try would be in quiet hours");
    for id in late.iter().chain([&again]) {
        let notice = rig.notice(*id);
        assert_eq!((notice.status, notice.due), (NoticeStatus::Planned, ends));
        assert_eq!(notice.gathers, *id != again);
    }
    rig.leap(2 * 60 * MINUTE);
    for id in late.iter().chain([&again]) {
        assert_eq!(rig.notice(*id).status, NoticeStatus::Sent);
    }
}

#[test]
fn a_far_side_has_a_message_wait_for_a_day_at_most() {
    let mut rig = Rig::new();
    let account = rig.person(0, &reached(), Preferences::default());
    let days = |days: u64| START.after(std::time::Duration::from_secs(days * 86_400));
    let [long, short] = [400, 0].map(|until| {
        rig.outside.answers([(50, failed(Some(days(until))))]);
        let id = rig.message(account, Channel::Email);
        rig.run(2 * SECOND);
        id
    });
    let waits = |id| rig.notice(id).due.since(rig.now()).as_secs();
    assert!((86_390..=86_400).contains(&waits(long)));
    assert!((20..=30).contains(&waits(short)), "no less than is planned");
}

#[test]
fn a_page_of_an_incident_is_told_once_although_its_commit_came_late() {
    for fates in [[Fate::Late, Fate::Done], [Fate::Unheard, Fate::Late]] {
        let mut rig = Rig::new();
        let account = rig.person(0, &reached(), Preferences::default());
        rig.connect(account);
        rig.outside.fates(fates);
        let source = rig.maintenance();
        rig.run(10 * SECOND);
        let told = |state: &str| (account, Channel::Email, state.to_owned());
        assert_eq!(rig.told(), [told("opened")], "{fates:?}");
        rig.outside.fates(fates);
        rig.source(&source, Input::Answered);
        rig.run(10 * SECOND);
        let both = [told("opened"), told("mended")];
        assert_eq!(rig.told(), both, "{fates:?}");
    }
}

#[test]
fn who_was_told_of_an_incident_is_told_of_its_end_without_a_connection_by_then() {
    let mut rig = Rig::new();
    let account = rig.person(0, &reached(), Preferences::default());
    let connection = rig.connect(account);
    let source = rig.maintenance();
    rig.run(5 * SECOND);
    let disabled = Patch {
        enabled: Some(false),
        ..Patch::default()
    };
    let disabled = connection::Input::Patched(disabled, Actor::Operator);
    let moving = rig.node.moved(&connection, rig.clock.now(), disabled);
    rig.runtime.block_on(moving);
    rig.source(&source, Input::Answered);
    rig.run(5 * SECOND);
    let told = |state: &str| (account, Channel::Email, state.to_owned());
    assert_eq!(rig.told(), [told("opened"), told("mended")]);
}

/// How much time passes at once.
const STEP: i64 = 10;
/// How often the notifier is looked at until it has come to rest.
const ROUNDS: usize = 16;
