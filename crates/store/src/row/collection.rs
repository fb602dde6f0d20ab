//! The two rows of a collection, narrow hot and wide cold, as every store keeps them.

use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{
    Attempt, Collection, CollectionId, CollectionStatus, Error, ErrorClass, Kind, Lane, Outcome,
    SourceName, Stage, State, Stored, TenantId, Timestamp,
};
use wellspring_engine::{
    Aggregate, AttemptView, CollectionView, Live, OutcomeChange, Settings, StoreError,
};

/// What is rewritten at each step of an unfinished collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hot {
    /// 1 collecting, 2 delivering data, 3 delivering the notice of a failure.
    pub(crate) state: u8,
    pub(crate) version: u32,
    pub(crate) due: Timestamp,
    pub(crate) lane: Lane,
    pub(crate) since: Timestamp,
    pub(crate) retries: u16,
    pub(crate) waits: u16,
    pub(crate) message: u16,
}

/// What is written when a collection is accepted and when it is finished.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cold {
    pub(crate) id: CollectionId,
    pub(crate) tenant: TenantId,
    pub(crate) source: SourceName,
    pub(crate) callback_url: Arc<str>,
    pub(crate) created_at: Timestamp,
    /// As of the last step that wrote this row.
    pub(crate) version: u32,
    pub(crate) message: u16,
    pub(crate) collected_at: Option<Timestamp>,
    pub(crate) outcome: Option<Finished>,
}

/// How a collection ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    pub(crate) at: Timestamp,
    /// `None` when it was delivered.
    pub(crate) failure: Option<(Stage, Error)>,
}

pub(crate) const COLLECTING: u8 = 1;
pub(crate) const DELIVERING: u8 = 2;
pub(crate) const NOTIFYING: u8 = 3;

impl Hot {
    /// Returns the hot row of a collection; a finished one has none.
    pub(crate) fn of(collection: &Collection) -> Option<Self> {
        let (due, lane) = collection.next_wakeup()?;
        let (state, since, retries, waits) = match &collection.state {
            State::Collecting {
                since,
                retries,
                waits,
                ..
            } => (COLLECTING, *since, *retries, *waits),
            State::Delivering {
                kind: Kind::Success,
                since,
                retries,
                ..
            } => (DELIVERING, *since, *retries, 0),
            State::Delivering {
                kind: Kind::Failure(_),
                since,
                retries,
                ..
            } => (NOTIFYING, *since, *retries, 0),
            State::Delivered { .. } | State::Failed { .. } => return None,
        };
        let (version, message) = (collection.version, collection.message);
        Some(Self {
            state,
            version,
            due,
            lane,
            since,
            retries,
            waits,
            message,
        })
    }

    pub(crate) const fn live(&self, id: CollectionId, tenant: TenantId) -> Live {
        Live {
            id: Aggregate::Collection(id),
            due: self.due,
            since: self.since,
            lane: self.lane,
            tenant,
            awaited: false,
        }
    }
}

impl Cold {
    /// Returns the cold row of a newly accepted collection.
    pub(crate) fn of(collection: &Collection) -> Self {
        Self {
            id: collection.id,
            tenant: collection.tenant,
            source: collection.source.clone(),
            callback_url: Arc::clone(&collection.callback_url),
            created_at: collection.created_at,
            version: collection.version,
            message: collection.message,
            collected_at: None,
            outcome: None,
        }
    }

    /// Applies what a step says of the outcome; returns whether anything changed.
    pub(crate) fn apply(&mut self, next: &Collection, change: OutcomeChange<'_>) -> bool {
        match change {
            OutcomeChange::Keep => return false,
            OutcomeChange::Clear => self.outcome = None,
            OutcomeChange::Delivered { collected_at, at } => {
                self.collected_at = self.collected_at.or(Some(collected_at));
                self.outcome = Some(Finished { at, failure: None });
            }
            OutcomeChange::Failed {
                stage,
                collected_at,
                at,
                error,
            } => {
                self.collected_at = self.collected_at.or(collected_at);
                self.outcome = Some(Finished {
                    at,
                    failure: Some((stage, error.clone())),
                });
            }
        }
        self.version = next.version;
        self.message = next.message;
        true
    }

    /// Rebuilds the collection from its rows.
    pub(crate) fn collection(&self, hot: Option<&Hot>) -> Result<Collection, StoreError> {
        let inconsistent = |column| StoreError::Inconsistent {
            table: "collections",
            column,
            row: self.id.to_string(),
        };
        let state = match (hot, &self.outcome) {
            (Some(hot), outcome) => {
                let Hot {
                    due,
                    since,
                    retries,
                    waits,
                    ..
                } = *hot;
                match (hot.state, outcome) {
                    (COLLECTING, _) => State::Collecting {
                        since,
                        retries,
                        waits,
                        due,
                    },
                    (DELIVERING, _) => State::Delivering {
                        kind: Kind::Success,
                        since,
                        retries,
                        due,
                    },
                    (
                        NOTIFYING,
                        Some(Finished {
                            failure: Some((_, error)),
                            ..
                        }),
                    ) => State::Delivering {
                        kind: Kind::Failure(error.clone()),
                        since,
                        retries,
                        due,
                    },
                    (_, Some(_) | None) => return Err(inconsistent("state")),
                }
            }
            (None, Some(Finished { at, failure: None })) => State::Delivered {
                collected_at: self.collected_at.unwrap_or(*at),
                at: *at,
            },
            (
                None,
                Some(Finished {
                    at,
                    failure: Some((stage, error)),
                }),
            ) => State::Failed {
                stage: *stage,
                collected_at: self.collected_at,
                at: *at,
                error: error.clone(),
            },
            (None, None) => return Err(inconsistent("outcome")),
        };
        Ok(Collection {
            id: self.id,
            tenant: self.tenant,
            source: self.source.clone(),
            callback_url: Arc::clone(&self.callback_url),
            created_at: self.created_at,
            version: hot.map_or(self.version, |hot| hot.version),
            message: hot.map_or(self.message, |hot| hot.message),
            state,
        })
    }

    /// Returns what the API shows.
    pub(crate) fn view(
        &self,
        hot: Option<&Hot>,
        attempts: Vec<AttemptView>,
    ) -> Result<CollectionView, StoreError> {
        let collection = self.collection(hot)?;
        let status = collection.status();
        let collecting_done = hot
            .filter(|hot| hot.state == DELIVERING)
            .map(|hot| hot.since);
        let outcome = self.outcome.as_ref();
        Ok(CollectionView {
            id: self.id,
            source: self.source.clone(),
            status,
            created_at: self.created_at,
            next_attempt_at: collection.next_wakeup().map(|(due, _)| due),
            collected_at: self.collected_at.or(collecting_done),
            delivered_at: outcome
                .filter(|_| status == CollectionStatus::Delivered)
                .map(|outcome| outcome.at),
            error: outcome.and_then(|outcome| outcome.failure.clone()),
            attempts,
        })
    }
}

/// The columns of an attempt.
pub(crate) struct AttemptRow<'a> {
    pub(crate) stage: u8,
    pub(crate) at: i64,
    pub(crate) duration_ms: i64,
    pub(crate) class: Option<u8>,
    pub(crate) code: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
}

impl<'a> AttemptRow<'a> {
    pub(crate) fn of(attempt: &'a Attempt) -> Self {
        let error = match &attempt.outcome {
            Outcome::Succeeded => None,
            Outcome::Failed(error) => Some(error),
        };
        Self {
            stage: attempt.stage.code(),
            at: attempt.at.as_millis(),
            duration_ms: i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX),
            class: error.map(|error| error.class.code()),
            code: error.map(|error| error.code.as_str()),
            message: error.map(|error| error.message.as_str()),
        }
    }
}

/// Rebuilds an attempt from its columns.
pub(crate) fn attempt_view(
    id: CollectionId,
    (stage, at, duration_ms): (u8, i64, i64),
    error: (Option<u8>, Option<String>, Option<String>),
) -> Result<AttemptView, StoreError> {
    let inconsistent = |column| StoreError::Inconsistent {
        table: "attempts",
        column,
        row: id.to_string(),
    };
    Ok(AttemptView {
        stage: Stage::from_code(stage).ok_or_else(|| inconsistent("stage"))?,
        at: Timestamp::from_millis(at),
        duration: Duration::from_millis(u64::try_from(duration_ms).unwrap_or(0)),
        error: stored_error(error).map_err(|()| inconsistent("class"))?,
    })
}

/// Rebuilds an error from its three columns, all absent or all present.
pub(crate) fn stored_error(
    (class, code, message): (Option<u8>, Option<String>, Option<String>),
) -> Result<Option<Error>, ()> {
    let Some(class) = class else { return Ok(None) };
    let class = ErrorClass::from_code(class).ok_or(())?;
    Ok(Some(Error {
        class,
        code: code.unwrap_or_default(),
        message: message.unwrap_or_default(),
    }))
}

/// Returns after how long the first part of a finished collection goes.
pub(crate) fn shortest_of_a_collection(settings: &Settings) -> Duration {
    settings
        .keep_payloads
        .min(settings.keep_attempts)
        .min(settings.keep_collections)
}
