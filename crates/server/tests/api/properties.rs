use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::interactions;
use crate::lab::Lab;

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("\"gas\"".to_owned()),
        Just("\"bank\"".to_owned()),
        Just("\"https://receiver.test/\"".to_owned()),
        Just("1e999".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,20}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop_oneof![
            Just("provider".to_owned()),
            Just("callbackUrl".to_owned()),
            Just("retention".to_owned()),
            Just("contact".to_owned()),
            Just("source".to_owned()),
            Just("credentials".to_owned()),
            Just("schedule".to_owned()),
            Just("slow_plan".to_owned()),
            Just("version".to_owned()),
            Just("parts".to_owned()),
            ".{0,5}",
        ];
        let name = name.prop_map(|name| serde_json::Value::from(name).to_string());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((name, inner), 0..5).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .into_iter()
                    .map(|(name, value)| format!("{name}:{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Runs `check` on arbitrary input in one lab, whose engine goes on between the cases.
fn check<S: Strategy>(input: &S, check: impl Fn(&tokio::runtime::Runtime, &Lab, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lab = runtime.block_on(Lab::new());
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(input, |value| {
        check(&runtime, &lab, value);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn no_body_makes_the_server_fail() {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        json_text().prop_map(String::into_bytes),
    ];
    check(&bytes, |runtime, lab, body| {
        runtime.block_on(async {
            let asked = interactions::any(lab).await;
            let (connection, _) = asked.split_once("/interactions").unwrap();
            let (account, _) = connection.split_once("/connections").unwrap();
            let connections = format!("{account}/connections");
            let credentials = format!("{connection}/credentials");
            let documents = format!("{connection}/documents");
            let response = format!("{asked}/response");
            for (method, path) in [
                (Method::POST, "/collect"),
                (Method::PATCH, "/v1/settings"),
                (Method::POST, "/v1/callback-secret/rotate"),
                (
                    Method::POST,
                    "/collect/col_00000000000070008000000000000000/retry",
                ),
                (Method::POST, "/v1/accounts"),
                (Method::PATCH, "/v1/sources/bank"),
                (Method::PATCH, account),
                (Method::POST, &connections),
                (Method::PATCH, connection),
                (Method::PUT, &credentials),
                (Method::POST, &documents),
                (Method::PUT, &response),
            ] {
                let reply = lab.call(method, path, body.clone()).await;
                assert!(reply.status.as_u16() < 500, "{path}: {reply:?}");
                reply.json();
            }
        });
    });
}

#[test]
fn no_query_path_or_key_makes_the_server_fail() {
    let input = ("[ -~]{0,40}", proptest::collection::vec(any::<u8>(), 0..40));
    check(&input, |runtime, lab, (text, key)| {
        runtime.block_on(async {
            let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            for path in [
                format!("/v1/changes?after={text}"),
                format!("/v1/changes?pattern={text}&limit={text}"),
                format!("/collect?cursor={text}&status={text}"),
                format!("/collect?{text}"),
                format!("/collect/{text}"),
                format!("/v1/accounts?cursor={text}&external_id={text}"),
                format!("/v1/accounts/{text}/connections/{text}"),
                format!("/v1/documents?account={text}&connection={text}&cursor={text}"),
                format!("/v1/documents/{text}/content"),
                format!("/v1/sources/{text}"),
                format!("/{text}"),
            ] {
                let reply = lab.get(&path).await;
                assert!(reply.status.as_u16() < 500, "{path}: {reply:?}");
            }
            if let Ok(key) = http::HeaderValue::from_bytes(&key) {
                let body = crate::lab::collect("gas", "https://receiver.test");
                let mut request = crate::lab::request(&lab.key, Method::POST, "/collect", body);
                request.headers_mut().insert("idempotency-key", key.clone());
                request.headers_mut().insert("x-authorization", key);
                let reply = lab.send(request).await;
                assert!(reply.status.as_u16() < 500, "{reply:?}");
            }
        });
    });
}
