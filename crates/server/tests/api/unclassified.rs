//! Failures that no rule matched, listed for the operator until there is one.

use http::Method;
use serde_json::{Value, json};

use crate::lab::{Lab, request};
use crate::script::Act;

#[tokio::test]
async fn what_no_rule_matches_is_listed_by_kind_for_the_operator_until_it_is_forgotten() {
    let lab = Lab::new().await;
    let account = |who: &'static str| Act::Odd("NO_MOON", who);
    for act in [
        account("Account 4711 of sam@example.com is dark"),
        account("Account 12 of ann@example.com is dark"),
        Act::Odd("user-1234567", "\"Sam\" (who?) is away"),
        Act::Odd("KNOWN", "a rule has been written for it"),
    ] {
        let connection = lab.connect(vec![act]).await;
        lab.comes_to(&connection, "retrying").await;
    }

    let list = lab.get("/v1/unclassified").await.json();
    let kinds = list["data"].as_array().unwrap();
    assert_eq!(kinds.len(), 2, "{list}");
    assert!(!list.to_string().contains("Sam"), "{list}");
    let [strange, dark] = [&kinds[0], &kinds[1]];
    assert_eq!(
        (&dark["source"], &dark["status"], &dark["error_code"]),
        (&json!("bank"), &json!(799), &json!("NO_MOON"))
    );
    assert_eq!(
        (&dark["message"], &dark["count"], &dark["operation"]),
        (
            &json!("Account # of <address> is dark"),
            &json!(2),
            &json!("fetch")
        )
    );
    assert!(dark["first_seen_at"].as_str() <= dark["last_seen_at"].as_str());
    assert_eq!(
        dark["suggested_rule"],
        "rules:\n  - name: \"bank 799 NO_MOON\"\n    match: { status: 799, error_code: \"NO_MOON\" }\n    class: institution_error   # say what it means, see docs/CLASSES.md\n"
    );
    assert_eq!(strange["error_code"], "#");
    let suggested = strange["suggested_rule"].as_str().unwrap();
    let pattern = r#"message: "\"[^\"]*\"\\s+\\(who\\?\\)\\s+is\\s+away""#;
    assert!(suggested.contains(pattern), "{suggested}");

    let first = lab.get("/v1/unclassified?limit=1").await.json();
    assert_eq!(first["data"], json!([strange]));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = format!("/v1/unclassified?limit=1&cursor={cursor}");
    let second = lab.get(&second).await.json();
    assert_eq!(
        (&second["data"], &second["has_more"]),
        (&json!([dark]), &Value::Bool(false))
    );
    let other = lab.get("/v1/unclassified?source=gas").await.json();
    assert_eq!(other["data"], json!([]));
    let wrong = lab.get("/v1/unclassified?source=A&limit=0").await;
    let wrong = wrong.problem(400, "invalid_parameter");
    assert_eq!(wrong["errors"].as_array().unwrap().len(), 2);

    lab.access.create_tenant("two", None).await.unwrap();
    let (_, stranger) = lab.access.create_key("two", None).await.unwrap();
    let path = format!("/v1/unclassified/{}", dark["id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, "/v1/unclassified"),
        (Method::DELETE, path.as_str()),
    ] {
        let reply = lab.send(request(&stranger, method, path, "")).await;
        reply.problem(403, "not_the_operator");
    }

    let gone = lab.call(Method::DELETE, &path, "").await;
    assert_eq!(gone.status, 204);
    lab.call(Method::DELETE, &path, "")
        .await
        .problem(404, "not_found");
    let left = lab.get("/v1/unclassified?source=bank").await.json();
    assert_eq!(left["data"], json!([strange]));
    let connection = lab
        .connect(vec![Act::Odd("NO_MOON", "Account 1 of a@b.c is dark")])
        .await;
    lab.comes_to(&connection, "retrying").await;
    let anew = lab.get("/v1/unclassified").await.json();
    assert_eq!(
        (&anew["data"][0]["message"], &anew["data"][0]["count"]),
        (&dark["message"], &json!(1))
    );
}
