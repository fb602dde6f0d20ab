//! Accounts and connections as they have to be in the image, told from the durable batches.

use std::collections::{BTreeMap, BTreeSet};

use wellspring_core::connection::{
    Action, Connection, CredentialsFrom, InteractionWrite, SecretWrite, Slot, State,
};
use wellspring_core::{
    Account, AccountId, Change, ConnectionId, DocumentId, FetchId, IncarnationId, InteractionId,
    Sealed, TenantId, Timestamp, Verb,
};
use wellspring_engine::{
    AccountWrite, Aggregate, Before, ConnectionWrite, Report, RunInputs, RunResult, SourceTable,
    TenantTable,
};

use super::Broken;

mod alerts;
mod said;
mod timing;
mod transition;

/// What a step is judged by besides the state before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) sources: &'a SourceTable,
    pub(crate) tenants: &'a TenantTable,
}

/// One connection as it has to be in the image.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) slots: BTreeMap<Slot, Sealed>,
    pub(crate) cursors: BTreeMap<String, String>,
    pub(crate) documents: Vec<DocumentId>,
    /// The source's ids of its documents, in the order in which they came.
    pub(crate) source_ids: Vec<String>,
    pub(crate) records: BTreeMap<String, BTreeSet<String>>,
    fetches: BTreeSet<FetchId>,
    /// What it was, credentials included, before a repair that is under way.
    before_repair: Option<(Box<Connection>, Option<Sealed>)>,
}

/// Something that an attempt told its node.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) incarnation: IncarnationId,
    /// The number of the effect.
    pub(crate) number: u64,
    pub(crate) started: Timestamp,
    pub(crate) probe: bool,
    pub(crate) fetch: FetchId,
    pub(crate) attempt: u16,
    pub(crate) word: Word,
    /// Whether a durable step has come of it.
    pub(crate) used: bool,
}

/// What an attempt can tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    Report(Report),
    Ended(RunResult),
}

/// An answer that somebody has given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) answer: Sealed,
    pub(crate) hash: [u8; 32],
    pub(crate) action: Action,
}

/// All accounts and connections, and what was said about them outside.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) erased: BTreeMap<AccountId, TenantId>,
    pub(crate) by_id: BTreeMap<ConnectionId, Link>,
    pub(crate) gone: BTreeSet<ConnectionId>,
    pub(crate) told: BTreeMap<ConnectionId, Vec<Told>>,
    pub(crate) given: BTreeMap<InteractionId, Vec<Given>>,
    pub(crate) called_off: BTreeSet<InteractionId>,
    /// How credentials came that somebody has given.
    pub(crate) replaced: BTreeMap<Vec<u8>, CredentialsFrom>,
    pub(crate) open: BTreeMap<InteractionId, ConnectionId>,
    pub(crate) closed: BTreeSet<InteractionId>,
    /// Fetches that ended well, that asked something, and that failed.
    pub(crate) ended: [u64; 3],
    /// Documents and records that came in.
    came: [u64; 2],
    /// How often each row of the table was taken, by its name.
    pub(crate) rows: BTreeMap<&'static str, u64>,
}

impl Links {
    pub(super) fn account(&mut self, write: &AccountWrite, said: &[&Change]) -> Result<(), Broken> {
        let id = write.id;
        let broken = |why: &str| {
            let seen = format!("{id}: {why}: {write:?}, said {said:?}");
            Err(("accounts follow from what was asked", seen))
        };
        let known = self.accounts.get(&id);
        let fits = match write.before {
            Before::New => known.is_none() && !self.erased.contains_key(&id),
            Before::Live(version) => known.is_some_and(|known| known.version == version),
            Before::Finished(_) => false,
        };
        if !fits {
            return broken("it is at another version");
        }
        let verbs: Vec<Verb> = said.iter().map(|change| change.verb).collect();
        match (&write.next, known) {
            (Some(next), None) => {
                if verbs != [Verb::Created] || next.erasing.is_some() {
                    return broken("it came to be wrongly");
                }
            }
            (Some(next), Some(known)) => {
                let renamed = next.external_id != known.external_id;
                let expected: &[Verb] = if renamed { &[Verb::Updated] } else { &[] };
                let kept = (next.tenant, next.created_at) == (known.tenant, known.created_at)
                    && (known.erasing.is_none() || next.erasing == known.erasing);
                if verbs != expected || !kept || known.erasing.is_some() {
                    return broken("it changed wrongly");
                }
            }
            (None, Some(known)) => {
                if verbs != [Verb::Deleted] || known.erasing.is_none() {
                    return broken("it went wrongly");
                }
                if self
                    .by_id
                    .values()
                    .any(|link| link.connection.account == id)
                {
                    return broken("its connections did not go first");
                }
                self.erased.insert(id, known.tenant);
            }
            (None, None) => return broken("it never was"),
        }
        match &write.next {
            Some(next) => self.accounts.insert(id, next.clone()),
            None => self.accounts.remove(&id),
        };
        Ok(())
    }

    pub(super) fn connection(
        &mut self,
        incarnation: IncarnationId,
        write: &ConnectionWrite,
        said: &[(Timestamp, &Change)],
        rules: Rules<'_>,
    ) -> Result<(), Broken> {
        let id = write.id;
        let judged = self.judge(incarnation, write, said, rules);
        let (row, after) = judged.map_err(|why| {
            let before = self.by_id.get(&id);
            let told = self.told.get(&id).map_or(&[][..], Vec::as_slice);
            let told = &told[told.len().saturating_sub(3)..];
            let changes: Vec<String> = said
                .iter()
                .map(|(at, change)| format!("{at} {} {}", change.verb.as_str(), change.subject))
                .collect();
            (
                "connections move by the table",
                format!("{id}: {why}\n  {write:?}\n  was {before:?}\n  said {changes:?}\n  told {told:?}"),
            )
        })?;
        *self.rows.entry(row).or_default() += 1;
        for (sum, more) in [write.documents.len(), write.records.len()]
            .into_iter()
            .enumerate()
        {
            self.came[sum] += u64::try_from(more).unwrap_or(0);
        }
        for interaction in &write.interactions {
            match interaction {
                InteractionWrite::Open { id: open, .. } => {
                    if self.closed.contains(open) || self.open.insert(*open, id).is_some() {
                        return Err(("questions open once", format!("{open}")));
                    }
                }
                InteractionWrite::Close { id: open, .. } => {
                    if self.open.remove(open) != Some(id) || !self.closed.insert(*open) {
                        return Err(("questions close once", format!("{open}")));
                    }
                }
            }
        }
        match after {
            Some(link) => {
                self.at_rest(&link)?;
                self.by_id.insert(id, link);
            }
            None => {
                self.by_id.remove(&id);
                self.gone.insert(id);
                self.told.remove(&id);
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        incarnation: IncarnationId,
        write: &ConnectionWrite,
        said: &[(Timestamp, &Change)],
        rules: Rules<'_>,
    ) -> Result<(&'static str, Option<Link>), String> {
        let id = write.id;
        let Some(before) = self.by_id.get(&id).cloned() else {
            return self.made(write, said, rules);
        };
        if write.before != Before::Live(before.connection.version) {
            return Err(format!("it is at another version than {:?}", write.before));
        }
        let Some(next) = &write.next else {
            transition::deleted(&before, write, self)?;
            said::deleted(&before, write, said)?;
            return Ok(("deleted", None));
        };
        let (row, mut expected) = transition::step(self, incarnation, &before, write, said, rules)?;
        expected.connection.alerts = alerts::after(&before.connection, next, write, said);
        if *next != expected.connection {
            return Err(format!("row {row}: expected {:?}", expected.connection));
        }
        let mut slots = before.slots.clone();
        apply(&mut slots, &write.secrets);
        if slots != expected.slots {
            let shown = |slots: &BTreeMap<Slot, Sealed>| -> Vec<String> {
                let text = |(slot, value): (&Slot, &Sealed)| {
                    format!("{slot:?} {}", String::from_utf8_lossy(value.as_bytes()))
                };
                slots.iter().map(text).collect()
            };
            return Err(format!(
                "row {row}: secrets are {:?}, expected {:?}",
                shown(&slots),
                shown(&expected.slots)
            ));
        }
        said::step(&before, write, next, said, rules)?;
        Ok((row, Some(expected)))
    }

    fn made(
        &self,
        write: &ConnectionWrite,
        said: &[(Timestamp, &Change)],
        rules: Rules<'_>,
    ) -> Result<(&'static str, Option<Link>), String> {
        let fresh = write.before == Before::New && !self.gone.contains(&write.id);
        let Some(next) = write.next.as_ref().filter(|_| fresh) else {
            return Err("it is not there".to_owned());
        };
        let account = self.accounts.get(&next.account);
        if account.is_none_or(|account| account.erasing.is_some() || account.tenant != next.tenant)
        {
            return Err("its account is not there".to_owned());
        }
        let created = matches!(next.state, State::Created { due } if due == next.created_at);
        if !created || next.version != 1 || next.retries != 0 {
            return Err("it came to be wrongly".to_owned());
        }
        let mut slots = BTreeMap::new();
        apply(&mut slots, &write.secrets);
        said::made(write, next, said, rules)?;
        let link = Link {
            connection: next.clone(),
            slots,
            cursors: BTreeMap::new(),
            documents: Vec::new(),
            source_ids: Vec::new(),
            records: BTreeMap::new(),
            fetches: BTreeSet::new(),
            before_repair: None,
        };
        Ok(("created", Some(link)))
    }

    /// What holds of a connection whatever happened to it.
    fn at_rest(&self, link: &Link) -> Result<(), Broken> {
        let connection = &link.connection;
        let id = connection.id;
        let open = self.open.iter().filter(|(_, of)| **of == id);
        let open: Vec<InteractionId> = open.map(|(interaction, _)| *interaction).collect();
        let expected: Vec<InteractionId> = connection.open_interaction().into_iter().collect();
        if open != expected {
            let seen = format!("{id}: {open:?} in {connection:?}");
            return Err((
                "a question is open in the state question, and only there",
                seen,
            ));
        }
        let waits =
            link.slots.contains_key(&Slot::Resume) || link.slots.contains_key(&Slot::Answer);
        if connection.fetch().is_none() && waits {
            let seen = format!("{id}: {:?} in {connection:?}", link.slots.keys());
            return Err(("nothing of an answer outlives its fetch", seen));
        }
        if connection.open_interaction().is_some() && link.slots.contains_key(&Slot::Answer) {
            return Err(("an answer is gone once it is used", format!("{id}")));
        }
        if connection.repair.is_some() != link.before_repair.is_some() {
            return Err(("a repair is remembered", format!("{connection:?}")));
        }
        Ok(())
    }

    /// Finds what an attempt told that a step came of, and marks it.
    fn witness(
        &mut self,
        incarnation: IncarnationId,
        before: &Connection,
        fits: impl Fn(&Told) -> bool,
    ) -> Result<Told, String> {
        let fetch = before.fetch().ok_or("no fetch is under way")?;
        let told = self.told.get_mut(&before.id).ok_or("nobody told that")?;
        let found = told.iter_mut().find(|told| {
            !told.used
                && told.incarnation == incarnation
                && (told.fetch, told.attempt) == (fetch.id, fetch.attempts.saturating_add(1))
                && fits(told)
        });
        let found = found.ok_or("no living attempt told that")?;
        found.used = true;
        Ok(found.clone())
    }

    /// Notes what an attempt tells its node.
    pub(crate) fn tell(&mut self, id: ConnectionId, told: Told) {
        let all = self.told.entry(id).or_default();
        all.push(told);
        if all.len() > REMEMBERED {
            all.remove(0);
        }
    }

    /// Returns what the store has to know as live.
    pub(crate) fn live(&self) -> impl Iterator<Item = Aggregate> + '_ {
        let accounts = self.accounts.values().filter(|one| one.erasing.is_some());
        let waking = |link: &&Link| link.connection.next_wakeup().is_some();
        let links = self.by_id.values().filter(waking);
        accounts
            .map(|one| one.id.into())
            .chain(links.map(|link| link.connection.id.into()))
    }

    /// Returns accounts erased, connections made, documents, records and questions.
    pub(crate) fn counts(&self) -> [u64; 5] {
        let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
        [
            count(self.erased.len()),
            count(self.by_id.len() + self.gone.len()),
            self.came[0],
            self.came[1],
            count(self.open.len() + self.closed.len()),
        ]
    }

    /// An attempt was ended by its node: nothing of it counts any more.
    pub(crate) fn fence(&mut self, id: ConnectionId, incarnation: IncarnationId, number: u64) {
        for told in self.told.entry(id).or_default() {
            told.used |= (told.incarnation, told.number) == (incarnation, number);
        }
    }

    /// Returns what the next attempt on a connection has to begin with.
    pub(crate) fn inputs(&self, id: ConnectionId) -> Option<RunInputs> {
        let link = self.by_id.get(&id)?;
        Some(RunInputs {
            credentials: link.slots.get(&Slot::Credentials).cloned(),
            resume: link.slots.get(&Slot::Resume).cloned(),
            answer: link.slots.get(&Slot::Answer).cloned(),
            cursors: link.cursors.clone(),
        })
    }
}

fn apply(slots: &mut BTreeMap<Slot, Sealed>, writes: &[SecretWrite]) {
    for write in writes {
        match write {
            SecretWrite::Put(slot, value) => {
                slots.insert(*slot, value.clone());
            }
            SecretWrite::Move(from, to) => match slots.remove(from) {
                Some(value) => {
                    slots.insert(*to, value);
                }
                None => {
                    slots.remove(to);
                }
            },
            SecretWrite::Delete(slot) => {
                slots.remove(slot);
            }
        }
    }
}

/// What attempts on one connection told that is remembered.
const REMEMBERED: usize = 64;
