//! The table of the domain once more, told from what was written and not from what was asked.

mod followed;

use std::time::Duration;

use wellspring_core::Action as Follow;
use wellspring_core::connection::{
    Action, Attempt, BeforeRepair, Connection, CredentialsFrom, Fetch, InteractionWrite,
    SecretWrite, Slot, State, Trigger,
};
use wellspring_core::interaction::{Closed, Code, Question};
use wellspring_core::schedule::SlowPlan;
use wellspring_core::{
    Access, Cause, Change, Disposition, ErrorClass, IncarnationId, InteractionId, LastOutcome,
    OnQuestionExpired, OutcomeKind, Reason, Sealed, Timestamp, document,
};
use wellspring_engine::{ConnectionWrite, Report, RunResult};

use super::timing::{forget, require, scheduled, wait_fits};
use super::{Link, Links, Rules, Told, Word};

type Judged = Result<(&'static str, Link), String>;

/// Returns the row of the table that the step took, and what the connection has to be after it.
pub(super) fn step(
    links: &mut Links,
    incarnation: IncarnationId,
    before: &Link,
    write: &ConnectionWrite,
    said: &[(Timestamp, &Change)],
    rules: Rules<'_>,
) -> Judged {
    let Some(next) = &write.next else {
        return Err("it is gone".to_owned());
    };
    let mut after = before.clone();
    after.connection.version += 1;
    let step = Seen {
        incarnation,
        before,
        write,
        next,
        at: said.first().map(|(at, _)| *at),
        cause: said.first().map(|(_, change)| change.cause),
        rules,
    };
    if let Some(attempt) = &write.attempt {
        return step.attempt_ended(links, attempt, after);
    }
    let fetched =
        |document: &wellspring_core::Document| document.origin == document::Origin::Fetched;
    if !write.cursors.is_empty() || !write.records.is_empty() || write.documents.iter().any(fetched)
    {
        return step.items(links, after);
    }
    match (&before.connection.state, &next.state) {
        (
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Answered { .. },
            State::Connecting { fetch, .. },
        ) => step.due(fetch, after),
        (State::Uploading { fetch, .. }, State::Connecting { .. }) => {
            let (fetch, due) = (fetch.clone(), step.at()?);
            after.connection.state = State::Connecting { fetch, due };
            Ok(("lost attempt", after))
        }
        (_, State::Manual { .. }) if step.put(Slot::Credentials).is_some() => {
            step.replaced(links, after)
        }
        (
            State::Created { .. } | State::Waiting { .. } | State::Retrying { .. } | State::Error,
            State::Manual { .. },
        ) => {
            after.connection.state = State::Manual { since: step.at()? };
            Ok(("fetch asked", after))
        }
        (State::Question { .. }, _) if !step.closed().is_empty() => step.answered(links, after),
        (_, State::Disabled) if !matches!(before.connection.state, State::Disabled) => {
            step.disabled(after)
        }
        (State::Disabled, State::Waiting { .. }) => {
            after.connection.config = next.config.clone();
            let next = scheduled(&after.connection, step.at()?);
            after.connection.state = State::Waiting { next };
            Ok(("enabled", after))
        }
        (State::Disabled, State::Disabled) if step.put(Slot::Credentials).is_some() => {
            step.replaced(links, after)
        }
        (_, _) => step.unmoved(links, after),
    }
}

/// Checks that somebody wanted the connection gone.
pub(super) fn deleted(before: &Link, write: &ConnectionWrite, links: &Links) -> Result<(), String> {
    let closed = write
        .interactions
        .iter()
        .map(|interaction| match interaction {
            InteractionWrite::Open { id, .. } => (*id, None),
            InteractionWrite::Close { id, reason, .. } => (*id, Some(*reason)),
        });
    let closed: Vec<_> = closed.collect();
    let open = before.connection.open_interaction();
    let fits = match (open, closed.as_slice()) {
        (None, []) => true,
        (Some(open), [(id, Some(Closed::ConnectionDeleted))]) => *id == open,
        (Some(open), [(id, Some(Closed::Answered))]) => {
            let given = links.given.get(id).into_iter().flatten();
            *id == open
                && given
                    .into_iter()
                    .any(|one| one.action == Action::DeleteConnection)
        }
        (Some(_) | None, _) => false,
    };
    require(fits, "its question was not closed with it")
}

/// One step as it was written.
#[derive(Clone, Copy)]
struct Seen<'a> {
    incarnation: IncarnationId,
    before: &'a Link,
    write: &'a ConnectionWrite,
    next: &'a Connection,
    at: Option<Timestamp>,
    cause: Option<Cause>,
    rules: Rules<'a>,
}

impl Seen<'_> {
    fn at(&self) -> Result<Timestamp, String> {
        self.at.ok_or_else(|| "nothing was said".to_owned())
    }

    fn lasted(&self) -> bool {
        let attempt = self.write.attempt.as_ref();
        attempt.is_some_and(|attempt| !attempt.duration.is_zero())
    }

    /// Returns what is put into a slot, last.
    fn put(&self, slot: Slot) -> Option<Sealed> {
        let puts = self.write.secrets.iter().rev();
        puts.into_iter().find_map(|write| match write {
            SecretWrite::Put(into, value) if *into == slot => Some(value.clone()),
            SecretWrite::Put(..) | SecretWrite::Move(..) | SecretWrite::Delete(_) => None,
        })
    }

    fn closed(&self) -> Vec<(InteractionId, Closed, Option<[u8; 32]>)> {
        let closed = self.write.interactions.iter();
        let closed = closed.filter_map(|interaction| match interaction {
            InteractionWrite::Close {
                id, reason, hash, ..
            } => Some((*id, *reason, *hash)),
            InteractionWrite::Open { .. } => None,
        });
        closed.collect()
    }

    fn opened(&self) -> Option<(InteractionId, &Question, Option<Timestamp>)> {
        self.write.interactions.iter().find_map(|one| match one {
            InteractionWrite::Open {
                id,
                question,
                expires_at,
                ..
            } => Some((*id, question, *expires_at)),
            InteractionWrite::Close { .. } => None,
        })
    }

    fn plan(&self) -> SlowPlan {
        let config = &self.before.connection.config;
        config.slow_plan.clone().unwrap_or_else(|| {
            let source = self.rules.sources.iter();
            let source = source
                .into_iter()
                .find(|one| one.name == self.before.connection.source);
            source
                .and_then(|source| source.connections.as_ref())
                .map_or_else(SlowPlan::default, |defaults| defaults.slow_plan.clone())
        })
    }

    fn may_ask(&self, at: Timestamp) -> bool {
        let connection = &self.before.connection;
        let present = connection.fetch().is_some_and(|fetch| fetch.present);
        let rules = self.rules.tenants.by_id.get(&connection.tenant);
        let ask = rules.copied().unwrap_or_default().ask;
        ask.allows(at, present || connection.repair.is_some())
    }

    fn due(&self, fetch: &Fetch, mut after: Link) -> Judged {
        let at = self.at()?;
        let before = &self.before.connection;
        let (due, trigger) = match &before.state {
            State::Created { due } => (*due, Trigger::Created),
            State::Waiting { next: Some(next) } => {
                let trigger = match next.reason {
                    Reason::Schedule => Trigger::Schedule,
                    Reason::Retry => Trigger::Retry,
                    Reason::RateLimit | Reason::Maintenance => Trigger::Wait,
                    Reason::User => Trigger::User,
                };
                (next.at, trigger)
            }
            State::Retrying { due } => (*due, Trigger::Retry),
            State::Manual { since } => (*since, Trigger::User),
            State::Answered { fetch, since } => {
                require(*since <= at, "it goes on before it was answered")?;
                let fetch = Fetch {
                    running: true,
                    ..fetch.clone()
                };
                after.connection.state = State::Connecting { fetch, due: at };
                return Ok(("answer used", after));
            }
            State::Waiting { next: None }
            | State::Connecting { .. }
            | State::Uploading { .. }
            | State::Question { .. }
            | State::Error
            | State::Disabled => return Err("no fetch is due".to_owned()),
        };
        require(due <= at, "a fetch begins before it is due")?;
        let mended = !matches!(before.access, Access::ReauthRequired | Access::Revoked);
        require(
            mended || !matches!(trigger, Trigger::Schedule),
            "a fetch begins by itself although only a person can mend it",
        )?;
        require(
            after.fetches.insert(fetch.id),
            "a fetch has the id of an earlier one",
        )?;
        let fetch = Fetch {
            id: fetch.id,
            trigger,
            started_at: at,
            present: matches!(trigger, Trigger::Created | Trigger::User),
            running: true,
            attempts: 0,
            failures: Vec::new(),
            documents: 0,
            records: 0,
        };
        if before.access == Access::Unverified {
            after.connection.access = Access::Pending;
        }
        after.connection.state = State::Connecting { fetch, due: at };
        Ok(("fetch due", after))
    }

    fn items(&self, links: &mut Links, mut after: Link) -> Judged {
        let before = &self.before.connection;
        let report = match (
            self.write.documents.as_slice(),
            self.write.records.as_slice(),
        ) {
            ([document], []) if self.write.cursors.is_empty() => {
                Report::Document(Box::new(document.clone()))
            }
            ([], []) => match self.write.cursors.as_slice() {
                [(stream, cursor)] => Report::Checkpoint {
                    stream: stream.clone(),
                    cursor: cursor.clone(),
                },
                _ => return Err("several cursors at once".to_owned()),
            },
            ([], [(stream, _), ..]) => Report::Records {
                stream: stream.clone(),
                records: self
                    .write
                    .records
                    .iter()
                    .map(|(_, one)| one.clone())
                    .collect(),
                cursor: self.write.cursors.first().map(|(_, cursor)| cursor.clone()),
            },
            (_, _) => return Err("documents and records at once".to_owned()),
        };
        links.witness(self.incarnation, before, |told| {
            told.word == Word::Report(report.clone())
        })?;
        let (State::Connecting { fetch, .. } | State::Uploading { fetch, .. }) = &before.state
        else {
            return Err("items come outside of a fetch".to_owned());
        };
        for (stream, cursor) in &self.write.cursors {
            after.cursors.insert(stream.clone(), cursor.clone());
        }
        if let Report::Checkpoint { .. } = report {
            return Ok(("checkpoint", after));
        }
        let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
        let fetch = Fetch {
            running: true,
            documents: fetch.documents + count(self.write.documents.len()),
            records: fetch.records + count(self.write.records.len()),
            ..fetch.clone()
        };
        for document in &self.write.documents {
            require(
                document.fetch == Some(fetch.id) && document.connection == before.id,
                "a document of another fetch",
            )?;
            if let Some(source_id) = &document.source_id {
                require(
                    !after.source_ids.contains(source_id),
                    "a document of the source came twice",
                )?;
                after.source_ids.push(source_id.clone());
            }
            after.documents.push(document.id);
        }
        for (stream, record) in &self.write.records {
            after
                .records
                .entry(stream.clone())
                .or_default()
                .insert(record.key.clone());
        }
        let due = match (&self.next.state, self.at) {
            (_, Some(at)) => at,
            (State::Uploading { due, .. }, None) => *due,
            (_, None) => return Err("items leave it elsewhere".to_owned()),
        };
        after.connection.state = State::Uploading { fetch, due };
        Ok(("items", after))
    }

    fn attempt_ended(&self, links: &mut Links, attempt: &Attempt, mut after: Link) -> Judged {
        let before = &self.before.connection;
        let (State::Connecting { fetch, .. } | State::Uploading { fetch, .. }) = &before.state
        else {
            return Err("an attempt ends outside of a fetch".to_owned());
        };
        let at = self
            .at
            .unwrap_or_else(|| attempt.at.after(attempt.duration));
        let fetch = Fetch {
            running: false,
            attempts: fetch.attempts + 1,
            ..fetch.clone()
        };
        let named = (attempt.fetch, attempt.number) == (fetch.id, fetch.attempts);
        require(named, "another attempt ended")?;
        let told = links.witness(self.incarnation, before, |told| {
            told.started == attempt.at && told.ends_like(attempt, self.opened().map(|open| open.1))
        })?;
        match &told.word {
            Word::Report(Report::Question { question, resume }) => {
                links.ended[1] += 1;
                after.slots.remove(&Slot::Answer);
                after.slots.remove(&Slot::Resume);
                if !self.may_ask(at) {
                    self.rest(&mut after, at, OutcomeKind::UserNeeded, None);
                    return Ok(("nobody to ask", after));
                }
                if let Some(resume) = resume {
                    after.slots.insert(Slot::Resume, resume.clone());
                }
                let credentials = question.code == Code::Credentials;
                self.pose(&mut after, at, (fetch, question.expires_in, credentials))?;
                Ok(("question asked", after))
            }
            Word::Ended(RunResult::Finished { partial, .. }) => {
                links.ended[0] += 1;
                let kind = if partial.is_some() {
                    OutcomeKind::Partial
                } else {
                    after.connection.last_success_at = Some(at);
                    OutcomeKind::Success
                };
                after.connection.retries = 0;
                after.connection.waits = 0;
                after.connection.access = Access::Valid;
                after.connection.repair = None;
                after.before_repair = None;
                after.slots.remove(&Slot::PreviousCredentials);
                self.rest(&mut after, at, kind, partial.clone());
                Ok(("fetched", after))
            }
            Word::Ended(RunResult::Failed {
                error,
                retry_at,
                action,
                ..
            }) => {
                links.ended[2] += 1;
                let error = (error.class, Some(error.clone()));
                self.failed(after, at, (fetch, told.probe), error, (*retry_at, *action))
            }
            Word::Report(_) | Word::Ended(RunResult::Asked | RunResult::NotBegun) => {
                Err("an attempt ended by that".to_owned())
            }
        }
    }

    fn failed(
        &self,
        mut after: Link,
        at: Timestamp,
        (mut fetch, probe): (Fetch, bool),
        (class, error): (ErrorClass, Option<wellspring_core::Error>),
        (retry_at, action): (Option<Timestamp>, Follow),
    ) -> Judged {
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(class),
            at,
            error: error.clone(),
        };
        if action == Follow::Revoke {
            after.connection.access = Access::Revoked;
            after.connection.repair = None;
            after.before_repair = None;
            after.slots.clear();
            self.rest(&mut after, at, OutcomeKind::Failed(class), error);
            return Ok(("revoked", after));
        }
        if class == ErrorClass::AuthenticationError {
            after.connection.access = Access::ReauthRequired;
            forget(&mut after);
            if !self.may_ask(at) {
                self.rest(&mut after, at, OutcomeKind::Failed(class), error);
                return Ok(("unauthorised", after));
            }
            after.connection.outcome = Some(outcome);
            self.pose(&mut after, at, (fetch, None, true))?;
            return Ok(("credentials asked", after));
        }
        if let Some(judged) = self.followed(&mut after, at, (&fetch, class, &error), action) {
            return judged.map(|name| (name, after));
        }
        if class.disposition() == Disposition::Wait {
            after.connection.waits += 1;
            let State::Waiting { next: Some(next) } = &self.next.state else {
                return Err("a source that wants us to wait is not waited for".to_owned());
            };
            let reason = if class == ErrorClass::BankMaintenance {
                Reason::Maintenance
            } else {
                Reason::RateLimit
            };
            require(next.reason == reason, "it waits for another reason")?;
            wait_fits(next.at, at, retry_at, class)?;
            forget(&mut after);
            after.connection.outcome = Some(outcome);
            after.connection.state = State::Waiting { next: Some(*next) };
            return Ok(("source waits", after));
        }
        let counts = u16::from(!probe);
        let known = fetch.failures.iter_mut().find(|(known, _)| *known == class);
        let failures = if let Some((_, failures)) = known {
            *failures += counts;
            *failures
        } else {
            fetch.failures.push((class, counts));
            counts
        };
        let allowed = class.policy().map_or(0, |plan| plan.max_retries);
        if class.policy().is_some() && failures.max(1) <= allowed {
            let (State::Connecting { due, .. } | State::Uploading { due, .. }) = &self.next.state
            else {
                return Err("a fetch ended with attempts left".to_owned());
            };
            // A clock that went back meanwhile leaves nothing to tell the time of the step by.
            if self.at.is_some() || self.lasted() {
                wait_fits(*due, at, retry_at, class)?;
            }
            let uploading = matches!(self.before.connection.state, State::Uploading { .. });
            after.connection.state = if uploading {
                State::Uploading { fetch, due: *due }
            } else {
                State::Connecting { fetch, due: *due }
            };
            return Ok(("attempt failed", after));
        }
        forget(&mut after);
        after.connection.outcome = Some(outcome);
        let failures = self.before.connection.retries + 1;
        match self.plan().gaps().get(usize::from(failures) - 1) {
            Some(gap) => {
                after.connection.retries = failures;
                after.connection.state = State::Retrying {
                    due: at.after(*gap),
                };
                Ok(("fetch failed", after))
            }
            None => {
                after.connection.state = State::Error;
                Ok(("plans spent", after))
            }
        }
    }

    /// The connection rests until its schedule.
    fn rest(
        &self,
        after: &mut Link,
        at: Timestamp,
        kind: OutcomeKind,
        error: Option<wellspring_core::Error>,
    ) {
        forget(after);
        after.connection.outcome = Some(LastOutcome { kind, at, error });
        let next = scheduled(&after.connection, at);
        after.connection.state = State::Waiting { next };
    }

    fn pose(
        &self,
        after: &mut Link,
        at: Timestamp,
        (fetch, lives, credentials): (Fetch, Option<Duration>, bool),
    ) -> Result<(), String> {
        let (interaction, _, expires_at) = self.opened().ok_or("no question was opened")?;
        let repaired = after.connection.repair.is_some();
        let lives = match lives {
            Some(lives) if repaired => Some(lives.min(PATIENCE)),
            None if repaired => Some(PATIENCE),
            lives => lives,
        };
        let expected = lives.map(|lives| at.after(lives));
        require(expires_at == expected, "the question ends at another time")?;
        after.connection.state = State::Question {
            fetch,
            interaction,
            credentials,
            expires_at,
        };
        Ok(())
    }

    fn replaced(&self, links: &Links, mut after: Link) -> Judged {
        let before = &self.before.connection;
        let credentials = self.put(Slot::Credentials).ok_or("no credentials")?;
        let from = links
            .replaced
            .get(credentials.as_bytes())
            .ok_or("nobody gave these credentials")?;
        let resting = matches!(
            before.state,
            State::Created { .. } | State::Waiting { .. } | State::Retrying { .. } | State::Error
        );
        match from {
            CredentialsFrom::Tenant => {
                after.connection.repair = None;
                after.before_repair = None;
                after.slots.remove(&Slot::PreviousCredentials);
            }
            CredentialsFrom::Repair if before.repair.is_none() && resting => {
                after.connection.repair = Some(Box::new(BeforeRepair {
                    state: before.state.clone(),
                    access: before.access,
                    outcome: before.outcome.clone(),
                    retries: before.retries,
                }));
                let kept = after.slots.remove(&Slot::Credentials);
                if let Some(kept) = &kept {
                    after.slots.insert(Slot::PreviousCredentials, kept.clone());
                }
                after.before_repair = Some((Box::new(before.clone()), kept));
            }
            CredentialsFrom::Repair => {}
        }
        after.slots.insert(Slot::Credentials, credentials);
        if before.fetch().is_some() {
            self.cancelled(&mut after, self.at()?);
        }
        self.closes(Closed::Superseded)?;
        after.connection.access = Access::Pending;
        if matches!(before.state, State::Disabled) {
            return Ok(("replaced while disabled", after));
        }
        after.connection.state = State::Manual { since: self.at()? };
        Ok(("credentials replaced", after))
    }

    fn disabled(&self, mut after: Link) -> Judged {
        after.connection.config = self.next.config.clone();
        if self.before.connection.fetch().is_some() {
            self.cancelled(&mut after, self.at()?);
        }
        self.closes(Closed::Cancelled)?;
        after.connection.state = State::Disabled;
        Ok(("disabled", after))
    }

    fn cancelled(&self, after: &mut Link, at: Timestamp) {
        forget(after);
        after.connection.outcome = Some(LastOutcome {
            kind: OutcomeKind::Cancelled,
            at,
            error: None,
        });
    }

    /// Checks that the open question, if there was one, was closed for this reason.
    fn closes(&self, reason: Closed) -> Result<(), String> {
        let open = self.before.connection.open_interaction();
        let closed = self.closed();
        let fits = match (open, closed.as_slice()) {
            (None, []) => true,
            (Some(open), [(id, why, None)]) => (*id, *why) == (open, reason),
            (Some(_) | None, _) => false,
        };
        require(fits, "the open question was not closed with it")
    }

    fn answered(&self, links: &Links, mut after: Link) -> Judged {
        let at = self.at()?;
        let before = &self.before.connection;
        let State::Question {
            fetch,
            interaction,
            credentials,
            expires_at,
        } = &before.state
        else {
            return Err("nothing was asked".to_owned());
        };
        let closed = self.closed();
        let [(id, reason, hash)] = closed.as_slice() else {
            return Err("several questions closed".to_owned());
        };
        require(id == interaction, "another question was closed")?;
        match reason {
            Closed::Answered => {
                let given = links.given.get(id).into_iter().flatten();
                let given = given
                    .into_iter()
                    .find(|given| Some(given.hash) == *hash)
                    .ok_or("nobody gave that answer")?;
                if given.action == Action::Stop {
                    if before.repair.is_some() {
                        self.abandoned(&mut after)?;
                        return Ok(("repair stopped", after));
                    }
                    self.rest(&mut after, at, OutcomeKind::Cancelled, None);
                    return Ok(("stopped", after));
                }
                let slot = if *credentials {
                    after.connection.access = Access::Pending;
                    Slot::Credentials
                } else {
                    Slot::Answer
                };
                after.slots.insert(slot, given.answer.clone());
                let fetch = Fetch {
                    present: true,
                    ..fetch.clone()
                };
                after.connection.state = State::Answered { fetch, since: at };
                Ok(("answered", after))
            }
            Closed::Expired | Closed::Cancelled => {
                if *reason == Closed::Expired {
                    let over = expires_at.is_some_and(|end| end <= at);
                    require(over, "a question expired before its time")?;
                } else if matches!(self.next.state, State::Disabled) {
                    return self.disabled(after);
                } else {
                    let wanted = links.called_off.contains(id);
                    require(wanted, "nobody called the question off")?;
                }
                if before.repair.is_some() {
                    self.abandoned(&mut after)?;
                    return Ok(("repair abandoned", after));
                }
                let mended = before.access != Access::ReauthRequired;
                if before.config.on_question_expired == OnQuestionExpired::Retry && mended {
                    forget(&mut after);
                    after.connection.outcome = Some(LastOutcome {
                        kind: OutcomeKind::UserTooSlow,
                        at,
                        error: None,
                    });
                    let plan = self.plan();
                    let gap = plan.gaps().get(usize::from(before.retries));
                    let gap = gap.or_else(|| plan.gaps().first()).ok_or("no gap")?;
                    after.connection.state = State::Retrying {
                        due: at.after(*gap),
                    };
                    return Ok(("too slow, tried again", after));
                }
                self.rest(&mut after, at, OutcomeKind::UserTooSlow, None);
                Ok(("too slow", after))
            }
            Closed::Superseded | Closed::ConnectionDeleted => {
                Err("a question was closed for a reason of something else".to_owned())
            }
        }
    }

    /// Everything is as it was before the repair began, by what was noted then.
    fn abandoned(&self, after: &mut Link) -> Result<(), String> {
        let (was, credentials) = after.before_repair.take().ok_or("there was no repair")?;
        forget(after);
        after.slots.remove(&Slot::PreviousCredentials);
        match credentials {
            Some(credentials) => after.slots.insert(Slot::Credentials, credentials),
            None => after.slots.remove(&Slot::Credentials),
        };
        let connection = &mut after.connection;
        connection.state = was.state.clone();
        connection.access = was.access;
        connection.outcome = was.outcome.clone();
        connection.retries = was.retries;
        connection.repair = None;
        Ok(())
    }

    /// The state stays what it is: something was set, given by hand, or the source gave new credentials.
    fn unmoved(&self, links: &mut Links, mut after: Link) -> Judged {
        let before = &self.before.connection;
        if let Some(credentials) = self.put(Slot::Credentials) {
            let rotated = Word::Report(Report::Credentials(credentials.clone()));
            links.witness(self.incarnation, before, |told| told.word == rotated)?;
            after.slots.insert(Slot::Credentials, credentials);
            return Ok(("credentials rotated", after));
        }
        if let [document] = self.write.documents.as_slice() {
            require(
                document.fetch.is_none() && self.cause == Some(Cause::DocumentUploaded),
                "a document by hand that is none",
            )?;
            after.documents.push(document.id);
            return Ok(("uploaded by hand", after));
        }
        let changed = self.next.config != before.config;
        after.connection.config = self.next.config.clone();
        if let State::Waiting { next } = &before.state
            && changed
            && next.is_none_or(|next| next.reason == Reason::Schedule)
            && (self.next.config.schedule != before.config.schedule
                || self.next.config.paused != before.config.paused)
        {
            let next = scheduled(&after.connection, self.at()?);
            after.connection.state = State::Waiting { next };
        }
        Ok(("set", after))
    }
}

impl Told {
    fn ends_like(&self, attempt: &Attempt, question: Option<&Question>) -> bool {
        match &self.word {
            Word::Report(Report::Question {
                question: asked, ..
            }) => attempt.error.is_none() && question.is_none_or(|question| question == asked),
            Word::Ended(RunResult::Finished { partial, .. }) => *partial == attempt.error,
            Word::Ended(RunResult::Failed { error, .. }) => Some(error) == attempt.error.as_ref(),
            Word::Report(_) | Word::Ended(RunResult::Asked | RunResult::NotBegun) => false,
        }
    }
}

/// How long a question of a repair waits at the most.
const PATIENCE: Duration = Duration::from_secs(600);
