//! What planted bugs do to a batch before it is handed over, as if the core had made it so.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::budget::{BudgetName, Window};
use wellspring_core::connection::{Connection, InteractionWrite, Reason, SecretWrite, Slot, State};
use wellspring_core::source;
use wellspring_core::{AlertWrite, ConnectionId, RetryPolicy, Subject, Verb};
use wellspring_engine::{BUDGET_SPENT, Batch, ConnectionWrite, Source, SourceTable, Write};

use crate::Plant;
use crate::model::Links;

/// Returns the batch that a driver with this bug would have made.
pub(crate) fn spoilt(plant: Option<Plant>, batch: Arc<Batch>, links: &Links) -> Arc<Batch> {
    let Some(plant) = plant else { return batch };
    let spoil: fn(&mut ConnectionWrite, Option<&Connection>) = match plant {
        Plant::CountThrottled => count_throttled,
        Plant::SpendInMaintenance => spend_in_maintenance,
        Plant::SpendOnBudget => spend_on_budget,
        Plant::DropResume => drop_resume,
        Plant::KeepAnswer => keep_answer,
        Plant::CursorAlone => |write, _| write.records.clear(),
        Plant::SpendOnLoss => spend_on_loss,
        Plant::KeepRepair => keep_repair,
        Plant::LoseClose => lose_close,
        Plant::ParentFirst => return parent_first(&batch),
        Plant::ForgetAlert => return forget_alert(&batch),
        Plant::ActBeforeCommit
        | Plant::IgnoreStaleVersion
        | Plant::ForgetTimersAtRestart
        | Plant::ForgetInflightAtRestart
        | Plant::NewIdOnRepeat
        | Plant::LosePayload
        | Plant::DoubleAccept
        | Plant::SkipFence
        | Plant::AckBeforeCommit
        | Plant::SwallowLog
        | Plant::ReuseUnknown
        | Plant::RetentionEatsLive
        | Plant::EraseNothing
        | Plant::DropResult
        | Plant::InboxTwice
        | Plant::IgnoreBreaker
        | Plant::DocumentTwice
        | Plant::ForgetChildren
        | Plant::ForgetQuestions
        | Plant::StaleIsCurrent
        | Plant::IgnoreRate
        | Plant::LoseMessage
        | Plant::ForgetRows
        | Plant::ForgetTold
        | Plant::SendUnmarked
        | Plant::UnknownIsFailed
        | Plant::MissEntries
        | Plant::CountKeptOut
        | Plant::ForgetSwitch
        | Plant::SpendAlone
        | Plant::RepeatTooOften
        | Plant::MissIncidents
        | Plant::DisturbAtNight
        | Plant::LeaveWhenSpent
        | Plant::SpendOnStranger
        | Plant::LeaveToEnded
        | Plant::CountTooEarly
        | Plant::BudgetIsItsWord
        | Plant::DeafToFigures => return batch,
    };
    let mut spoilt = Batch::clone(&batch);
    for write in &mut spoilt.writes {
        if let Write::Connection(write) = write {
            let before = links.by_id.get(&write.id).map(|link| &link.connection);
            spoil(write, before);
        }
    }
    Arc::new(spoilt)
}

/// Returns the sources as the driver is told of them.
pub(crate) fn sources(plant: Option<Plant>, sources: &Arc<SourceTable>) -> Arc<SourceTable> {
    let spoil: fn(&mut Source) = match plant {
        Some(Plant::IgnoreRate) => |source| source.budget = Arc::default(),
        Some(Plant::RepeatTooOften) => repeat_too_often,
        Some(_) | None => return Arc::clone(sources),
    };
    let spoilt = sources.iter().cloned().map(|mut source| {
        spoil(&mut source);
        source
    });
    Arc::new(SourceTable::new(spoilt))
}

/// The gap is one that every class allows, so that nothing but their number is wrong.
fn repeat_too_often(source: &mut Source) {
    if let Some(defaults) = &mut source.connections {
        defaults.attempts = Some(RetryPolicy {
            base: Duration::from_secs(60),
            factor: 1.0,
            cap: Duration::from_secs(60),
            max_retries: 50,
            jitter: false,
        });
    }
}

fn count_throttled(write: &mut ConnectionWrite, _: Option<&Connection>) {
    if let Some(next) = &mut write.next
        && let State::Waiting { next: Some(wait) } = &next.state
        && wait.reason == Reason::RateLimit
    {
        next.retries += 1;
    }
}

fn spend_in_maintenance(write: &mut ConnectionWrite, _: Option<&Connection>) {
    if let Some(next) = &mut write.next
        && let State::Waiting { next: Some(wait) } = &next.state
        && wait.reason == Reason::Maintenance
    {
        next.retries += 1;
    }
}

fn spend_on_budget(write: &mut ConnectionWrite, before: Option<&Connection>) {
    let code = |next: &Connection| {
        let error = next.outcome.as_ref()?.error.as_ref()?;
        Some(error.code == BUDGET_SPENT)
    };
    if let Some(next) = &mut write.next
        && write.attempt.is_some()
        && code(next) == Some(true)
    {
        next.retries = before.map_or(0, |before| before.retries) + 1;
    }
}

/// Returns the budgets with those of connections put down to others.
pub(crate) fn on_strangers(
    budgets: &mut [(BudgetName, Arc<[Window]>)],
    connections: &[ConnectionId],
) {
    for (name, _) in budgets {
        let mut words = name.as_str().split(' ');
        let (source, whose) = (words.next(), words.next().and_then(|id| id.parse().ok()));
        let place = connections.iter().position(|id| Some(*id) == whose);
        if let (Some(source), Some(place), Some(endpoint)) = (source, place, words.next()) {
            let stranger = connections[(place + 1) % connections.len()];
            *name = BudgetName::new(format!("{source} {stranger} {endpoint}"));
        }
    }
}

/// Returns what is kept of sources as the driver is told of it.
pub(crate) fn kept(plant: Option<Plant>, mut sources: Vec<source::Source>) -> Vec<source::Source> {
    if plant == Some(Plant::ForgetSwitch) {
        for source in &mut sources {
            source.disabled_at = None;
        }
    }
    sources
}

fn drop_resume(write: &mut ConnectionWrite, _: Option<&Connection>) {
    write
        .secrets
        .retain(|secret| !matches!(secret, SecretWrite::Put(Slot::Resume, _)));
}

fn keep_answer(write: &mut ConnectionWrite, _: Option<&Connection>) {
    write
        .secrets
        .retain(|secret| !matches!(secret, SecretWrite::Delete(Slot::Answer)));
}

fn spend_on_loss(write: &mut ConnectionWrite, before: Option<&Connection>) {
    let was = before.map(|before| &before.state);
    if let (Some(State::Uploading { .. }), Some(next)) = (was, &mut write.next)
        && matches!(next.state, State::Connecting { .. })
    {
        next.retries += 1;
    }
}

fn keep_repair(write: &mut ConnectionWrite, _: Option<&Connection>) {
    let restored = SecretWrite::Move(Slot::PreviousCredentials, Slot::Credentials);
    write.secrets.retain(|secret| *secret != restored);
}

fn lose_close(write: &mut ConnectionWrite, _: Option<&Connection>) {
    write
        .interactions
        .retain(|one| !matches!(one, InteractionWrite::Close { .. }));
}

fn forget_alert(batch: &Arc<Batch>) -> Arc<Batch> {
    let mut spoilt = Batch::clone(batch);
    for write in &mut spoilt.writes {
        if let Write::Source(write) = write {
            let opens = |alert: &AlertWrite| matches!(alert, AlertWrite::Open(_));
            write.alerts.retain(|alert| !opens(alert));
        }
    }
    Arc::new(spoilt)
}

fn parent_first(batch: &Arc<Batch>) -> Arc<Batch> {
    let mut spoilt = Batch::clone(batch);
    for place in 1..spoilt.entries.len() {
        let gone = matches!(
            (
                &spoilt.entries[place].change.subject,
                spoilt.entries[place].change.verb
            ),
            (Subject::Connection(..), Verb::Deleted)
        );
        let closed = matches!(
            spoilt.entries[place - 1].change.subject,
            Subject::Interaction(..)
        );
        if gone && closed {
            let child = spoilt.entries[place - 1].change.clone();
            let parent = spoilt.entries[place].change.clone();
            spoilt.entries[place - 1].change = parent;
            spoilt.entries[place].change = child;
        }
    }
    Arc::new(spoilt)
}
