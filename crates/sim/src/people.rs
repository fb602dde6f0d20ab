//! Tenants and the people behind their connections: what they want, and what they answer.

use std::collections::BTreeMap;
use std::time::Duration;

use wellspring_core::connection::{Action, Config, CredentialsFrom, Patch};
use wellspring_core::document::{Document, Origin};
use wellspring_core::schedule::{CronExpr, Schedule, SlowPlan};
use wellspring_core::{
    AccountId, Actor, ConnectionId, DocumentId, InteractionId, OnQuestionExpired, SourceName,
    TenantId,
};
use wellspring_engine::{Aggregate, Queries, Request, Wish};

use crate::agenda::Occurrence;
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::disk::now;
use crate::model::link::Given;
use crate::world::World;

impl World {
    /// A tenant or a person does something about accounts and connections.
    pub(crate) fn people(&mut self, later: i64) {
        let (accounts, connections) = (
            self.model.links.accounts.len(),
            self.model.links.by_id.len(),
        );
        match self.dice.below(100) {
            0..10 if accounts < ACCOUNTS => self.open_account(later),
            10..14 => self.rename_account(later),
            14..15 => self.erase_account(later),
            0..40 if connections < CONNECTIONS => self.connect(later),
            15..55 => self.about_some(later, |world, _| Some(world.fetch_or_upload())),
            55..75 => self.about_some(later, |world, _| Some(world.patch())),
            75..93 => self.about_some(later, |world, id| Some(world.replace_credentials(id))),
            _ => {
                if self.dice.permille(300) {
                    self.about_some(later, |_, _| Some(Wish::Delete));
                }
            }
        }
    }

    pub(crate) fn ask_for(&mut self, request: Request, later: i64) {
        let keyed = self.dice.permille(300);
        let ask = self.callers.about(request, keyed);
        let at = self.now + later;
        if keyed && self.dice.permille(200) {
            let again = at + self.dice.between(0, SECOND);
            self.agenda
                .push(again, Occurrence::Send(Box::new(ask.clone())));
        }
        self.agenda.push(at, Occurrence::Send(Box::new(ask)));
    }

    fn open_account(&mut self, later: i64) {
        let Some(tenant) = self.dice.pick(&self.callers.tenants) else {
            return;
        };
        let request = Request::CreateAccount {
            id: None,
            tenant,
            external_id: None,
            actor: Actor::Operator,
        };
        self.ask_for(request, later);
    }

    fn some_account(&mut self) -> Option<(TenantId, AccountId)> {
        let accounts = self.model.links.accounts.values();
        let accounts: Vec<_> = accounts.map(|one| (one.tenant, one.id)).collect();
        self.dice.pick(&accounts)
    }

    fn rename_account(&mut self, later: i64) {
        let Some((tenant, id)) = self.some_account() else {
            return;
        };
        let request = Request::PatchAccount {
            id,
            tenant,
            external_id: Some(format!("user-{}", self.dice.below(9))),
            actor: Actor::Operator,
        };
        self.ask_for(request, later);
    }

    fn erase_account(&mut self, later: i64) {
        let Some((tenant, id)) = self.some_account() else {
            return;
        };
        let actor = Actor::Operator;
        self.ask_for(Request::EraseAccount { id, tenant, actor }, later);
        // Whatever comes just then has to fit in between.
        for _ in 0..self.dice.below(4) {
            let soon = later + self.dice.between(0, 30);
            self.connect(soon);
            self.about_some(soon, |world, _| Some(world.fetch_or_upload()));
        }
    }

    fn connect(&mut self, later: i64) {
        let Some((tenant, account)) = self.some_account() else {
            return;
        };
        let sources: Vec<SourceName> = self
            .sources
            .iter()
            .filter(|source| source.connections.is_some())
            .map(|source| source.name.clone())
            .collect();
        let place = self.dice.below(sources.len());
        let Some(source) = sources.get(place).cloned() else {
            return;
        };
        let right = self.dice.permille(900);
        let credentials = self.bank.credentials(None, right);
        let expired = [OnQuestionExpired::Retry, OnQuestionExpired::FallBack];
        let config = Config {
            label: None,
            schedule: self.schedule(),
            slow_plan: self.slow_plan(),
            on_question_expired: expired[self.dice.below(2)],
            start_date: None,
            paused: false,
        };
        let request = Request::Connect {
            id: None,
            account,
            tenant,
            source,
            config: Box::new(config),
            credentials: Some(credentials),
            asked_in: None,
            actor: Actor::Operator,
        };
        self.ask_for(request, later);
    }

    fn schedule(&mut self) -> Schedule {
        let cron = ["0 6 * * *", "30 */8 * * *", "15 3 * * 1"][self.dice.below(3)];
        let zone = [None, Some("Europe/Berlin"), Some("America/New_York")][self.dice.below(3)];
        let every =
            Duration::from_secs([2_400, 14_400, 43_200, 86_400, 172_800][self.dice.below(5)]);
        match self.dice.below(10) {
            0..6 => Schedule::Every(every),
            6..9 => CronExpr::new(cron, zone).map_or(Schedule::Manual, Schedule::Cron),
            _ => Schedule::Manual,
        }
    }

    fn slow_plan(&mut self) -> Option<SlowPlan> {
        let gaps = [vec![60, 600], vec![300, 3_600, 3_600]];
        let gaps = gaps[self.dice.below(2)].iter();
        let gaps = gaps.map(|gap| Duration::from_secs(*gap)).collect();
        self.dice
            .permille(300)
            .then(|| SlowPlan::new(gaps).ok())
            .flatten()
    }

    /// Somebody wants something of a connection.
    fn about_some(
        &mut self,
        later: i64,
        wish: impl FnOnce(&mut Self, ConnectionId) -> Option<Wish>,
    ) {
        let known: Vec<ConnectionId> = self.model.links.by_id.keys().copied().collect();
        let Some(id) = self.dice.pick(&known) else {
            return;
        };
        if let Some(wish) = wish(self, id) {
            self.wish(id, wish, later);
        }
    }

    pub(crate) fn wish(&mut self, id: ConnectionId, wish: Wish, later: i64) {
        let Some(link) = self.model.links.by_id.get(&id) else {
            return;
        };
        let (mut tenant, account) = (link.connection.tenant, link.connection.account);
        if self.dice.permille(20) && !self.calm {
            tenant = self.dice.pick(&self.callers.tenants).unwrap_or(tenant);
        }
        let mut wish = wish;
        if let Wish::Upload(document) = &mut wish {
            (document.tenant, document.account) = (tenant, account);
            document.connection = id;
        }
        if let Wish::Credentials { credentials, from } = &wish {
            let given = credentials.as_bytes().to_vec();
            self.model.links.replaced.insert(given, *from);
        }
        let actor = Actor::Operator;
        let request = Request::Connection {
            id,
            tenant,
            wish,
            actor,
        };
        self.ask_for(request, later);
    }

    fn fetch_or_upload(&mut self) -> Wish {
        if self.dice.permille(850) {
            return Wish::Fetch;
        }
        let at = wellspring_core::Timestamp::from_millis(self.now);
        let shard = wellspring_core::Shard(0);
        let hash = self.dice.seed().to_be_bytes();
        let mut whole = [9; 32];
        whole[..8].copy_from_slice(&hash);
        Wish::Upload(Box::new(Document {
            id: DocumentId::mint_in(at, shard, self.dice.rng()),
            tenant: self.callers.tenants[0],
            account: AccountId::from_bytes([0; 16]),
            connection: ConnectionId::from_bytes([0; 16]),
            fetch: None,
            origin: Origin::Manual,
            created_at: at,
            source_id: None,
            hash: whole,
            size: 8,
            kind: "statement".to_owned(),
            name: "by-hand.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            date: None,
            metadata: BTreeMap::new(),
        }))
    }

    fn patch(&mut self) -> Wish {
        let mut patch = Patch::default();
        match self.dice.below(10) {
            0..3 => patch.enabled = Some(false),
            3..6 => patch.enabled = Some(true),
            6 => patch.paused = Some(self.dice.permille(400)),
            7 => patch.schedule = Some(self.schedule()),
            8 => patch.label = Some(Some(format!("label {}", self.dice.below(3)))),
            _ => {
                patch.slow_plan = Some(self.slow_plan());
                patch.on_question_expired = Some(OnQuestionExpired::FallBack);
            }
        }
        Wish::Patch(Box::new(patch))
    }

    pub(crate) fn replace_credentials(&mut self, id: ConnectionId) -> Wish {
        let right = self.calm || self.dice.permille(700);
        let from = if self.dice.permille(600) {
            CredentialsFrom::Repair
        } else {
            CredentialsFrom::Tenant
        };
        let credentials = self.bank.credentials(Some(id), right);
        Wish::Credentials { credentials, from }
    }

    /// A question has become durable: somebody will see it, or not.
    pub(crate) fn posed(&mut self, connection: ConnectionId, interaction: InteractionId) {
        if self.scripted {
            return;
        }
        let look = Occurrence::Look(connection, interaction);
        let soon = self.now + self.dice.between(SECOND, 4 * MINUTE);
        match self.dice.below(10) {
            _ if self.calm => self.agenda.push(soon, look),
            0..6 => self.agenda.push(soon, look),
            6 | 7 => {
                let late = self.now + self.dice.between(4 * MINUTE, 3 * HOUR);
                self.agenda.push(late, look);
            }
            _ => {}
        }
    }

    /// Somebody sees a question on the screen and does something about it.
    pub(crate) fn look(&mut self, connection: ConnectionId, interaction: InteractionId) {
        if !self.model.links.by_id.contains_key(&connection) {
            return;
        }
        let view = match now(self.store.interaction(connection, interaction)) {
            Ok(Some(view)) => view,
            Ok(None) => {
                let seen = format!("{interaction} of {connection}");
                return self.broken("a question stays until it is purged", seen);
            }
            Err(error) => return self.broken("the store answers", error.to_string()),
        };
        let open = self.model.links.open.contains_key(&interaction);
        if view.closed.is_none() != open {
            return self.broken("a question is open until it is closed", format!("{view:?}"));
        }
        let credentials = view.question.code == wellspring_core::interaction::Code::Credentials;
        if self.calm && open {
            // A request without a key may get lost on its way.
            let again = Occurrence::Look(connection, interaction);
            self.agenda.push(self.now + 2 * HOUR, again);
        }
        let mood = if self.calm { 0 } else { self.dice.below(100) };
        match mood {
            0..55 => self.respond(
                connection,
                interaction,
                (credentials, true, Action::Continue),
            ),
            55..70 => self.respond(
                connection,
                interaction,
                (credentials, false, Action::Continue),
            ),
            70..77 => self.respond(connection, interaction, (credentials, true, Action::Stop)),
            77..79 => {
                self.respond(
                    connection,
                    interaction,
                    (credentials, true, Action::DeleteConnection),
                );
            }
            79..89 => {
                self.model.links.called_off.insert(interaction);
                self.wish(connection, Wish::CancelQuestion(interaction), 0);
            }
            _ => {}
        }
    }

    /// Answers a question; now and then twice, alike or not.
    pub(crate) fn respond(
        &mut self,
        connection: ConnectionId,
        interaction: InteractionId,
        (credentials, right, action): (bool, bool, Action),
    ) {
        let times = if self.calm {
            1
        } else {
            [1, 1, 1, 2, 3][self.dice.below(5)]
        };
        let mut last: Option<Given> = None;
        for turn in 0..times {
            let same = last.clone().filter(|_| self.dice.permille(500));
            let given = same.unwrap_or_else(|| {
                let right = right ^ (turn > 0);
                let answer = if credentials {
                    self.bank.credentials(Some(connection), right)
                } else {
                    self.bank.answer(right)
                };
                let mut hash = [0; 32];
                let bytes = answer.as_bytes();
                let length = bytes.len().min(32);
                hash[..length].copy_from_slice(&bytes[..length]);
                Given {
                    answer,
                    hash,
                    action,
                }
            });
            let all = self.model.links.given.entry(interaction).or_default();
            all.push(given.clone());
            let wish = Wish::Answer {
                interaction,
                answer: given.answer.clone(),
                hash: given.hash,
                action: given.action,
            };
            last = Some(given);
            let later = if turn == 0 {
                0
            } else {
                self.dice.between(0, 200)
            };
            self.wish(connection, wish, later);
        }
    }

    /// Returns whether somebody has asked that this go, or what it belongs to.
    pub(crate) fn is_going(&self, id: Aggregate) -> bool {
        let account = match id {
            Aggregate::Account(account) => Some(account),
            Aggregate::Connection(connection) => {
                let link = self.model.links.by_id.get(&connection);
                link.map(|link| link.connection.account)
            }
            Aggregate::Collection(_) | Aggregate::Source(_) => None,
        };
        let erasing = account.is_some_and(|account| {
            let known = self.model.links.accounts.get(&account);
            known.is_none_or(|known| known.erasing.is_some())
                || self.model.to_erase.contains(&account.into())
        });
        let wanted = |request: &Request| match request {
            Request::Erase { id: other, .. } => Aggregate::Collection(*other) == id,
            Request::EraseAccount { id: other, .. } => Some(*other) == account,
            Request::Connection {
                id: other, wish, ..
            } => {
                let ends = match wish {
                    Wish::Delete => true,
                    Wish::Answer { action, .. } => *action == Action::DeleteConnection,
                    Wish::Fetch
                    | Wish::FetchIn(_)
                    | Wish::CancelQuestion(_)
                    | Wish::Credentials { .. }
                    | Wish::Patch(_)
                    | Wish::Upload(_)
                    | Wish::Alert(..) => false,
                };
                ends && Aggregate::Connection(*other) == id
            }
            Request::Collect { .. }
            | Request::Resume { .. }
            | Request::CreateAccount { .. }
            | Request::PatchAccount { .. }
            | Request::Connect { .. }
            | Request::Source { .. }
            | Request::Subscription { .. } => false,
        };
        erasing
            || self.model.to_erase.contains(&id)
            || self
                .callers
                .waiting
                .values()
                .any(|ask| wanted(&ask.request))
            || self.inbox.values().any(|(_, request)| wanted(request))
            || now(wellspring_engine::Store::inbox(
                &self.store,
                wellspring_engine::Store::shards(&self.store),
                usize::MAX,
            ))
            .is_ok_and(|rows| rows.iter().any(|row| wanted(&row.request)))
    }
}

/// Accounts that there are at most at a time.
const ACCOUNTS: usize = 4;
/// Connections that there are at most at a time.
const CONNECTIONS: usize = 9;
