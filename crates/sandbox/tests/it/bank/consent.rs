use hyper::{Method, StatusCode};
use serde_json::json;

use super::{assert_refused, challenge, documents, log_in, logged_in, reason, respond, session_of};
use crate::client::{Answer, Client, sandbox};

#[tokio::test]
async fn a_person_agrees_on_the_banks_page_and_is_sent_back() {
    let (client, control, running) = sandbox(1);

    for _ in 0..2 {
        let posed = log_in(&client, "consent").await;
        let session = session_of(&posed);
        let redirect = challenge(&posed)["parts"][1].clone();
        assert_eq!(challenge(&posed)["code"], "consent");
        assert_eq!(redirect["kind"], "redirect");
        let url = redirect["url"].as_str().unwrap().to_owned();
        let path = url.strip_prefix(client.base()).unwrap();
        assert_eq!(path, format!("/bank/consent/{session}"));

        let early = respond(&client, &session, json!({})).await;
        assert_eq!(reason(&early).unwrap(), "You have not agreed yet.");
        let page = client.get(path).await;
        assert_eq!(page.status, StatusCode::OK);
        let text = std::str::from_utf8(&page.body).unwrap();
        assert!(text.contains("<form method=\"post\">"));
        assert!(text.contains("<button name=\"decision\" value=\"agree\">"));

        let back = "return_url=http%3A%2F%2F127.0.0.1%3A9%2Fdone%3Fstate%3D7";
        let agreed = decide(&client, &format!("{path}?{back}"), "agree").await;
        assert_eq!(agreed.status, StatusCode::SEE_OTHER);
        assert_eq!(
            agreed.header("location"),
            Some("http://127.0.0.1:9/done?state=7")
        );
        logged_in(&respond(&client, &session, json!({})).await);
        assert_eq!(documents(&client, &session).await.len(), 3);
        assert_eq!(client.get(path).await.status, StatusCode::GONE);
    }
    assert_eq!(control.bank_counts().consents, 2);
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_ends_the_login_and_odd_requests_decide_nothing() {
    let (client, control, running) = sandbox(1);
    let session = session_of(&log_in(&client, "consent").await);
    let path = format!("/bank/consent/{session}");

    for odd in ["", "maybe"] {
        let answer = decide(&client, &path, odd).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let elsewhere = session_of(&log_in(&client, "pinfail").await);
    for other in [elsewhere.as_str(), "nonsense"] {
        let answer = decide(&client, &format!("/bank/consent/{other}"), "agree").await;
        assert_eq!(answer.status, StatusCode::GONE);
    }
    assert!(reason(&respond(&client, &session, json!({})).await).is_some());

    let script = format!("{path}?return_url=javascript%3Aalert(1)");
    let refused = decide(&client, &script, "refuse").await;
    assert_eq!(refused.status, StatusCode::OK);
    assert_eq!(refused.header("location"), None);
    let ended = respond(&client, &session, json!({})).await;
    assert_refused(&ended, 403, "CONSENT_REFUSED");
    let put = client.put(&path, "").await;
    assert_eq!(put.header("allow"), Some("GET, POST"));
    assert_eq!(control.bank_counts().consents, 1);
    running.stop().await;
}

async fn decide(client: &Client, path: &str, decision: &str) -> Answer {
    let form = format!("decision={decision}");
    client.send(Method::POST, path, &[], &form).await.unwrap()
}
