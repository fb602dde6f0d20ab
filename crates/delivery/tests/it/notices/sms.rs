use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use secrecy::SecretString;
use wellspring_core::notification::Channel;
use wellspring_delivery::{NoticeOptions, Notices, SmsBody, SmsOptions};
use wellspring_engine::{NoticeAddress, NoticeOrder, NoticeResult, Transport};
use wellspring_sandbox::Behaviour;

use super::support::{NOW, World, closed_port, impatient, notices, order};

#[tokio::test]
async fn the_gateway_gets_twilios_form_and_its_answer_is_kept() {
    let gateway = World::start();
    answer(
        &gateway,
        201,
        r#"{"sid":"SM0123456789abcdef","status":"queued"}"#,
    );

    let sent = with(twilio(&gateway)).send(to(NUMBER)).await;

    let receipt = Some("SM0123456789abcdef".to_owned());
    assert_eq!(sent, NoticeResult::Sent { receipt });
    let request = gateway.deliveries().pop().unwrap();
    assert_eq!(request.path, "/2010-04-01/Accounts/AC42/Messages.json");
    assert_eq!(
        request.headers["authorization"],
        format!("Basic {}", STANDARD.encode("AC42:pass:word"))
    );
    assert_eq!(
        request.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let form: BTreeMap<_, _> = form_urlencoded::parse(&request.body).into_owned().collect();
    assert_eq!(form.len(), 3);
    assert_eq!(form["To"], NUMBER);
    assert_eq!(form["From"], "+15005550006");
    let text = &form["Body"];
    assert!(
        text.contains("https://app.example/connections/1?a=b&c=d"),
        "{text}"
    );
    assert!(text.ends_with("Reply STOP to end SMS."), "{text}");
    let service = SmsOptions::twilio("AC42".into(), SecretString::from("p"), "MG1".into());
    let SmsBody::Form(fields) = service.body else {
        panic!("a form");
    };
    assert!(fields.contains_key("MessagingServiceSid"));
}

#[tokio::test]
async fn an_answer_decides_and_one_that_leaves_it_open_is_unknown() {
    let gateway = World::start();
    let notices = with(twilio(&gateway));
    let refused = |reason: &str, address_gone| NoticeResult::Refused {
        reason: format!("the SMS gateway answered {reason}"),
        address_gone,
    };
    let failed = |reason: &str| NoticeResult::Failed {
        reason: format!("the SMS gateway answered {reason}"),
        retry_at: Some(NOW.after(Duration::from_secs(30))),
    };
    for (status, body, expected) in [
        (
            400,
            r#"{"code":21610,"message":"…"}"#,
            NoticeResult::Stopped {
                reason: "the SMS gateway answered 400 with 21610".to_owned(),
            },
        ),
        (400, r#"{"code":21614}"#, refused("400 with 21614", true)),
        (400, r#"{"code":21602}"#, refused("400 with 21602", false)),
        (401, "", failed("401")),
        (429, r#"{"code":20429}"#, failed("429 with 20429")),
        (503, "", failed("503")),
        (
            500,
            r#"{"code":"+491511 at 1"}"#,
            unknown("the SMS gateway answered 500"),
        ),
        (502, "", unknown("the SMS gateway answered 502")),
    ] {
        answer(&gateway, status, body);
        assert_eq!(notices.send(to(NUMBER)).await, expected, "{status}");
    }
    let wrong = notices.send(to("0151 12345678")).await;
    assert!(matches!(
        wrong,
        NoticeResult::Refused {
            address_gone: true,
            ..
        }
    ));
}

#[tokio::test]
async fn an_exchange_that_breaks_is_unknown_only_if_the_request_has_left() {
    let gateway = World::start();
    gateway.handle.set_hanging(true);
    let options = NoticeOptions {
        sms: Some(twilio(&gateway)),
        ..impatient()
    };
    let hanging = notices(options).send(to(NUMBER)).await;
    assert_eq!(hanging, unknown("timeout: the SMS gateway gave no answer"));
    assert_eq!(gateway.handle.counts().requests, 1, "never repeated");

    let nowhere = SmsOptions {
        url: format!("http://127.0.0.1:{}/", closed_port()),
        ..twilio(&gateway)
    };
    let refused = with(nowhere).send(to(NUMBER)).await;
    let reason = "connection_refused: the SMS gateway gave no answer".to_owned();
    let retry_at = None;
    assert_eq!(refused, NoticeResult::Failed { reason, retry_at });
}

#[tokio::test]
async fn another_gateways_request_is_made_of_its_templates() {
    let gateway = World::start();
    answer(&gateway, 200, r#"{"messages":[{"id":77}]}"#);
    let headers = [
        ("Authorization", "App {{ password }}"),
        ("Idempotency-Key", "{{ id }}"),
    ];
    let options = SmsOptions {
        url: gateway.url("/sms"),
        headers: headers
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        body: SmsBody::Text {
            template: r#"{"to": {{ to|tojson }}, "text": {{ text|tojson }}}"#.into(),
            media_type: "application/json".into(),
        },
        password: Some(SecretString::from("k3y")),
        receipt: Some("/messages/0/id".into()),
        ..SmsOptions::default()
    };

    let sent = with(options).send(to(NUMBER)).await;

    let receipt = Some("77".to_owned());
    assert_eq!(sent, NoticeResult::Sent { receipt });
    let request = gateway.deliveries().pop().unwrap();
    assert_eq!(request.headers["authorization"], "App k3y");
    let id = "ntf_abababababababababababababababab_sms";
    assert_eq!(request.headers["idempotency-key"], id);
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["to"], NUMBER);

    let misspelt = SmsOptions {
        url: gateway.url("/{{ acount }}"),
        ..SmsOptions::default()
    };
    let options = NoticeOptions {
        sms: Some(misspelt),
        ..NoticeOptions::default()
    };
    let error = super::support::try_notices(options).unwrap_err();
    assert!(error.to_string().contains("`url`"), "{error}");
}

fn twilio(gateway: &World) -> SmsOptions {
    let password = SecretString::from("pass:word");
    let options = SmsOptions::twilio("AC42".into(), password, "+15005550006".into());
    let url = options
        .url
        .replace("https://api.twilio.com", &gateway.url(""));
    SmsOptions { url, ..options }
}

fn with(options: SmsOptions) -> Notices {
    notices(NoticeOptions {
        sms: Some(options),
        ..NoticeOptions::default()
    })
}

fn answer(gateway: &World, status: u16, body: &'static str) {
    gateway.handle.update(|behaviour| {
        *behaviour = Behaviour {
            body: body.into(),
            retry_after: Some(Duration::from_secs(30)),
            ..Behaviour::status(StatusCode::from_u16(status).unwrap())
        };
    });
}

fn to(number: &str) -> NoticeOrder {
    order(Channel::Sms, NoticeAddress::Sms(number.to_owned()))
}

fn unknown(reason: &str) -> NoticeResult {
    NoticeResult::Unknown {
        reason: reason.to_owned(),
    }
}

const NUMBER: &str = "+4915112345678";
