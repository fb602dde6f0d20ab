use std::time::Duration;

use http::StatusCode;
use secrecy::SecretString;
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_delivery::{NoticeOptions, Notices, PushOptions};
use wellspring_engine::{NoticeAddress, NoticeResult, Transport};
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::Behaviour;

use super::browser::{Browser, sender};
use super::support::{NOW, World, closed_port, guarded, impatient, notices, order};

#[tokio::test]
async fn a_browser_decrypts_what_is_sent_and_the_push_service_knows_who_sends() {
    let service = World::start();
    let notices = with();
    let mut kinds = Vec::new();
    for kind in NotificationKind::ALL {
        let browser = Browser::new();
        let mut order = order(Channel::Push, browser.subscription(service.url("/send/1")));
        order.kind = kind;
        order.events[0].insert("text".to_owned(), "漢".repeat(4_000).into());

        let sent = notices.send(order).await;

        assert_eq!(sent, NoticeResult::Sent { receipt: None });
        let request = service.deliveries().pop().unwrap();
        assert!(request.body.len() <= 4_096, "{}", request.body.len());
        let message = browser.open(&request.body);
        let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
        let claims = sender(&header("authorization"), notices.push_key().unwrap());
        assert_eq!(claims["aud"], service.url(""));
        assert_eq!(claims["sub"], "mailto:ops@example.com");
        let left = claims["exp"].as_i64().unwrap() - NOW.as_millis() / 1_000;
        assert!((1..=86_400).contains(&left), "{left}");
        assert_eq!(header("ttl"), "86400");
        assert_eq!(header("content-encoding"), "aes128gcm");
        assert!(header("topic").len() <= 32);
        assert_eq!(message["kind"], kind.as_str());
        assert_eq!(message["url"], "https://app.example/connections/1?a=b&c=d");
        assert_eq!(message["lang"], "en");
        assert_eq!(message["tag"], "ntf_abababababababababababababababab_push");
        assert!(!message["title"].as_str().unwrap().is_empty());
        assert!(!message["body"].as_str().unwrap().is_empty());
        kinds.push(header("urgency"));
    }
    assert_eq!(kinds[3], "high", "a security alert");
    assert_eq!(kinds[6], "low", "something new");
}

#[tokio::test]
async fn an_answer_decides_whether_the_subscription_is_kept() {
    let service = World::start();
    let notices = with();
    for (status, gone) in [
        (404, Some(true)),
        (410, Some(true)),
        (413, Some(false)),
        (429, None),
        (503, None),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        service.handle.update(|behaviour| {
            *behaviour = Behaviour {
                retry_after: Some(Duration::from_secs(90)),
                ..Behaviour::status(status)
            };
        });
        let sent = notices.send(to(service.url("/send/1"))).await;
        let reason = format!("the push service answered {}", status.as_u16());
        let expected = match gone {
            Some(address_gone) => NoticeResult::Refused {
                reason,
                address_gone,
            },
            None => NoticeResult::Failed {
                reason,
                retry_at: Some(NOW.after(Duration::from_secs(90))),
            },
        };
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn what_cannot_be_called_or_encrypted_for_is_gone_and_a_broken_exchange_is_not() {
    let service = World::start();
    let gone = |result: NoticeResult| {
        matches!(
            result,
            NoticeResult::Refused {
                address_gone: true,
                ..
            }
        )
    };
    let here = service.url("/send/1");
    let strict = guarded(
        options(NoticeOptions::default()),
        AddressPolicy::public_only(),
    );
    assert!(
        gone(strict.send(to(here.clone())).await),
        "a private address"
    );
    let notices = with();
    assert!(
        gone(notices.send(to("http://push.example/1".to_owned())).await),
        "not encrypted"
    );
    let NoticeAddress::Push {
        endpoint, p256dh, ..
    } = Browser::new().subscription(here.clone())
    else {
        panic!("a subscription");
    };
    let short = NoticeAddress::Push {
        endpoint,
        p256dh,
        auth: "AAAA".to_owned(),
    };
    assert!(
        gone(notices.send(order(Channel::Push, short)).await),
        "no secret"
    );
    assert_eq!(service.deliveries().len(), 0);

    let nobody = format!("http://127.0.0.1:{}/", closed_port());
    let sent = notices.send(to(nobody)).await;
    assert!(
        matches!(sent, NoticeResult::Failed { retry_at: None, .. }),
        "{sent:?}"
    );
    service.handle.set_hanging(true);
    let sent = super::support::notices(options(impatient()))
        .send(to(here))
        .await;
    assert!(matches!(sent, NoticeResult::Unknown { .. }), "{sent:?}");
}

fn with() -> Notices {
    notices(options(NoticeOptions::default()))
}

fn options(rest: NoticeOptions) -> NoticeOptions {
    NoticeOptions {
        push: Some(PushOptions {
            private_key: SecretString::from("RS0WdYWWo1HajXg3NZR1olzCf31i-ZBGDkFyCs7j1jw"),
            contact: "mailto:ops@example.com".to_owned(),
            ttl: Duration::from_secs(86_400),
        }),
        ..rest
    }
}

fn to(endpoint: String) -> wellspring_engine::NoticeOrder {
    order(Channel::Push, Browser::new().subscription(endpoint))
}
