//! Messages to people: told once and told when mended, as they want it, and what came of it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use http::{Method, Request};
use serde_json::{Value, json};
use wellspring_core::ErrorClass;
use wellspring_core::notification::Channel;
use wellspring_engine::{
    NoticeAddress, NoticeOrder, NoticeResult, NoticeWords, TokenKind, Transport,
};

use crate::lab::{Lab, eventually, request};
use crate::script::Act;
use wellspring_server::Page;

/// Takes every message, and answers as it is told to.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    taken: Mutex<Vec<NoticeOrder>>,
    answers: Mutex<VecDeque<NoticeResult>>,
}

impl Recorder {
    pub(crate) fn taken(&self) -> Vec<NoticeOrder> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn answer(&self, result: NoticeResult) {
        self.answers.lock().unwrap().push_back(result);
    }
}

impl Transport for Recorder {
    fn send(&self, order: NoticeOrder) -> BoxFuture<'_, NoticeResult> {
        self.taken.lock().unwrap().push(order);
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(ready(
            answer.unwrap_or(NoticeResult::Sent { receipt: None }),
        ))
    }

    fn has(&self, channel: Channel) -> bool {
        channel != Channel::Webhook
    }

    fn push_key(&self) -> Option<String> {
        Some("BPublicKey".to_owned())
    }

    fn words(&self, order: &NoticeOrder) -> NoticeWords {
        NoticeWords {
            subject: format!("{} in {}", order.kind, order.language),
            text: order.events[0]
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned(),
        }
    }
}

pub(crate) async fn put(lab: &Lab, path: &str, body: Value) -> Value {
    let reply = lab.call(Method::PUT, path, body.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

pub(crate) async fn notify(lab: &Lab, account: &str, body: Value) -> Value {
    let reply = lab
        .post(&format!("{account}/notifications"), body.to_string())
        .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn a_broken_connection_is_told_once_and_told_when_it_is_mended() {
    let lab = Lab::new().await;
    let connection = lab.connect(vec![]).await;
    lab.comes_to(&connection, "waiting").await;
    let (account, id) = connection.split_once("/connections/").unwrap();
    let email = json!({"name": "Ann", "email": "ann@example.com", "language": "de"});
    put(&lab, &format!("{account}/contact"), email).await;
    let list = async || lab.get(&format!("{account}/notifications")).await.json()["data"].clone();

    lab.script
        .next(vec![Act::Fail(ErrorClass::AuthenticationError)]);
    // The schedule's fetch, with nobody there; whatever is asked of the engine has it look.
    lab.clock.forward(Duration::from_secs(2 * 86_400));
    lab.account().await;
    eventually(async || lab.recorder.taken().len() == 1).await;
    let order = lab.recorder.taken()[0].clone();
    assert_eq!(order.to, NoticeAddress::Email("ann@example.com".to_owned()));
    assert_eq!((order.language.as_str(), order.events.len()), ("de", 1));
    assert_eq!(order.events[0]["state"], "opened");
    assert_eq!(order.events[0]["reason"], "reauth_required");
    assert_eq!(order.events[0]["connection_id"], id);
    assert_eq!(order.events[0]["person"], "Ann");
    let told = list().await;
    assert_eq!(
        told.as_array().unwrap().len(),
        1,
        "the first success is silent: {told}"
    );
    assert_eq!(told[0]["type"], "plaid_connection_issue");
    assert_eq!(told[0]["id"], order.id.to_string());

    let body = r#"{"credentials": {"user": "ann", "password": "pw-2"}}"#;
    lab.script.next(vec![]);
    let credentials = lab
        .call(Method::PUT, &format!("{connection}/credentials"), body)
        .await;
    assert!(credentials.status.is_success(), "{credentials:?}");
    eventually(async || lab.recorder.taken().len() == 2).await;
    assert_eq!(lab.recorder.taken()[1].events[0]["state"], "mended");
    let told = list().await;
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");

    let first = told[1]["id"].as_str().unwrap();
    let read = lab
        .post(&format!("{account}/notifications/{first}/read"), "")
        .await;
    assert_eq!(read.status, 204);
    let unread = lab
        .get(&format!("{account}/notifications?unread_only=true"))
        .await
        .json();
    assert_eq!(unread["data"].as_array().unwrap().len(), 1);
    lab.get(&format!(
        "{account}/notifications?limit=101&type=x&unread_only=y"
    ))
    .await
    .problem(400, "invalid_parameter");

    // All of it goes with the account.
    assert_eq!(lab.call(Method::DELETE, account, "").await.status, 204);
    lab.get(&format!("{account}/notifications"))
        .await
        .problem(404, "not_found");
    lab.get(&format!("{account}/contact"))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn what_failed_is_tried_again_under_its_id_and_what_is_unknown_is_not_by_sms() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let contact = json!({"email": "ann@example.com", "phone": "+4915112345678"});
    put(&lab, &format!("{account}/contact"), contact).await;
    let failed = NoticeResult::Unknown {
        reason: "the line broke".to_owned(),
    };
    lab.recorder.answer(failed.clone());
    let sent = notify(
        &lab,
        &account,
        json!({"type": "account_update", "channels": ["email"]}),
    )
    .await;
    let path = format!("{account}/notifications/{}", sent["id"].as_str().unwrap());
    eventually(async || lab.get(&path).await.json()["deliveries"][0]["attempts"] == 1).await;
    eventually(async || lab.get(&path).await.json()["deliveries"][0]["status"] == "planned").await;
    assert_eq!(lab.recorder.taken().len(), 1);
    lab.clock.forward(Duration::from_secs(31));
    eventually(async || lab.get(&path).await.json()["deliveries"][0]["status"] == "sent").await;
    let taken = lab.recorder.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!((taken[0].id, taken[0].at), (taken[1].id, taken[1].at));

    lab.recorder.answer(failed);
    let sent = notify(
        &lab,
        &account,
        json!({"type": "security_alert", "channels": ["sms"]}),
    )
    .await;
    let path = format!("{account}/notifications/{}", sent["id"].as_str().unwrap());
    eventually(async || lab.get(&path).await.json()["deliveries"][0]["status"] == "unknown").await;
    lab.clock.forward(Duration::from_secs(86_400));
    notify(
        &lab,
        &account,
        json!({"type": "account_update", "channels": ["email"]}),
    )
    .await;
    eventually(async || lab.recorder.taken().len() == 4).await;
    assert_eq!(
        lab.recorder.taken()[3].channel,
        Channel::Email,
        "the SMS is not repeated"
    );
}

#[tokio::test]
async fn a_digest_goes_out_as_one_message() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    put(
        &lab,
        &format!("{account}/contact"),
        json!({"email": "ann@example.com"}),
    )
    .await;
    let wishes =
        json!({"digest": "hourly", "time_zone": "Asia/Kolkata", "channels": {"push": false}});
    let shown = put(&lab, &format!("{account}/preferences"), wishes).await;
    assert_eq!(shown["digest"], "hourly");
    assert_eq!(shown["channels"]["push"], false);
    assert_eq!(
        shown["types"]["bank_maintenance"]["email"], true,
        "defaults are shown"
    );
    for number in 0..3 {
        let body = json!({"type": "account_update", "data": {"number": number}});
        let sent = notify(&lab, &account, body).await;
        assert_eq!(sent["deliveries"][0]["status"], "planned", "{sent}");
        // Those of one millisecond are in no order.
        lab.clock.forward(Duration::from_millis(2));
    }
    assert!(lab.recorder.taken().is_empty());
    lab.clock.forward(Duration::from_secs(3_600));
    eventually(async || lab.recorder.taken().len() == 1).await;
    let order = lab.recorder.taken()[0].clone();
    let numbers: Vec<&Value> = order.events.iter().map(|event| &event["number"]).collect();
    assert_eq!(numbers, [0, 1, 2]);

    // The link in it switches the type off over the channel; showing it does not.
    let url = order.unsubscribe_url.unwrap();
    let path = url
        .strip_prefix("http://wellspring.test")
        .unwrap()
        .to_owned();
    let open = |method, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .body("".into())
            .unwrap()
    };
    let page = lab.send(open(Method::GET, &path)).await;
    assert_eq!(page.status, 200);
    let wishes = format!("{account}/preferences");
    assert_eq!(
        lab.get(&wishes).await.json()["types"]["account_update"]["email"],
        true
    );
    assert_eq!(lab.send(open(Method::POST, &path)).await.status, 200);
    let shown = lab.get(&wishes).await.json();
    assert_eq!(shown["types"]["account_update"]["email"], false);
    assert_eq!(shown["digest"], "hourly", "the rest stays");
    let forged = format!("{}A", &path[..path.len() - 1]);
    let forged = if forged == path {
        format!("{path}A")
    } else {
        forged
    };
    lab.send(open(Method::POST, &forged))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_browser_that_is_gone_is_removed() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let path = format!("{account}/push-subscriptions");
    let key = "B".repeat(86) + "A";
    let browser = |name: &str| {
        json!({"endpoint": format!("https://push.example.com/{name}"), "keys": {"p256dh": key, "auth": "A".repeat(22)}}).to_string()
    };
    for name in ["a", "b", "b"] {
        let reply = lab.post(&path, browser(name)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let list = lab.get(&path).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    lab.recorder.answer(NoticeResult::Refused {
        reason: "the browser has unsubscribed".to_owned(),
        address_gone: true,
    });
    notify(
        &lab,
        &account,
        json!({"type": "security_alert", "channels": ["push"]}),
    )
    .await;
    eventually(async || {
        lab.get(&path).await.json()["data"]
            .as_array()
            .unwrap()
            .len()
            == 1
    })
    .await;
    let left = lab.get(&path).await.json()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = format!("{path}/{left}");
    assert_eq!(lab.call(Method::DELETE, &one, "").await.status, 204);
    lab.call(Method::DELETE, &one, "")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_test_says_what_really_came_of_it() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let id = account.rsplit('/').next().unwrap();
    let path = format!("/api/reliability/notifications/send-test?account={id}");
    put(
        &lab,
        &format!("{account}/contact"),
        json!({"email": "ann@example.com"}),
    )
    .await;
    let body = r#"{"type": "plaid_connection_issue", "channels": ["email", "in_app"]}"#;
    let reply = lab.post(&path, body).await;
    let expected = json!({"success": true, "message": "Test notification sent", "delivery_results": [
        {"channel": "email", "success": true, "message": "Email sent successfully"},
        {"channel": "in_app", "success": true, "message": "In-app notification created"},
    ]});
    assert_eq!(reply.json(), expected);

    lab.recorder.answer(NoticeResult::Refused {
        reason: "the mailbox is full".to_owned(),
        address_gone: false,
    });
    let body = r#"{"type": "security_alert"}"#;
    let results = lab.post(&path, body).await.json()["delivery_results"].clone();
    let said: Vec<&str> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["message"].as_str().unwrap())
        .collect();
    let expected = [
        "Failed: the mailbox is full",
        "In-app notification created",
        "The person has no address for this channel",
        "The person has no address for this channel",
        "The channel is not configured",
    ];
    assert_eq!(said, expected);

    let client = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let get = |path: &str| request(&client, Method::GET, path, "");
    let list = lab
        .send(get("/api/reliability/notifications?limit=1"))
        .await
        .json();
    assert_eq!(
        (&list["success"], &list["total"]),
        (&json!(true), &json!(1))
    );
    let first = list["notifications"][0]["id"].as_str().unwrap();
    let read = format!("/api/reliability/notifications/{first}/read");
    let reply = lab.send(request(&client, Method::POST, &read, "")).await;
    assert_eq!(reply.json()["success"], true);
    lab.post(&read, "").await.problem(400, "invalid_parameter");
    lab.get("/api/reliability/notifications")
        .await
        .problem(400, "invalid_parameter");
    let other = lab.account().await;
    let other = other.rsplit('/').next().unwrap();
    let theirs = format!("/api/reliability/notifications?account={other}");
    lab.send(get(&theirs)).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_people_set_is_judged() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let bad = [
        (
            "contact",
            json!({"email": "ann", "phone": "0151", "language": "d e", "x": 1}),
            4,
        ),
        (
            "contact",
            json!({"webhook": "http://refused.test", "name": ""}),
            2,
        ),
        (
            "preferences",
            json!({"digest": "weekly", "time_zone": "Moon", "quiet_hours": {"from": "24:00", "to": "7:00"}}),
            3,
        ),
        (
            "preferences",
            json!({"types": {"spam": {}}, "channels": {"fax": true}, "y": 1}),
            3,
        ),
    ];
    for (what, body, faults) in bad {
        let reply = lab
            .call(Method::PUT, &format!("{account}/{what}"), body.to_string())
            .await;
        let problem = reply.problem(422, "validation_failed");
        assert_eq!(
            problem["errors"].as_array().unwrap().len(),
            faults,
            "{problem}"
        );
    }
    for body in [
        r#"{}"#,
        r#"{"type": "spam"}"#,
        r#"{"type": "account_update", "channels": ["fax"]}"#,
    ] {
        lab.post(&format!("{account}/notifications"), body)
            .await
            .problem(422, "validation_failed");
    }
    let client = lab
        .token(&account, TokenKind::Client, Page::default())
        .await;
    let body = r#"{"webhook": "http://elsewhere.test", "email": "ann@example.com"}"#;
    let put = request(&client, Method::PUT, &format!("{account}/contact"), body);
    lab.send(put).await.problem(422, "validation_failed");
    let send = request(
        &client,
        Method::POST,
        &format!("{account}/notifications"),
        "{}",
    );
    lab.send(send).await.problem(403, "forbidden");
}
