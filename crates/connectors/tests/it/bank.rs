use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use wellspring_core::interaction::Part;
use wellspring_core::{Error, ErrorClass, Timestamp};
use wellspring_engine::{Connector, FetchResult, RunResult};
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, Target};
use wellspring_sandbox::Source;

use crate::home::Home;
use crate::support::{Fixed, NOW, World, bank, connectors, order};

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
async fn every_question_is_posed_and_its_answer_leads_on() {
    let world = World::start();
    for (password, codes) in [
        ("statefail", &["region"] as &[&str]),
        ("branchfail", &["branch_code"]),
        ("pinfail", &["pin"]),
        ("lockedoutfail", &["locked_out"]),
        ("useractionrequiredfail", &["user_action_required"]),
        ("setupaccountfail", &["set_up_account"]),
        ("notsupportedfail", &["not_supported"]),
        ("notpaperlessfail", &["not_paperless"]),
        ("mfaquestion", &["secret_question"]),
        ("onetimeauth", &["code_delivery", "one_time_code"]),
        ("onetimeauthmultiple", &["secret_question"]),
        ("captcha", &["captcha"]),
        ("everypart", &["secret_question"]),
    ] {
        let home = Home::of(world.bank(""), password);
        let logins = world.control.bank_counts().logins;
        for code in codes {
            assert_eq!(home.attempt().await, RunResult::Asked, "{password}");
            assert_eq!(home.answer_well(), *code, "{password}");
        }

        assert_eq!(home.attempt().await, SUCCESS, "{password}");

        assert_eq!(home.rows().documents.len(), 3, "{password}");
        assert_eq!(world.control.bank_counts().logins, logins + 1);
    }
}

#[tokio::test]
async fn a_wrong_answer_is_asked_again_with_the_reason_until_the_bank_locks() {
    let world = World::start();
    let home = Home::of(world.bank(""), "mfaquestion");
    assert_eq!(home.attempt().await, RunResult::Asked);
    assert_eq!(reason(&home), None);
    for _ in 0..2 {
        home.answer(&[("secret", "Miller")]);
        assert_eq!(home.attempt().await, RunResult::Asked);
        let expected = "That was not the right name.";
        assert_eq!(reason(&home).as_deref(), Some(expected));
    }
    home.answer(&[("secret", "Miller")]);

    let failure = failure(home.attempt().await);

    let (error, revoked) = (failure.error, failure.revoked);
    assert_eq!(error.class, ErrorClass::AuthenticationError);
    assert_eq!((error.code.as_str(), revoked), ("account_locked", false));
}

#[tokio::test]
async fn a_session_that_is_gone_when_the_answer_comes_has_the_question_posed_afresh() {
    let world = World::start();
    let home = Home::of(world.bank(""), "expired-session");
    assert_eq!(home.attempt().await, RunResult::Asked);
    let first = home.resume();
    home.answer(&[("pin", "0815")]);

    assert_eq!(home.attempt().await, RunResult::Asked);

    assert_ne!(home.resume(), first);
    assert_eq!(world.control.bank_counts().logins, 2);
    assert_eq!(home.answer_well(), "pin");
    assert_eq!(home.attempt().await, SUCCESS);

    let home = Home::of(world.bank(""), "onetimeauth");
    assert_eq!(home.attempt().await, RunResult::Asked);
    home.answer_well();
    assert_eq!(home.attempt().await, RunResult::Asked);
    assert_eq!(home.answer_well(), "one_time_code");
    world.control.expire_sessions();
    assert_eq!(home.attempt().await, RunResult::Asked);
    assert_eq!(home.answer_well(), "code_delivery");
}

#[tokio::test]
async fn consent_is_given_at_the_bank_and_answered_with_nothing() {
    let world = World::start();
    let home = Home::of(world.bank(""), "consent");
    assert_eq!(home.attempt().await, RunResult::Asked);
    home.answer(&[]);
    assert_eq!(home.attempt().await, RunResult::Asked);
    assert_eq!(reason(&home).as_deref(), Some("You have not agreed yet."));

    decide(&home, "agree").await;
    home.answer(&[]);
    assert_eq!(home.attempt().await, SUCCESS);
    assert_eq!(home.rows().documents.len(), 3);

    let home = Home::of(world.bank(""), "consent");
    assert_eq!(home.attempt().await, RunResult::Asked);
    decide(&home, "refuse").await;
    home.answer(&[]);
    let failure = failure(home.attempt().await);
    assert_eq!(failure.error.class, ErrorClass::AuthenticationError);
    assert_eq!(failure.error.code, "consent_refused");
}

#[tokio::test]
async fn an_answer_is_used_again_after_a_failure_and_the_person_is_not_asked_twice() {
    let world = World::start();
    let home = Home::of(world.bank("timeout: 100ms"), "pinfail");
    assert_eq!(home.attempt().await, RunResult::Asked);
    home.answer_well();
    world.control.update_bank(|settings| {
        settings.document_latency = Some(Duration::from_secs(60));
    });
    let failure = failure(home.attempt().await);
    assert_eq!(failure.error.class, ErrorClass::ConnectionFailure);
    assert_eq!(failure.error.code, "timeout");
    world.control.update_bank(|settings| {
        settings.document_latency = None;
    });

    assert_eq!(home.attempt().await, SUCCESS);

    let counts = world.control.bank_counts();
    assert_eq!((counts.logins, counts.challenges), (1, 1));
}

#[tokio::test]
async fn an_answer_given_under_other_credentials_is_not_used() {
    let world = World::start();
    let home = Home::of(world.bank(""), "pinfail");
    assert_eq!(home.attempt().await, RunResult::Asked);
    home.answer_well();
    home.log_in_with("otheraccount");

    assert_eq!(home.attempt().await, SUCCESS);

    let first = home.rows().documents[0].source_id.clone();
    assert_eq!(first.as_deref(), Some("4712-statement-0001"));
    assert_eq!(world.control.bank_counts().answers, 0);
}

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
        assert_eq!((failure.retry_at, failure.revoked), (retry_at, revoked));
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
async fn a_question_that_cannot_be_shown_is_our_fault_and_told_with_its_reason() {
    for (challenge, code, message) in [
        (
            r#"{"code":"pin","parts":[{"kind":"date","id":"a","label":"A"},{"kind":"date","id":"a","label":"B"}]}"#,
            "question_malformed",
            "the source asks what cannot be shown: part `a`: another part has the same id",
        ),
        (
            r#"{"code":"palm_reading","parts":[]}"#,
            "question_unknown",
            "The bank asks something of a kind that is not known here",
        ),
    ] {
        let body = format!(r#"{{"session":"5e55","challenge":{challenge}}}"#);
        let head = "HTTP/1.1 200 OK\r\ncontent-length";
        let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
        let server = Fixed::answering(answer.leak()).await;
        let home = Home::of(bank(&format!("http://{}", server.address), ""), "pass");

        let failure = failure(home.attempt().await);

        let expected = Error {
            class: ErrorClass::InternalError,
            code: code.to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(failure.error, expected);
    }
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

#[tokio::test]
async fn the_bank_is_checked_without_a_login_and_not_collected_from() {
    let world = World::start();
    let connectors = connectors(world.bank(""));
    let name = "bank".parse().unwrap();

    let good = connectors.check(&name).await.unwrap();
    assert!(good.ok && good.bytes > 0);
    let nowhere = crate::support::connectors(world.bank(""));
    drop(world);
    let away = nowhere.check(&name).await.unwrap();
    assert_eq!(away.error.unwrap().class, ErrorClass::ConnectionFailure);

    let FetchResult::Failed { error, .. } = connectors.fetch(order("bank")).await else {
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

struct Failure {
    error: Error,
    retry_at: Option<Timestamp>,
    revoked: bool,
}

fn failure(result: RunResult) -> Failure {
    match result {
        RunResult::Failed {
            error,
            retry_at,
            revoked,
        } => {
            assert!(!error.message.contains("Sam"), "{}", error.message);
            Failure {
                error,
                retry_at,
                revoked,
            }
        }
        RunResult::Asked | RunResult::Finished { .. } => panic!("{result:?}"),
    }
}

fn partial(result: RunResult) -> Error {
    match result {
        RunResult::Finished {
            partial: Some(error),
        } => error,
        RunResult::Asked | RunResult::Finished { partial: None } | RunResult::Failed { .. } => {
            panic!("{result:?}")
        }
    }
}

/// Returns what the open question says of the last answer.
fn reason(home: &Home) -> Option<String> {
    let question = home.rows().question.clone()?;
    question.parts.into_iter().find_map(|part| match part {
        Part::StaticText { id, text } => (id == "reason").then_some(text),
        Part::TextInput { .. }
        | Part::Choices { .. }
        | Part::Date { .. }
        | Part::Number { .. }
        | Part::Image { .. }
        | Part::Link { .. }
        | Part::Button { .. }
        | Part::Redirect { .. } => None,
    })
}

/// Does what a person does on the page that the open question leads to.
async fn decide(home: &Home, decision: &str) {
    let question = home.rows().question.clone().unwrap();
    let Some(Part::Redirect { url, .. }) = question.parts.last() else {
        panic!("nowhere to go: {question:?}");
    };
    let client = Client::new(AddressPolicy::unrestricted(), ClientOptions::default()).unwrap();
    let request = Request {
        method: Method::POST,
        target: Target::parse(url, &AddressPolicy::unrestricted()).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(format!("decision={decision}")),
        deadline: Duration::from_secs(10),
        max_body: 65_536,
    };
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status, 200);
}

const SUCCESS: RunResult = RunResult::Finished { partial: None };
