//! How a connection fares, and why, in words.

use std::cmp::Reverse;
use std::time::Duration;

use crate::Timestamp;
use crate::connection::{Access, Connection, ConnectionState, OutcomeKind, Reason};
use crate::schedule::phase_seed;

/// How a connection fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It does what it should.
    Active,
    /// It works, but not as it should, or not lately.
    Degraded,
    /// Its source is in maintenance; it goes on by itself.
    Maintenance,
    /// All plans failed: only a person or the tenant begins another fetch.
    Error,
    /// The person has to give other credentials or to agree again.
    ReauthRequired,
    /// Nothing is fetched until it is enabled.
    Disabled,
}

impl Health {
    /// Every value, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Active,
        Self::Degraded,
        Self::Maintenance,
        Self::Error,
        Self::ReauthRequired,
        Self::Disabled,
    ];

    /// Returns the name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Maintenance => "maintenance",
            Self::Error => "error",
            Self::ReauthRequired => "reauth_required",
            Self::Disabled => "disabled",
        }
    }

    /// Returns whether the score takes it for healthy: maintenance is nobody's failure.
    pub const fn is_healthy(self) -> bool {
        match self {
            Self::Active | Self::Maintenance => true,
            Self::Degraded | Self::Error | Self::ReauthRequired | Self::Disabled => false,
        }
    }
}

/// Why a connection fares as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthCode {
    /// It was disabled.
    Disabled,
    /// The source does not take its credentials any more.
    CredentialsRefused,
    /// The consent was withdrawn.
    ConsentRevoked,
    /// The slow plan ended without success.
    RetriesSpent,
    /// Its source is in maintenance.
    SourceMaintenance,
    /// Its source has an incident that is no maintenance.
    SourceIncident,
    /// Fetches failed in a row.
    ConsecutiveFailures,
    /// The last fetch brought a part.
    PartialData,
    /// The source asked something and nobody answered.
    UserNeeded,
    /// By its own schedule it should have succeeded since.
    Stale,
    /// The source throttles it.
    RateLimited,
    /// A question waits for the person.
    QuestionOpen,
    /// Its consent ends soon.
    ConsentExpiring,
    /// Scheduled fetches rest.
    Paused,
    /// It was not fetched yet.
    NeverFetched,
}

impl HealthCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Disabled,
        Self::CredentialsRefused,
        Self::ConsentRevoked,
        Self::RetriesSpent,
        Self::SourceMaintenance,
        Self::SourceIncident,
        Self::ConsecutiveFailures,
        Self::PartialData,
        Self::UserNeeded,
        Self::Stale,
        Self::RateLimited,
        Self::QuestionOpen,
        Self::ConsentExpiring,
        Self::Paused,
        Self::NeverFetched,
    ];

    /// Returns the name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::CredentialsRefused => "credentials_refused",
            Self::ConsentRevoked => "consent_revoked",
            Self::RetriesSpent => "retries_spent",
            Self::SourceMaintenance => "source_maintenance",
            Self::SourceIncident => "source_incident",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::PartialData => "partial_data",
            Self::UserNeeded => "user_needed",
            Self::Stale => "stale",
            Self::RateLimited => "rate_limited",
            Self::QuestionOpen => "question_open",
            Self::ConsentExpiring => "consent_expiring",
            Self::Paused => "paused",
            Self::NeverFetched => "never_fetched",
        }
    }

    /// Returns how a connection fares that has this reason and no worse one.
    pub const fn health(self) -> Health {
        match self {
            Self::Disabled => Health::Disabled,
            Self::CredentialsRefused | Self::ConsentRevoked => Health::ReauthRequired,
            Self::RetriesSpent => Health::Error,
            Self::SourceMaintenance => Health::Maintenance,
            Self::SourceIncident
            | Self::ConsecutiveFailures
            | Self::PartialData
            | Self::UserNeeded
            | Self::Stale => Health::Degraded,
            Self::RateLimited
            | Self::QuestionOpen
            | Self::ConsentExpiring
            | Self::Paused
            | Self::NeverFetched => Health::Active,
        }
    }
}

/// Why a connection fares as it does, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReason {
    /// For programs.
    pub code: HealthCode,
    /// For people.
    pub sentence: String,
}

/// What is known of a source beside what the connection itself has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIncident {
    /// Whether it is maintenance, announced or detected; else it is an outage or the like.
    pub maintenance: bool,
    /// When it is expected to end.
    pub until: Option<Timestamp>,
}

/// How a connection fares, with every reason, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// How it fares: as its worst reason says.
    pub health: Health,
    /// Why; nothing where all is well.
    pub reasons: Vec<HealthReason>,
    /// Until when its source is expected to be in maintenance.
    pub maintenance_until: Option<Timestamp>,
}

impl HealthReport {
    /// Judges a connection at `now`, with what is known of its source.
    pub fn of(connection: &Connection, now: Timestamp, incident: Option<SourceIncident>) -> Self {
        let maintenance = Maintenance::of(connection, now, incident);
        let mut reasons = Vec::new();
        let mut say = |code, sentence| reasons.push(HealthReason { code, sentence });
        let state = connection.state();
        if state == ConnectionState::Disabled {
            let sentence = "The connection is disabled: enable it, and it is fetched again";
            say(HealthCode::Disabled, sentence.to_owned());
        }
        say_access(connection, &mut say);
        if state == ConnectionState::Error {
            let sentence = format!(
                "The last fetch failed{} and no retry is left: have it fetched when the cause is gone",
                said(connection)
            );
            say(HealthCode::RetriesSpent, sentence);
        }
        if let Some(Maintenance { until }) = maintenance {
            let sentence = format!("The source is in maintenance{}", until_text(until));
            say(HealthCode::SourceMaintenance, sentence);
        }
        if let Some(incident) = incident.filter(|incident| !incident.maintenance) {
            let until = until_text(incident.until);
            let sentence = format!("The source has an incident{until}");
            say(HealthCode::SourceIncident, sentence);
        }
        // What rests on purpose or waits for the person is not judged by what it did before.
        let judged = state != ConnectionState::Disabled
            && !matches!(connection.access, Access::ReauthRequired | Access::Revoked);
        if judged {
            say_course(connection, state, &mut say);
            say_staleness(connection, now, &mut say);
            say_circumstances(connection, state, &mut say);
        }
        // A stable sort: of reasons that are as bad the order is that of the codes above.
        reasons.sort_by_key(|reason| Reverse(reason.code.health()));
        let worst = reasons.iter().map(|reason| reason.code.health()).max();
        Self {
            health: worst.unwrap_or(Health::Active),
            reasons,
            maintenance_until: maintenance.and_then(|maintenance| maintenance.until),
        }
    }

    /// Returns whether the source is in maintenance, whatever else there is.
    pub fn in_maintenance(&self) -> bool {
        let mut codes = self.reasons.iter().map(|reason| reason.code);
        codes.any(|code| code == HealthCode::SourceMaintenance)
    }
}

/// The maintenance that a connection waits out.
#[derive(Debug, Clone, Copy)]
struct Maintenance {
    until: Option<Timestamp>,
}

impl Maintenance {
    fn of(
        connection: &Connection,
        now: Timestamp,
        incident: Option<SourceIncident>,
    ) -> Option<Self> {
        let told = incident.filter(|incident| incident.maintenance);
        if let Some(SourceIncident { until, .. }) = told
            && until.is_none_or(|until| until > now)
        {
            return Some(Self { until });
        }
        let next = connection.next();
        let met = next.filter(|next| next.reason == Reason::Maintenance && next.at > now);
        met.map(|next| Self {
            until: Some(next.at),
        })
    }
}

fn say_access(connection: &Connection, say: &mut impl FnMut(HealthCode, String)) {
    match connection.access {
        Access::ReauthRequired => {
            let sentence = format!(
                "The source does not take the credentials any more{}: the person has to give others or to agree again",
                said(connection)
            );
            say(HealthCode::CredentialsRefused, sentence);
        }
        Access::Revoked => {
            let sentence = "The consent was withdrawn: the person has to connect again";
            say(HealthCode::ConsentRevoked, sentence.to_owned());
        }
        Access::Expiring => {
            let sentence = "The consent ends soon: the person should renew it";
            say(HealthCode::ConsentExpiring, sentence.to_owned());
        }
        Access::Unverified | Access::Pending | Access::Valid => {}
    }
}

/// Says what the last fetches tell.
fn say_course(
    connection: &Connection,
    state: ConnectionState,
    say: &mut impl FnMut(HealthCode, String),
) {
    let kind = connection.outcome.as_ref().map(|outcome| outcome.kind);
    if connection.retries > 0 && state != ConnectionState::Error {
        let next = connection.next();
        let next = next.map_or_else(String::new, |next| format!(", the next is at {}", next.at));
        let sentence = match connection.retries {
            1 => format!("The last fetch failed{}{next}", said(connection)),
            failures => format!(
                "The last {failures} fetches failed{}{next}",
                said(connection)
            ),
        };
        say(HealthCode::ConsecutiveFailures, sentence);
    }
    match kind {
        Some(OutcomeKind::Partial) => {
            let sentence = format!("The last fetch brought a part only{}", said(connection));
            say(HealthCode::PartialData, sentence);
        }
        Some(OutcomeKind::UserTooSlow) => {
            let sentence = "The source asked something and nobody answered in time";
            say(HealthCode::UserNeeded, sentence.to_owned());
        }
        Some(OutcomeKind::UserNeeded) => {
            let sentence = "The source asks something, and nobody was there to answer";
            say(HealthCode::UserNeeded, sentence.to_owned());
        }
        Some(OutcomeKind::Success | OutcomeKind::Cancelled | OutcomeKind::Failed(_)) | None => {}
    }
}

/// Says so where two turns of its own schedule went by without success.
fn say_staleness(
    connection: &Connection,
    now: Timestamp,
    say: &mut impl FnMut(HealthCode, String),
) {
    let Some(by) = stale_at(connection).filter(|by| *by < now) else {
        return;
    };
    let sentence = match connection.last_success_at {
        Some(at) => {
            format!(
                "The last fetch that succeeded was at {at}; by its schedule another was due by {by}"
            )
        }
        None => format!("No fetch has succeeded yet; by its schedule one was due by {by}"),
    };
    say(HealthCode::Stale, sentence);
}

fn say_circumstances(
    connection: &Connection,
    state: ConnectionState,
    say: &mut impl FnMut(HealthCode, String),
) {
    let limited = connection.next();
    if let Some(next) = limited.filter(|next| next.reason == Reason::RateLimit) {
        let sentence = format!("The source throttles: it is fetched again at {}", next.at);
        say(HealthCode::RateLimited, sentence);
    }
    if state == ConnectionState::Question {
        let sentence = "The source asked something, and the answer is awaited";
        say(HealthCode::QuestionOpen, sentence.to_owned());
    }
    if connection.config.paused {
        let sentence = "Scheduled fetches are paused; it is fetched when asked for";
        say(HealthCode::Paused, sentence.to_owned());
    }
    if connection.outcome.is_none() && connection.last_success_at.is_none() {
        let sentence = "The first fetch has not ended yet";
        say(HealthCode::NeverFetched, sentence.to_owned());
    }
}

/// Returns from when on a connection without success is stale: an hour after the second time at
/// which it should have been fetched; nothing where it is fetched only when asked for.
fn stale_at(connection: &Connection) -> Option<Timestamp> {
    if connection.config.paused {
        return None;
    }
    let schedule = &connection.config.schedule;
    let seed = phase_seed(connection.id);
    let since = connection.last_success_at.unwrap_or(connection.created_at);
    let first = schedule.next(since, since, seed)?;
    let second = schedule.next(first, first, seed)?;
    Some(second.after(GRACE))
}

/// Returns the error of the last outcome, for the middle of a sentence.
fn said(connection: &Connection) -> String {
    let outcome = connection.outcome.as_ref();
    let error = outcome.and_then(|outcome| outcome.error.as_ref());
    error.map_or_else(String::new, |error| {
        format!(" ({}, `{}`)", error.class.as_str(), error.code)
    })
}

fn until_text(until: Option<Timestamp>) -> String {
    until.map_or_else(String::new, |until| format!(" until {until}"))
}

/// How much longer than its schedule says a fetch may take before anybody calls it late.
const GRACE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
