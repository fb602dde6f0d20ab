//! Calls in the course of an attempt: for each it asks for leave, as the real session does.

use std::time::Duration;

use wellspring_core::connection::State;
use wellspring_core::{Error, ErrorClass, Timestamp};
use wellspring_engine::{Answer, BUDGET_SPENT, Event, Leave, RunResult};

use crate::agenda::{News, Occurrence};
use crate::attempt::connection_of;
use crate::clock::{MINUTE, SECOND};
use crate::counted::Counted;
use crate::world::World;
use crate::{Fault, Plant};

/// A call that waits for leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calling {
    endpoint: &'static str,
    /// When it was first asked for, by the node's clock.
    asked: Timestamp,
}

impl World {
    /// The connector wants to call an endpoint.
    pub(crate) fn call(&mut self, task: u64, endpoint: &'static str) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        // Nobody asks where nothing is counted.
        if !attempt.order.counted {
            return self.act(task);
        }
        let asked = self.node_now(attempt.node);
        if let Some(attempt) = self.attempts.get_mut(&task) {
            attempt.calling = Some(Calling { endpoint, asked });
        }
        self.ask_leave(task);
        self.strike_asking(task);
    }

    /// Asks for leave, for the first time or once more.
    pub(crate) fn ask_leave(&mut self, task: u64) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let Some(calling) = attempt.calling else {
            return;
        };
        let (node, boot, effect) = (attempt.node, attempt.boot, attempt.effect);
        let caller = self.callers.number();
        self.reports.insert(caller, task);
        let late = if self.spend(Fault::ReportDelayed) {
            self.dice.between(SECOND, 3 * MINUTE)
        } else {
            self.dice.between(0, 3)
        };
        let news = News::Driver(
            None,
            Event::Calling(effect, calling.endpoint.into(), caller),
        );
        self.agenda
            .push(self.now + late, Occurrence::Tell { node, boot, news });
    }

    /// Returns what the node says of the call; nothing where the attempt is over.
    pub(crate) fn leave_told(&self, task: u64, answer: &Answer) -> Option<Leave> {
        match (answer, self.plant) {
            (Answer::Leave(Leave::NotBefore(_)), Some(Plant::LeaveWhenSpent)) => {
                task.is_multiple_of(3).then_some(Leave::Granted)
            }
            (Answer::Ended, Some(Plant::LeaveToEnded)) => Some(Leave::Granted),
            (Answer::Leave(leave), _) => Some(*leave),
            (_, _) => None,
        }
    }

    /// The node grants the call, or says when to ask again.
    pub(crate) fn leave_heard(&mut self, task: u64, leave: Leave) {
        let Some(attempt) = self.attempts.get_mut(&task) else {
            return;
        };
        let Some(calling) = attempt.calling else {
            return;
        };
        let node = attempt.node;
        let not_before = match leave {
            Leave::Granted => {
                attempt.calling = None;
                return self.goes_out(task, calling.endpoint);
            }
            Leave::NotBefore(at) => at,
        };
        let clock = self.node_now(node);
        let at = not_before.max(clock);
        if at > calling.asked.after(LONGEST_WAIT) {
            self.report.leaves[2] += 1;
            let code = match self.plant {
                Some(Plant::BudgetIsItsWord) => "http_429",
                Some(_) | None => BUDGET_SPENT,
            };
            return self.ends(task, &spent(code, at));
        }
        self.report.leaves[1] += 1;
        let pause = i64::try_from(at.since(clock).as_millis()).unwrap_or(0);
        self.agenda.push(self.now + pause, Occurrence::Act(task));
    }

    /// The call is on its way to the bank.
    fn goes_out(&mut self, task: u64, endpoint: &'static str) {
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let (effect, order) = (attempt.effect, attempt.order.clone());
        self.note(|| format!("attempt on {} calls {endpoint}", order.connection));
        self.report.leaves[0] += 1;
        if let Some(why) = self.is_over(task) {
            let seen = format!("{endpoint}: {why}: {effect:?}");
            return self.broken("an attempt that ended makes no further call", seen);
        }
        let Some(source) = self.sources.by_lane(effect.lane) else {
            return;
        };
        let limits = std::sync::Arc::clone(&source.limits);
        let counted = || {
            let limits = limits.iter().enumerate();
            limits.filter(|(_, one)| {
                let of = one.endpoint.as_deref();
                of.is_none_or(|of| of == endpoint)
            })
        };
        let windows = counted().flat_map(|(_, limit)| limit.windows.iter());
        let shortest = windows.map(|window| window.per).min().unwrap_or_default();
        // Calls are late on their way by times that differ, as far as budgets allow for it.
        let late = (shortest / 50).min(Duration::from_secs(1));
        let late = i64::try_from(late.as_millis()).unwrap_or(0);
        let arrives = self.now + self.dice.between(0, late);
        for (place, limit) in counted() {
            let by = Counted::by(
                effect.lane,
                (place, limit),
                order.tenant,
                Some(order.connection),
            );
            if let Some(counted) = by {
                self.check_budget(counted, arrives, &limit.windows);
            }
        }
        let answered = arrives + self.dice.between(3, 400);
        self.agenda.push(answered, Occurrence::Act(task));
    }

    /// Returns why an attempt is not to call any more, if it is not.
    fn is_over(&self, task: u64) -> Option<String> {
        let attempt = self.attempts.get(&task)?;
        if attempt.aborted {
            return Some("its node has ended it".to_owned());
        }
        let order = &attempt.order;
        let id = order.connection;
        // Who has lost its shard need not know it yet.
        if !self.model.owns(attempt.effect.incarnation, id.shard()) {
            return None;
        }
        let Some(link) = self.model.links.by_id.get(&id) else {
            return Some("its connection is deleted".to_owned());
        };
        let fetch = match &link.connection.state {
            State::Connecting { fetch, .. } | State::Uploading { fetch, .. } => Some(fetch),
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Question { .. }
            | State::Answered { .. }
            | State::Error
            | State::Disabled => None,
        };
        let is_its =
            fetch.is_some_and(|one| (one.id, one.attempts + 1) == (order.fetch, order.attempt));
        (!is_its).then(|| format!("{:?}", link.connection))
    }

    /// Now and then something happens just while the call is being spent.
    fn strike_asking(&mut self, task: u64) {
        if self.calm || self.scripted || !self.dice.permille(25) {
            return;
        }
        let Some(attempt) = self.attempts.get(&task) else {
            return;
        };
        let (node, effect) = (attempt.node, attempt.effect);
        match self.dice.below(8) {
            0 => {
                let back_in = self.dice.between(SECOND, MINUTE);
                self.crash(node, back_in);
            }
            1 => self.nodes[node].fate = Some(Fault::CrashAfterCommit),
            2 => self.nodes[node].fate = Some(Fault::CommitUnknownCommitted),
            3 => self.nodes[node].fate = Some(Fault::CommitUnknownLost),
            4 => {
                if self.leased {
                    self.stall(node);
                }
            }
            5 => {
                let by = self.dice.between(MINUTE, 3 * 60 * MINUTE);
                let ahead = self.dice.permille(500);
                self.jump(node, if ahead { by } else { -by });
            }
            _ => {
                if let Some(id) = connection_of(&effect) {
                    self.end_attempt_on(id);
                }
            }
        }
    }
}

/// How an attempt ends that would have to wait for too long.
fn spent(code: &str, until: Timestamp) -> RunResult {
    RunResult::Failed {
        error: Error {
            class: ErrorClass::RateLimitExceeded,
            code: code.to_owned(),
            message: "as many calls were made as the budget allows for now".to_owned(),
        },
        retry_at: Some(until),
        action: wellspring_core::Action::Default,
        unclassified: None,
    }
}

/// For how long an attempt waits for one call.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
