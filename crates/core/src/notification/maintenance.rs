//! What a person has been told about the maintenance of a source: once at its start, once at its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IssueKey, Observation, Telling};
use crate::{IncidentId, Timestamp};

/// What one person was told about the maintenance of one source, however many connections they have there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintenance {
    /// What they were told and is not over.
    told: Option<Told>,
    /// When they were last told that it is over.
    over_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    at: Timestamp,
    /// Of which incident; without one it is what the source said to them alone.
    incident: Option<IncidentId>,
}

impl Maintenance {
    /// Takes in what the log says about one of the person's connections.
    ///
    /// What belongs to an incident is over with the incident and not with one connection.
    pub fn observe(&mut self, now: Timestamp, seen: &Observation<'_>) -> Option<Telling> {
        if !matches!(seen.state, "waiting" | "retrying" | "error" | "completed") {
            return None;
        }
        if seen.in_maintenance() {
            return match self.told {
                Some(_) => None,
                None => self.tell(now, None),
            };
        }
        // Nothing is known of the source while it only lets nobody in.
        let throttled = seen.reason == Some("rate_limit");
        match self.told {
            Some(told) if told.incident.is_none() && !throttled => Some(self.over(now)),
            Some(_) | None => None,
        }
    }

    /// Takes in that an incident goes on at the source.
    pub fn begun(&mut self, now: Timestamp, incident: IncidentId) -> Option<Telling> {
        match self.told {
            Some(told) if told.incident == Some(incident) => None,
            Some(told) if told.incident.is_none() && now.since(told.at) < STALE => {
                self.told = Some(Told {
                    incident: Some(incident),
                    ..told
                });
                None
            }
            Some(_) | None => self.tell(now, Some(incident)),
        }
    }

    /// Takes in that an incident is over.
    pub fn ended(&mut self, now: Timestamp, incident: IncidentId) -> Option<Telling> {
        let told = self.told?;
        let is_it = told.incident.is_none_or(|of| of == incident);
        is_it.then(|| self.over(now))
    }

    /// Returns whether there is nothing to remember at a moment.
    pub fn is_blank(&self, now: Timestamp) -> bool {
        self.told.is_none() && !self.is_cooling(now)
    }

    fn tell(&mut self, at: Timestamp, incident: Option<IncidentId>) -> Option<Telling> {
        if self.is_cooling(at) {
            return None;
        }
        self.told = Some(Told { at, incident });
        Some(Telling::Tell(
            IssueKey::Maintenance.kind(),
            IssueKey::Maintenance,
        ))
    }

    fn over(&mut self, now: Timestamp) -> Telling {
        self.told = None;
        self.over_at = Some(now);
        Telling::Mended(IssueKey::Maintenance.kind(), IssueKey::Maintenance)
    }

    fn is_cooling(&self, now: Timestamp) -> bool {
        self.over_at.is_some_and(|over| now.since(over) < COOL_DOWN)
    }
}

/// How long after a maintenance another one is not told.
const COOL_DOWN: Duration = Duration::from_secs(6 * 3_600);
/// How long what a source said to one person alone counts as the start of an incident.
const STALE: Duration = Duration::from_secs(86_400);
