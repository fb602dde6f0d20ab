//! Tells people of incidents: also those whose connections were only held back.
//!
//! Each shard goes through its people at the source in pages; what a page tells is written with
//! how far it came, so that a crash repeats nothing and leaves nobody out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokio::time::Instant;
use wellspring_core::notification::Telling;
use wellspring_core::source::IncidentKind;
use wellspring_core::{AccountId, Incident, IncidentId, NotificationId, Shard};

use super::compose::Draft;
use super::{Loop, epoch};
use crate::{
    CommitError, Holding, IncidentStage, IncidentTelling, IncidentWrite, IncidentsTold,
    NoticeBatch, StoreError,
};

impl Loop {
    /// Takes people at sources a bounded part further; returns whether there is more to tell.
    pub(super) async fn tell_incidents(&mut self, holding: &Holding) -> Result<bool, StoreError> {
        if Instant::now() < self.incidents_at {
            return Ok(false);
        }
        let shards: Vec<Shard> = holding.shards.iter().map(|(shard, _)| *shard).collect();
        // What was told is read first: what is in it and not open any more is over.
        let told = self.parts.store.incidents_told(shards.clone()).await?;
        let sources = self.parts.store.kept_sources().await?;
        let open: BTreeMap<IncidentId, Incident> = sources
            .into_iter()
            .filter_map(|source| source.incident)
            .map(|incident| (incident.id, incident))
            .collect();
        let work = work(&shards, &told, &open);
        let more = work.len() > PAGES;
        let mut rested = true;
        for (shard, id, telling) in work.into_iter().take(PAGES) {
            let from = told.get(&(shard, id)).map(|told| told.stage);
            rested &= self
                .tell_page(holding, shard, (id, open.get(&id)), (from, telling))
                .await?;
        }
        if more || !rested {
            return Ok(true);
        }
        self.incidents_at = Instant::now() + BETWEEN_LOOKS;
        Ok(false)
    }

    /// Tells one page; returns whether there is nothing more to tell at present.
    async fn tell_page(
        &mut self,
        holding: &Holding,
        shard: Shard,
        (id, incident): (IncidentId, Option<&Incident>),
        (from, mut telling): (Option<IncidentStage>, IncidentTelling),
    ) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let after = match telling.stage {
            IncidentStage::Beginning(after) | IncidentStage::Ending(after) => after,
            IncidentStage::Begun | IncidentStage::Ended => None,
        };
        let store = &self.parts.store;
        let begins = matches!(telling.stage, IncidentStage::Beginning(_));
        let source = telling.source.clone();
        // Who was told of the start is told of the end, also without a connection by then.
        let accounts = if begins {
            store.accounts_at(source, shard, after, PAGE)
        } else {
            store.accounts_told(source, shard, after, PAGE)
        };
        let accounts = accounts.await?;
        let keys = accounts
            .iter()
            .map(|(account, _)| (*account, telling.source.clone()));
        let mut known = store.maintenance_told(keys.collect()).await?;
        let mut batch = NoticeBatch {
            incarnation: holding.incarnation,
            shard,
            epoch: epoch(holding, shard).unwrap_or(0),
            cursor: None,
            issues: Vec::new(),
            maintenance: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            notices: Vec::new(),
        };
        let mut drafts = Vec::new();
        for (account, tenant) in &accounts {
            let key = (*account, telling.source.clone());
            let before = known.remove(&key).unwrap_or_default();
            let mut told = before.clone();
            let said = if begins {
                told.begun(now, id)
            } else {
                told.ended(now, id)
            };
            if told != before || told.is_blank(now) {
                let kept = (!told.is_blank(now)).then_some(told);
                batch.maintenance.push((key.0, key.1, kept));
            }
            let Some(said) = said else { continue };
            let (kind, reason, mends) = match said {
                Telling::Tell(kind, reason) => (kind, reason, 0),
                Telling::Mended(kind, reason) => (kind, reason, 1),
            };
            let mut event = Map::new();
            let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
            put("state", if begins { "opened" } else { "mended" }.into());
            put("reason", reason.as_str().into());
            put("source", telling.source.as_str().into());
            put("incident_id", id.to_string().into());
            let until = incident.and_then(|incident| incident.expected_end);
            if let Some(until) = until.filter(|_| begins) {
                put("until", until.to_string().into());
            }
            drafts.push(Draft {
                id: NotificationId::mint_in(now, shard, &mut self.rng),
                tenant: *tenant,
                account: *account,
                kind,
                event,
                mends,
            });
        }
        let last = accounts.last().map(|(account, _)| *account);
        telling.stage = next(&telling.stage, last.filter(|_| accounts.len() >= PAGE));
        let rests = matches!(telling.stage, IncidentStage::Begun | IncidentStage::Ended);
        batch.incidents.push(IncidentWrite {
            id,
            from,
            to: telling,
        });
        self.parts.write_drafts(now, drafts, &mut batch).await?;
        match self.parts.store.commit_notices(batch).await {
            Ok(()) => {
                self.wrote.send_modify(|number| *number += 1);
                Ok(rests)
            }
            // It is another node's, or read again.
            Err(CommitError::Fenced) => Err(StoreError::Fenced),
            Err(
                other @ (CommitError::NotCommitted(_)
                | CommitError::Unknown(_)
                | CommitError::Stale(_)
                | CommitError::KeysTaken(_)),
            ) => Err(StoreError::Unavailable(other.to_string())),
        }
    }
}

/// Returns which incident is to be told in which shard, and how far that is.
fn work(
    shards: &[Shard],
    told: &IncidentsTold,
    open: &BTreeMap<IncidentId, Incident>,
) -> Vec<(Shard, IncidentId, IncidentTelling)> {
    let mut work = Vec::new();
    for ((shard, id), telling) in told {
        let stage = match (&telling.stage, open.contains_key(id)) {
            (IncidentStage::Begun, true) => continue,
            (IncidentStage::Begun | IncidentStage::Beginning(_), false) => {
                IncidentStage::Ending(None)
            }
            (stage, _) => *stage,
        };
        let source = telling.source.clone();
        work.push((*shard, *id, IncidentTelling { source, stage }));
    }
    let fresh = open
        .values()
        .filter(|incident| incident.kind == IncidentKind::Maintenance);
    for incident in fresh {
        for shard in shards {
            if !told.contains_key(&(*shard, incident.id)) {
                let telling = IncidentTelling {
                    source: incident.source.clone(),
                    stage: IncidentStage::Beginning(None),
                };
                work.push((*shard, incident.id, telling));
            }
        }
    }
    work
}

/// Returns where a telling stands after a page that ended with `last` and has others behind it.
const fn next(stage: &IncidentStage, last: Option<AccountId>) -> IncidentStage {
    match (stage, last) {
        (IncidentStage::Beginning(_), Some(last)) => IncidentStage::Beginning(Some(last)),
        (IncidentStage::Ending(_), Some(last)) => IncidentStage::Ending(Some(last)),
        (IncidentStage::Beginning(_) | IncidentStage::Begun, _) => IncidentStage::Begun,
        (IncidentStage::Ending(_) | IncidentStage::Ended, _) => IncidentStage::Ended,
    }
}

/// People of one page.
const PAGE: usize = 100;
/// Pages of one turn.
const PAGES: usize = 8;
/// How often sources are looked at without having been told.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_secs(2);
