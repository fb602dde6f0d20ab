//! Attempts on connections: an imitated connector that tells its node what the pretend bank gives,
//! and goes on only when that is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use wellspring_core::connection::State;
use wellspring_core::document::{Document, Origin};
use wellspring_core::{ConnectionId, DocumentId, Error, ErrorClass};
use wellspring_engine::{
    Aggregate, Answer, EffectId, Event, Queries, Report, RunInputs, RunOrder, RunResult, Store,
};

use crate::agenda::{News, Occurrence, StoreOp};
use crate::bank::{Act, failed};
use crate::call::Call;
use crate::clock::{MINUTE, SECOND};
use crate::counted::Counted;
use crate::disk::now;
use crate::leave::Calling;
use crate::model::link::{Told, Word};
use crate::world::World;
use crate::{Fault, Plant};

/// An attempt under way in some node's process.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) node: usize,
    pub(crate) boot: u64,
    pub(crate) effect: EffectId,
    pub(crate) order: RunOrder,
    pub(crate) script: VecDeque<Act>,
    /// The call that it has asked for leave to make.
    pub(crate) calling: Option<Calling>,
    /// Whether it waits for the end of the world.
    hanging: bool,
    /// Whether its node has ended it, and it has not noticed yet.
    pub(crate) aborted: bool,
}

impl World {
    pub(crate) fn run_attempt(&mut self, node: usize, effect: EffectId, order: RunOrder) {
        self.note(|| {
            format!(
                "node {node} asks {} on {} v{}, attempt {}",
                order.source, order.connection, effect.version, order.attempt
            )
        });
        self.report.calls += 1;
        self.report.attempts += 1;
        if let Err(why) = self.may_attempt(node, &effect, &order) {
            return self.broken(
                "an attempt is what its row wants",
                format!("{why}: {effect:?} {order:?}"),
            );
        }
        let twin = self.flying.iter().find(|call| {
            call.effect.id == effect.id
                && (call.effect.incarnation == effect.incarnation
                    || self.model.owns(call.effect.incarnation, effect.id.shard()))
        });
        if let Some(twin) = twin {
            let seen = format!("{:?} and {effect:?}", twin.effect);
            return self.broken("one live attempt per connection", seen);
        }
        let Some(provider) = self
            .providers
            .iter()
            .find(|one| one.source.name == order.source)
        else {
            return self.broken("calls go to known sources", format!("{effect:?}"));
        };
        let concurrency = provider.source.concurrency;
        let budget = Arc::clone(&provider.source.budget);
        let down = provider.down;
        self.check_load(node, effect, concurrency, down);
        self.check_budget(Counted::of(effect.lane), self.now, &budget);
        self.check_window(node, &effect);
        let boot = self.nodes[node].boot;
        self.tasks += 1;
        let attempt = Attempt {
            node,
            boot,
            effect,
            order,
            script: VecDeque::new(),
            calling: None,
            hanging: false,
            aborted: false,
        };
        self.attempts.insert(self.tasks, attempt);
        self.ask_store(node, StoreOp::Inputs(self.tasks));
        if self.nodes[node].stalls {
            self.stall(node);
        }
    }

    /// Checks that the attempt is what the durable row wants.
    fn may_attempt(&self, node: usize, effect: &EffectId, order: &RunOrder) -> Result<(), String> {
        let id = order.connection;
        let owner = self.model.owns(effect.incarnation, id.shard());
        let Some(link) = self.model.links.by_id.get(&id) else {
            let gone = self.model.links.gone.contains(&id) && !owner;
            return gone
                .then_some(())
                .ok_or_else(|| "it is not there".to_owned());
        };
        let connection = &link.connection;
        if connection.version != effect.version {
            let stale = connection.version > effect.version && !owner;
            let otherwise = || format!("its version is {}", connection.version);
            return stale.then_some(()).ok_or_else(otherwise);
        }
        let (State::Connecting { fetch, due } | State::Uploading { fetch, due }) =
            &connection.state
        else {
            return Err(format!("it is {}", connection.state()));
        };
        let fits = order.fetch == fetch.id
            && order.attempt == fetch.attempts + 1
            && order.present == (fetch.present || connection.repair.is_some())
            && (order.tenant, order.account) == (connection.tenant, connection.account)
            && order.source == connection.source
            && order.start_date == connection.config.start_date;
        // A clock that went back in between makes it early.
        let early = *due > effect.started && self.nodes[node].troubled_at < self.now;
        if !fits || early {
            return Err(format!("it is {connection:?}"));
        }
        Ok(())
    }

    /// What the attempt begins with is read.
    pub(crate) fn read_inputs(&mut self, task: u64, readable: bool) -> Option<News> {
        let attempt = self.attempts.get(&task)?;
        let (id, aborted) = (attempt.order.connection, attempt.aborted);
        let (owner, version) = (
            self.model.owns(attempt.effect.incarnation, id.shard()),
            attempt.effect.version,
        );
        if !readable {
            self.strike_until(Fault::LoadFailed, self.unreadable_until);
            return Some(News::Inputs(task, None));
        }
        let inputs = match now(self.store.run_inputs(id)) {
            Ok(inputs) => inputs,
            Err(error) => {
                self.broken("the store answers", error.to_string());
                return None;
            }
        };
        let link = self.model.links.by_id.get(&id);
        let current = link.is_some_and(|link| link.connection.version >= version);
        if owner && current && !aborted && self.model.links.inputs(id).as_ref() != Some(&inputs) {
            let seen = format!("{id}: {inputs:?}, not {:?}", self.model.links.inputs(id));
            self.broken("an attempt begins with what is kept", seen);
        }
        Some(News::Inputs(task, Some(inputs)))
    }

    pub(crate) fn inputs_read(&mut self, task: u64, inputs: Option<RunInputs>) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let (node, order) = (attempt.node, attempt.order.clone());
        let Some(inputs) = inputs else {
            return self.ends(task, &RunResult::NotBegun);
        };
        let clock = self.node_now(node);
        let Some(provider) = self
            .providers
            .iter()
            .find(|one| one.source.name == order.source)
        else {
            return;
        };
        let at = (self.now, clock);
        let script = self
            .bank
            .script(at, provider, &order, &inputs, &mut self.dice);
        let word = script.back().cloned();
        if let Some(attempt) = self.attempts.get_mut(&task) {
            attempt.script = script;
            let lane = attempt.effect.lane;
            if let Some(Act::End(RunResult::Failed {
                retry_at: Some(until),
                ..
            })) = word
            {
                self.says(lane, clock, until);
            }
        }
        self.act(task);
    }

    /// The connector does the next thing.
    pub(crate) fn act(&mut self, task: u64) {
        let Some(attempt) = self.attempts.get_mut(&task) else {
            return;
        };
        let node = attempt.node;
        if self.nodes[node].paused_until > self.now {
            let at = self.nodes[node].paused_until;
            return self.agenda.push(at, Occurrence::Act(task));
        }
        if attempt.calling.is_some() {
            return self.ask_leave(task);
        }
        let Some(act) = attempt.script.pop_front() else {
            return self.ends(task, &RunResult::Asked);
        };
        match act {
            Act::Call(endpoint) => self.call(task, endpoint),
            Act::Rest(millis) => self.agenda.push(self.now + millis, Occurrence::Act(task)),
            Act::Hang => attempt.hanging = true,
            Act::End(result) => self.ends(task, &result),
            Act::Ask(question, resume) => {
                attempt.script.clear();
                self.tell_node(task, Report::Question { question, resume });
            }
            Act::Document(number) => self.find_document(task, number),
            Act::Fetched(number) => self.keep_document(task, number),
            Act::Records(stream, records, cursor) => {
                let report = Report::Records {
                    stream,
                    records,
                    cursor,
                };
                self.tell_node(task, report);
            }
            Act::Checkpoint(stream, cursor) => {
                self.tell_node(task, Report::Checkpoint { stream, cursor });
            }
            Act::Rotate(credentials) => self.tell_node(task, Report::Credentials(credentials)),
        }
    }

    /// Fetches a document, unless it is here already.
    fn find_document(&mut self, task: u64, number: u32) {
        let Some(attempt) = self.attempts.get_mut(&task) else {
            return;
        };
        let (source_id, hash) = identity(number);
        let known =
            now(self
                .store
                .known_document(attempt.order.connection, Some(source_id), Some(hash)));
        let known = known.ok().flatten().is_some() && self.plant != Some(Plant::DocumentTwice);
        if known {
            return self.agenda.push(self.now + 1, Occurrence::Act(task));
        }
        attempt.script.push_front(Act::Fetched(number));
        self.call(task, "document");
    }

    /// Tells of a document.
    fn keep_document(&mut self, task: u64, number: u32) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let order = &attempt.order;
        let connection = order.connection;
        let (source_id, hash) = identity(number);
        let created_at = self.node_now(attempt.node);
        let shard = connection.shard();
        let document = Document {
            id: DocumentId::mint_in(created_at, shard, self.dice.rng()),
            tenant: order.tenant,
            account: order.account,
            connection,
            fetch: Some(order.fetch),
            origin: Origin::Fetched,
            created_at,
            source_id: Some(source_id),
            hash,
            size: u64::from(number) + 1,
            kind: "statement".to_owned(),
            name: format!("statement-{number}.pdf"),
            media_type: "application/pdf".to_owned(),
            date: None,
            metadata: std::collections::BTreeMap::new(),
        };
        self.tell_node(task, Report::Document(Box::new(document)));
    }

    /// Reports something and waits until it is durable.
    fn tell_node(&mut self, task: u64, report: Report) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let (node, boot, effect) = (attempt.node, attempt.boot, attempt.effect);
        self.remember(task, Word::Report(report.clone()));
        let caller = self.callers.number();
        self.reports.insert(caller, task);
        let late = if self.spend(Fault::ReportDelayed) {
            self.dice.between(SECOND, 3 * MINUTE)
        } else {
            self.dice.between(0, 3)
        };
        let event = Event::Reported(effect, report, caller);
        let news = News::Driver(None, event);
        self.agenda
            .push(self.now + late, Occurrence::Tell { node, boot, news });
    }

    /// The attempt is over.
    pub(crate) fn ends(&mut self, task: u64, result: &RunResult) {
        if !matches!(result, RunResult::Asked | RunResult::NotBegun) {
            self.remember(task, Word::Ended(result.clone()));
        }
        let Some(attempt) = self.attempts.remove(&task) else {
            return;
        };
        let (node, boot, effect) = (attempt.node, attempt.boot, attempt.effect);
        if self.calm && matches!(result, RunResult::Finished { .. }) {
            self.served.insert(attempt.order.connection);
        }
        self.note(|| format!("attempt on {} ends: {result:?}", attempt.order.connection));
        if self.plant == Some(Plant::DropResult) && self.dice.permille(20) {
            return;
        }
        let mut at = vec![self.now + self.dice.between(0, 3)];
        if self.spend(Fault::ResponseDuplicated) {
            at.push(self.now + self.dice.between(0, 4 * SECOND));
        }
        for at in at {
            let news = News::Driver(None, Event::Ran(effect, result.clone()));
            self.agenda.push(at, Occurrence::Tell { node, boot, news });
        }
    }

    /// Notes for the model what an attempt tells.
    fn remember(&mut self, task: u64, word: Word) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let told = Told {
            incarnation: attempt.effect.incarnation,
            number: attempt.effect.number,
            started: attempt.effect.started,
            probe: attempt.effect.probe,
            fetch: attempt.order.fetch,
            attempt: attempt.order.attempt,
            word,
            // Nothing of an attempt counts that its node has ended.
            used: attempt.aborted,
        };
        self.model.links.tell(attempt.order.connection, told);
    }

    /// The node answers a report.
    pub(crate) fn report_answered(&mut self, task: u64, answer: &Answer) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        if attempt.calling.is_some() {
            if let Some(leave) = self.leave_told(task, answer) {
                return self.leave_heard(task, leave);
            }
        } else if matches!(answer, Answer::Done(_)) {
            let at = self.now + self.dice.between(1, 20);
            return self.agenda.push(at, Occurrence::Act(task));
        }
        let Some(attempt) = self.attempts.get_mut(&task) else {
            return;
        };
        attempt.aborted = true;
        let error = Error {
            class: ErrorClass::ConnectionFailure,
            code: "ended".to_owned(),
            message: "the fetch is over".to_owned(),
        };
        let result = RunResult::Failed {
            error,
            retry_at: None,
            action: wellspring_core::Action::Default,
            unclassified: None,
        };
        self.ends(task, &result);
    }

    /// The node ends an attempt; its task may not notice at once.
    pub(crate) fn abort(&mut self, node: usize, effect: EffectId) {
        self.note(|| format!("node {node} ends the attempt on {}", effect.id));
        self.report.strike(Fault::AttemptEnded);
        self.flying.retain(|call| call.effect != effect);
        // It tells the breaker nothing.
        self.misled(&effect);
        if let Aggregate::Connection(id) = effect.id {
            self.model
                .links
                .fence(id, effect.incarnation, effect.number);
            self.ended_at.insert(id, self.now);
        }
        let lingers = self.dice.permille(400) || self.plant == Some(Plant::StaleIsCurrent);
        let task = self
            .attempts
            .iter_mut()
            .find(|(_, one)| one.effect == effect);
        if let Some((task, attempt)) = task {
            attempt.aborted = true;
            let task = *task;
            if !lingers || attempt.hanging {
                self.attempts.remove(&task);
            }
        }
    }

    /// The tasks of a process or an incarnation are gone.
    pub(crate) fn attempts_lost(&mut self, lost: impl Fn(&Attempt) -> bool) {
        self.attempts.retain(|_, attempt| !lost(attempt));
    }

    /// The bank lets go of those who wait for ever.
    pub(crate) fn end_hanging(&mut self) {
        let hanging = self.attempts.iter().filter(|(_, one)| one.hanging);
        let tasks: Vec<u64> = hanging.map(|(task, _)| *task).collect();
        for task in tasks {
            let result = failed(ErrorClass::ConnectionFailure, "timeout", None);
            self.ends(task, &result);
        }
    }

    /// The planted bug: what an ended attempt tells is taken for the word of the present one.
    pub(crate) fn mistaken(&self, effect: EffectId) -> EffectId {
        if self.plant != Some(Plant::StaleIsCurrent) {
            return effect;
        }
        let present = self.flying.iter().find(|call: &&Call| {
            call.effect.id == effect.id && call.effect.incarnation == effect.incarnation
        });
        present.map_or(effect, |call| call.effect)
    }
}

/// Returns the bank's own id of a document, and the hash of its bytes.
fn identity(number: u32) -> (String, [u8; 32]) {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    (format!("doc-{number}"), hash)
}

/// Returns the connection that an effect is for.
pub(crate) const fn connection_of(effect: &EffectId) -> Option<ConnectionId> {
    match effect.id {
        Aggregate::Connection(id) => Some(id),
        Aggregate::Collection(_) | Aggregate::Account(_) | Aggregate::Source(_) => None,
    }
}
