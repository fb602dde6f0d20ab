mod faults;
mod questions;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wellspring_core::budget::Remaining;
use wellspring_core::{Action, Error, ErrorClass, Timestamp};
use wellspring_engine::{Connector, FetchResult, Heard, Nobody, RunResult};
use wellspring_sandbox::{Budget, BudgetWindow, Settings, Source, Tells};

use crate::home::Home;
use crate::support::{NOW, World, connectors, order};

#[tokio::test]
async fn each_password_that_logs_in_brings_its_documents_and_all_transactions() {
    let world = World::start();
    for (password, documents) in [
        ("pass", 3),
        ("statements", 3),
        ("bills", 2),
        ("notices", 1),
        ("all", 6),
        ("nodocs", 0),
        ("otheraccount", 3),
    ] {
        let home = Home::of(world.bank(""), password);

        assert_eq!(home.attempt().await, SUCCESS, "{password}");

        let rows = home.rows();
        assert_eq!(rows.documents.len(), documents, "{password}");
        assert_eq!(rows.records.len(), 60);
        for document in &rows.documents {
            let body = &rows.blobs[&document.id];
            let digest: [u8; 32] = Sha256::digest(body).into();
            assert_eq!(document.hash, digest);
            assert_eq!(document.size, body.len() as u64);
            assert!(body.starts_with(b"%PDF"));
        }
    }
    let counts = world.control.bank_counts();
    assert_eq!((counts.logins, counts.logouts), (7, 7));
}

#[tokio::test]
async fn leave_is_asked_for_before_each_call() {
    let world = World::start();
    let home = Home::of(world.bank(""), "notices");

    home.attempt().await;

    let called = [
        "login",
        "account",
        "documents",
        "document",
        "transactions",
        "transactions",
        "transactions",
        "session",
    ];
    assert_eq!(home.rows().calls, called);
    let counts = world.control.counts(Source::SandboxBank);
    assert_eq!(counts.total, called.len() as u64);
}

#[tokio::test]
async fn what_the_bank_says_of_its_own_count_is_heard_with_each_answer() {
    let world = World::start();
    let window = BudgetWindow {
        calls: 50,
        per: Duration::from_secs(60),
        endpoint: Some("transactions".to_owned()),
    };
    let budget = Budget {
        windows: vec![window],
        tells: Tells::RateLimit,
        ..Budget::default()
    };
    let settings = Settings {
        budget: Some(budget),
        ..Settings::reliable()
    };
    world.control.set(Source::SandboxBank, settings);
    let home = Home::of(world.bank(""), "notices");

    home.attempt().await;

    let remaining = |left| Remaining {
        quota: Some(50),
        per: Some(Duration::from_secs(60)),
        left,
        until: NOW.after(Duration::from_secs(60)),
    };
    let heard = |left| Heard {
        endpoint: "transactions",
        asked_at: NOW,
        remaining: vec![remaining(left)],
    };
    assert_eq!(home.rows().heard, [49, 48, 47].map(heard));
}

#[tokio::test]
async fn a_document_is_described_and_a_record_is_kept_as_the_bank_wrote_it() {
    let world = World::start();
    let home = Home::of(world.bank(""), "bills");

    home.attempt().await;

    let bill = home.rows().documents[0].clone();
    assert_eq!(bill.source_id.as_deref(), Some("4711-bill-0001"));
    assert_eq!(bill.kind, "bill");
    assert_eq!(bill.name, "Bill of 15 February 2026.pdf");
    assert_eq!(bill.media_type, "application/pdf");
    assert_eq!(bill.date.as_deref(), Some("2026-02-15"));
    assert_eq!(bill.metadata["amount_due"], "51.27");
    assert_eq!(bill.metadata["currency"], "EUR");
    let record = home.opened("transactions", "4711-t-000001");
    assert_eq!(record["date"], "2026-01-01");
    assert_eq!(record["currency"], "EUR");
}

#[tokio::test]
async fn the_next_fetch_brings_only_what_is_new() {
    let world = World::start();
    let home = Home::of(world.bank(""), "all");
    assert_eq!(home.attempt().await, SUCCESS);
    let before = world.control.bank_counts();
    assert_eq!(home.cursor("documents").as_deref(), Some("2026-03-31"));

    assert_eq!(home.attempt().await, SUCCESS);
    assert_eq!(world.control.bank_counts().documents, before.documents);

    world.control.update_bank(|settings| {
        settings.new_documents = 20;
        settings.new_transactions = 30;
    });
    assert_eq!(home.attempt().await, SUCCESS);

    let rows = home.rows();
    assert_eq!((rows.documents.len(), rows.records.len()), (66, 90));
    let after = world.control.bank_counts();
    assert_eq!(after.documents, before.documents + 60);
}

#[tokio::test]
async fn nothing_older_than_the_start_date_is_taken() {
    let world = World::start();
    let mut home = Home::of(world.bank(""), "all");
    home.start_date = Some("2026-03-05".to_owned());

    assert_eq!(home.attempt().await, SUCCESS);

    let rows = home.rows();
    let days = rows.documents.iter().map(|document| document.date.clone());
    let days: Vec<_> = days.map(Option::unwrap).collect();
    assert_eq!(days, ["2026-03-05", "2026-03-15", "2026-03-31"]);
    // Two transactions in three days from the first of January on.
    assert_eq!(rows.records.len(), 18);
}

#[tokio::test]
async fn the_data_of_two_accounts_are_never_mixed() {
    let world = World::start();
    let home = Home::of(world.bank(""), "pass");
    assert_eq!(home.attempt().await, SUCCESS);
    home.log_in_with("otheraccount");

    let failure = failure(home.attempt().await);

    assert_eq!(failure.error.class, ErrorClass::AuthenticationError);
    assert_eq!(failure.error.code, "wrong_account");
    assert_eq!(home.rows().documents.len(), 3);
    assert!(!home.cursor("account").unwrap().contains("4711"));
    home.log_in_with("all");
    assert_eq!(home.attempt().await, SUCCESS);
}

#[tokio::test]
async fn whoever_is_fenced_keeps_nothing_and_stops() {
    let world = World::start();
    let home = Home::of(world.bank(""), "pass");
    home.rows().fenced = true;

    let failure = failure(home.attempt().await);

    assert_eq!(failure.error.code, "fetch_over");
    assert_eq!(world.control.bank_counts().document_lists, 0);
}

#[tokio::test]
async fn the_bank_is_checked_without_a_login_and_not_collected_from() {
    let world = World::start();
    let connectors = connectors(world.bank(""));
    let name = "bank".parse().unwrap();

    let good = connectors.check(&name).await.unwrap();
    assert!(good.ok && good.bytes > 0);
    assert_eq!(world.control.bank_counts().logins, 0);
    drop(world);
    let away = connectors.check(&name).await.unwrap();
    assert_eq!(away.error.unwrap().class, ErrorClass::ConnectionFailure);

    let FetchResult::Failed { error, .. } = connectors.fetch(order("bank"), Arc::new(Nobody)).await
    else {
        panic!("collected from a bank");
    };
    assert_eq!(error.code, "source_has_no_collections");
}

#[tokio::test]
async fn a_source_of_collections_cannot_be_connected_to() {
    let text = "name: bank\nconnector: http_json\nurl: http://127.0.0.1:9/\n";
    let source = wellspring_connectors::SourceConfig::from_yaml(text).unwrap();

    let failure = failure(Home::of(source, "pass").attempt().await);

    assert_eq!(failure.error.class, ErrorClass::InvalidRequest);
    assert_eq!(failure.error.code, "source_has_no_connections");
}

pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) action: Action,
}

pub(crate) fn failure(result: RunResult) -> Failure {
    match result {
        RunResult::Failed {
            error,
            retry_at,
            action,
            ..
        } => {
            assert!(!error.message.contains("Sam"), "{}", error.message);
            Failure {
                error,
                retry_at,
                action,
            }
        }
        RunResult::Asked | RunResult::NotBegun | RunResult::Finished { .. } => panic!("{result:?}"),
    }
}

pub(crate) fn partial(result: RunResult) -> Error {
    match result {
        RunResult::Finished {
            partial: Some(error),
            ..
        } => error,
        RunResult::Asked
        | RunResult::NotBegun
        | RunResult::Finished { partial: None, .. }
        | RunResult::Failed { .. } => {
            panic!("{result:?}")
        }
    }
}

pub(crate) const SUCCESS: RunResult = RunResult::Finished {
    partial: None,
    unclassified: None,
};
