//! The acceptance scenarios of the product's origins, played on the simulated world.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::connection::{Action, Config, CredentialsFrom, Patch, State};
use wellspring_core::interaction::Code;
use wellspring_core::schedule::Schedule;
use wellspring_core::{
    Access, Actor, ConnectionId, ConnectionState, ErrorClass, InteractionId, OnQuestionExpired,
    OutcomeKind, TenantId,
};
use wellspring_engine::{ChangeView, Cursor, Queries, Request, TenantRules, TenantTable, Wish};

use crate::Options;
use crate::agenda::Occurrence;
use crate::bank::{Act, failed, finished, question};
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::disk::now;
use crate::errors::Errors;
use crate::model::link::{Given, Link};
use crate::provider::Window;
use crate::world::World;

mod reliability;

#[test]
fn documents_come_while_uploading_and_the_log_leads_to_the_final_state() {
    let acts = vec![
        Act::Document(0),
        Act::Document(1),
        Act::Document(2),
        Act::Checkpoint("documents".to_owned(), "3".to_owned()),
        end(),
    ];
    let mut stage = Stage::new(vec![acts]);
    stage.run(MINUTE);

    let heard = stage.heard();
    assert_eq!(
        heard,
        [
            "CREATED",
            "created",
            "pending",
            "connecting",
            "uploading",
            "document",
            "document",
            "document",
            "valid",
            "completed",
            "waiting"
        ]
    );
    let log = stage.log();
    assert!(log.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);
    assert_eq!(stage.link().source_ids, ["doc-0", "doc-1", "doc-2"]);
}

#[test]
fn no_documents_is_success_and_skips_uploading() {
    let mut stage = Stage::new(Vec::new());
    stage.run(MINUTE);
    let first = stage.link().connection.last_success_at;
    assert_eq!(
        stage.heard()[3..],
        ["connecting", "valid", "completed", "waiting"]
    );

    stage.wish(Wish::Fetch);
    stage.run(MINUTE);
    assert_eq!(
        stage.heard()[7..],
        ["manual", "connecting", "completed", "waiting"]
    );
    assert!(first.is_some() && stage.link().connection.last_success_at > first);
}

#[test]
fn a_fetch_that_fails_for_days_follows_the_slow_plan_into_error_and_a_person_gets_it_out() {
    let class = ErrorClass::ItemError;
    let attempts = 1 + class
        .policy()
        .map_or(0, |plan| usize::from(plan.max_retries));
    let fails = vec![Act::End(failed(class, "down", None))];
    let mut stage = Stage::new(vec![fails; 5 * attempts]);
    stage.run(4 * 24 * HOUR);

    assert_eq!(stage.link().connection.state, State::Error);
    assert_eq!(stage.link().connection.retries, 4);
    let log = stage.log();
    let at: Vec<i64> = log
        .iter()
        .filter(|entry| entry.path.ends_with("/state/connecting"))
        .map(|entry| entry.at.as_millis())
        .collect();
    let gaps: Vec<i64> = at
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / HOUR)
        .collect();
    assert_eq!(gaps, [2, 24, 24, 24]);
    assert!(stage.heard().contains(&"retrying".to_owned()));

    stage.wish(Wish::Fetch);
    stage.run(MINUTE);
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);
    assert_eq!(stage.link().connection.retries, 0);
}

#[test]
fn questions_are_answered_in_steps_expire_and_survive_a_crash() {
    let ask = |code, lives: Option<u64>| {
        let question = question(code, lives.map(Duration::from_secs));
        vec![Act::Ask(
            question,
            Some(wellspring_core::Sealed::new(*b"resume")),
        )]
    };
    let mut stage = Stage::new(vec![
        ask(Code::OneTimeCode, Some(600)),
        ask(Code::OneTimeCode, Some(600)),
        ask(Code::NotPaperless, None),
        vec![end()],
        ask(Code::OneTimeCode, Some(600)),
    ]);
    stage.run(MINUTE);
    assert_eq!(stage.link().connection.state(), ConnectionState::Question);
    let first = stage.interaction();
    stage.world.crash(0, SECOND);
    stage.run(MINUTE);
    assert_eq!(stage.interaction(), first, "it is open still");

    // The source does not take the first answer and asks again, then wants a notice seen.
    for turn in 0..3 {
        stage.answer(turn > 0);
        stage.run(MINUTE);
    }
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);
    let answered = stage
        .heard()
        .iter()
        .filter(|one| *one == "answered")
        .count();
    assert_eq!(answered, 3);

    stage.wish(Wish::Fetch);
    stage.run(MINUTE);
    let late = stage.interaction();
    stage.run(9 * MINUTE + 30 * SECOND);
    let heard = stage.heard();
    assert_eq!(heard[heard.len() - 2..], ["question deleted", "retrying"]);
    let outcome = stage.link().connection.outcome;
    assert_eq!(
        outcome.map(|outcome| outcome.kind),
        Some(OutcomeKind::UserTooSlow)
    );

    let version = stage.link().connection.version;
    stage.answer_to(late, true);
    stage.run(MINUTE);
    assert_eq!(
        stage.link().connection.version,
        version,
        "a late answer is refused"
    );
}

#[test]
fn a_receiver_that_is_down_for_a_day_loses_nothing() {
    let mut stage = Stage::new(Vec::new());
    let from = stage.world.now;
    let until = from + 25 * HOUR;
    stage.world.receivers[0].down = Window { from, until };
    let source = stage.world.providers[0].source.name.clone();
    let host = stage.world.receivers[0].host;
    for _ in 0..5 {
        let world = &mut stage.world;
        let ask = world
            .callers
            .collect(&mut world.dice, world.now, source.clone(), host);
        world
            .agenda
            .push(world.now, Occurrence::Send(Box::new(ask)));
    }
    stage.run(30 * HOUR);

    // That each message bears one id, the model has seen to.
    assert_eq!(stage.world.model.ended, [5, 0]);
}

#[test]
fn a_node_that_stood_still_writes_nothing_of_what_another_has_taken_over() {
    let slow = vec![
        Act::Document(0),
        Act::Rest(30 * SECOND),
        Act::Document(1),
        end(),
    ];
    let quick = vec![Act::Document(0), Act::Document(1), Act::Document(2), end()];
    let mut stage = Stage::over(2, vec![slow, quick]);
    stage.run(20 * SECOND);
    let owner = stage.world.attempts.values().map(|one| one.node).next();
    let node = owner.expect("an attempt is under way");
    stage.world.nodes[node].paused_until = stage.world.now + 10 * MINUTE;
    stage.world.nodes[node].cut_off = true;
    stage.world.unsettle();
    stage.run(5 * MINUTE);
    assert_eq!(stage.link().source_ids, ["doc-0", "doc-1", "doc-2"]);
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);

    let version = stage.link().connection.version;
    stage.run(20 * MINUTE);
    assert_eq!(stage.link().connection.version, version);
}

#[test]
fn a_repair_that_is_abandoned_leaves_everything_as_it_was() {
    let refused = failed(ErrorClass::AuthenticationError, "login_refused", None);
    let code = question(Code::OneTimeCode, None);
    let mut stage = Stage::new(vec![
        vec![end()],
        vec![Act::Ask(code, None)],
        vec![Act::End(refused)],
    ]);
    stage.run(MINUTE);
    let was = stage.link();

    stage.repair();
    stage.run(MINUTE);
    assert_eq!(stage.link().connection.state(), ConnectionState::Question);
    assert_eq!(stage.link().connection.access, Access::Pending);
    stage.run(10 * MINUTE);
    assert_restored(&was, &stage.link());

    // The same where the source refuses the new credentials and nobody gives others.
    stage.repair();
    stage.run(MINUTE);
    assert_eq!(stage.link().connection.access, Access::ReauthRequired);
    stage.run(10 * MINUTE);
    assert_restored(&was, &stage.link());
}

#[test]
fn a_connection_that_is_disabled_in_mid_fetch_takes_nothing_more_and_goes_on_when_enabled() {
    let slow = vec![Act::Document(0), Act::Rest(MINUTE), Act::Document(1), end()];
    let mut stage = Stage::new(vec![slow]);
    stage.run(20 * SECOND);
    stage.set(false);
    stage.run(5 * MINUTE);
    assert_eq!(stage.link().connection.state, State::Disabled);
    assert_eq!(stage.link().source_ids, ["doc-0"]);

    stage.set(true);
    stage.wish(Wish::Fetch);
    stage.run(MINUTE);
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);
}

fn assert_restored(was: &Link, is: &Link) {
    let (was_one, is_one) = (&was.connection, &is.connection);
    assert_eq!(is_one.state, was_one.state);
    assert_eq!(is_one.access, was_one.access);
    assert_eq!(is_one.outcome, was_one.outcome);
    assert_eq!(is_one.retries, was_one.retries);
    assert_eq!(is.slots, was.slots);
}

fn end() -> Act {
    Act::End(finished(None))
}

/// A world in which nothing happens by chance, with one connection in it.
struct Stage {
    world: World,
    tenant: TenantId,
    connection: ConnectionId,
}

impl Stage {
    fn new(acts: Vec<Vec<Act>>) -> Self {
        Self::over(1, acts)
    }

    fn over(nodes: usize, acts: Vec<Vec<Act>>) -> Self {
        // Seeds differ in how many nodes they have.
        let seeds = 1..100;
        let worlds = seeds.map(|seed| World::new(Options::of(seed), Errors::default()));
        let mut worlds = worlds.filter(|world| world.nodes.len() == nodes);
        let mut world = worlds.next().expect("some seed has as many nodes");
        world.scripted = true;
        world.outside.script();
        world.calm = true;
        world.slow = 0;
        let tenant = world.callers.tenants[0];
        let rules = TenantRules::default();
        world.tenants = Arc::new(TenantTable {
            by_id: [(tenant, rules)].into(),
        });
        for provider in &mut world.providers {
            provider.mend();
            provider.source.budget = Arc::default();
            provider.source.limits = Arc::default();
            provider.source.concurrency = 4;
        }
        let sources = world
            .providers
            .iter()
            .map(|provider| provider.source.clone());
        world.sources = Arc::new(wellspring_engine::SourceTable::new(sources));
        for receiver in &mut world.receivers {
            receiver.mend();
        }
        world.bank.written = Some(VecDeque::from(acts));
        for node in 0..nodes {
            world.start(node);
        }
        let mut stage = Self {
            world,
            tenant,
            connection: ConnectionId::from_bytes([0; 16]),
        };
        stage.run(MINUTE);
        let actor = Actor::Operator;
        stage.ask(Request::CreateAccount {
            id: None,
            tenant,
            external_id: None,
            actor,
        });
        stage.run(5 * SECOND);
        let account = *stage
            .world
            .model
            .links
            .accounts
            .keys()
            .next()
            .expect("an account");
        let config = Config {
            label: None,
            schedule: Schedule::Manual,
            slow_plan: None,
            on_question_expired: OnQuestionExpired::Retry,
            start_date: None,
            paused: false,
        };
        let credentials = stage.world.bank.credentials(None, true);
        stage.ask(Request::Connect {
            id: None,
            account,
            tenant,
            source: "telephone".parse().expect("a name"),
            config: Box::new(config),
            credentials: Some(credentials),
            asked_in: None,
            actor,
        });
        stage.run(3 * SECOND);
        stage.connection = *stage
            .world
            .model
            .links
            .by_id
            .keys()
            .next()
            .expect("a connection");
        stage
    }

    fn ask(&mut self, request: Request) {
        let ask = self.world.callers.about(request, false);
        let at = self.world.now;
        self.world.agenda.push(at, Occurrence::Send(Box::new(ask)));
    }

    fn wish(&mut self, wish: Wish) {
        self.world.wish(self.connection, wish, 0);
    }

    fn set(&mut self, enabled: bool) {
        let patch = Patch {
            enabled: Some(enabled),
            ..Patch::default()
        };
        self.wish(Wish::Patch(Box::new(patch)));
        self.run(SECOND);
    }

    fn repair(&mut self) {
        let credentials = self.world.bank.credentials(Some(self.connection), true);
        let from = CredentialsFrom::Repair;
        self.wish(Wish::Credentials { credentials, from });
    }

    fn answer(&mut self, right: bool) {
        let interaction = self.interaction();
        self.answer_to(interaction, right);
    }

    fn answer_to(&mut self, interaction: InteractionId, right: bool) {
        let answer = self.world.bank.answer(right);
        let given = Given {
            answer: answer.clone(),
            hash: [u8::from(right); 32],
            action: Action::Continue,
        };
        let (hash, action) = (given.hash, given.action);
        let all = self.world.model.links.given.entry(interaction).or_default();
        all.push(given);
        self.wish(Wish::Answer {
            interaction,
            answer,
            hash,
            action,
        });
    }

    fn interaction(&self) -> InteractionId {
        let open = self.link().connection.open_interaction();
        open.expect("a question is open")
    }

    /// Lets so much time pass.
    fn run(&mut self, millis: i64) {
        let end = self.world.now + millis;
        self.world.agenda.push(end, Occurrence::Step);
        while self.world.now < end && self.world.violation.is_none() {
            self.world.advance();
        }
        self.world.audit_links();
        assert_eq!(self.world.violation, None);
    }

    fn link(&self) -> Link {
        self.world.model.links.by_id[&self.connection].clone()
    }

    /// Reads what the log says of the connection.
    fn log(&self) -> Vec<ChangeView> {
        let page = self
            .world
            .store
            .changes(self.tenant, Cursor::start(1), usize::MAX);
        let page = now(page).expect("the log can be read");
        let name = self.connection.to_string();
        let entries = page.entries.into_iter();
        entries.filter(|entry| entry.path.contains(&name)).collect()
    }

    /// Returns the ends of what the log says: states and accesses by their names.
    fn heard(&self) -> Vec<String> {
        let name = self.connection.to_string();
        let short = |entry: ChangeView| {
            let rest = entry.path.split_once(&name).map_or("", |(_, rest)| rest);
            let last = rest.rsplit('/').next().unwrap_or_default().to_owned();
            if rest.contains("/documents/") {
                "document".to_owned()
            } else if rest.contains("/interactions/") {
                format!("question {}", entry.verb.as_str().to_lowercase())
            } else if rest.is_empty() {
                entry.verb.as_str().to_owned()
            } else {
                last
            }
        };
        self.log().into_iter().map(short).collect()
    }
}
