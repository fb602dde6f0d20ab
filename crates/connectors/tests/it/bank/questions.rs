use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use wellspring_core::interaction::Part;
use wellspring_core::{Action, Error, ErrorClass};
use wellspring_engine::RunResult;
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, Target};

use super::{SUCCESS, failure};
use crate::home::Home;
use crate::support::{Fixed, World, bank};

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

    let (error, action) = (failure.error, failure.action);
    assert_eq!(error.class, ErrorClass::AuthenticationError);
    assert_eq!(
        (error.code.as_str(), action),
        ("account_locked", Action::Default)
    );
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
