use http::{Method, Request};
use serde_json::json;

use super::lab::{Lab, text};
use crate::lab::Reply;

impl Lab {
    async fn link(&self, account: &str, body: serde_json::Value) -> String {
        let reply = self
            .post(&format!("/v1/accounts/{account}/tokens"), body)
            .await;
        assert_eq!(reply.status, 201, "{reply:?}");
        text(&reply.json()["token"])
    }

    /// Without any authorization, as a browser asks.
    async fn browse(&self, method: Method, path: &str) -> Reply {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body("".into()).unwrap()).await
    }
}

#[tokio::test]
async fn a_link_is_opened_as_often_as_wanted_and_exchanged_once() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let body = json!({
        "return_urls": ["https://app.test/done"],
        "frame_origins": ["https://app.test"],
    });
    assert_eq!(lab.patch("/v1/settings", body).await.status, 200);
    let body = json!({"for": "connect", "return_url": "https://app.test/done"});
    let token = lab.link(&account, body).await;
    let page = format!("/connect/{token}");

    for _ in 0..2 {
        let reply = lab.browse(Method::GET, &page).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(
            policy.ends_with("frame-ancestors https://app.test"),
            "{policy}"
        );
        assert_eq!(reply.header("x-frame-options"), None);
        // A link is no bearer.
        let denied = lab.as_caller(&token, Method::GET, "/v1/sources", "").await;
        denied.problem(401, "unauthorized");
    }
    let session = lab.browse(Method::POST, &format!("{page}/session")).await;
    assert_eq!(session.status, 200, "{session:?}");
    let session = session.json();
    assert_eq!(session["account"], account);
    assert_eq!(session["return_url"], "https://app.test/done");
    let bearer = text(&session["token"]);
    let sources = lab.as_caller(&bearer, Method::GET, "/v1/sources", "").await;
    assert_eq!(sources.status, 200);
    for path in [
        format!("/v1/accounts/{account}"),
        "/v1/documents".to_owned(),
    ] {
        let reply = lab.as_caller(&bearer, Method::GET, &path, "").await;
        reply.problem(403, "forbidden");
    }

    let again = lab.browse(Method::POST, &format!("{page}/session")).await;
    again.problem(410, "link_spent");
    let spent = lab.browse(Method::GET, &page).await;
    assert_eq!(spent.status, 410);
    let html = String::from_utf8(spent.body.to_vec()).unwrap();
    assert!(html.contains("This link was used already") && html.contains("https://app.test/done"));
    assert!(!html.contains("<script"));

    let unknown = lab.browse(Method::GET, "/connect/wst_nobody").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-frame-options"), Some("DENY"));
    let unknown = lab
        .browse(Method::POST, "/connect/wst_nobody/session")
        .await;
    unknown.problem(404, "not_found");
}

#[tokio::test]
async fn a_page_that_repairs_reaches_that_connection_alone() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let broken = lab.connect(&account, "pin").await;
    let sound = lab.connect(&account, "pin").await;
    lab.settles(&account, &broken, "question").await;
    let body = json!({"for": "connect", "connection": broken});
    let token = lab.link(&account, body).await;
    let session = lab
        .browse(Method::POST, &format!("/connect/{token}/session"))
        .await;
    let bearer = text(&session.json()["token"]);
    assert_eq!(session.json()["connection"], broken);

    let own = format!("/v1/accounts/{account}/connections/{broken}");
    let other = format!("/v1/accounts/{account}/connections/{sound}");
    assert_eq!(
        lab.as_caller(&bearer, Method::GET, &own, "").await.status,
        200
    );
    assert_eq!(
        lab.as_caller(&bearer, Method::GET, &other, "").await.status,
        404
    );
    let path = format!("/v1/accounts/{account}/connections");
    let made = lab
        .as_caller(&bearer, Method::POST, &path, r#"{"source":"bank"}"#)
        .await;
    made.problem(403, "forbidden");

    let asked = lab
        .as_caller(&bearer, Method::GET, &format!("{own}/interactions"), "")
        .await;
    let asked = asked.json();
    let interaction = text(&asked["data"][0]["id"]);
    let answer =
        json!({"version": asked["data"][0]["version"], "parts": [{"id": "pin", "value": "1234"}]});
    let path = format!("{own}/interactions/{interaction}/response");
    let answered = lab
        .as_caller(&bearer, Method::PUT, &path, answer.to_string())
        .await;
    assert!(answered.status.is_success(), "{answered:?}");
    let done = lab.settles(&account, &broken, "waiting").await;
    assert_eq!(done["outcome"]["kind"], "success", "{done}");
}
