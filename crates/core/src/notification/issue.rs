//! What a person has been told about a connection, so that they are told once, and told when it is over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NotificationKind;
use crate::Timestamp;

/// What is the matter with a connection, as far as its person is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueKey {
    /// The source asked something while the person was not there.
    Question,
    /// The credentials do not work, or the consent was withdrawn.
    ReauthRequired,
    /// Fetching has failed for good.
    Failing,
    /// The source is in maintenance.
    Maintenance,
}

/// What the person of one connection was told and what is still the matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Issue {
    /// What they were told and is not over, and since when.
    told: BTreeMap<IssueKey, Timestamp>,
    /// Whether the person is there in the present fetch.
    attended: bool,
}

/// What an entry of the log says about a connection, in the words of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation<'a> {
    /// The state that it came into.
    pub state: &'a str,
    /// Whether its credentials work.
    pub access: &'a str,
    /// How the last fetch ended.
    pub outcome: Option<&'a str>,
    /// Why the next fetch is when it is.
    pub reason: Option<&'a str>,
}

/// What the person is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Something is the matter.
    Tell(NotificationKind, IssueKey),
    /// Something is no longer the matter.
    Mended(NotificationKind, IssueKey),
}

impl IssueKey {
    /// Returns the name used in API and templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::ReauthRequired => "reauth_required",
            Self::Failing => "failing",
            Self::Maintenance => "maintenance",
        }
    }

    /// Returns the kind of notification that tells it.
    pub const fn kind(self) -> NotificationKind {
        match self {
            Self::Question | Self::ReauthRequired | Self::Failing => {
                NotificationKind::PlaidConnectionIssue
            }
            Self::Maintenance => NotificationKind::BankMaintenance,
        }
    }
}

impl Observation<'_> {
    /// Returns whether the source is in maintenance, by its own word or an incident.
    pub(super) fn in_maintenance(&self) -> bool {
        self.reason == Some("maintenance") || self.outcome == Some("bank_maintenance")
    }
}

impl Issue {
    /// Takes in what the log says and returns what the person is to be told.
    ///
    /// What was told is not told again before it is mended; a success of what never failed says nothing.
    /// Maintenance is the source's and told by [`super::Maintenance`].
    pub fn observe(&mut self, now: Timestamp, seen: &Observation<'_>) -> Vec<Telling> {
        let mut tellings = Vec::new();
        match seen.state {
            "created" | "manual" => self.attended = true,
            "question" if !self.attended => self.tell(now, IssueKey::Question, &mut tellings),
            "disabled" => *self = Self::default(),
            "waiting" | "retrying" | "error" | "completed" => {
                self.settle(now, seen, &mut tellings);
            }
            // The others are on their way to one of these.
            _ => {}
        }
        tellings
    }

    fn settle(&mut self, now: Timestamp, seen: &Observation<'_>, tellings: &mut Vec<Telling>) {
        let in_maintenance = seen.in_maintenance();
        let needs_person = matches!(seen.access, "reauth_required" | "revoked");
        if needs_person {
            self.tell(now, IssueKey::ReauthRequired, tellings);
        } else if seen.state == "error" && !in_maintenance {
            self.tell(now, IssueKey::Failing, tellings);
        } else if seen.outcome == Some("user_needed") {
            self.tell(now, IssueKey::Question, tellings);
        } else if matches!(seen.outcome, Some("success" | "partial")) && !in_maintenance {
            self.mend(tellings);
        }
        if seen.state != "completed" {
            self.attended = false;
        }
    }

    fn tell(&mut self, now: Timestamp, key: IssueKey, tellings: &mut Vec<Telling>) {
        if self.told.insert(key, now).is_none() {
            tellings.push(Telling::Tell(key.kind(), key));
        }
    }

    /// Says once that all is well, whatever had been told.
    fn mend(&mut self, tellings: &mut Vec<Telling>) {
        let told = [
            IssueKey::ReauthRequired,
            IssueKey::Question,
            IssueKey::Failing,
        ];
        let over: Vec<IssueKey> = told
            .into_iter()
            .filter(|key| self.told.remove(key).is_some())
            .collect();
        if let Some(key) = over.first() {
            tellings.push(Telling::Mended(key.kind(), *key));
        }
    }

    /// Returns how much the person was told that is not over.
    pub fn told(&self) -> usize {
        self.told.len()
    }

    /// Returns whether there is nothing to remember.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }
}
