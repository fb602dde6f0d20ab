//! A driver with a model of a store and endpoints that do as they are told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::Spent;
use wellspring_core::{
    AccountId, Actor, Error, ErrorClass, Shard, SubscriptionId, TenantId, Timestamp,
};
use wellspring_engine::{
    Action, Aggregate, Answer, Batch, Command, CommitError, Driver, Event, Lease, Limits, Loaded,
    Origin, Request, SendFailure, SendId, SendOrder, SendResult, Subscription, SubscriptionKind,
    SubscriptionWish,
};

use super::model::Model;
use crate::bench::{self, NOW, TENANT};

/// What an endpoint does with a message; nothing is to hang.
pub(crate) type Reply = Option<SendResult>;

pub(crate) struct Bench {
    pub(crate) driver: Driver<u32>,
    pub(crate) now: Timestamp,
    pub(crate) model: Model,
    pub(crate) commits: VecDeque<Arc<Batch>>,
    pub(crate) sends: VecDeque<(SendId, SendOrder)>,
    pub(crate) replies: Vec<(u32, Answer)>,
    pub(crate) released: Vec<Shard>,
    /// What was taken, in order: by whom, of which line, its place, its id.
    pub(crate) taken: Vec<(SubscriptionId, Shard, u64, String)>,
    /// Every message sent, taken or not.
    pub(crate) sent: Vec<(SubscriptionId, String, Timestamp)>,
    /// Whether what is read arrives only after what happens meanwhile, and sometimes not.
    pub(crate) late_reads: bool,
    late: VecDeque<Event<u32>>,
    reads: u32,
    /// Commits that are to fail, one after the other.
    pub(crate) failing_commits: u32,
    lives: u64,
    callers: u32,
}

impl Bench {
    pub(crate) fn new(shards: u8) -> Self {
        let model = Model {
            shards,
            ..Model::default()
        };
        let mut bench = Self {
            driver: driver(0),
            now: NOW,
            model,
            commits: VecDeque::new(),
            sends: VecDeque::new(),
            replies: Vec::new(),
            released: Vec::new(),
            taken: Vec::new(),
            sent: Vec::new(),
            late_reads: false,
            late: VecDeque::new(),
            reads: 0,
            failing_commits: 0,
            lives: 0,
            callers: 0,
        };
        bench.restart();
        bench
    }

    /// Kills the driver with all that it had in memory, and begins another.
    pub(crate) fn restart(&mut self) {
        self.lives += 1;
        self.driver = driver(self.lives);
        self.commits.clear();
        self.late.clear();
        self.sends.clear();
        let lease = |shard| Lease {
            shard,
            epoch: self.lives,
            next_seq: self.model.end(shard) + 1,
        };
        let leases = self.model.each_shard().map(lease).collect();
        let table = self.model.table();
        self.give(Event::Subscriptions {
            table,
            whole: false,
        });
        self.give(Event::Leased(leases));
        self.give(Event::Scanned {
            rows: Vec::new(),
            done: true,
        });
    }

    pub(crate) fn give(&mut self, event: Event<u32>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.driver.handle(self.now, event);
            let mut actions = Vec::new();
            self.driver.flush(&mut actions);
            events.extend(
                actions
                    .into_iter()
                    .filter_map(|action| self.perform(action)),
            );
        }
    }

    /// Does what the driver wants; what the store reads is there at once.
    fn perform(&mut self, action: Action<u32>) -> Option<Event<u32>> {
        match action {
            Action::Commit(batch) => self.commits.push_back(batch),
            Action::Send(id, order) => {
                let known = (order.subscription.id, order.message.id.clone(), self.now);
                self.sent.push(known);
                self.sends.push_back((id, order));
            }
            Action::Read(number, query) => {
                let answer = Some(self.model.answer(query));
                if !self.late_reads {
                    return Some(Event::Read(number, answer));
                }
                self.reads += 1;
                let answer = answer.filter(|_| !self.reads.is_multiple_of(7));
                self.late.push_back(Event::Read(number, answer));
            }
            Action::Load(asked) => {
                let account = |id: &Aggregate| match id {
                    Aggregate::Account(id) => self.model.accounts.get(id).cloned(),
                    Aggregate::Collection(_) | Aggregate::Connection(_) | Aggregate::Source(_) => {
                        None
                    }
                };
                let rows = asked.iter().filter_map(account).map(Loaded::Account);
                let rows = rows.collect();
                return Some(Event::Loaded { asked, rows });
            }
            Action::Reply(caller, answer) => self.replies.push((caller, answer)),
            Action::Release(shards) => self.released.extend(shards),
            Action::Resolve(_)
            | Action::Fetch(..)
            | Action::Deliver(..)
            | Action::Run(..)
            | Action::Abort(_)
            | Action::Children(_)
            | Action::Post(_)
            | Action::Fenced => panic!("nobody wants this: {action:?}"),
        }
        None
    }

    /// Adds a subscription to all changes of accounts, and tells the driver.
    pub(crate) fn subscribe(&mut self, number: u8) -> SubscriptionId {
        let id = self.subscribe_to(number, TENANT, "* /accounts/**");
        self.tell();
        id
    }

    /// Adds a subscription that the driver has not heard of.
    pub(crate) fn subscribe_to(
        &mut self,
        number: u8,
        tenant: TenantId,
        pattern: &str,
    ) -> SubscriptionId {
        let id = SubscriptionId::from_bytes([number; 16]);
        self.model.subscribe(Subscription {
            id,
            tenant,
            kind: SubscriptionKind::Webhook,
            patterns: vec![pattern.parse().unwrap()],
            url: format!("http://{number}.example/").into(),
            description: None,
            created_at: self.now,
            version: 1,
            enabled: true,
            disabled: None,
            sealed_secrets: Vec::new(),
        });
        id
    }

    /// Tells the driver what subscriptions there are.
    pub(crate) fn tell(&mut self) {
        let table = self.model.table();
        self.give(Event::Subscriptions { table, whole: true });
    }

    pub(crate) fn change(&mut self, id: SubscriptionId, change: impl FnOnce(&mut Subscription)) {
        let row = self.model.subscriptions.get_mut(&id).unwrap();
        change(row);
        row.version += 1;
        self.tell();
    }

    pub(crate) fn command(&mut self, request: Request) -> u32 {
        self.callers += 1;
        self.give(Event::Command(Command {
            request,
            key: None,
            origin: Origin::Caller(self.callers),
        }));
        self.callers
    }

    pub(crate) fn wish(&mut self, subscription: SubscriptionId, wish: SubscriptionWish) -> u32 {
        self.command(Request::Subscription {
            shard: Shard(0),
            tenant: TENANT,
            subscription,
            wish,
        })
    }

    pub(crate) fn account(&mut self) -> AccountId {
        self.account_of(TENANT)
    }

    pub(crate) fn account_of(&mut self, tenant: TenantId) -> AccountId {
        while !self.late.is_empty() {
            self.hear();
            self.commit_all();
        }
        let caller = self.command(Request::CreateAccount {
            id: None,
            tenant,
            external_id: None,
            actor: Actor::Operator,
        });
        self.commit_all();
        let answer = self.replies.iter().find(|(of, _)| *of == caller);
        match answer {
            Some((_, Answer::Done(Aggregate::Account(id)))) => *id,
            other => panic!("{other:?}"),
        }
    }

    /// Makes a change of an account durable.
    pub(crate) fn patch(&mut self, id: AccountId) {
        self.patch_soon(id);
        self.commit_all();
    }

    /// Changes an account; when it is durable is left open.
    pub(crate) fn patch_soon(&mut self, id: AccountId) {
        self.command(Request::PatchAccount {
            id,
            tenant: TENANT,
            external_id: Some(format!("name {}", self.callers)),
            actor: Actor::Operator,
        });
    }

    pub(crate) fn commit_all(&mut self) {
        while let Some(batch) = self.commits.front().cloned() {
            if self.failing_commits > 0 {
                self.failing_commits -= 1;
                self.fail_commit();
                continue;
            }
            self.commits.pop_front();
            self.model.commit(&batch);
            self.give(Event::Committed(batch.number, Ok(Spent::default())));
        }
    }

    pub(crate) fn fail_commit(&mut self) {
        let batch = self.commits.pop_front().expect("a commit is wanted");
        let error = CommitError::NotCommitted("disk full".to_owned());
        self.give(Event::Committed(batch.number, Err(error)));
    }

    /// Writes a batch; that it is durable is heard of later.
    pub(crate) fn commit_late(&mut self) {
        if let Some(batch) = self.commits.pop_front() {
            self.model.commit(&batch);
            self.late
                .push_back(Event::Committed(batch.number, Ok(Spent::default())));
        }
    }

    /// Has one thing heard of that is late.
    pub(crate) fn hear(&mut self) {
        if let Some(event) = self.late.pop_front() {
            self.give(event);
        }
    }

    /// Answers what is in flight and commits what follows, until nothing moves.
    pub(crate) fn settle(&mut self, reply: &mut dyn FnMut(&SendOrder) -> Reply) {
        loop {
            self.commit_all();
            let mut hanging = VecDeque::new();
            let mut moved = !self.late.is_empty();
            self.hear();
            while let Some((id, order)) = self.sends.pop_front() {
                match reply(&order) {
                    Some(result) => {
                        moved = true;
                        self.end(id, &order, result);
                    }
                    None => hanging.push_back((id, order)),
                }
            }
            self.sends = hanging;
            if !moved && self.commits.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn end(&mut self, id: SendId, order: &SendOrder, result: SendResult) {
        if result.failure.is_none() {
            let message = &order.message;
            let taken = (order.subscription.id, message.shard, message.seq);
            self.taken
                .push((taken.0, taken.1, taken.2, message.id.clone()));
        }
        self.give(Event::Sent(id, result));
    }

    /// Lets time pass, doing what is due at its time.
    pub(crate) fn pass(&mut self, time: Duration, reply: &mut dyn FnMut(&SendOrder) -> Reply) {
        let end = self.now.after(time);
        self.settle(reply);
        while let Some(at) = self.driver.next_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.give(Event::Tick);
            self.settle(reply);
        }
        self.now = end;
    }

    /// Returns the places that a subscription has taken, each as often as it was.
    pub(crate) fn places(&self, id: SubscriptionId) -> Vec<u64> {
        let taken = self.taken.iter().filter(|(of, ..)| *of == id);
        taken.map(|(_, _, seq, _)| *seq).collect()
    }

    /// Every change after `since` was taken, those of one line first in order, under one id each.
    pub(crate) fn assert_complete(&self, id: SubscriptionId, since: &BTreeMap<Shard, u64>) {
        let mut first = BTreeSet::new();
        let mut lines: BTreeMap<[u8; 16], u64> = BTreeMap::new();
        let mut ids: BTreeMap<(Shard, u64), &str> = BTreeMap::new();
        for (of, shard, seq, message) in &self.taken {
            let Some(entry) = self.model.log.get(&(*shard, *seq)) else {
                continue;
            };
            if *of != id {
                continue;
            }
            assert_eq!(*ids.entry((*shard, *seq)).or_insert(message), message);
            if first.insert((*shard, *seq)) {
                let line = lines.entry(entry.change.subject.line()).or_default();
                assert!(*line < *seq, "{seq} was first taken after {line}");
                *line = *seq;
            }
        }
        for (shard, seq) in self.model.log.keys() {
            let wanted = *seq > since.get(shard).copied().unwrap_or(0);
            assert_eq!(
                first.contains(&(*shard, *seq)),
                wanted,
                "{shard:?} {seq}, {:?}",
                self.model.positions
            );
        }
    }
}

fn driver(life: u64) -> Driver<u32> {
    bench::driver(life, &Arc::default(), Limits::default())
}

#[expect(clippy::unnecessary_wraps, reason = "every endpoint has this form")]
pub(crate) fn ok(_order: &SendOrder) -> Reply {
    Some(SendResult {
        status: Some(200),
        snippet: "thanks".to_owned(),
        duration: Duration::from_millis(3),
        failure: None,
    })
}

pub(crate) fn refused(status: u16) -> SendResult {
    SendResult {
        status: Some(status),
        snippet: "no".to_owned(),
        duration: Duration::from_millis(3),
        failure: Some(SendFailure {
            error: Error {
                class: ErrorClass::UnknownError,
                code: format!("http_{status}"),
                message: "it was not taken".to_owned(),
            },
            gone: status == 410,
            retry_at: None,
            unreachable: false,
        }),
    }
}

pub(crate) fn unreachable() -> SendResult {
    let mut result = refused(0);
    result.status = None;
    if let Some(failure) = &mut result.failure {
        failure.unreachable = true;
    }
    result
}
