//! Reads the log, and writes what it means for people.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use wellspring_core::notification::{Issue, IssueKey, Telling};
use wellspring_core::{AccountId, ConnectionId, NotificationId, Shard, SourceName, Timestamp};

use super::compose::Draft;
use super::read::{self, Heard};
use super::{Loop, Read, epoch};
use crate::{CommitError, Holding, MaintenanceTold, NoticeBatch, StoreError};

impl Loop {
    /// Reads a stretch of each shard; returns whether there is more.
    pub(super) async fn read_log(&mut self, holding: &Holding) -> Result<bool, StoreError> {
        self.read
            .retain(|shard, read| epoch(holding, *shard) == Some(read.epoch));
        let fresh = holding.shards.iter().map(|(shard, _)| *shard);
        let fresh: Vec<Shard> = fresh
            .filter(|shard| !self.read.contains_key(shard))
            .collect();
        if !fresh.is_empty() {
            let cursors = self.parts.store.notice_cursors(fresh.clone()).await?;
            for shard in fresh {
                let kept = cursors.get(&shard).copied().unwrap_or(0);
                let epoch = epoch(holding, shard).unwrap_or(0);
                let read = Read {
                    epoch,
                    kept,
                    seen: kept,
                };
                self.read.insert(shard, read);
            }
        }
        let head = self.parts.store.log_head().await?;
        let behind: Vec<(Shard, Read)> = self
            .read
            .iter()
            .filter(|(shard, read)| head.seen(**shard) > read.seen)
            .map(|(shard, read)| (*shard, *read))
            .collect();
        let mut more = false;
        for (shard, read) in behind {
            let slice = self.parts.store.log_after(shard, read.seen, STRETCH);
            let slice = slice.await?;
            more |= slice.has_more;
            let heard: Vec<Heard> = slice.entries.iter().filter_map(Heard::of).collect();
            if slice.entries.iter().any(read::is_of_incident) {
                self.incidents_at = Instant::now();
            }
            let seen = slice.seen.max(read.seen);
            let written = self.take_in(holding, shard, (read, seen), heard).await?;
            if let Some(read) = self.read.get_mut(&shard) {
                read.seen = seen;
                if written {
                    read.kept = seen;
                }
            }
        }
        Ok(more)
    }

    /// Writes what the entries mean for people; returns whether anything was written.
    async fn take_in(
        &mut self,
        holding: &Holding,
        shard: Shard,
        (read, seen): (Read, u64),
        heard: Vec<Heard>,
    ) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let mut batch = NoticeBatch {
            incarnation: holding.incarnation,
            shard,
            epoch: read.epoch,
            cursor: Some((read.kept, seen)),
            issues: Vec::new(),
            maintenance: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            notices: Vec::new(),
        };
        let connections: BTreeSet<ConnectionId> =
            heard.iter().map(|heard| heard.place().connection).collect();
        let drafts = if connections.is_empty() {
            Vec::new()
        } else {
            let known = self.parts.store.issues(connections.into_iter().collect());
            let known = known.await?;
            let places: BTreeSet<(AccountId, SourceName)> =
                heard.iter().filter_map(Heard::at_source).collect();
            let told = self
                .parts
                .store
                .maintenance_told(places.into_iter().collect());
            let told = told.await?;
            self.listen(now, (&known, &told), heard, &mut batch)
        };
        let lag = seen.saturating_sub(read.kept);
        let nothing = batch.issues.is_empty() && batch.maintenance.is_empty() && drafts.is_empty();
        if nothing && lag < WRITE_AFTER {
            return Ok(false);
        }
        self.parts.write_drafts(now, drafts, &mut batch).await?;
        match self.parts.store.commit_notices(batch).await {
            Ok(()) => {
                self.wrote.send_modify(|number| *number += 1);
                Ok(true)
            }
            Err(error) => {
                // Where it stands is read again: it may have been written, or be another's.
                self.read.remove(&shard);
                Err(match error {
                    CommitError::Fenced => StoreError::Fenced,
                    other @ (CommitError::NotCommitted(_)
                    | CommitError::Unknown(_)
                    | CommitError::Stale(_)
                    | CommitError::KeysTaken(_)) => StoreError::Unavailable(other.to_string()),
                })
            }
        }
    }

    fn listen(
        &mut self,
        now: Timestamp,
        (known, told): (&Issues, &MaintenanceTold),
        heard: Vec<Heard>,
        batch: &mut NoticeBatch,
    ) -> Vec<Draft> {
        let mut issues = BTreeMap::new();
        let mut maintenance = BTreeMap::new();
        let mut drafts = Vec::new();
        for heard in heard {
            let at_source = heard.at_source();
            let place = heard.place();
            let before = known.get(&place.connection).cloned().unwrap_or_default();
            let entry = issues.entry(place.connection);
            let (_, issue) = entry.or_insert((place.account, before));
            let Heard::State(place, state) = heard else {
                *issue = Issue::default();
                continue;
            };
            let seen = state.observation();
            let openings = issue.told();
            let mut tellings = issue.observe(now, &seen);
            if let Some(key) = at_source {
                let before = told.get(&key).cloned().unwrap_or_default();
                let source = maintenance.entry(key).or_insert(before);
                tellings.extend(source.observe(now, &seen));
            }
            for telling in tellings {
                let (kind, event) = state.event(place, telling);
                let mends = match telling {
                    Telling::Tell(_, _) => 0,
                    Telling::Mended(_, IssueKey::Maintenance) => 1,
                    Telling::Mended(_, _) => openings,
                };
                drafts.push(Draft {
                    id: NotificationId::mint_in(now, place.account.shard(), &mut self.rng),
                    tenant: place.tenant,
                    account: place.account,
                    kind,
                    event,
                    mends,
                });
            }
        }
        let changed = issues.into_iter().filter(|(connection, (_, issue))| {
            known
                .get(connection)
                .map_or_else(|| !issue.is_blank(), |before| before != issue)
        });
        batch.issues = changed
            .map(|(connection, (account, issue))| (connection, account, issue))
            .collect();
        for ((account, source), said) in maintenance {
            let key = (account, source);
            let kept = (!said.is_blank(now)).then_some(said);
            if told.get(&key) != kept.as_ref() {
                batch.maintenance.push((key.0, key.1, kept));
            }
        }
        drafts
    }
}

/// What was told about connections.
type Issues = BTreeMap<ConnectionId, Issue>;

/// Entries that are read at once.
const STRETCH: usize = 256;
/// How many entries that mean nothing to anybody are read before that is written down.
const WRITE_AFTER: u64 = 1_000;
