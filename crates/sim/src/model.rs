//! The reference model: what the image has to hold, told from the batches that became durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wellspring_core::{
    Cause, Change, Collection, CollectionId, CollectionStatus, Error, Facts, IncarnationId, Kind,
    Shard, SourceId, State, Subject, TenantId, Timestamp, Verb,
};
use wellspring_engine::{Aggregate, Batch, Before, CollectionWrite, DeliverOrder, Write};

use crate::caller::intent_of;

pub(crate) mod fares;
pub(crate) mod link;
mod source;
mod told;
mod transition;

pub(crate) use link::{Links, Rules};
pub(crate) use told::Told;

/// One collection as it has to be in the image.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) collection: Collection,
    pub(crate) payload: Option<Bytes>,
    /// The versions at which it was resumed.
    resumes: Vec<u32>,
}

/// One call and how it ended, as the outside saw it.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) fetch: bool,
    pub(crate) started: Timestamp,
    pub(crate) probe: bool,
    pub(crate) error: Option<Error>,
    pub(crate) gone: bool,
    pub(crate) payload: Option<Bytes>,
}

/// An entry of the log, as far as readers can check it.
pub(crate) type Said = (TenantId, String);

/// A broken invariant: which, and what was seen.
pub(crate) type Broken = (&'static str, String);

/// Everything that is durable, and what was seen outside.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) rows: BTreeMap<CollectionId, Row>,
    pub(crate) erased: BTreeSet<CollectionId>,
    pub(crate) swept: BTreeSet<CollectionId>,
    /// Who was last granted each shard, and in which epoch.
    pub(crate) owners: BTreeMap<Shard, (IncarnationId, u64)>,
    pub(crate) granted_at: BTreeMap<Shard, i64>,
    /// What was promised by way of an inbox, and when.
    pub(crate) posted: BTreeMap<Aggregate, i64>,
    pub(crate) to_erase: BTreeSet<Aggregate>,
    /// Accounts and connections.
    pub(crate) links: Links,
    /// What is kept of sources.
    pub(crate) sources: source::Sources,
    /// How fetches ended.
    pub(crate) fares: fares::Fares,
    /// What people have to be told, and were.
    pub(crate) told: Told,
    pub(crate) log: BTreeMap<(Shard, u64), Said>,
    last_seq: BTreeMap<Shard, u64>,
    statuses: BTreeMap<CollectionId, CollectionStatus>,
    intents: BTreeMap<u64, CollectionId>,
    /// Intents that came with a key, which must not become two collections.
    pub(crate) keyed: BTreeSet<u64>,
    calls: BTreeMap<(CollectionId, u32), Vec<Past>>,
    messages: BTreeMap<(CollectionId, u16), (Kind, Bytes)>,
    successes: BTreeMap<(CollectionId, usize), u16>,
    /// How often collections ended delivered, and failed.
    pub(crate) ended: [u64; 2],
}

impl Model {
    pub(crate) fn granted(
        &mut self,
        shard: Shard,
        incarnation: IncarnationId,
        epoch: u64,
        at: i64,
    ) -> Result<(), Broken> {
        self.granted_at.insert(shard, at);
        let last = self.owners.insert(shard, (incarnation, epoch));
        if last.is_some_and(|(_, last)| last >= epoch) {
            return Err((
                "epochs of a shard only grow",
                format!("{shard:?} at {epoch}"),
            ));
        }
        Ok(())
    }

    pub(crate) fn owns(&self, incarnation: IncarnationId, shard: Shard) -> bool {
        self.owners
            .get(&shard)
            .is_some_and(|(owner, _)| *owner == incarnation)
    }

    /// Takes in a batch that the store says is durable.
    pub(crate) fn commit(&mut self, batch: &Batch, rules: Rules<'_>) -> Result<(), Broken> {
        for (shard, epoch) in &batch.epochs {
            if self.owners.get(shard) != Some(&(batch.incarnation, *epoch)) {
                return Err((
                    "only a shard's owner commits",
                    format!("{shard:?} by {}", batch.incarnation),
                ));
            }
        }
        let mut said: BTreeMap<Aggregate, Vec<(Timestamp, &Change)>> = BTreeMap::new();
        let mut heard: BTreeMap<SourceId, Vec<(Timestamp, TenantId, &Change)>> = BTreeMap::new();
        for entry in &batch.entries {
            if let Some(source) = source_of(&entry.change) {
                let heard = heard.entry(source).or_default();
                heard.push((entry.at, entry.tenant, &entry.change));
                continue;
            }
            let Some(about) = aggregate_of(&entry.change) else {
                let path = entry.change.subject.to_string();
                return Err(("every entry belongs to a step", path));
            };
            said.entry(about)
                .or_default()
                .push((entry.at, &entry.change));
        }
        for write in &batch.writes {
            let said = said.remove(&write.id()).unwrap_or_default();
            match write {
                Write::Collection(write) => {
                    let last = said.last().map(|(at, change)| (*at, change.cause));
                    self.write(write, rules, last)?;
                }
                Write::Account(write) => {
                    let changes: Vec<&Change> = said.iter().map(|(_, change)| *change).collect();
                    self.links.account(write, &changes)?;
                    self.settled(write.id.into(), write.next.is_none());
                    if write.next.is_none() {
                        self.told.erased(write.id);
                    }
                }
                Write::Source(write) => {
                    let heard = heard.remove(&write.id).unwrap_or_default();
                    self.source(write, &heard)?;
                }
                Write::Connection(write) => {
                    let by = batch.incarnation;
                    let was = self
                        .links
                        .by_id
                        .get(&write.id)
                        .map(|link| link.connection.clone());
                    self.fares.step(write, was.as_ref())?;
                    self.links.connection(by, write, &said, rules)?;
                    self.settled(write.id.into(), write.next.is_none());
                }
            }
        }
        if let Some(source) = heard.keys().next() {
            return Err(("every entry belongs to a step", format!("{source}")));
        }
        if let Some(about) = said.keys().next() {
            return Err(("every entry belongs to a step", format!("{about}")));
        }
        for entry in &batch.entries {
            self.told.hear(&entry.change);
            self.entry(
                entry.shard,
                entry.seq,
                entry.tenant,
                &entry.change.subject,
                entry.change.verb,
            )?;
        }
        Ok(())
    }

    /// What was promised of something has come to be.
    fn settled(&mut self, id: Aggregate, gone: bool) {
        self.posted.remove(&id);
        if gone {
            self.to_erase.remove(&id);
        }
    }

    fn write(
        &mut self,
        write: &CollectionWrite,
        rules: Rules<'_>,
        at: Option<(Timestamp, Cause)>,
    ) -> Result<(), Broken> {
        let id = write.id;
        let Some(row) = self.rows.get_mut(&id) else {
            return self.accept(write);
        };
        let version = match write.before {
            Before::New => None,
            Before::Live(version) | Before::Finished(version) => Some(version),
        };
        if version != Some(row.collection.version) {
            return Err((
                "a step begins where the last one ended",
                format!("{id}: {:?}", write.before),
            ));
        }
        let Some(next) = &write.next else {
            self.rows.remove(&id);
            self.erased.insert(id);
            self.to_erase.remove(&id.into());
            return Ok(());
        };
        let before = row.collection.version;
        let calls = self
            .calls
            .get(&(id, before))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let policy = rules.sources.policy(&next.source);
        transition::check(&row.collection, write, calls, &policy, at.map(|(at, _)| at)).map_err(
            |why| {
                (
                    "steps follow from what happened",
                    format!("{id} at version {before}: {why}; {write:?} after {calls:?}"),
                )
            },
        )?;
        if at.is_some_and(|(_, cause)| cause == Cause::ResumeRequested) {
            row.resumes.push(next.version);
        }
        if write.payload.is_some() {
            row.payload.clone_from(&write.payload);
        }
        match &next.state {
            State::Delivered { .. } => self.ended[0] += 1,
            State::Failed { .. } => self.ended[1] += 1,
            State::Collecting { .. } | State::Delivering { .. } => {}
        }
        row.collection = next.clone();
        Ok(())
    }

    fn accept(&mut self, write: &CollectionWrite) -> Result<(), Broken> {
        let id = write.id;
        let fresh =
            write.before == Before::New && !self.erased.contains(&id) && !self.swept.contains(&id);
        let Some(next) = write.next.as_ref().filter(|_| fresh) else {
            return Err((
                "a step begins where the last one ended",
                format!("{id} is not there"),
            ));
        };
        self.posted.remove(&id.into());
        if let Some(intent) = intent_of(&next.callback_url)
            && let Some(other) = self.intents.insert(intent, id)
            && self.keyed.contains(&intent)
        {
            return Err((
                "one idempotency key makes one collection",
                format!("{other} and {id}"),
            ));
        }
        let row = Row {
            collection: next.clone(),
            payload: None,
            resumes: Vec::new(),
        };
        self.rows.insert(id, row);
        Ok(())
    }

    fn entry(
        &mut self,
        shard: Shard,
        seq: u64,
        tenant: TenantId,
        subject: &Subject,
        verb: Verb,
    ) -> Result<(), Broken> {
        let last = self.last_seq.entry(shard).or_default();
        if seq != *last + 1 {
            return Err((
                "a shard's log has no gaps",
                format!("{shard:?}: {seq} after {last}"),
            ));
        }
        *last = seq;
        let (key, property) = subject.to_parts();
        let path = Subject::path_of(&key, property).unwrap_or_default();
        self.log
            .insert((shard, seq), (tenant, format!("{} {path}", verb.as_str())));
        match subject {
            Subject::Collection(id) => {
                self.statuses.remove(id);
                Ok(())
            }
            Subject::CollectionStatus(id, status) => {
                let last = self.statuses.insert(*id, *status);
                if may_follow(last, *status) {
                    Ok(())
                } else {
                    Err((
                        "statuses follow one another as documented",
                        format!("{id}: {status} after {last:?}"),
                    ))
                }
            }
            Subject::Account(_)
            | Subject::Connection(..)
            | Subject::ConnectionState(..)
            | Subject::ConnectionAccess(..)
            | Subject::Interaction(..)
            | Subject::Document(..)
            | Subject::Alert(_)
            | Subject::AlertState(..)
            | Subject::Source(_)
            | Subject::SourceState(..)
            | Subject::Incident(..)
            | Subject::IncidentState(..) => Ok(()),
        }
    }

    /// Notes a call and how it will end.
    pub(crate) fn called(&mut self, id: CollectionId, version: u32, past: Past) {
        self.calls.entry((id, version)).or_default().push(past);
    }

    /// Checks that the effect's step is durable and the latest one.
    pub(crate) fn may_act(
        &self,
        incarnation: IncarnationId,
        id: CollectionId,
        version: u32,
    ) -> Result<Option<&Row>, Broken> {
        let row = self.rows.get(&id);
        let durable = row.map_or(0, |row| row.collection.version);
        if durable == version {
            return Ok(row);
        }
        let gone = self.erased.contains(&id) || self.swept.contains(&id);
        if (row.is_none() && !gone) || durable > 0 && durable < version {
            return Err((
                "an effect is a row before it is an action",
                format!("{id} at version {version}, durable is {durable}"),
            ));
        }
        if self.owns(incarnation, id.shard()) {
            return Err((
                "an owner acts for the latest version",
                format!("{id} at version {version}, durable is {durable}"),
            ));
        }
        Ok(None)
    }

    /// Checks a message against all that were sent before.
    pub(crate) fn message(&mut self, version: u32, order: &DeliverOrder) -> Result<(), Broken> {
        let content = (order.kind.clone(), order.payload.clone());
        let known = self
            .messages
            .entry((order.id, order.message))
            .or_insert_with(|| content.clone());
        if *known != content {
            return Err((
                "one message id never bears two contents",
                format!("{} message {}", order.id, order.message),
            ));
        }
        let Some(row) = self.rows.get(&order.id) else {
            return Ok(());
        };
        let resumes = row
            .resumes
            .iter()
            .filter(|resumed| **resumed <= version)
            .count();
        if order.kind == Kind::Success {
            let known = *self
                .successes
                .entry((order.id, resumes))
                .or_insert(order.message);
            if known != order.message {
                return Err((
                    "one success never has two message ids",
                    format!("{} messages {known} and {}", order.id, order.message),
                ));
            }
        }
        Ok(())
    }
}

impl Row {
    pub(crate) const fn is_live(&self) -> bool {
        matches!(
            self.collection.state,
            State::Collecting { .. } | State::Delivering { .. }
        )
    }

    pub(crate) const fn finished_at(&self) -> Option<Timestamp> {
        match &self.collection.state {
            State::Delivered { at, .. } | State::Failed { at, .. } => Some(*at),
            State::Collecting { .. } | State::Delivering { .. } => None,
        }
    }
}

/// Returns the source that a change is about, one of its alerts included.
fn source_of(change: &Change) -> Option<SourceId> {
    match (&change.subject, &change.body) {
        (
            Subject::Source(name)
            | Subject::SourceState(name, _)
            | Subject::Incident(name, _)
            | Subject::IncidentState(name, ..),
            _,
        ) => Some(SourceId::of(name)),
        (Subject::Alert(_) | Subject::AlertState(..), Facts::Alert(facts)) => {
            let of_source = facts.connection_id.is_none();
            of_source.then(|| SourceId::of(&facts.source))
        }
        (_, _) => None,
    }
}

/// Returns what steps with a change.
const fn aggregate_of(change: &Change) -> Option<Aggregate> {
    Some(match &change.subject {
        Subject::Collection(id) | Subject::CollectionStatus(id, _) => Aggregate::Collection(*id),
        Subject::Account(id) => Aggregate::Account(*id),
        Subject::Connection(_, id)
        | Subject::ConnectionState(_, id, _)
        | Subject::ConnectionAccess(_, id, _)
        | Subject::Interaction(_, id, _)
        | Subject::Document(_, id, _) => Aggregate::Connection(*id),
        Subject::Alert(_) | Subject::AlertState(..) => match &change.body {
            Facts::Alert(facts) => match facts.connection_id {
                Some(id) => Aggregate::Connection(id),
                None => return None,
            },
            Facts::Collection(_)
            | Facts::State(_)
            | Facts::Access(_)
            | Facts::Interaction(_)
            | Facts::Document(_)
            | Facts::Incident(_)
            | Facts::Source { .. }
            | Facts::Nothing {} => return None,
        },
        Subject::Source(_)
        | Subject::SourceState(..)
        | Subject::Incident(..)
        | Subject::IncidentState(..) => return None,
    })
}

fn may_follow(last: Option<CollectionStatus>, next: CollectionStatus) -> bool {
    use CollectionStatus::{Collected, Delivered, Failed, Requested, Retrying};
    match last {
        None => next == Requested,
        Some(Requested | Retrying) => matches!(next, Retrying | Collected | Failed),
        Some(Collected) => matches!(next, Delivered | Failed),
        Some(Failed) => matches!(next, Requested | Collected),
        Some(Delivered) => false,
    }
}
