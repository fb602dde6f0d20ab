//! How a node joins, takes its share of the shards, and hands over what is too much.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::{IncarnationId, Shard, Timestamp, source};

use crate::driver::{Command, Event, Origin};
use crate::engine::{Retried, Shell, StoreEvent};
use crate::{Aggregate, Backend, Lease, Membership, StoreError, SubscriptionTable};

impl Shell {
    pub(crate) fn join(&mut self) {
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        self.store_events.push(Box::pin(async move {
            StoreEvent::Joined(incarnation, store.join(incarnation).await)
        }));
    }

    pub(crate) fn store_event(&mut self, event: StoreEvent) {
        let now = self.parts.clock.now();
        match event {
            StoreEvent::Driver(incarnation, event) if incarnation == self.incarnation => {
                self.handle(now, event)
            }
            StoreEvent::Joined(incarnation, outcome) if incarnation == self.incarnation => {
                match outcome {
                    Ok(()) if self.parts.store.renewal().is_some() => {
                        self.renew();
                        self.again(Retried::Inbox, INBOX_POLL);
                    }
                    // Nobody else can have a share.
                    Ok(()) => self.acquire(self.parts.store.shards()),
                    Err(error) => self.retry(&error, Retried::Join),
                }
            }
            StoreEvent::Membership(incarnation, outcome) if incarnation == self.incarnation => {
                match outcome {
                    Ok(membership) => {
                        self.balance(&membership);
                        self.read_sources();
                        let period = self.parts.store.renewal().unwrap_or(RETRY);
                        self.again(Retried::Renew, period);
                    }
                    Err(StoreError::Fenced) => {
                        tracing::warn!("This node was found dead, beginning anew");
                        self.begin_anew();
                    }
                    Err(error) => self.retry(&error, Retried::Renew),
                }
            }
            StoreEvent::Leased(incarnation, outcome) if incarnation == self.incarnation => {
                match outcome {
                    Ok(taken) => {
                        let Taken {
                            leases,
                            subscriptions,
                            sources,
                            budgets,
                            spent,
                        } = taken;
                        self.handle(now, Event::Kept(sources));
                        self.handle(now, Event::Spent(budgets, spent));
                        let table = Arc::new(subscriptions);
                        let event = Event::Subscriptions {
                            table,
                            whole: false,
                        };
                        self.handle(now, event);
                        let shards: Vec<Shard> = leases.iter().map(|lease| lease.shard).collect();
                        self.handle(now, Event::Leased(leases));
                        self.scan(shards, None);
                    }
                    Err(StoreError::Fenced) => self.begin_anew(),
                    Err(error) => {
                        // The next renewal sees what is still unowned; without renewals it is tried here.
                        if self.parts.store.renewal().is_none() {
                            self.retry(&error, Retried::Acquire(self.parts.store.shards()));
                        } else {
                            self.acquiring = false;
                        }
                    }
                }
            }
            StoreEvent::Kept(incarnation, outcome) if incarnation == self.incarnation => {
                match outcome {
                    Ok((sources, budgets, spent)) => {
                        self.handle(now, Event::Kept(sources));
                        self.handle(now, Event::Spent(budgets, spent));
                    }
                    // The next renewal reads them again.
                    Err(error) => tracing::warn!(%error, "Sources could not be read"),
                }
            }
            StoreEvent::Page {
                incarnation,
                shards,
                after,
                rows,
            } if incarnation == self.incarnation => match rows {
                Ok(rows) => {
                    let last = rows.last().map(|row| row.id).filter(|_| rows.len() >= PAGE);
                    self.handle(
                        now,
                        Event::Scanned {
                            rows,
                            done: last.is_none(),
                        },
                    );
                    if last.is_some() {
                        self.scan(shards, last);
                    } else {
                        self.acquiring = false;
                        self.read_inbox();
                    }
                }
                Err(error) => self.retry(&error, Retried::Scan(shards, after)),
            },
            StoreEvent::Inbox(incarnation, outcome) if incarnation == self.incarnation => {
                self.inbox.reading = false;
                match outcome {
                    Ok(rows) => {
                        let whole = rows.len() < INBOX_ROWS;
                        for row in self.inbox.fresh(rows, whole) {
                            let origin = Origin::Inbox(row.number);
                            self.handle(
                                now,
                                Event::Command(Command {
                                    request: row.request,
                                    key: None,
                                    origin,
                                }),
                            );
                        }
                    }
                    Err(error) => tracing::warn!(%error, "Inbox could not be read"),
                }
            }
            StoreEvent::Released(incarnation, outcome) if incarnation == self.incarnation => {
                self.releasing = self.releasing.saturating_sub(1);
                if let Err(error) = outcome {
                    // The shards are still ours in the database: the next renewal tries again.
                    tracing::warn!(%error, "Shards could not be given up");
                }
            }
            StoreEvent::Again(incarnation, what) if incarnation == self.incarnation => match what {
                Retried::Join => self.join(),
                Retried::Acquire(shards) => self.acquire(shards),
                Retried::Scan(shards, after) => self.scan(shards, after),
                Retried::Renew => self.renew(),
                Retried::Inbox => {
                    self.read_inbox();
                    self.again(Retried::Inbox, INBOX_POLL);
                }
            },
            // It was for an incarnation that is no more.
            StoreEvent::Driver(..)
            | StoreEvent::Joined(..)
            | StoreEvent::Membership(..)
            | StoreEvent::Leased(..)
            | StoreEvent::Kept(..)
            | StoreEvent::Page { .. }
            | StoreEvent::Inbox(..)
            | StoreEvent::Released(..)
            | StoreEvent::Again(..) => {}
        }
    }

    pub(crate) fn read_inbox(&mut self) {
        let shards: Vec<Shard> = self.driver.shards().collect();
        if self.inbox.reading || shards.is_empty() {
            return;
        }
        self.inbox.reading = true;
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        self.store_events.push(Box::pin(async move {
            StoreEvent::Inbox(incarnation, store.inbox(shards, INBOX_ROWS).await)
        }));
    }

    pub(crate) fn release(&mut self, shards: Vec<Shard>) {
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        let writers = self.stopping.then(|| self.writers.clone());
        self.releasing += 1;
        self.store_events.push(Box::pin(async move {
            if let Some(writers) = writers {
                writers.wait().await;
            }
            StoreEvent::Released(incarnation, store.release(incarnation, shards).await)
        }));
    }

    /// Takes or gives up shards so that every living node has its share.
    fn balance(&mut self, membership: &Membership) {
        let moving = self.acquiring || self.releasing > 0;
        if self.stopping || moving || membership.nodes.is_empty() {
            return;
        }
        let owned: std::collections::BTreeSet<Shard> = self.driver.shards().collect();
        // Ours in the database but not in memory: their release failed, and nobody works them.
        let ours = membership
            .owners
            .iter()
            .filter(|(_, owner)| **owner == self.incarnation);
        let forgotten: Vec<Shard> = ours
            .map(|(shard, _)| *shard)
            .filter(|shard| !owned.contains(shard))
            .collect();
        if !forgotten.is_empty() {
            self.release(forgotten);
            return;
        }
        let all = self.parts.store.shards();
        let share = all.len().div_ceil(membership.nodes.len());
        let kept = self.driver.kept_shards();
        if kept > share {
            let excess = owned.into_iter().rev().take(kept - share).collect();
            self.handle(self.parts.clock.now(), Event::Drain(excess));
            return;
        }
        let free = all
            .into_iter()
            .filter(|shard| !membership.owners.contains_key(shard));
        let wanted: Vec<Shard> = free.take(share - kept).collect();
        if !wanted.is_empty() {
            self.acquire(wanted);
        }
    }

    fn acquire(&mut self, shards: Vec<Shard>) {
        self.acquiring = true;
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        let (now, budgets) = (self.parts.clock.now(), self.driver.budget_names());
        self.store_events.push(Box::pin(async move {
            let budgets = (now, budgets);
            let leases = take_shards(store.as_ref(), incarnation, shards, budgets).await;
            StoreEvent::Leased(incarnation, leases)
        }));
    }

    /// Hears what other nodes have found out about sources and spent of their budgets.
    fn read_sources(&mut self) {
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        let (now, budgets) = (self.parts.clock.now(), self.driver.budget_names());
        self.store_events.push(Box::pin(async move {
            let kept = async {
                let sources = store.sources().await?;
                let spent = store.budgets(now, budgets.clone()).await?;
                Ok((sources, budgets, spent))
            };
            StoreEvent::Kept(incarnation, kept.await)
        }));
    }

    fn renew(&mut self) {
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        self.store_events.push(Box::pin(async move {
            StoreEvent::Membership(incarnation, store.renew(incarnation).await)
        }));
    }

    fn scan(&mut self, shards: Vec<Shard>, after: Option<Aggregate>) {
        let (store, incarnation) = (Arc::clone(&self.parts.store), self.incarnation);
        self.store_events.push(Box::pin(async move {
            let rows = store.scan(shards.clone(), after, PAGE).await;
            StoreEvent::Page {
                incarnation,
                shards,
                after,
                rows,
            }
        }));
    }

    fn retry(&mut self, error: &StoreError, what: Retried) {
        tracing::warn!(%error, ?what, "Database did not answer, trying again");
        self.again(what, RETRY);
    }

    fn again(&mut self, what: Retried, pause: Duration) {
        let incarnation = self.incarnation;
        self.store_events.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            StoreEvent::Again(incarnation, what)
        }));
    }
}

/// Takes shards, and then reads what subscriptions there are: whoever had the shards before may
/// have caught up with one that is not known here yet. The same goes for what is kept of sources
/// and of their budgets.
async fn take_shards(
    store: &dyn Backend,
    incarnation: IncarnationId,
    shards: Vec<Shard>,
    (now, budgets): (Timestamp, Vec<BudgetName>),
) -> Result<Taken, StoreError> {
    let leases = store.acquire(incarnation, shards).await?;
    let rows = store.subscriptions().await?;
    let by_id = rows.into_iter().map(|row| (row.id, Arc::new(row)));
    Ok(Taken {
        leases,
        subscriptions: SubscriptionTable {
            by_id: by_id.collect(),
        },
        sources: store.sources().await?,
        spent: store.budgets(now, budgets.clone()).await?,
        budgets,
    })
}

/// What is kept of sources, and of their budgets by name.
pub(crate) type Known = (Vec<source::Source>, Vec<BudgetName>, Spent);

/// Shards that were taken, and what has to be known before they are worked.
pub(crate) struct Taken {
    leases: Vec<Lease>,
    subscriptions: SubscriptionTable,
    sources: Vec<source::Source>,
    budgets: Vec<BudgetName>,
    spent: Spent,
}

/// Live aggregates read by one request of the scan.
const PAGE: usize = 20_000;
/// Inbox rows read at once.
const INBOX_ROWS: usize = 512;
/// How often the inbox is read when no notification comes.
const INBOX_POLL: Duration = Duration::from_secs(1);
/// How soon an operation on the database is tried again.
const RETRY: Duration = Duration::from_millis(500);
