//! The connection machine, row by row of the domain's table of states.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod alerts;
mod bench;
mod consequences;

use std::time::Duration;

use wellspring_core::connection::{
    Action, Ask, Config, Connection, CredentialsFrom, FetchStatus, Input, InteractionWrite,
    LastOutcome, OnQuestionExpired, OutcomeKind, Patch, Policy, Reason, SecretWrite, Slot, State,
    Wakeup,
};
use wellspring_core::interaction::{Closed, Code, Part};
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{
    Access, Actor, ConnectionState, ErrorClass, InteractionId, Timestamp, TraceParent,
};

use bench::*;

#[test]
fn happy_path_says_every_state_and_each_document() {
    let mut bench = Bench::new();

    let step = bench.begin();
    assert_eq!(states(&step), ["connecting"]);
    assert_eq!(accesses(&step), ["pending"]);
    assert_eq!(step.fetch.unwrap().status, FetchStatus::Running);

    assert_eq!(
        said(&bench.document(1)),
        [
            "UPDATED /accounts/{a}/connections/{c}/state/uploading",
            "CREATED /accounts/{a}/connections/{c}/documents/{d}"
        ]
    );
    assert_eq!(
        said(&bench.document(2)),
        ["CREATED /accounts/{a}/connections/{c}/documents/{d}"]
    );

    let step = bench.finish();
    assert_eq!(states(&step), ["completed", "waiting"]);
    assert_eq!(accesses(&step), ["valid"]);
    let record = step.fetch.clone().unwrap();
    assert_eq!(
        (record.status, record.documents, record.attempts),
        (FetchStatus::Success, 2, 1)
    );
    let facts = facts(&step, "waiting");
    assert_eq!(facts["outcome"], "success");
    assert_eq!(facts["retries"], 0);
    assert_eq!(facts["reason"], "schedule");
    assert_eq!(facts["documents"], 2);
    assert_eq!(facts["fetch_id"], record.id.to_string());
    assert_eq!(
        facts["activity_id"].as_str().unwrap()[4..],
        record.id.to_string()[6..]
    );
    assert_eq!(bench.connection.last_success_at, Some(bench.now));

    assert_eq!(states(&bench.begin()), ["connecting"]);
    assert_eq!(states(&bench.finish()), ["completed", "waiting"]);
}

#[test]
fn failed_fetches_follow_the_slow_plan_then_a_person_revives_the_connection() {
    let mut bench = Bench::new();
    for (retries, gap) in [(1, 2), (2, 24), (3, 24), (4, 24)] {
        bench.begin();
        let step = bench.fail_whole_fetch(ErrorClass::ConnectionFailure);
        assert_eq!(states(&step), ["retrying"]);
        let facts = facts(&step, "retrying");
        assert_eq!(facts["retries"], retries);
        assert_eq!(facts["outcome"], "connection_failure");
        assert_eq!(facts["code"], "test_code");
        // The first attempt and five more.
        assert_eq!(step.fetch.unwrap().attempts, 6);
        let next = bench.connection.next().unwrap();
        assert_eq!(next.reason, Reason::Retry);
        assert_eq!(next.at.since(bench.now), HOUR * gap);
    }
    bench.begin();
    let step = bench.fail_whole_fetch(ErrorClass::ConnectionFailure);
    assert_eq!(states(&step), ["error"]);
    assert_eq!(facts(&step, "error")["retries"], 4);
    assert_eq!(bench.connection.next_wakeup(), None);
    assert_eq!(
        bench.connection.access,
        Access::Pending,
        "an outage costs no access"
    );

    assert_eq!(states(&bench.fetch_asked()), ["manual"]);
    bench.begin();
    bench.fail_whole_fetch(ErrorClass::ConnectionFailure);
    assert_eq!(bench.state(), ConnectionState::Error);

    bench.fetch_asked();
    bench.begin();
    bench.finish();
    assert_eq!(
        (bench.state(), bench.connection.retries),
        (ConnectionState::Waiting, 0)
    );
}

#[test]
fn legacy_waiting_shows_retrying_as_waiting_with_retries() {
    let policy = Policy {
        legacy_waiting: true,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    let step = bench.fail_whole_fetch(ErrorClass::ItemError);
    assert_eq!(states(&step), ["waiting"]);
    assert_eq!(facts(&step, "waiting")["retries"], 1);
    assert_eq!(bench.state(), ConnectionState::Retrying);
    assert_eq!(bench.connection.shown_state(true), ConnectionState::Waiting);
}

#[test]
fn throttling_and_maintenance_wait_without_spending_anything() {
    for (class, reason, status) in [
        (
            ErrorClass::RateLimitExceeded,
            Reason::RateLimit,
            FetchStatus::RateLimited,
        ),
        (
            ErrorClass::BankMaintenance,
            Reason::Maintenance,
            FetchStatus::Maintenance,
        ),
    ] {
        let mut bench = Bench::new();
        for _ in 0..20 {
            bench.begin();
            let told = bench.now.after(HOUR * 3);
            let step = bench.fail_until(class, Some(told));
            assert_eq!(states(&step), ["waiting"]);
            assert_eq!(step.fetch.unwrap().status, status);
            let next = bench.connection.next().unwrap();
            assert_eq!((next.at, next.reason), (told, reason));
            assert_eq!(bench.connection.retries, 0);
        }
        bench.begin();
        bench.fail_until(class, Some(Timestamp::MAX));
        let latest = bench.now.after(HOUR * 24 * 31);
        assert_eq!(bench.connection.next().unwrap().at, latest);
        bench.begin();
        let step = bench.fail(class);
        assert!(bench.connection.next().unwrap().at > bench.now);
        // The next fetch is another: it begins without the answers of this one.
        for slot in [Slot::Resume, Slot::Answer] {
            assert!(step.secrets.contains(&SecretWrite::Delete(slot)));
        }
    }
}

#[test]
fn a_source_that_names_a_far_year_keeps_a_fetch_still_for_a_day_at_most() {
    let mut bench = Bench::new();
    bench.begin();
    bench.fail_until(ErrorClass::ConnectionFailure, Some(Timestamp::MAX));
    let wakeup = bench.connection.next_wakeup();
    let latest = bench.now.after(HOUR * 24);
    assert!(matches!(wakeup, Some(Wakeup::Call(at, _)) if at == latest));
}

#[test]
fn a_question_waits_for_its_answer_and_the_fetch_goes_on_from_the_resume_state() {
    let mut bench = Bench::new();
    bench.begin();
    let step = bench.ask(Some(Duration::from_secs(600)));
    assert_eq!(
        said(&step),
        [
            "CREATED /accounts/{a}/connections/{c}/interactions/{i}",
            "UPDATED /accounts/{a}/connections/{c}/state/question"
        ]
    );
    assert!(
        step.secrets
            .contains(&SecretWrite::Put(Slot::Resume, sealed("resume")))
    );
    let expires = bench.now.after(Duration::from_secs(600));
    assert_eq!(bench.connection.next_wakeup(), Some(Wakeup::Alarm(expires)));
    assert_eq!(
        bench.refused(Input::FetchAsked(Actor::Operator)),
        ConnectionState::Question
    );

    let other = InteractionId::from_bytes([55; 16]);
    let stranger = Input::QuestionAnswered {
        interaction: other,
        answer: sealed("x"),
        hash: [0; 32],
        action: Action::Continue,
        actor: Actor::Operator,
    };
    assert_eq!(bench.refused(stranger), ConnectionState::Question);

    let step = bench.answer(Action::Continue);
    assert_eq!(
        said(&step),
        [
            "DELETED /accounts/{a}/connections/{c}/interactions/{i}",
            "UPDATED /accounts/{a}/connections/{c}/state/answered"
        ]
    );
    assert!(
        step.secrets
            .contains(&SecretWrite::Put(Slot::Answer, sealed("answer")))
    );
    let closed = matches!(
        step.interactions[..],
        [InteractionWrite::Close { reason: Closed::Answered, hash: Some(hash), .. }] if hash == [7; 32]
    );
    assert!(closed);

    let fetch = bench.connection.fetch().unwrap().id;
    assert_eq!(states(&bench.begin()), ["connecting"]);
    assert_eq!(
        bench.connection.fetch().unwrap().id,
        fetch,
        "the fetch goes on"
    );

    // A second step of the question: the first one's answer is gone with it.
    let step = bench.ask(None);
    assert!(step.secrets.contains(&SecretWrite::Delete(Slot::Answer)));
    assert_eq!(
        bench.connection.next_wakeup(),
        None,
        "a persistent question has no end"
    );
    bench.answer(Action::Continue);
    bench.begin();
    let step = bench.finish();
    assert!(step.secrets.contains(&SecretWrite::Delete(Slot::Answer)));
    assert_eq!(bench.state(), ConnectionState::Waiting);
}

#[test]
fn an_unanswered_question_is_retried_or_falls_back() {
    let mut bench = Bench::new();
    bench.begin();
    bench.ask(Some(Duration::from_secs(600)));
    bench.now = bench.now.after(Duration::from_secs(600));
    let step = bench.step(Input::QuestionExpired);
    assert_eq!(states(&step), ["retrying"]);
    assert_eq!(
        said(&step)[0],
        "DELETED /accounts/{a}/connections/{c}/interactions/{i}"
    );
    assert_eq!(facts(&step, "retrying")["outcome"], "user_too_slow");
    assert_eq!(bench.connection.retries, 0, "nobody failed");
    assert_eq!(
        bench.connection.next().unwrap().at.since(bench.now),
        HOUR * 2
    );

    let fall_back = Config {
        on_question_expired: OnQuestionExpired::FallBack,
        ..config()
    };
    let mut bench = Bench::with(Policy::default(), fall_back);
    bench.begin();
    bench.ask(Some(Duration::from_secs(600)));
    bench.now = bench.now.after(Duration::from_secs(600));
    let step = bench.step(Input::QuestionExpired);
    assert_eq!(states(&step), ["waiting"]);
    let facts = facts(&step, "waiting");
    assert_eq!(facts["outcome"], "user_too_slow");
    assert_eq!(facts["manual_upload_wanted"], true);
    assert_eq!(facts["reason"], "schedule");
}

#[test]
fn scheduled_fetches_ask_only_where_the_tenant_allows_it() {
    let mut bench = Bench::new();
    bench.begin();
    bench.finish();
    bench.begin();
    let step = bench.ask(None);
    assert_eq!(states(&step), ["waiting"]);
    assert!(step.interactions.is_empty());
    assert_eq!(bench.outcome(), OutcomeKind::UserNeeded);

    let policy = Policy {
        ask: Ask::Always,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    bench.finish();
    bench.begin();
    assert_eq!(states(&bench.ask(None)), ["question"]);

    let night = Ask::Hours { from: 22, to: 6 };
    let at = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
    assert!(night.allows(at(23), false) && night.allows(at(5), false));
    assert!(!night.allows(at(6), false) && !night.allows(at(21), false));
    assert!(night.allows(at(12), true));
}

#[test]
fn refused_credentials_become_a_question_or_wait_for_the_person() {
    let policy = Policy {
        credential_fields: credential_fields(),
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    let step = bench.fail(ErrorClass::AuthenticationError);
    assert_eq!(accesses(&step), ["reauth_required"]);
    assert_eq!(states(&step), ["question"]);
    let [InteractionWrite::Open { question, .. }] = &step.interactions[..] else {
        panic!("{step:?}");
    };
    assert_eq!(question.code, Code::Credentials);
    assert!(question.parts.iter().any(|part| matches!(
        part,
        Part::TextInput {
            sensitive: true,
            ..
        }
    )));

    let step = bench.answer(Action::Continue);
    assert!(
        step.secrets
            .contains(&SecretWrite::Put(Slot::Credentials, sealed("answer")))
    );
    assert_eq!(accesses(&step), ["pending"]);
    bench.begin();
    bench.finish();
    assert_eq!(bench.connection.access, Access::Valid);

    bench.begin();
    let step = bench.fail(ErrorClass::AuthenticationError);
    assert_eq!(states(&step), ["waiting"]);
    assert_eq!(facts(&step, "waiting")["access"], "reauth_required");
    assert_eq!(
        facts(&step, "waiting")["next_attempt_at"],
        serde_json::Value::Null
    );
    assert_eq!(
        bench.connection.next_wakeup(),
        None,
        "no fetch until the person has mended it"
    );

    let step = bench.step(Input::CredentialsReplaced {
        credentials: sealed("new"),
        from: CredentialsFrom::Tenant,
        actor: Actor::Operator,
    });
    assert_eq!(states(&step), ["manual"]);
    assert_eq!(states(&bench.begin()), ["connecting"]);
}

#[test]
fn revoked_consent_purges_the_credentials() {
    let mut bench = Bench::new();
    bench.begin();
    let started = bench.now;
    let step = bench.step(Input::FetchFailed {
        started,
        error: error(ErrorClass::AuthenticationError),
        retry_at: None,
        follow: wellspring_core::Action::Revoke,
        probe: false,
    });
    assert_eq!(accesses(&step), ["revoked"]);
    assert!(
        step.secrets
            .contains(&SecretWrite::Delete(Slot::Credentials))
    );
    assert_eq!(bench.state(), ConnectionState::Waiting);
    assert_eq!(bench.connection.next_wakeup(), None);
}

#[test]
fn what_came_in_stays_when_its_neighbours_fail() {
    let mut bench = Bench::new();
    bench.begin();
    bench.document(1);
    let started = bench.now;
    let step = bench.step(Input::Fetched {
        started,
        partial: Some(error(ErrorClass::InstitutionError)),
    });
    assert_eq!(states(&step), ["completed", "waiting"]);
    assert_eq!(facts(&step, "waiting")["outcome"], "partial");
    assert_eq!(step.fetch.unwrap().status, FetchStatus::Partial);
    assert_eq!(
        bench.connection.last_success_at, None,
        "partial is no success"
    );
}

#[test]
fn a_lost_attempt_begins_again_and_costs_nothing() {
    let mut bench = Bench::new();
    bench.begin();
    bench.document(1);
    let step = bench.step(Input::AttemptLost);
    assert_eq!(states(&step), ["connecting"]);
    assert_eq!(bench.connection.retries, 0);
    assert_eq!(bench.connection.fetch().unwrap().documents, 1);
}

#[test]
fn disabling_and_deleting_fence_the_fetch_and_close_the_question() {
    let mut bench = Bench::new();
    bench.begin();
    bench.ask(None);
    let disable = |enabled| {
        let patch = Patch {
            enabled: Some(enabled),
            ..Patch::default()
        };
        Input::Patched(patch, Actor::Operator)
    };
    let step = bench.step(disable(false));
    assert_eq!(
        said(&step),
        [
            "DELETED /accounts/{a}/connections/{c}/interactions/{i}",
            "UPDATED /accounts/{a}/connections/{c}/state/disabled"
        ]
    );
    assert_eq!(step.fetch.unwrap().status, FetchStatus::Cancelled);
    assert_eq!(
        bench.refused(Input::FetchAsked(Actor::Operator)),
        ConnectionState::Disabled
    );
    assert_eq!(states(&bench.step(disable(true))), ["waiting"]);
    assert!(bench.connection.next().is_some());

    bench.begin();
    let late = Input::Fetched {
        started: bench.now,
        partial: None,
    };
    bench.step(disable(false));
    assert_eq!(bench.refused(late), ConnectionState::Disabled);

    let policy = Policy {
        ask: Ask::Always,
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    bench.ask(None);
    let step = bench.step(Input::DeleteAsked(Actor::Operator));
    assert_eq!(
        said(&step),
        [
            "DELETED /accounts/{a}/connections/{c}/interactions/{i}",
            "DELETED /accounts/{a}/connections/{c}"
        ]
    );
    assert_eq!(step.next, None);
    for slot in Slot::ALL {
        assert!(step.secrets.contains(&SecretWrite::Delete(slot)));
    }
}

#[test]
fn an_abandoned_repair_leaves_everything_as_it_was() {
    let policy = Policy {
        credential_fields: credential_fields(),
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    bench.begin();
    bench.finish();
    let before = bench.connection.clone();

    let step = bench.step(Input::CredentialsReplaced {
        credentials: sealed("wrong"),
        from: CredentialsFrom::Repair,
        actor: Actor::Person(before.account),
    });
    assert_eq!(
        step.secrets[..2],
        [
            SecretWrite::Move(Slot::Credentials, Slot::PreviousCredentials),
            SecretWrite::Put(Slot::Credentials, sealed("wrong"))
        ]
    );
    bench.begin();
    bench.fail(ErrorClass::AuthenticationError);
    assert_eq!(bench.state(), ConnectionState::Question);
    let Some(Wakeup::Alarm(at)) = bench.connection.next_wakeup() else {
        panic!("a question of a repair has an end");
    };
    bench.now = at;
    let step = bench.step(Input::QuestionExpired);

    assert!(step.secrets.contains(&SecretWrite::Move(
        Slot::PreviousCredentials,
        Slot::Credentials
    )));
    assert_eq!(states(&step), ["waiting"]);
    let after = Connection {
        version: before.version,
        ..bench.connection.clone()
    };
    assert_eq!(after, before);

    // The same when the person ends it with a button.
    bench.step(Input::CredentialsReplaced {
        credentials: sealed("another"),
        from: CredentialsFrom::Repair,
        actor: Actor::Person(before.account),
    });
    bench.begin();
    bench.ask(None);
    let step = bench.answer(Action::Stop);
    assert_eq!(bench.connection.state, before.state);
    assert_eq!(bench.connection.access, before.access);
    assert!(step.secrets.contains(&SecretWrite::Move(
        Slot::PreviousCredentials,
        Slot::Credentials
    )));

    // One that succeeds keeps the new credentials.
    bench.step(Input::CredentialsReplaced {
        credentials: sealed("right"),
        from: CredentialsFrom::Repair,
        actor: Actor::Person(before.account),
    });
    bench.begin();
    let step = bench.finish();
    assert!(
        step.secrets
            .contains(&SecretWrite::Delete(Slot::PreviousCredentials))
    );
    assert_eq!(bench.connection.repair, None);
}

#[test]
fn a_probe_is_charged_to_no_fetch() {
    let mut bench = Bench::new();
    bench.begin();
    for _ in 0..50 {
        let started = bench.now;
        let step = bench.step(Input::FetchFailed {
            started,
            error: error(ErrorClass::ConnectionFailure),
            retry_at: None,
            follow: wellspring_core::Action::Default,
            probe: true,
        });
        assert!(step.changes.is_empty());
        bench.next_attempt();
    }
    assert_eq!(bench.state(), ConnectionState::Connecting);
}

#[test]
fn settings_reschedule_and_pausing_rests_all_but_people() {
    let mut bench = Bench::new();
    bench.begin();
    bench.finish();
    let patch = |patch| Input::Patched(patch, Actor::Operator);
    bench.step(patch(Patch {
        paused: Some(true),
        ..Patch::default()
    }));
    assert_eq!(bench.connection.next_wakeup(), None);
    bench.fetch_asked();
    bench.begin();
    bench.finish();
    assert_eq!(bench.connection.next_wakeup(), None);

    let every = Schedule::every(HOUR).unwrap();
    bench.step(patch(Patch {
        paused: Some(false),
        schedule: Some(every),
        ..Patch::default()
    }));
    let gap = bench.connection.next().unwrap().at.since(bench.now);
    assert!(gap >= HOUR / 2 && gap <= HOUR * 3 / 2, "{gap:?}");

    let plan = SlowPlan::new(vec![HOUR]).unwrap();
    bench.step(patch(Patch {
        slow_plan: Some(Some(plan)),
        ..Patch::default()
    }));
    bench.begin();
    bench.fail_whole_fetch(ErrorClass::ItemError);
    assert_eq!(bench.connection.next().unwrap().at.since(bench.now), HOUR);
    bench.begin();
    bench.fail_whole_fetch(ErrorClass::ItemError);
    assert_eq!(bench.state(), ConnectionState::Error);
}

#[test]
fn answers_can_end_the_fetch_or_the_connection() {
    let mut bench = Bench::new();
    bench.begin();
    bench.ask(None);
    let step = bench.answer(Action::Stop);
    assert_eq!(states(&step), ["waiting"]);
    assert_eq!(bench.outcome(), OutcomeKind::Cancelled);

    bench.fetch_asked();
    bench.begin();
    bench.ask(None);
    let step = bench.answer(Action::DeleteConnection);
    assert_eq!(step.next, None);
    assert_eq!(said(&step).len(), 2);
}

#[test]
fn rows_read_back_whatever_the_state() {
    let policy = Policy {
        credential_fields: credential_fields(),
        ..Policy::default()
    };
    let mut bench = Bench::with(policy, config());
    let mut seen = vec![bench.connection.clone()];
    bench.begin();
    seen.push(bench.connection.clone());
    bench.document(1);
    seen.push(bench.connection.clone());
    bench.fail(ErrorClass::ItemError);
    seen.push(bench.connection.clone());
    bench.ask(Some(HOUR));
    seen.push(bench.connection.clone());
    bench.answer(Action::Continue);
    seen.push(bench.connection.clone());
    bench.begin();
    bench.finish();
    seen.push(bench.connection.clone());
    bench.step(Input::CredentialsReplaced {
        credentials: sealed("x"),
        from: CredentialsFrom::Repair,
        actor: Actor::Operator,
    });
    seen.push(bench.connection.clone());
    for connection in seen {
        let text = serde_json::to_string(&connection).unwrap();
        assert_eq!(
            serde_json::from_str::<Connection>(&text).unwrap(),
            connection,
            "{text}"
        );
    }
    assert!(matches!(bench.connection.state, State::Manual { .. }));
    // Rows of earlier versions have times in words.
    let written = r#"{"kind":"success","at":"2026-11-18T11:06:40.120Z"}"#;
    let outcome: LastOutcome = serde_json::from_str(written).unwrap();
    assert_eq!(outcome.at, Timestamp::from_millis(1_795_000_000_120));
}

#[test]
fn a_fetch_is_linked_to_the_span_of_whoever_asked_last() {
    let mut bench = Bench::new();
    bench.begin();
    bench.finish();
    let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    bench.step(Input::FetchAskedIn(Actor::Operator, parent.unwrap()));
    assert!(matches!(bench.connection.state, State::Manual { .. }));
    let text = serde_json::to_string(&bench.connection).unwrap();
    let back = serde_json::from_str::<Connection>(&text).unwrap();
    assert_eq!(back.asked_in, parent, "it is kept over a restart");
    bench.begin();
    bench.finish();
    assert_eq!(bench.connection.asked_in, parent, "its end tells of it");
    bench.fetch_asked();
    assert_eq!(bench.connection.asked_in, None);
}
