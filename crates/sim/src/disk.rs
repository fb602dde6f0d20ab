//! The real store behind a slow and unreliable way to it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::connection::InteractionWrite;
use wellspring_core::{ConnectionId, IncarnationId, Lane, Shard};
use wellspring_engine::{Batch, Before, CommitError, Event, Queries, Store, Write};

use crate::agenda::{News, Occurrence, StoreOp};
use crate::clock::{DAY, SECOND};
use crate::model::Rules;
use crate::node::PAGE;
use crate::plant::spoil;
use crate::world::World;
use crate::{Fault, Plant};

impl World {
    /// Sends a request to the database.
    pub(crate) fn ask_store(&mut self, node: usize, op: StoreOp) {
        let boot = self.nodes[node].boot;
        let at = self.now + self.store_latency();
        self.agenda.push(at, Occurrence::Exec { node, boot, op });
    }

    /// The database has got a request.
    pub(crate) fn exec(&mut self, node: usize, boot: u64, op: StoreOp) {
        if self.nodes[node].boot != boot {
            // A commit may have left the machine before its process died.
            if let StoreOp::Commit(batch) = op
                && self.dice.permille(500)
            {
                self.note(|| format!("late commit {} of node {node}", batch.number));
                self.write(&batch).ok();
            }
            return;
        }
        let readable = self.now >= self.unreadable_until;
        let news = match op {
            StoreOp::Join(incarnation) => {
                if let Err(error) = now(self.store.join(incarnation)) {
                    self.broken("the store answers", error.to_string());
                }
                News::Joined(incarnation)
            }
            StoreOp::Renew(incarnation) => {
                News::Membership(incarnation, now(self.store.renew(incarnation)))
            }
            StoreOp::Sources(incarnation) => {
                let sources = now(self.store.sources()).unwrap_or_default();
                let sources = spoil::kept(self.plant, sources);
                News::Driver(Some(incarnation), Event::Kept(sources))
            }
            StoreOp::Leave(request) => {
                let shard = request.subject().map(|id| id.shard());
                let left = now(self.store.post(shard.unwrap_or(Shard(0)), request, None));
                if let Err(error) = left {
                    self.broken("the store answers", error.to_string());
                }
                return;
            }
            StoreOp::Acquire(incarnation, shards) => self.acquire(node, incarnation, shards),
            StoreOp::Scan(incarnation, shards, after) => {
                let rows = if readable {
                    now(self.store.scan(shards.clone(), after, PAGE)).ok()
                } else {
                    self.strike_until(Fault::LoadFailed, self.unreadable_until);
                    None
                };
                News::Page {
                    incarnation,
                    shards,
                    after,
                    rows,
                }
            }
            StoreOp::Inbox(incarnation, shards) => {
                let rows = readable.then(|| now(self.store.inbox(shards, 512)).ok());
                News::Inbox(incarnation, rows.flatten())
            }
            StoreOp::Release(incarnation, shards) => self.released(incarnation, shards),
            StoreOp::Commit(batch) => match self.commit(node, &batch) {
                Some(outcome) => News::Driver(
                    Some(batch.incarnation),
                    Event::Committed(batch.number, outcome),
                ),
                None => return,
            },
            StoreOp::Resolve(incarnation, number) => {
                let outcome = now(self.store.committed(incarnation, number)).ok();
                News::Driver(Some(incarnation), Event::Resolved(number, outcome))
            }
            StoreOp::Inputs(task) => match self.read_inputs(task, readable) {
                Some(news) => news,
                None => return,
            },
            StoreOp::Children(incarnation, account) => {
                let found = readable.then(|| now(self.store.children(account, CHILDREN)).ok());
                let found = match self.plant {
                    Some(Plant::ForgetChildren) => Some(Vec::new()),
                    Some(_) | None => found.flatten(),
                };
                News::Driver(Some(incarnation), Event::Children(account, found))
            }
            StoreOp::Read(incarnation, number, query) => {
                let answer = if readable {
                    query.read(&self.store).now_or_never().and_then(Result::ok)
                } else {
                    None
                };
                News::Driver(Some(incarnation), Event::Read(number, answer))
            }
            StoreOp::Load(incarnation, asked) => {
                let rows = if readable {
                    now(self.store.load(asked.clone())).ok()
                } else {
                    self.strike_until(Fault::LoadFailed, self.unreadable_until);
                    None
                };
                let event = match rows {
                    Some(rows) => Event::Loaded { asked, rows },
                    None => Event::LoadFailed(asked),
                };
                News::Driver(Some(incarnation), event)
            }
        };
        let at = self.now + self.store_latency();
        self.agenda.push(at, Occurrence::Tell { node, boot, news });
    }

    pub(crate) fn leave(&mut self, incarnation: IncarnationId) {
        self.model
            .owners
            .retain(|_, (owner, _)| *owner != incarnation);
        if let Err(error) = now(self.store.leave(incarnation)) {
            self.broken("the store answers", error.to_string());
        }
        self.unsettle();
    }

    fn acquire(&mut self, node: usize, incarnation: IncarnationId, shards: Vec<Shard>) -> News {
        let leases = now(self.store.acquire(incarnation, shards));
        for lease in leases.iter().flatten() {
            self.note(|| format!("{:?} leased to {incarnation}", lease.shard));
            if let Err(broken) = self
                .model
                .granted(lease.shard, incarnation, lease.epoch, self.now)
            {
                self.broken(broken.0, broken.1);
            }
        }
        self.unsettle();
        let table = self.subscription_table();
        let sources = now(self.store.sources()).unwrap_or_default();
        let names = self.nodes[node].driver.budget_names();
        let clock = self.node_now(node);
        let spent = self.at_present(|store| now(store.budgets(clock, names.clone())));
        let budgets = (names, spent.unwrap_or_default());
        let taken = leases.map(|leases| (leases, table, sources, budgets));
        News::Leased(incarnation, taken)
    }

    fn released(&mut self, incarnation: IncarnationId, shards: Vec<Shard>) -> News {
        for shard in &shards {
            if self.model.owns(incarnation, *shard) {
                self.model.owners.remove(shard);
            }
        }
        if let Err(error) = now(self.store.release(incarnation, shards)) {
            self.broken("the store answers", error.to_string());
        }
        self.report.strike(Fault::ShardHandover);
        self.unsettle();
        News::Released(incarnation)
    }

    /// Returns what the node hears, unless it dies first.
    fn commit(&mut self, node: usize, batch: &Arc<Batch>) -> Option<Result<Spent, CommitError>> {
        let fate = self.nodes[node].fate.take();
        let lost = |reason: &str| Some(Err(CommitError::Unknown(reason.to_owned())));
        if self.now < self.refused_until {
            self.strike_until(Fault::CommitRefused, self.refused_until);
            return Some(Err(CommitError::NotCommitted(
                "the disk is full".to_owned(),
            )));
        }
        let back_in = self.dice.between(SECOND / 2, 120 * SECOND);
        match fate {
            Some(fault @ Fault::CrashBeforeCommit) => {
                self.report.strike(fault);
                self.crash(node, back_in);
                return None;
            }
            Some(fault @ Fault::CommitUnknownLost) => {
                self.report.strike(fault);
                if self.plant == Some(Plant::ReuseUnknown) {
                    return Some(Ok(Spent::default()));
                }
                return lost("the connection broke");
            }
            Some(_) | None => {}
        }
        let outcome = self.write(batch);
        match fate {
            Some(fault @ Fault::CrashAfterCommit) => {
                self.report.strike(fault);
                self.crash(node, back_in);
                None
            }
            Some(fault @ Fault::CommitUnknownCommitted) if outcome.is_ok() => {
                self.report.strike(fault);
                lost("the connection broke")
            }
            Some(_) | None => Some(outcome),
        }
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Spent, CommitError> {
        let planted = self.planted(batch);
        let outcome = self.at_present(|store| now(store.commit(planted)));
        let said = match &outcome {
            Ok(_) => "durable".to_owned(),
            Err(error) => error.to_string(),
        };
        self.note(|| {
            format!(
                "batch {} of {}: {} writes, {said}",
                batch.number,
                batch.incarnation,
                batch.writes.len()
            )
        });
        if let Ok(spent) = &outcome {
            self.granted(batch, spent);
            let rules = Rules {
                sources: &self.sources,
                tenants: &self.tenants,
            };
            if let Err(broken) = self.model.commit(batch, rules) {
                self.broken(broken.0, broken.1);
            }
            if let Err(broken) = self.dispatched(batch) {
                self.broken(broken.0, broken.1);
            }
            self.questions_posed(batch);
            self.log_grew();
            for write in &batch.writes {
                if let Write::Source(write) = write {
                    self.sources_set.insert(write.id, self.now);
                    // The other nodes read it when they renew.
                    self.unsettle();
                }
                if let Write::Account(write) = write
                    && let (Before::New, Some(next)) = (write.before, &write.next)
                {
                    self.introduce(next.tenant, next.id);
                }
            }
        }
        outcome
    }

    /// Notes what was spent of budgets, used or not.
    fn granted(&mut self, batch: &Batch, spent: &Spent) {
        let spends = &batch.spends;
        self.check_blocks(spends);
        self.check_figures(batch, &spent.granted);
        if !spends.is_empty() {
            self.note(|| {
                let wanted: Vec<u32> = spends.asks.iter().map(|ask| ask.calls).collect();
                format!("it spends {:?} of {wanted:?}", spent.granted)
            });
        }
        for (ask, calls) in spends.asks.iter().zip(&spent.granted) {
            let names = ask.of.iter().filter_map(|place| spends.budgets.get(*place));
            for (name, _) in names {
                let (source, of_all) = match name.as_str().strip_suffix(" all *") {
                    Some(source) => (source, true),
                    None => (name.as_str(), false),
                };
                let Ok(source) = source.parse() else { continue };
                let spent = if of_all {
                    &mut self.spent_of_all
                } else {
                    &mut self.spent
                };
                let spent = spent.entry(Lane::source(&source)).or_default();
                spent.extend((0..*calls).map(|_| self.now));
                while spent.front().is_some_and(|at| *at < self.now - 2 * DAY) {
                    spent.pop_front();
                }
            }
        }
    }

    fn questions_posed(&mut self, batch: &Batch) {
        for write in &batch.writes {
            let Write::Connection(write) = write else {
                continue;
            };
            self.bank.open(write.id, self.now, &mut self.dice);
            for interaction in &write.interactions {
                if let InteractionWrite::Open { id, .. } = interaction {
                    self.posed(write.id, *id);
                }
            }
        }
    }

    /// Spoils a batch by the bug that is switched on.
    fn planted(&self, batch: &Arc<Batch>) -> Arc<Batch> {
        let mut spoilt = Batch::clone(batch);
        match self.plant {
            Some(Plant::LosePayload) => {
                for write in &mut spoilt.writes {
                    if let Write::Collection(write) = write {
                        write.payload = None;
                    }
                }
            }
            Some(Plant::DoubleAccept) => spoilt.keys.clear(),
            Some(Plant::EraseNothing) => {
                spoilt.writes.retain(|write| write.next_version().is_some())
            }
            Some(Plant::SwallowLog) if batch.number.is_multiple_of(5) => {
                spoilt.entries.pop();
            }
            Some(Plant::SkipFence) => {
                for (shard, epoch) in &mut spoilt.epochs {
                    if let Some((owner, current)) = self.model.owners.get(shard) {
                        spoilt.incarnation = *owner;
                        *epoch = *current;
                    }
                }
            }
            Some(Plant::ForgetRows) => spoilt.dispatch.deliveries.clear(),
            Some(Plant::SpendAlone) => {
                for (name, _) in &mut spoilt.spends.budgets {
                    *name = BudgetName::new(format!("{name}-{}", batch.incarnation));
                }
            }
            Some(Plant::SpendOnStranger) => {
                let links = self.model.links.by_id.keys();
                let links: Vec<ConnectionId> = links.copied().collect();
                spoil::on_strangers(&mut spoilt.spends.budgets, &links);
            }
            Some(Plant::CountTooEarly) => {
                for ask in &mut spoilt.spends.asks {
                    ask.good_for = Duration::ZERO;
                }
            }
            Some(_) | None => return Arc::clone(batch),
        }
        Arc::new(spoilt)
    }

    fn store_latency(&mut self) -> i64 {
        if self.dice.permille(self.slow) {
            self.dice.between(100, 2_500)
        } else {
            self.dice.between(1, 8)
        }
    }
}

/// Connections of an account that are deleted together; few, so that it takes several rounds.
const CHILDREN: usize = 3;

/// Takes the answer of a store whose futures are ready at once.
pub(crate) fn now<T>(answer: BoxFuture<'_, T>) -> T {
    answer
        .now_or_never()
        .expect("the memory store answers at once")
}
