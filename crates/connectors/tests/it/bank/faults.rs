use std::time::Duration;

use wellspring_core::{Action, ErrorClass};
use wellspring_sandbox::Source;

use super::{SUCCESS, failure, partial};
use crate::home::Home;
use crate::support::{Fixed, NOW, World, bank};

#[tokio::test]
async fn what_the_bank_refuses_is_a_classified_failure() {
    let world = World::start();
    let after = |seconds| Some(NOW.after(Duration::from_secs(seconds)));
    for (password, class, code, retry_at, revoked) in [
        (
            "wrong",
            ErrorClass::AuthenticationError,
            "invalid_credentials",
            None,
            false,
        ),
        (
            "no such password",
            ErrorClass::AuthenticationError,
            "invalid_credentials",
            None,
            false,
        ),
        (
            "down",
            ErrorClass::ConnectionFailure,
            "institution_down",
            None,
            false,
        ),
        (
            "maintenance",
            ErrorClass::BankMaintenance,
            "maintenance",
            after(60),
            false,
        ),
        (
            "throttled",
            ErrorClass::RateLimitExceeded,
            "too_many_requests",
            after(30),
            false,
        ),
        (
            "ratelimit",
            ErrorClass::RateLimitExceeded,
            "too_many_requests",
            None,
            false,
        ),
        (
            "revoked",
            ErrorClass::AuthenticationError,
            "consent_revoked",
            None,
            true,
        ),
    ] {
        let home = Home::of(world.bank(""), password);

        let failure = failure(home.attempt().await);

        assert_eq!(
            (failure.error.class, failure.error.code.as_str()),
            (class, code)
        );
        assert_eq!(
            (failure.retry_at, failure.action == Action::Revoke),
            (retry_at, revoked)
        );
        let rows = home.rows();
        assert!(rows.documents.is_empty() && rows.records.is_empty());
    }
    // Only those who had got in logged out.
    assert_eq!(world.control.bank_counts().logouts, 2);

    let home = Home::of(world.bank("timeout: 100ms"), "slow");
    let slow = failure(home.attempt().await);
    assert_eq!(slow.error.code, "timeout");
    world.control.update_bank(|settings| {
        settings.document_latency = Some(Duration::ZERO);
    });
    assert_eq!(home.attempt().await, SUCCESS);

    home.forget_credentials();
    let missing = failure(home.attempt().await);
    assert_eq!(missing.error.class, ErrorClass::AuthenticationError);
    assert_eq!(missing.error.code, "credentials_missing");
}

#[tokio::test]
async fn an_attempt_that_is_to_begin_again_does_so_at_once_and_three_times_at_the_most() {
    for action in [Action::RestartStream, Action::NarrowWindow] {
        let world = World::start();
        let rule = format!(
            "rules:\n  - {{ name: again, match: {{ error_code: CONSENT_REVOKED }}, class: item_error, action: {action} }}"
        );
        let home = Home::of(world.bank(&rule), "revoked");

        let failure = failure(home.attempt().await);

        assert_eq!(failure.error.class, ErrorClass::ItemError);
        assert_eq!(failure.action, action);
        assert_eq!(world.control.bank_counts().logins, 4);
    }
}

#[tokio::test]
async fn a_bank_that_finds_it_too_much_is_asked_for_half_until_it_is_not() {
    let world = World::start();
    let home = Home::of(world.bank(""), "toomuch");

    assert_eq!(home.attempt().await, SUCCESS);

    assert_eq!(home.rows().records.len(), 60);
    let counts = world.control.bank_counts();
    // 25 and 12 are too much, ten times 6 are not.
    assert_eq!((counts.logins, counts.transactions), (3, 12));
    assert_eq!(home.rows().documents.len(), 3);
}

#[tokio::test]
async fn a_stream_that_cannot_be_restarted_any_more_is_the_part_that_failed() {
    let world = World::start();
    let rule = "rules:\n  - { name: again, match: { error_code: WINDOW_TOO_LARGE }, class: item_error, action: restart_stream }";
    let home = Home::of(world.bank(rule), "toomuch");

    let error = partial(home.attempt().await);

    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::ItemError, "window_too_large")
    );
    assert_eq!(world.control.bank_counts().logins, 4);
    assert_eq!(home.rows().documents.len(), 3);
}

#[tokio::test]
async fn bills_that_fail_leave_the_other_documents_and_are_tried_the_next_time() {
    let world = World::start();
    let home = Home::of(world.bank(""), "partial");

    let error = partial(home.attempt().await);

    assert_eq!(error.class, ErrorClass::InstitutionError);
    assert_eq!(error.code, "document_unavailable");
    let kinds = |home: &Home| {
        let kinds = home.rows().documents.clone().into_iter();
        kinds.map(|document| document.kind).collect::<Vec<_>>()
    };
    let good = ["statement", "statement", "notice", "statement"];
    assert_eq!(kinds(&home), good);
    assert_eq!(home.rows().records.len(), 60);
    assert_eq!(home.cursor("documents").as_deref(), Some("2026-01-31"));

    let before = world.control.bank_counts();
    partial(home.attempt().await);
    let after = world.control.bank_counts();
    assert_eq!(after.documents, before.documents + 2);
    home.log_in_with("all");
    assert_eq!(home.attempt().await, SUCCESS);
    assert_eq!(kinds(&home)[4..], ["bill", "bill"]);
}

#[tokio::test]
async fn a_document_that_breaks_off_is_not_kept() {
    let world = World::start();
    let home = Home::of(world.bank(""), "pass");
    world.control.update_bank(|settings| {
        settings.truncate_documents = true;
    });

    let error = partial(home.attempt().await);

    assert_eq!(error.class, ErrorClass::ConnectionFailure);
    assert_eq!(error.code, "body_truncated");
    assert_eq!(home.rows().documents.len(), 0);
    assert_eq!(home.rows().records.len(), 60);
    world.control.update_bank(|settings| {
        settings.truncate_documents = false;
    });
    assert_eq!(home.attempt().await, SUCCESS);
    assert_eq!(home.rows().documents.len(), 3);
}

#[tokio::test]
async fn junk_is_left_out_and_what_is_sound_comes_in() {
    let world = World::start();
    let home = Home::of(world.bank(""), "junk");

    let error = partial(home.attempt().await);

    assert_eq!(error.class, ErrorClass::InstitutionError);
    assert_eq!(error.code, "body_not_json");
    assert_eq!(home.rows().records.len(), 48);

    let home = Home::of(world.bank(""), "pass");
    world
        .control
        .update(Source::SandboxBank, |settings| settings.junk_rate = 1.0);
    let failure = failure(home.attempt().await);
    assert_eq!(failure.error.class, ErrorClass::InstitutionError);
    assert_eq!(failure.error.code, "body_not_json");
}

#[tokio::test]
async fn a_status_without_a_word_from_the_bank_costs_no_credentials() {
    let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nSam Sampl";
    let server = Fixed::answering(refused).await;
    let home = Home::of(bank(&format!("http://{}", server.address), ""), "pass");

    let failure = failure(home.attempt().await);

    assert_eq!(failure.error.class, ErrorClass::InstitutionError);
    assert_eq!(
        failure.error.message,
        "the source answered 401 Unauthorized"
    );
}
