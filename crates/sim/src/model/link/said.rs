//! What the log has to say of a step.

use wellspring_core::connection::{Connection, InteractionWrite, OutcomeKind};
use wellspring_core::interaction::Closed;
use wellspring_core::{
    Access, AlertId, AlertKind, AlertState, AlertWrite, Change, ConnectionId, ConnectionState,
    Facts, InteractionId, Reason, StateFacts, Subject, Timestamp, Verb,
};
use wellspring_engine::ConnectionWrite;

use super::{Link, Rules};

/// What the entries of one step say, sorted by what they are about.
#[derive(Default)]
struct Heard<'a> {
    states: Vec<(ConnectionState, &'a StateFacts)>,
    accesses: Vec<Access>,
    opened: Vec<InteractionId>,
    closed: Vec<(InteractionId, Closed)>,
    documents: usize,
    alerts: Vec<(AlertId, Option<AlertState>)>,
    created: bool,
    updated: bool,
    deleted: bool,
}

pub(super) fn made(
    write: &ConnectionWrite,
    next: &Connection,
    said: &[(Timestamp, &Change)],
    _rules: Rules<'_>,
) -> Result<(), String> {
    let heard = hear(write.id, said)?;
    require(heard.created, "its coming was not said")?;
    state_said(&heard, next, ConnectionState::Created)
}

pub(super) fn deleted(
    before: &Link,
    write: &ConnectionWrite,
    said: &[(Timestamp, &Change)],
) -> Result<(), String> {
    let heard = hear(write.id, said)?;
    require(heard.deleted, "its going was not said")?;
    alerts_said(&heard, write)?;
    require(
        heard.alerts.len() == before.connection.alerts.len(),
        "an alert outlived its connection",
    )?;
    let open: Vec<InteractionId> = before.connection.open_interaction().into_iter().collect();
    let closed: Vec<InteractionId> = heard.closed.iter().map(|(id, _)| *id).collect();
    require(open == closed, "its question's going was not said before")
}

pub(super) fn step(
    before: &Link,
    write: &ConnectionWrite,
    next: &Connection,
    said: &[(Timestamp, &Change)],
    rules: Rules<'_>,
) -> Result<(), String> {
    let heard = hear(write.id, said)?;
    let was = &before.connection;
    require(!heard.created && !heard.deleted, "it neither came nor went")?;
    require(
        heard.updated == (was.config != next.config),
        "what was set was not said",
    )?;
    let access: Vec<Access> = (was.access != next.access)
        .then_some(next.access)
        .into_iter()
        .collect();
    require(heard.accesses == access, "its access was said wrongly")?;
    let mut opened = Vec::new();
    let mut closed = Vec::new();
    for interaction in &write.interactions {
        match interaction {
            InteractionWrite::Open { id, .. } => opened.push(*id),
            InteractionWrite::Close { id, reason, .. } => closed.push((*id, *reason)),
        }
    }
    require(
        heard.opened == opened && heard.closed == closed,
        "a question was said wrongly",
    )?;
    require(
        heard.documents == write.documents.len(),
        "documents were said wrongly",
    )?;
    alerts_said(&heard, write)?;
    let mut kinds: Vec<AlertKind> = next.alerts.iter().map(|alert| alert.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    require(
        kinds.len() == next.alerts.len(),
        "an issue has two open alerts",
    )?;
    let legacy = rules.tenants.by_id.get(&next.tenant);
    let legacy = legacy.is_some_and(|rules| rules.legacy_waiting);
    let shown = if legacy && next.state() == ConnectionState::Retrying {
        ConnectionState::Waiting
    } else {
        next.state()
    };
    let good = write.attempt.is_some()
        && next.outcome != was.outcome
        && next.outcome.as_ref().is_some_and(|outcome| {
            matches!(outcome.kind, OutcomeKind::Success | OutcomeKind::Partial)
        });
    let through = heard.states.first().map(|(state, _)| *state) == Some(ConnectionState::Completed);
    require(
        good == through,
        "a good fetch passes through completed, and only that",
    )?;
    let states = heard.states.len() - usize::from(through);
    require(states <= 1, "several states were said")?;
    if was.state() != next.state() || states > 0 {
        state_said(&heard, next, shown)?;
    }
    Ok(())
}

/// Checks that each alert is told when it is opened, acknowledged and closed, and not otherwise.
fn alerts_said(heard: &Heard<'_>, write: &ConnectionWrite) -> Result<(), String> {
    let told = write.alerts.iter().filter_map(|write| match write {
        AlertWrite::Open(alert) => Some((alert.id, None)),
        AlertWrite::Again(..) => None,
        AlertWrite::Acknowledge(id, _) => Some((*id, Some(AlertState::Acknowledged))),
        AlertWrite::Close(id, _) => Some((*id, Some(AlertState::Closed))),
    });
    let told: Vec<_> = told.collect();
    require(heard.alerts == told, "an alert was said wrongly")
}

/// Checks that the last state said is the connection's, with all that goes with it.
fn state_said(heard: &Heard<'_>, next: &Connection, shown: ConnectionState) -> Result<(), String> {
    let (state, facts) = heard.states.last().ok_or("its state was not said")?;
    require(*state == shown, "another state was said")?;
    let due: Option<(Timestamp, Reason)> = next.next().map(|next| (next.at, next.reason));
    let said = facts.next_attempt_at.zip(facts.reason);
    let outcome = next.outcome.as_ref().map(|outcome| outcome.kind);
    require(
        facts.retries == next.retries
            && said == due
            && facts.outcome == outcome
            && facts.access == next.access.as_str(),
        "a state was said with other facts",
    )
}

/// Sorts the entries of one step; children have to come before what they belong to goes.
fn hear<'a>(id: ConnectionId, said: &[(Timestamp, &'a Change)]) -> Result<Heard<'a>, String> {
    let mut heard = Heard::default();
    for (_, change) in said {
        require(!heard.deleted, "something was said of it after it went")?;
        match (&change.subject, change.verb, &change.body) {
            (Subject::Connection(_, of), verb, _) if *of == id => match verb {
                Verb::Created => heard.created = true,
                Verb::Updated => heard.updated = true,
                Verb::Deleted => heard.deleted = true,
            },
            (Subject::ConnectionState(_, of, state), Verb::Updated, Facts::State(facts))
                if *of == id =>
            {
                heard.states.push((*state, facts.as_ref()));
            }
            (Subject::ConnectionAccess(_, of, access), Verb::Updated, _) if *of == id => {
                heard.accesses.push(*access);
            }
            (Subject::Interaction(_, of, interaction), verb, Facts::Interaction(facts))
                if *of == id =>
            {
                match (verb, facts.reason) {
                    (Verb::Created, None) => heard.opened.push(*interaction),
                    (Verb::Deleted, Some(reason)) => heard.closed.push((*interaction, reason)),
                    (Verb::Created | Verb::Updated | Verb::Deleted, _) => {
                        return Err("a question was said wrongly".to_owned());
                    }
                }
            }
            (Subject::Document(_, of, _), Verb::Created, _) if *of == id => heard.documents += 1,
            (Subject::Alert(alert), Verb::Created, Facts::Alert(_)) => {
                heard.alerts.push((*alert, None));
            }
            (Subject::AlertState(alert, state), Verb::Updated, Facts::Alert(_)) => {
                heard.alerts.push((*alert, Some(*state)));
            }
            (_, _, _) => return Err(format!("{} was said", change.subject)),
        }
    }
    Ok(heard)
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
