//! Messages to people: live, of incidents, in words, and what is answered by SMS.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request};
use serde_json::{Value, json};
use sha1::Sha1;
use wellspring_core::ErrorClass;
use wellspring_engine::{NoticeAddress, TokenKind};
use wellspring_server::Page;

use crate::events::Events;
use crate::lab::{Lab, eventually, request};
use crate::notifications::{notify, put};
use crate::script::Act;

#[tokio::test]
async fn messages_are_live_in_the_application_and_a_stream_goes_on_after_its_last_event() {
    let lab = Lab::new().await;
    let (account, other) = (lab.account().await, lab.account().await);
    let say = async |whom: &str, text: &str| {
        let data =
            json!({"type": "account_update", "channels": ["in_app"], "data": {"text": text}});
        notify(&lab, whom, data).await["id"].clone()
    };
    say(&account, "before").await;
    let token = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let mut events = stream(&lab, &token, &account, None).await;
    let start = events.next().await.unwrap();
    assert_eq!(start.data, Value::Null, "it says where it begins");
    let first = say(&account, "first").await;
    say(&other, "not theirs").await;
    let seen = events.next().await.unwrap();
    assert_eq!(
        (&seen.data["id"], &seen.data["data"]["text"]),
        (&first, &json!("first"))
    );
    // Not over the list in the application, so not here.
    notify(
        &lab,
        &account,
        json!({"type": "account_update", "channels": ["email"]}),
    )
    .await;
    let second = say(&account, "second").await;
    let last = events.next().await.unwrap();
    assert_eq!(last.data["id"], second);
    drop(events);

    let third = say(&account, "third").await;
    for (after, ids) in [
        (&start.id, vec![&first, &second, &third]),
        (&seen.id, vec![&second, &third]),
        (&last.id, vec![&third]),
    ] {
        let mut events = stream(&lab, &lab.key, &account, Some(after)).await;
        let place = events.next().await.unwrap();
        assert_eq!((&place.id, &place.data), (after, &Value::Null));
        for id in ids {
            assert_eq!(events.next().await.unwrap().data["id"], *id);
        }
    }
    let path = format!("{account}/notifications/stream?after=x");
    lab.get(&path).await.problem(400, "invalid_parameter");
    let request = request(
        &token,
        Method::GET,
        &format!("{other}/notifications/stream"),
        "",
    );
    lab.send(request).await.problem(404, "not_found");
}

#[tokio::test]
async fn people_who_were_only_held_back_are_told_of_an_incident_once_and_of_its_end_once() {
    let lab = Lab::new().await;
    let first = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&first, "waiting").await;
    let account = first.split_once("/connections/").unwrap().0.to_owned();
    // They have another connection there, and somebody else has one, who wants no such messages.
    let body = r#"{"source": "bank", "credentials": {"user": "ann", "password": "pw-1"}}"#;
    lab.script.next(vec![Act::Finish]);
    let reply = lab.post(&format!("{account}/connections"), body).await;
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    lab.comes_to(&format!("{account}/connections/{id}"), "waiting")
        .await;
    let other = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&other, "waiting").await;
    let theirs = other.split_once("/connections/").unwrap().0.to_owned();
    let stranger = lab.account().await;
    for (whom, email) in [(&account, "ann@example.com"), (&theirs, "bo@example.com")] {
        put(&lab, &format!("{whom}/contact"), json!({"email": email})).await;
    }
    let wishes = json!({"types": {"bank_maintenance": {"email": false}}});
    put(&lab, &format!("{theirs}/preferences"), wishes).await;
    let list = async |whom: &String| {
        let path = format!("{whom}/notifications?type=bank_maintenance");
        lab.get(&path).await.json()["data"]
            .as_array()
            .unwrap()
            .clone()
    };

    let now = wellspring_engine::Clock::now(lab.clock.as_ref());
    let window = json!({"from": now.to_string(), "to": now.after(HOUR).to_string()});
    let announced = json!({"maintenance": [window]}).to_string();
    let reply = lab.call(Method::PATCH, "/v1/sources/bank", announced).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    eventually(async || list(&account).await.len() == 1 && list(&theirs).await.len() == 1).await;
    eventually(async || lab.recorder.taken().len() == 1).await;
    // One of the connections says so itself.
    lab.post(&format!("{first}/fetch"), "").await;
    lab.comes_to(&first, "manual").await;
    lab.clock.forward(HOUR * 2);
    lab.account().await;
    eventually(async || list(&account).await.len() == 2 && list(&theirs).await.len() == 2).await;
    lab.comes_to(&first, "waiting").await;
    // Once more around the whole: whatever is to be told is told by then.
    lab.post(&format!("{first}/fetch"), "").await;
    lab.comes_to(&first, "waiting").await;

    let told = list(&account).await;
    assert_eq!(told.len(), 2, "{told:?}");
    let said = |place: usize, name: &str| told[place]["data"][name].clone();
    assert_eq!(
        (said(1, "state"), said(0, "state")),
        (json!("opened"), json!("mended"))
    );
    assert_eq!(said(1, "until"), now.after(HOUR).to_string());
    let incidents = lab.get("/v1/incidents").await.json();
    for place in [0, 1] {
        assert_eq!(said(place, "incident_id"), incidents["data"][0]["id"]);
        assert_eq!(said(place, "source"), "bank");
    }
    eventually(async || lab.recorder.taken().len() == 2).await;
    let taken = lab.recorder.taken();
    let mails: Vec<_> = taken.iter().map(|order| &order.to).collect();
    let ann = NoticeAddress::Email("ann@example.com".to_owned());
    assert_eq!(mails, [&ann, &ann]);
    assert!(list(&stranger).await.is_empty());
}

#[tokio::test]
async fn what_is_mended_before_quiet_hours_end_is_neither_told_nor_told_to_be_over() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![]).await;
    lab.comes_to(&connection, "waiting").await;
    let account = connection.split_once("/connections/").unwrap().0;
    let email = json!({"email": "ann@example.com"});
    put(&lab, &format!("{account}/contact"), email).await;
    // Whatever time it is, it is quiet until it is just before this time again.
    let wishes = json!({"digest": {"daily": "00:00"}});
    put(&lab, &format!("{account}/preferences"), wishes).await;
    lab.script
        .next(vec![Act::Fail(ErrorClass::AuthenticationError)]);
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    lab.account().await;
    let list = async || {
        let path = format!("{account}/notifications");
        lab.get(&path).await.json()["data"]
            .as_array()
            .unwrap()
            .clone()
    };
    let ways = async |place: usize| {
        let id = list().await[place]["id"].as_str().unwrap().to_owned();
        let shown = lab
            .get(&format!("{account}/notifications/{id}"))
            .await
            .json();
        let ways = shown["deliveries"].as_array().unwrap().clone();
        let ways = ways.into_iter();
        ways.map(|way| (way["channel"].clone(), way["status"].clone()))
            .collect::<Vec<_>>()
    };
    eventually(async || list().await.len() == 1).await;
    let held = [
        (json!("email"), json!("planned")),
        (json!("in_app"), json!("sent")),
    ];
    assert_eq!(ways(0).await, held);

    let body = r#"{"credentials": {"user": "ann", "password": "pw-2"}}"#;
    let credentials = lab
        .call(Method::PUT, &format!("{connection}/credentials"), body)
        .await;
    assert!(credentials.status.is_success(), "{credentials:?}");
    eventually(async || list().await.len() == 2).await;
    assert_eq!(ways(0).await, [(json!("in_app"), json!("sent"))]);
    let dropped = [
        (json!("email"), json!("dropped")),
        (json!("in_app"), json!("sent")),
    ];
    assert_eq!(ways(1).await, dropped);
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    notify(
        &lab,
        account,
        json!({"type": "security_alert", "channels": ["email"]}),
    )
    .await;
    eventually(async || lab.recorder.taken().len() == 1).await;
    assert_eq!(lab.recorder.taken()[0].kind.as_str(), "security_alert");
}

#[tokio::test]
async fn a_message_says_in_words_what_it_is_and_leads_to_where_it_is_mended() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![]).await;
    lab.comes_to(&connection, "waiting").await;
    let account = connection.split_once("/connections/").unwrap().0;
    let contact = json!({"email": "ann@example.com", "language": "de"});
    put(&lab, &format!("{account}/contact"), contact).await;
    assert_eq!(
        lab.get("/v1/push/key").await.json()["public_key"],
        "BPublicKey"
    );

    lab.script
        .next(vec![Act::Fail(ErrorClass::AuthenticationError)]);
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    lab.account().await;
    eventually(async || lab.recorder.taken().len() == 1).await;
    let link = lab.recorder.taken()[0].events[0]["link"].clone();
    let path = link
        .as_str()
        .unwrap()
        .strip_prefix("http://wellspring.test")
        .unwrap();
    let open = async |path: &str| {
        let request = Request::builder().uri(path).body("".into()).unwrap();
        lab.send(request).await
    };
    let page = open(path).await;
    assert_eq!(page.status, 303);
    let page = page.header("location").unwrap().to_owned();
    let page = page.strip_prefix("http://wellspring.test").unwrap();
    assert!(page.starts_with("/connect/"), "{page}");
    assert_eq!(open(page).await.status, 200);
    // Whoever opens the link again and again makes no more of it, until the page is used.
    let again = open(path).await.header("location").unwrap().to_owned();
    assert!(again.ends_with(page), "{again}");
    let session = Request::builder().method(Method::POST);
    let session = session.uri(format!("{page}/session")).body("".into());
    let session = lab.send(session.unwrap()).await;
    assert_eq!(session.status, 200, "{session:?}");
    let next = open(path).await.header("location").unwrap().to_owned();
    assert!(!next.ends_with(page), "{next}");
    let forged = format!("{}x", &path[..path.len() - 1]);
    open(&forged).await.problem(404, "not_found");
    let body = r#"{"credentials": {"user": "ann", "password": "pw-2"}}"#;
    let mended = format!("{connection}/credentials");
    let mended = lab.call(Method::PUT, &mended, body).await;
    assert!(mended.status.is_success(), "{mended:?}");
    // That it is mended is told as well.
    eventually(async || lab.recorder.taken().len() == 2).await;
    let over = open(path).await;
    assert_eq!(over.status, 410);
    assert!(String::from_utf8_lossy(&over.body).contains("Nothing to mend"));
    lab.clock.forward(Duration::from_secs(15 * 86_400));
    open(path).await.problem(404, "not_found");

    // Who asks twice under one key has one message told.
    let post = async |key: &str, text: &str| {
        let body = json!({"type": "account_update", "channels": ["email"], "data": {"text": text}});
        let path = format!("{account}/notifications");
        lab.post_with_key(&path, &body.to_string(), key).await
    };
    let first = post("k1", "Hello").await;
    assert_eq!(
        (first.status.as_u16(), first.header("idempotent-replayed")),
        (202, None)
    );
    let sent = first.json();
    assert_eq!(
        (&sent["subject"], &sent["text"]),
        (&json!("account_update in de"), &json!("Hello"))
    );
    let again = post("k1", "Hello").await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["id"], sent["id"]);
    post("k1", "Other")
        .await
        .problem(422, "idempotency_key_reused");
    let other = post("k2", "Hello").await;
    assert_ne!(other.json()["id"], sent["id"]);
    eventually(async || lab.recorder.taken().len() == 4).await;
    let test = async || {
        let body = r#"{"type": "account_update", "channels": ["email"]}"#;
        let id = account.rsplit('/').next().unwrap();
        let path = format!("/api/reliability/notifications/send-test?account={id}");
        lab.post_with_key(&path, body, "k3").await
    };
    assert_eq!(test().await.json()["success"], true);
    let again = test().await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["success"], true);
    assert_eq!(lab.recorder.taken().len(), 5);
}

#[tokio::test]
async fn stop_by_sms_switches_it_off_for_everybody_of_the_number_once() {
    let lab = Lab::new().await;
    let (ann, twin, other) = (
        lab.account().await,
        lab.account().await,
        lab.account().await,
    );
    for (account, phone) in [
        (&ann, "+4915112345678"),
        (&twin, "+4915112345678"),
        (&other, "+4915112345679"),
    ] {
        put(&lab, &format!("{account}/contact"), json!({"phone": phone})).await;
    }
    let on = async |account: &str| {
        lab.get(&format!("{account}/preferences")).await.json()["channels"]["sms"].clone()
    };
    let say = async |from: &str, text: &str, sid: &str| say(&lab, from, text, sid).await;
    let reply = say("+4915112345678", "Stop!", "SM1").await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, Some("text/xml"))
    );
    assert!(reply.body.ends_with(b"<Response/>"));
    for (account, expected) in [(&ann, false), (&twin, false), (&other, true)] {
        assert_eq!(on(account).await, expected);
    }
    // Even a security alert, which waits for nothing, does not come by SMS any more.
    let sent = notify(
        &lab,
        &ann,
        json!({"type": "security_alert", "channels": ["sms"]}),
    )
    .await;
    assert_eq!(sent["deliveries"], json!([]));
    say("+4915112345678", "START", "SM2").await;
    assert_eq!(
        (on(&ann).await, on(&twin).await),
        (json!(true), json!(true))
    );
    // The gateway repeats itself.
    say("+4915112345678", "Stop!", "SM1").await;
    assert_eq!(on(&ann).await, true);
    say("+4915112345678", "please stop by", "SM3").await;
    assert_eq!(on(&ann).await, true);
    let help = say("+4915112345678", "help", "SM4").await;
    assert!(String::from_utf8_lossy(&help.body).contains("<Message>Reply STOP"));
    assert_eq!(
        say("+4900000000", "STOP", "SM5").await.status,
        200,
        "nobody's"
    );
    inbound(
        &lab,
        "From=%2B4915112345678&Body=STOP&MessageSid=SM6".to_owned(),
        "bm9wZQ==",
    )
    .await
    .problem(403, "signature_invalid");
    assert_eq!(on(&ann).await, true);

    // A number that is changed is not found any more.
    put(
        &lab,
        &format!("{ann}/contact"),
        json!({"phone": "+4915112345670"}),
    )
    .await;
    say("+4915112345678", "ARRÊT", "SM7").await;
    assert_eq!(
        (on(&ann).await, on(&twin).await),
        (json!(true), json!(false))
    );
}

/// Has the gateway pass on what a person answers by SMS.
pub(crate) async fn say(lab: &Lab, from: &str, text: &str, sid: &str) -> crate::lab::Reply {
    let fields = [
        ("Body", text),
        ("From", from),
        ("MessageSid", sid),
        ("To", "+15005550006"),
    ];
    let mut form = form_urlencoded::Serializer::new(String::new());
    let mut signed = "http://wellspring.test/v1/sms/inbound".to_owned();
    for (name, value) in fields {
        form.append_pair(name, value);
        signed.push_str(&format!("{name}{value}"));
    }
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(b"gateway secret").unwrap();
    mac.update(signed.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    inbound(lab, form.finish(), &signature).await
}

async fn inbound(lab: &Lab, form: String, signature: &str) -> crate::lab::Reply {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/sms/inbound")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", signature)
        .body(form.into())
        .unwrap();
    lab.send(request).await
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn stream(lab: &Lab, bearer: &str, account: &str, last: Option<&str>) -> Events {
    let path = format!("{account}/notifications/stream");
    Events::open(&lab.router, "notification", bearer, &path, last).await
}
