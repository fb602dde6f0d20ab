use std::time::Duration;

use http::StatusCode;
use standardwebhooks::Webhook;
use wellspring_core::TenantId;
use wellspring_core::notification::Channel;
use wellspring_delivery::{NoticeOptions, SigningSecret};
use wellspring_engine::{NoticeAddress, NoticeOrder, NoticeResult, Transport};
use wellspring_sandbox::Behaviour;

use super::support::{NOW, World, closed_port, notices, order};

#[tokio::test]
async fn the_tenants_receiver_verifies_what_it_gets() {
    let receiver = World::start();
    let notices = notices(NoticeOptions::default());

    for _ in 0..2 {
        let sent = notices.send(to(&receiver.url("/notices"))).await;
        assert_eq!(sent, NoticeResult::Sent { receipt: None });
    }

    let requests = receiver.deliveries();
    let verifier = Webhook::new(&SigningSecret::generate([1; 32]).expose()).unwrap();
    let at = NOW.as_millis() / 1_000;
    let signature = verifier.sign(
        "ntf_abababababababababababababababab_webhook",
        at,
        &requests[0].body,
    );
    assert_eq!(requests[0].headers["webhook-signature"], signature.unwrap());
    assert_eq!(requests[0].webhook_id, requests[1].webhook_id);
    assert_eq!(requests[0].body, requests[1].body);
    let body: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["type"], "notification.plaid_connection_issue");
    assert_eq!(body["timestamp"], "2026-11-18T11:06:40.999Z");
    let data = &body["data"];
    assert_eq!(
        data["notificationId"],
        "ntf_abababababababababababababababab"
    );
    assert_eq!(data["subject"], "Please sign in to Städtische <Bank> again");
    assert_eq!(data["events"][0]["reason"], "reauth_required");
    assert_eq!(data["unsubscribeUrl"], "https://app.example/u/abc");
}

#[tokio::test]
async fn an_answer_decides_whether_the_webhook_is_tried_again() {
    let receiver = World::start();
    let notices = notices(NoticeOptions::default());
    let url = receiver.url("/notices");
    receiver
        .handle
        .update(|behaviour| *behaviour = Behaviour::gone());
    let gone = notices.send(to(&url)).await;
    assert!(
        matches!(
            gone,
            NoticeResult::Refused {
                address_gone: true,
                ..
            }
        ),
        "{gone:?}"
    );

    receiver.handle.update(|behaviour| {
        *behaviour = Behaviour {
            retry_after: Some(Duration::from_secs(60)),
            ..Behaviour::status(StatusCode::SERVICE_UNAVAILABLE)
        };
    });
    let busy = notices.send(to(&url)).await;
    let later = Some(NOW.after(Duration::from_secs(60)));
    assert!(matches!(busy, NoticeResult::Failed { retry_at, .. } if retry_at == later));

    let nobody = notices
        .send(to(&format!("http://127.0.0.1:{}/", closed_port())))
        .await;
    assert!(matches!(nobody, NoticeResult::Failed { .. }), "{nobody:?}");
    let mut stranger = to(&url);
    stranger.tenant = TenantId::from_bytes([1; 16]);
    assert!(matches!(
        notices.send(stranger).await,
        NoticeResult::Failed { .. }
    ));
}

#[tokio::test]
async fn a_channel_that_is_not_configured_or_not_the_addresss_sends_nothing() {
    let notices = notices(NoticeOptions::default());
    assert_eq!(
        Channel::ALL.map(|channel| notices.has(channel)),
        [false, false, false, false, true]
    );
    let mail = order(Channel::Email, NoticeAddress::Email("a@example.net".into()));
    assert!(matches!(
        notices.send(mail).await,
        NoticeResult::Failed { .. }
    ));
    let mixed = order(Channel::Email, NoticeAddress::Sms("+491511234567".into()));
    assert!(matches!(
        notices.send(mixed).await,
        NoticeResult::Refused { .. }
    ));
}

fn to(url: &str) -> NoticeOrder {
    order(Channel::Webhook, NoticeAddress::Webhook(url.to_owned()))
}
