//! Connections: how their attempts begin, what they report, and what ends them.

use wellspring_core::connection::{Connection, Input, New, Step as ConnectionStep, Wakeup};
use wellspring_core::{
    CallResult, ConnectionId, ErrorClass, FetchId, InteractionId, Lane, TenantId, Timestamp,
    Unclassified, connection,
};

use super::collection::verdict;
use super::load::LOAD_PAUSE;
use super::{
    Action, Answer, Command, Driver, EffectId, Entry, Flight, Held, Origin, Phase, Place, Request,
    Resident, Slot, Step, Timer, Waiting, Wish,
};
use crate::{
    Aggregate, BUDGET_SPENT, Before, ConnectionWrite, Loaded, Record, Report, RunOrder, RunResult,
    Write,
};

impl<T> Driver<T> {
    /// Puts a durable connection where its next wake-up belongs.
    pub(super) fn connection_settled(
        &mut self,
        now: Timestamp,
        connection: Box<Connection>,
        flight: Option<Flight>,
        slot: Option<Slot>,
    ) {
        let id = Aggregate::Connection(connection.id);
        if let Some(slot) = slot {
            // What was reserved with the slot has been spent, or never had to be.
            if self.is_draining(id) || connection.fetch().is_none() {
                self.free_slot(slot.lane, slot.probe);
            } else {
                self.fly(now, connection, slot);
                return;
            }
        }
        if flight.is_some() {
            let held = Held::Connection {
                connection,
                flight,
                slot: None,
            };
            let phase = Phase::Flying;
            self.residents.insert(id, Resident { held, phase });
            return;
        }
        let (due, lane) = match connection.next_wakeup() {
            None => return,
            Some(Wakeup::Alarm(at)) => (at, Lane::ALARM),
            Some(Wakeup::Call(at, lane)) => (at, lane),
        };
        let line = self.line(connection.tenant, connection.is_awaited());
        let since = due;
        if due > now || lane == Lane::ALARM {
            let place = Place { lane, line, since };
            self.wheel.push(Timer::new(due, id, place));
            return;
        }
        if self.is_draining(id) {
            return;
        }
        if self.gate(lane).queue.is_empty() && self.has_slot(now, lane) {
            let probe = self.take_slot(lane);
            self.begin(now, connection, Slot { lane, probe, due });
        } else {
            self.gate(lane).queue.insert(Entry { line, since, id });
            self.pump(now, lane);
        }
    }

    pub(super) fn is_draining(&self, id: Aggregate) -> bool {
        let owned = self.leases.get(&id.shard());
        owned.is_none_or(|owned| owned.draining)
    }

    /// Begins an attempt, a slot being taken: after a step where the state changes with it.
    pub(super) fn begin(&mut self, now: Timestamp, connection: Box<Connection>, slot: Slot) {
        let lost = matches!(connection.state, connection::State::Uploading { .. });
        let input = if connection.is_attempt_due() {
            None
        } else if connection.fetch().is_some() && is_running(&connection) {
            lost.then_some(Input::AttemptLost)
        } else {
            let fetch = FetchId::mint_in(now, connection.id.shard(), &mut self.rng);
            Some(Input::Due { fetch })
        };
        let Some(input) = input else {
            self.fly_spent(now, connection, slot);
            return;
        };
        let begun = Begun {
            flight: None,
            slot: Some(slot),
        };
        if let Err(rejected) = self.step_connection(now, connection, input, begun, Told::default())
        {
            tracing::error!(%rejected, "Due fetch fits no state");
            self.return_slot(slot.lane, slot.probe);
        }
    }

    /// Makes an attempt that no step starts, once it is spent where its source has a budget.
    fn fly_spent(&mut self, now: Timestamp, connection: Box<Connection>, slot: Slot) {
        let id = Aggregate::Connection(connection.id);
        let Some(wanted) = self.wanted(slot.lane, id, slot.probe) else {
            self.unreserve(slot.lane);
            self.fly(now, connection, slot);
            return;
        };
        let tenant = connection.tenant;
        let held = Held::Connection {
            connection,
            flight: None,
            slot: Some(slot),
        };
        let phase = Phase::Committing;
        self.residents.insert(id, Resident { held, phase });
        self.want(now, tenant, wanted);
    }

    /// Makes the attempt of a connection whose state allows it.
    fn fly(&mut self, now: Timestamp, connection: Box<Connection>, slot: Slot) {
        let Some(fetch) = connection.fetch() else {
            self.free_slot(slot.lane, slot.probe);
            return;
        };
        let id = Aggregate::Connection(connection.id);
        self.calls += 1;
        let effect = EffectId {
            incarnation: self.incarnation,
            number: self.calls,
            id,
            version: connection.version,
            lane: slot.lane,
            probe: slot.probe,
            started: now,
            due: slot.due,
        };
        let order = RunOrder {
            source: connection.source.clone(),
            tenant: connection.tenant,
            account: connection.account,
            connection: connection.id,
            fetch: fetch.id,
            attempt: fetch.attempts.saturating_add(1),
            present: fetch.present || connection.repair.is_some(),
            start_date: connection.config.start_date.clone(),
            lag: now.since(slot.due),
            counted: self.has_limits(slot.lane),
        };
        self.counters.attempts += 1;
        let tenant = connection.tenant;
        self.used(now, slot.lane, tenant);
        self.flights.insert(effect.number);
        let held = Held::Connection {
            connection,
            flight: Some(Flight { effect }),
            slot: None,
        };
        let phase = Phase::Flying;
        self.residents.insert(id, Resident { held, phase });
        self.actions.push(Action::Run(effect, order));
    }

    /// An attempt has ended.
    pub(super) fn ran(&mut self, now: Timestamp, effect: EffectId, result: RunResult) {
        if effect.incarnation != self.incarnation || !self.flights.contains(&effect.number) {
            // Whoever asked something was over with the asking.
            self.counters.stale_results += u64::from(result != RunResult::Asked);
            return;
        }
        if self.is_committing(effect.id) {
            self.wait(effect.id, Waiting::Ran(effect, result));
            return;
        }
        self.flights.remove(&effect.number);
        let started = effect.started;
        let mut told = Told::default();
        let (input, call) = match result {
            RunResult::Finished {
                partial,
                unclassified,
            } => {
                told.unclassified = unclassified;
                self.served(effect.lane);
                (Input::Fetched { started, partial }, Some(CallResult::Up))
            }
            RunResult::Failed {
                error,
                retry_at,
                action,
                unclassified,
            } => {
                told.unclassified = unclassified;
                self.counters.attempts_failed += 1;
                self.met(now, effect.lane, &error, retry_at);
                let is_ours = error.code == BUDGET_SPENT;
                if error.class == ErrorClass::RateLimitExceeded && !is_ours {
                    self.throttled(now, effect, retry_at);
                }
                let call = verdict(&error);
                let input = Input::FetchFailed {
                    started,
                    error,
                    retry_at,
                    follow: action,
                    probe: effect.probe,
                };
                (input, call)
            }
            RunResult::NotBegun => {
                self.not_begun(now, effect);
                return;
            }
            RunResult::Asked => {
                // It says that it asked, and nothing was reported.
                let error = wellspring_core::Error {
                    class: ErrorClass::InternalError,
                    code: "nothing_asked".to_owned(),
                    message: "the connector ended without an outcome".to_owned(),
                };
                let input = Input::FetchFailed {
                    started,
                    error,
                    retry_at: None,
                    follow: wellspring_core::Action::Default,
                    probe: effect.probe,
                };
                (input, Some(CallResult::Up))
            }
        };
        self.end_call(now, effect.lane, effect.probe, call);
        if let Some(connection) = self.take_connection(effect.id) {
            let outcome = self.step_connection(now, connection, input, Begun::default(), told);
            if let Err(rejected) = outcome {
                tracing::error!(%rejected, "Result of an attempt fits no state");
            }
        }
        self.pump_starved(now);
        self.pump(now, effect.lane);
    }

    /// Nothing was called, for what the attempt begins with could not be read: it begins later.
    fn not_begun(&mut self, now: Timestamp, effect: EffectId) {
        self.free_slot(effect.lane, effect.probe);
        self.pause(now, effect.lane, now.after(LOAD_PAUSE));
        if let Some(connection) = self.take_connection(effect.id) {
            self.connection_settled(now, connection, None, None);
        }
        self.pump_freed(now);
    }

    /// An attempt reports something and waits until it is durable.
    pub(super) fn reported(&mut self, now: Timestamp, effect: EffectId, report: Report, caller: T) {
        if effect.incarnation != self.incarnation || !self.flights.contains(&effect.number) {
            self.counters.stale_results += 1;
            self.actions.push(Action::Reply(caller, Answer::Ended));
            return;
        }
        if self.is_committing(effect.id) {
            self.wait(effect.id, Waiting::Reported(effect, report, caller));
            return;
        }
        let Some(connection) = self.take_connection(effect.id) else {
            self.actions.push(Action::Reply(caller, Answer::Ended));
            return;
        };
        let mut told = Told {
            origin: Some(Origin::Caller(caller)),
            ..Told::default()
        };
        let mut asked = false;
        let input = match report {
            Report::Question { question, resume } => {
                asked = true;
                self.counters.questions += 1;
                Input::QuestionAsked {
                    started: effect.started,
                    question,
                    interaction: InteractionId::mint_in(now, connection.id.shard(), &mut self.rng),
                    resume,
                }
            }
            Report::Document(document) => {
                self.counters.documents += 1;
                Input::ItemsCame {
                    documents: vec![*document],
                    records: 0,
                }
            }
            Report::Records {
                stream,
                records,
                cursor,
            } => {
                let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
                told.cursors
                    .extend(cursor.map(|cursor| (stream.clone(), cursor)));
                told.records = records
                    .into_iter()
                    .map(|record| (stream.clone(), record))
                    .collect();
                Input::ItemsCame {
                    documents: Vec::new(),
                    records: count,
                }
            }
            Report::Checkpoint { stream, cursor } => {
                told.cursors.push((stream, cursor));
                Input::Checkpointed
            }
            Report::Credentials(credentials) => Input::CredentialsRotated(credentials),
        };
        let flight = (!asked).then_some(Flight { effect });
        if asked {
            self.flights.remove(&effect.number);
            self.end_call(now, effect.lane, effect.probe, Some(CallResult::Up));
        }
        let begun = Begun { flight, slot: None };
        if let Err(rejected) = self.step_connection(now, connection, input, begun, told) {
            tracing::error!(%rejected, "Report of an attempt fits no state");
        }
        if asked {
            self.pump_starved(now);
            self.pump(now, effect.lane);
        }
    }

    /// The time of a question has passed, or something of the connection is to be looked at again.
    pub(super) fn connection_alarm(&mut self, now: Timestamp, connection: Box<Connection>) {
        match connection.next_wakeup() {
            Some(Wakeup::Alarm(at)) if at <= now => {
                let input = Input::QuestionExpired;
                let outcome =
                    self.step_connection(now, connection, input, Begun::default(), Told::default());
                if let Err(rejected) = outcome {
                    tracing::error!(%rejected, "Alarm fits no state");
                }
            }
            Some(Wakeup::Alarm(_) | Wakeup::Call(..)) | None => {
                self.reschedule(now, Loaded::Connection(connection));
            }
        }
    }

    /// Makes a connection of an account that is known to be there.
    pub(super) fn connect(&mut self, now: Timestamp, command: Command<T>) {
        let Request::Connect {
            id,
            account,
            tenant,
            source,
            config,
            credentials,
            asked_in,
            actor,
        } = &command.request
        else {
            return;
        };
        let id = id.unwrap_or_else(|| ConnectionId::mint_in(now, account.shard(), &mut self.rng));
        let new = New {
            id,
            account: *account,
            tenant: *tenant,
            source: source.clone(),
            config: (**config).clone(),
            credentials: credentials.clone(),
            asked_in: *asked_in,
        };
        let policy = self.connection_policy(source, *tenant);
        let (tenant, actor) = (*tenant, *actor);
        let step = Connection::create(now, new, actor, &policy);
        let told = Told {
            command: Some(command),
            ..Told::default()
        };
        self.push_connection(now, (id, Before::New, tenant), step, Begun::default(), told);
    }

    /// Steps a connection by a command; gives it back where nothing changed.
    pub(super) fn apply_to_connection(
        &mut self,
        now: Timestamp,
        connection: Box<Connection>,
        flight: Option<Flight>,
        command: Command<T>,
    ) -> Option<Box<Connection>> {
        let Request::Connection {
            tenant,
            wish,
            actor,
            ..
        } = &command.request
        else {
            return Some(connection);
        };
        if connection.tenant != *tenant {
            self.settle(now, command, Answer::NotFound);
            return Some(connection);
        }
        let actor = *actor;
        let input = match wish.clone() {
            Wish::Fetch => Input::FetchAsked(actor),
            Wish::FetchIn(parent) => Input::FetchAskedIn(actor, parent),
            Wish::Answer {
                interaction,
                answer,
                hash,
                action,
            } => Input::QuestionAnswered {
                interaction,
                answer,
                hash,
                action,
                actor,
            },
            Wish::CancelQuestion(interaction) => Input::QuestionCancelled { interaction, actor },
            Wish::Credentials { credentials, from } => Input::CredentialsReplaced {
                credentials,
                from,
                actor,
            },
            Wish::Patch(patch) => Input::Patched(*patch, actor),
            Wish::Upload(document) => Input::Uploaded(document, actor),
            Wish::Delete => Input::DeleteAsked(actor),
            Wish::Alert(alert, wish) => Input::AlertAsked(alert, wish, actor),
        };
        let policy = self.connection_policy(&connection.source, connection.tenant);
        let (id, tenant, fetch) = (
            connection.id,
            connection.tenant,
            connection.fetch().map(|fetch| fetch.id),
        );
        let before = Before::Live(connection.version);
        match connection
            .clone()
            .handle(now, input, &policy, &mut self.rng)
        {
            Ok(step) => {
                let goes_on = step.next.as_ref().is_some_and(|next| {
                    fetch.is_some()
                        && next.fetch().map(|fetch| fetch.id) == fetch
                        && is_attempting(next)
                });
                let flight = match flight {
                    Some(flight) if !goes_on => {
                        self.abort(flight);
                        None
                    }
                    flight => flight,
                };
                let told = Told {
                    command: Some(command),
                    ..Told::default()
                };
                let begun = Begun { flight, slot: None };
                self.push_connection(now, (id, before, tenant), step, begun, told);
                None
            }
            Err(rejected) => {
                self.settle(now, command, Answer::Refused(rejected));
                Some(connection)
            }
        }
    }

    fn step_connection(
        &mut self,
        now: Timestamp,
        connection: Box<Connection>,
        input: Input,
        begun: Begun,
        told: Told<T>,
    ) -> Result<(), connection::Rejected> {
        let policy = self.connection_policy(&connection.source, connection.tenant);
        let at = (
            connection.id,
            Before::Live(connection.version),
            connection.tenant,
        );
        let step = connection.handle(now, input, &policy, &mut self.rng)?;
        self.push_connection(now, at, step, begun, told);
        Ok(())
    }

    fn push_connection(
        &mut self,
        now: Timestamp,
        (id, before, tenant): (ConnectionId, Before, TenantId),
        step: ConnectionStep,
        begun: Begun,
        told: Told<T>,
    ) {
        let aggregate = Aggregate::Connection(id);
        match &step.next {
            Some(next) => {
                let held = Held::Connection {
                    connection: Box::new(next.clone()),
                    flight: begun.flight,
                    slot: begun.slot,
                };
                let phase = Phase::Committing;
                self.residents.insert(aggregate, Resident { held, phase });
            }
            None => {
                self.erasing.insert(aggregate);
            }
        }
        let (key, origin) = self.key_and_origin(now, tenant, aggregate, told.command);
        let write = ConnectionWrite {
            id,
            before,
            next: step.next,
            fetch: step.fetch,
            attempt: step.attempt,
            interactions: step.interactions,
            secrets: step.secrets,
            documents: step.documents,
            alerts: step.alerts,
            records: told.records,
            cursors: told.cursors,
        };
        let wanted = begun
            .slot
            .and_then(|slot| self.wanted(slot.lane, aggregate, slot.probe));
        if let (Some(slot), None) = (begun.slot, &wanted) {
            self.unreserve(slot.lane);
        }
        self.pending.push_back(Step {
            write: Some(Write::Connection(Box::new(write))),
            tenant,
            at: now,
            changes: step.changes,
            told: Vec::new(),
            unclassified: told.unclassified,
            key,
            origin: origin.or(told.origin),
            wanted,
        });
    }

    /// Lets go of what an aggregate in memory holds of its lane.
    pub(super) fn land(&mut self, held: &Held) {
        let Held::Connection { flight, slot, .. } = held else {
            return;
        };
        if let Some(flight) = flight {
            self.abort(*flight);
        }
        if let Some(slot) = slot {
            self.return_slot(slot.lane, slot.probe);
        }
    }

    /// Ends an attempt that somebody has ended: nothing of it counts any more.
    fn abort(&mut self, flight: Flight) {
        let effect = flight.effect;
        if self.flights.remove(&effect.number) {
            self.free_slot(effect.lane, effect.probe);
            self.actions.push(Action::Abort(effect));
        }
    }

    fn is_committing(&self, id: Aggregate) -> bool {
        self.residents
            .get(&id)
            .is_some_and(|resident| resident.phase == Phase::Committing)
    }

    fn take_connection(&mut self, id: Aggregate) -> Option<Box<Connection>> {
        match self.residents.remove(&id)?.held {
            Held::Connection { connection, .. } => Some(connection),
            Held::Collection { .. } | Held::Account(_) | Held::Source(_) => None,
        }
    }

    fn connection_policy(
        &self,
        source: &wellspring_core::SourceName,
        tenant: TenantId,
    ) -> connection::Policy {
        let rules = self.tenants.by_id.get(&tenant).copied().unwrap_or_default();
        self.sources.connection_policy(source, rules)
    }
}

/// What goes on while a step is being written, or begins after it.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    flight: Option<Flight>,
    slot: Option<Slot>,
}

/// What comes with a step: who waits for it, and items.
#[derive(Debug)]
struct Told<T> {
    command: Option<Command<T>>,
    origin: Option<Origin<T>>,
    records: Vec<(String, Record)>,
    cursors: Vec<(String, String)>,
    unclassified: Option<Box<Unclassified>>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            command: None,
            origin: None,
            records: Vec::new(),
            cursors: Vec::new(),
            unclassified: None,
        }
    }
}

fn is_running(connection: &Connection) -> bool {
    connection.fetch().is_some_and(|fetch| fetch.running) && is_attempting(connection)
}

const fn is_attempting(connection: &Connection) -> bool {
    match &connection.state {
        connection::State::Connecting { .. } | connection::State::Uploading { .. } => true,
        connection::State::Created { .. }
        | connection::State::Waiting { .. }
        | connection::State::Retrying { .. }
        | connection::State::Manual { .. }
        | connection::State::Question { .. }
        | connection::State::Answered { .. }
        | connection::State::Error
        | connection::State::Disabled => false,
    }
}

/// Returns since when the lane's call is what the connection needs.
pub(super) fn due_since(connection: &Connection, now: Timestamp, lane: Lane) -> Option<Timestamp> {
    match connection.next_wakeup() {
        Some(Wakeup::Call(due, wanted)) => (due <= now && wanted == lane).then_some(due),
        Some(Wakeup::Alarm(_)) | None => None,
    }
}
