//! Accounts: the end users of a tenant.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Actor, Cause, Change, Facts, Subject, TenantId, Timestamp, Verb};

/// One end user of a tenant, as much of it as a step needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What the tenant calls it; unique where it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts the steps.
    pub version: u32,
    /// Since when all of it is being erased, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<(Timestamp, Actor)>,
}

/// What a step wants written.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountStep {
    /// The account as it is then; `None` when it is gone.
    pub next: Option<Account>,
    /// The entry for the log.
    pub change: Option<Change>,
}

impl Account {
    /// Makes an account.
    pub fn create(
        now: Timestamp,
        id: AccountId,
        tenant: TenantId,
        external_id: Option<String>,
        actor: Actor,
    ) -> AccountStep {
        let next = Self {
            id,
            tenant,
            external_id,
            created_at: now,
            version: 1,
            erasing: None,
        };
        let change = next.change(Verb::Created, actor, Cause::AccountAsked);
        AccountStep {
            next: Some(next),
            change: Some(change),
        }
    }

    /// Calls it something else.
    pub fn patch(self, external_id: Option<String>, actor: Actor) -> AccountStep {
        let change = (external_id != self.external_id)
            .then(|| self.change(Verb::Updated, actor, Cause::AccountPatched));
        let version = self.version.saturating_add(1);
        AccountStep {
            next: Some(Self {
                external_id,
                version,
                ..self
            }),
            change,
        }
    }

    /// Begins its erasure: its connections go first, each with its change.
    pub fn erase(self, now: Timestamp, actor: Actor) -> AccountStep {
        let version = self.version.saturating_add(1);
        AccountStep {
            next: Some(Self {
                erasing: self.erasing.or(Some((now, actor))),
                version,
                ..self
            }),
            change: None,
        }
    }

    /// Ends its erasure, nothing of it being left.
    pub fn erased(self) -> AccountStep {
        let actor = self.erasing.map_or(Actor::Engine, |(_, actor)| actor);
        let change = self.change(Verb::Deleted, actor, Cause::EraseRequested);
        AccountStep {
            next: None,
            change: Some(change),
        }
    }

    const fn change(&self, verb: Verb, actor: Actor, cause: Cause) -> Change {
        Change {
            verb,
            subject: Subject::Account(self.id),
            event: None,
            actor,
            cause,
            body: Facts::Nothing {},
        }
    }
}
