//! Accounts: made, renamed, and erased together with their connections.

use wellspring_core::account::AccountStep;
use wellspring_core::{Account, AccountId, Actor, ConnectionId, TenantId, Timestamp};

use super::{
    Action, Answer, Command, Driver, Held, LoadFor, Origin, Phase, Place, Request, Resident, Step,
    Wish,
};
use crate::{AccountWrite, Aggregate, Before, Loaded, Write};

impl<T> Driver<T> {
    /// A timer without a call has gone off.
    pub(super) fn alarm(&mut self, now: Timestamp, id: Aggregate) {
        if self.erasing.contains(&id) || self.residents.contains_key(&id) {
            // What comes of the step that is under way sets the next timer.
            return;
        }
        if self.loading.contains_key(&id) {
            self.look_again(now, id, Place::alarm(now));
        } else {
            self.load(id, LoadFor::Alarm);
        }
    }

    pub(super) fn alarm_loaded(&mut self, now: Timestamp, row: Option<Loaded>) {
        match row {
            Some(Loaded::Connection(connection)) => self.connection_alarm(now, connection),
            Some(Loaded::Account(account)) => {
                let empty = self.erasures.get(&account.id).is_some_and(|one| one.empty);
                if empty {
                    self.erasures.remove(&account.id);
                    let (id, before) = (account.id, Before::Live(account.version));
                    let tenant = account.tenant;
                    self.push_account(now, (id, before, tenant), account.erased(), None);
                } else {
                    self.account_settled(&account);
                }
            }
            Some(row @ (Loaded::Collection(_) | Loaded::Source(_))) => self.reschedule(now, row),
            None => {}
        }
    }

    /// Begins an erasure that is durable: its connections go first, each with its change.
    pub(super) fn account_settled(&mut self, account: &Account) {
        let Some((_, actor)) = account.erasing else {
            return;
        };
        if self.erasures.contains_key(&account.id) {
            return;
        }
        let erasure = Erasure {
            tenant: account.tenant,
            actor,
            left: 0,
            empty: false,
        };
        self.erasures.insert(account.id, erasure);
        self.actions.push(Action::Children(account.id));
    }

    /// Deletes the connections that were found; when there are none the account itself goes.
    pub(super) fn children(
        &mut self,
        now: Timestamp,
        account: AccountId,
        connections: Option<Vec<ConnectionId>>,
    ) {
        let id = Aggregate::Account(account);
        if self.is_draining(id) {
            // The next owner of the shard goes on with it.
            self.erasures.remove(&account);
        }
        let Some(erasure) = self.erasures.get_mut(&account) else {
            return;
        };
        let (tenant, actor) = (erasure.tenant, erasure.actor);
        let Some(connections) = connections else {
            self.erasures.remove(&account);
            self.look_again(now, id, Place::alarm(now));
            return;
        };
        erasure.left = connections.len();
        if connections.is_empty() {
            erasure.empty = true;
            self.alarm(now, id);
        }
        for id in connections {
            let request = Request::Connection {
                id,
                tenant,
                wish: Wish::Delete,
                actor,
            };
            let origin = Origin::Erasure(account);
            self.command(
                now,
                Command {
                    request,
                    key: None,
                    origin,
                },
            );
        }
    }

    /// One connection less, or one that could not go now and is found again.
    pub(super) fn child_gone(&mut self, account: AccountId) {
        let Some(erasure) = self.erasures.get_mut(&account) else {
            return;
        };
        erasure.left = erasure.left.saturating_sub(1);
        if erasure.left == 0 {
            self.actions.push(Action::Children(account));
        }
    }

    pub(super) fn create_account(&mut self, now: Timestamp, id: AccountId, command: Command<T>) {
        let Request::CreateAccount {
            tenant,
            external_id,
            actor,
            ..
        } = &command.request
        else {
            return;
        };
        let step = Account::create(now, id, *tenant, external_id.clone(), *actor);
        let new = (id, Before::New, *tenant);
        self.push_account(now, new, step, Some(command));
    }

    /// Steps an account by a command; gives it back where nothing changed.
    pub(super) fn apply_to_account(
        &mut self,
        now: Timestamp,
        account: Account,
        command: Command<T>,
    ) -> Option<Account> {
        if account.tenant != command.request.tenant() || account.erasing.is_some() {
            self.settle(now, command, Answer::NotFound);
            return Some(account);
        }
        let step = (account.id, Before::Live(account.version), account.tenant);
        match &command.request {
            Request::PatchAccount {
                external_id, actor, ..
            } => {
                let next = account.patch(external_id.clone(), *actor);
                self.push_account(now, step, next, Some(command));
                None
            }
            Request::EraseAccount { actor, .. } => {
                let next = account.erase(now, *actor);
                self.push_account(now, step, next, Some(command));
                None
            }
            Request::Connect { .. } => {
                self.connect(now, command);
                Some(account)
            }
            Request::Collect { .. }
            | Request::Resume { .. }
            | Request::Erase { .. }
            | Request::CreateAccount { .. }
            | Request::Connection { .. }
            | Request::Source { .. }
            | Request::Subscription { .. } => Some(account),
        }
    }

    fn push_account(
        &mut self,
        now: Timestamp,
        (id, before, tenant): (AccountId, Before, TenantId),
        step: AccountStep,
        command: Option<Command<T>>,
    ) {
        let aggregate = Aggregate::Account(id);
        match &step.next {
            Some(next) => {
                let resident = Resident {
                    held: Held::Account(next.clone()),
                    phase: Phase::Committing,
                };
                self.residents.insert(aggregate, resident);
            }
            None => {
                self.erasing.insert(aggregate);
            }
        }
        let (key, origin) = self.key_and_origin(now, tenant, aggregate, command);
        let write = AccountWrite {
            id,
            before,
            next: step.next,
        };
        self.pending.push_back(Step {
            write: Some(Write::Account(write)),
            tenant,
            at: now,
            changes: step.change.into_iter().collect(),
            told: Vec::new(),
            unclassified: None,
            key,
            origin,
            wanted: None,
        });
    }
}

/// An account that is being erased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erasure {
    tenant: TenantId,
    actor: Actor,
    /// Connections that were told to go and are not gone yet.
    left: usize,
    /// Whether none was found any more.
    empty: bool,
}
