//! Who spends a source's budget.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::budget::{Limit, Scope, Window};

use crate::lab::{Lab, eventually, request};
use crate::script::Act;

const PATH: &str = "/v1/sources/bank/budgets";

#[tokio::test]
async fn the_operator_sees_who_spends_and_others_see_themselves() {
    let lab = Lab::new().await;
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, two) = lab.access.create_key("two", None).await.unwrap();
    lab.access.create_tenant("three", None).await.unwrap();
    let (_, three) = lab.access.create_key("three", None).await.unwrap();
    let nobody = lab.get(PATH).await.json();
    assert_eq!(
        (&nobody["spenders"], &nobody["other_spenders"]),
        (&json!([]), &Value::Null)
    );

    let mine = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&mine, "waiting").await;
    let theirs = lab.connect_as(&two, vec![Act::Finish]).await;
    let ended = async |fetches: usize| {
        let list = lab.get_as(&two, &format!("{theirs}/fetches")).await.json();
        let list = list["data"].as_array().unwrap();
        list.len() == fetches && list.iter().all(|fetch| fetch["status"] == "success")
    };
    for fetches in [1, 2] {
        eventually(async || ended(fetches).await).await;
        lab.script.next(vec![Act::Finish]);
        let fetch = request(&two, Method::POST, &format!("{theirs}/fetch"), "");
        assert_eq!(lab.send(fetch).await.status, 202);
    }
    eventually(async || ended(3).await).await;
    // No budget counts what is called at this one.
    let collection = lab.collect("gas", "http://callback.test/").await;
    lab.settles(&collection, "delivered").await;

    let seen = lab.get(PATH).await.json();
    let one = json!({"tenant": "one", "calls": 1, "share": 25.0});
    let two_s = json!({"tenant": "two", "calls": 3, "share": 75.0});
    assert_eq!(seen["spenders"], json!([two_s, one]), "{seen}");
    assert_eq!(seen["other_spenders"], Value::Null);
    let since = seen["spent_since"].as_str().unwrap();
    assert!(since.ends_with(":00:00.000Z"), "{since}");
    let seen = lab.get_as(&two, PATH).await.json();
    assert_eq!(seen["spenders"], json!([two_s]), "{seen}");
    assert_eq!(seen["other_spenders"], json!({"calls": 1, "share": 25.0}));
    let seen = lab.get_as(&three, PATH).await.json();
    assert_eq!(seen["spenders"], json!([]));
    assert_eq!(seen["other_spenders"], json!({"calls": 4, "share": 100.0}));
    let gas = lab.get("/v1/sources/gas/budgets").await.json();
    assert_eq!(gas["spenders"], json!([]));

    lab.clock.forward(Duration::from_secs(3 * 3_600));
    for (hours, found) in [("?hours=1", 0), ("?hours=4", 2), ("?hours=744", 2), ("", 2)] {
        let seen = lab.get(&format!("{PATH}{hours}")).await.json();
        assert_eq!(seen["spenders"].as_array().unwrap().len(), found, "{hours}");
    }
    for query in [
        "hours=0",
        "hours=745",
        "hours=-1",
        "hours=x",
        "hours=",
        "days=1",
    ] {
        let problem = lab.get(&format!("{PATH}?{query}")).await;
        let problem = problem.problem(400, "invalid_parameter");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
    }
}

#[tokio::test]
async fn an_attempt_is_no_call_where_its_calls_are_counted() {
    let lab = Lab::new().await;
    let window = |calls| Window {
        calls,
        per: Duration::from_secs(60),
    };
    let calls = Limit {
        scope: Scope::Source,
        endpoint: None,
        windows: [window(1_000)].into(),
    };
    let spenders = async || lab.get(PATH).await.json()["spenders"].clone();

    lab.limit("bank", window(1_000), [calls]).await;
    // Its script calls nothing.
    let connection = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&connection, "waiting").await;
    assert_eq!(spenders().await, json!([]));
    lab.limit("bank", window(1_000), []).await;
    let connection = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&connection, "waiting").await;
    assert_eq!(spenders().await[0]["calls"], 1);
}
