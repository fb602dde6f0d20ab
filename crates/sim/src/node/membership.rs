//! How a node joins, takes its share of the shards, and hands over what is too much.

use std::collections::BTreeSet;
use std::time::Duration;

use wellspring_core::{Lane, Shard};
use wellspring_engine::{Command, Event, Membership, Origin, Store, StoreError};

use crate::Plant;
use crate::agenda::{Again, News, StoreOp};
use crate::clock::SECOND;
use crate::plant::spoil;
use crate::world::World;

impl World {
    pub(crate) fn tell(&mut self, node: usize, news: News) {
        let now = self.node_now(node);
        let current = self.nodes[node].incarnation;
        match news {
            News::Driver(None, event) => self.result(node, now, event),
            News::Driver(Some(incarnation), event) if incarnation == current => {
                self.give(node, now, event);
            }
            News::Joined(incarnation) if incarnation == current => {
                if self.leased {
                    self.ask_store(node, StoreOp::Renew(current));
                    self.again(node, Again::Inbox, INBOX_POLL);
                } else {
                    let shards = self.store.shards();
                    self.ask_store(node, StoreOp::Acquire(current, shards));
                }
            }
            News::Membership(incarnation, outcome) if incarnation == current => match outcome {
                Ok(membership) => {
                    self.balance(node, &membership);
                    self.ask_store(node, StoreOp::Sources(current));
                    let period = self.store.renewal().unwrap_or(Duration::from_millis(500));
                    let period = i64::try_from(period.as_millis()).unwrap_or(RETRY);
                    self.again(node, Again::Renew, period);
                }
                Err(StoreError::Fenced) => {
                    self.lost_lease(node);
                    self.begin_anew(node);
                }
                Err(error) => self.broken("the store answers", error.to_string()),
            },
            News::Leased(incarnation, outcome) if incarnation == current => match outcome {
                Ok((leases, table, sources, (budgets, spent))) => {
                    let sources = spoil::kept(self.plant, sources);
                    self.give(node, now, Event::Kept(sources));
                    self.give(node, now, Event::Spent(budgets, spent));
                    let event = Event::Subscriptions { table, whole: true };
                    self.give(node, now, event);
                    let shards: Vec<Shard> = leases.iter().map(|lease| lease.shard).collect();
                    self.give(node, now, Event::Leased(leases));
                    self.ask_store(node, StoreOp::Scan(current, shards, None));
                }
                Err(StoreError::Fenced) => self.begin_anew(node),
                Err(error) => self.broken("the store answers", error.to_string()),
            },
            News::Page {
                incarnation,
                shards,
                after,
                rows,
            } if incarnation == current => match rows {
                Some(mut rows) => {
                    let last = rows.last().map(|row| row.id).filter(|_| rows.len() >= PAGE);
                    match self.plant {
                        Some(Plant::ForgetQuestions) => rows.retain(|row| row.lane != Lane::ALARM),
                        Some(Plant::ForgetTimersAtRestart) => rows.retain(|row| row.due <= now),
                        Some(Plant::ForgetInflightAtRestart) => rows.retain(|row| row.due > now),
                        Some(_) | None => {}
                    }
                    let done = last.is_none();
                    self.give(node, now, Event::Scanned { rows, done });
                    match last {
                        Some(_) => self.ask_store(node, StoreOp::Scan(current, shards, last)),
                        None => {
                            self.nodes[node].acquiring = false;
                            self.unsettle();
                            self.read_inbox(node);
                        }
                    }
                }
                None => self.again(node, Again::Scan(shards, after), RETRY),
            },
            News::Inbox(incarnation, rows) if incarnation == current => {
                self.nodes[node].inbox.reading = false;
                let rows = rows.unwrap_or_default();
                let rows = if self.plant == Some(Plant::InboxTwice) {
                    rows
                } else {
                    self.nodes[node].inbox.fresh(rows)
                };
                for row in rows {
                    let command = Command {
                        request: row.request,
                        key: None,
                        origin: Origin::Inbox(row.number),
                    };
                    self.give(node, now, Event::Command(command));
                }
            }
            News::Released(incarnation) if incarnation == current => {
                let releasing = &mut self.nodes[node].releasing;
                *releasing = releasing.saturating_sub(1);
            }
            News::Again(incarnation, what) if incarnation == current => match what {
                Again::Scan(shards, after) => {
                    self.ask_store(node, StoreOp::Scan(current, shards, after));
                }
                Again::Renew => self.ask_store(node, StoreOp::Renew(current)),
                Again::Inbox => {
                    self.read_inbox(node);
                    self.again(node, Again::Inbox, INBOX_POLL);
                }
            },
            News::Inputs(attempt, inputs) => self.inputs_read(attempt, inputs),
            // It was for an incarnation that is no more.
            News::Driver(..)
            | News::Joined(..)
            | News::Membership(..)
            | News::Leased(..)
            | News::Page { .. }
            | News::Inbox(..)
            | News::Released(..)
            | News::Again(..) => {}
        }
    }

    fn read_inbox(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let shards: Vec<Shard> = state.driver.shards().collect();
        if state.inbox.reading || shards.is_empty() {
            return;
        }
        state.inbox.reading = true;
        let incarnation = state.incarnation;
        self.ask_store(node, StoreOp::Inbox(incarnation, shards));
    }

    /// Takes or gives up shards so that every living node has its share.
    fn balance(&mut self, node: usize, membership: &Membership) {
        let state = &self.nodes[node];
        let moving = state.acquiring || state.releasing > 0;
        if state.stopping || moving || membership.nodes.is_empty() {
            return;
        }
        let incarnation = state.incarnation;
        let owned: BTreeSet<Shard> = state.driver.shards().collect();
        let kept = state.driver.kept_shards();
        // Ours in the database but not in memory: their release failed, and nobody works them.
        let ours = membership
            .owners
            .iter()
            .filter(|(_, owner)| **owner == incarnation);
        let forgotten: Vec<Shard> = ours
            .map(|(shard, _)| *shard)
            .filter(|shard| !owned.contains(shard))
            .collect();
        if !forgotten.is_empty() {
            self.nodes[node].releasing += 1;
            return self.ask_store(node, StoreOp::Release(incarnation, forgotten));
        }
        let all = self.store.shards();
        let share = all.len().div_ceil(membership.nodes.len());
        if kept > share {
            let excess: Vec<Shard> = owned.into_iter().rev().take(kept - share).collect();
            let now = self.node_now(node);
            self.note(|| format!("node {node} drains {excess:?}"));
            self.give(node, now, Event::Drain(excess));
            self.unsettle();
            return;
        }
        let free = all
            .into_iter()
            .filter(|shard| !membership.owners.contains_key(shard));
        let wanted: Vec<Shard> = free.take(share - kept).collect();
        if !wanted.is_empty() {
            self.nodes[node].acquiring = true;
            self.ask_store(node, StoreOp::Acquire(incarnation, wanted));
        }
    }
}

/// Rows read by one request of the scan; small, so that scans have several pages.
pub(crate) const PAGE: usize = 16;
const INBOX_POLL: i64 = SECOND;
const RETRY: i64 = 500;
