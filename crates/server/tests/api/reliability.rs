use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use wellspring_core::ErrorClass;
use wellspring_core::interaction::{Code, Part, Question};
use wellspring_engine::TokenKind;
use wellspring_server::Page;

use crate::lab::{Lab, eventually, request};
use crate::script::Act;

const FACE: &str = "/api/reliability";

/// The account's id and the connection's, out of a connection's path.
fn ids(path: &str) -> (&str, &str) {
    let (account, connection) = path.split_once("/connections/").unwrap();
    (account.rsplit('/').next().unwrap(), connection)
}

fn of(path: &str, what: &str) -> String {
    format!("{FACE}/connections/{}/{what}", ids(path).1)
}

#[tokio::test]
async fn who_has_just_begun_has_no_score_and_one_success_makes_it_full() {
    let lab = Lab::new().await;
    let account = lab.account().await;
    let account = account.rsplit('/').next().unwrap();
    let empty = format!("{FACE}/metrics/overview?account={account}");
    let empty = lab.get(&empty).await.json();
    assert_eq!(empty["success"], true);
    assert_eq!(empty["reliability_score"], Value::Null);
    assert_eq!(empty["connections"]["total"], 0);
    assert_eq!(empty["connections"]["health_rate"], Value::Null);
    assert_eq!(empty["sync"]["total_syncs"], 0);
    assert_eq!(empty["sync"]["success_rate"], Value::Null);

    let acts = vec![Act::Document("a.pdf", "one".into()), Act::Finish];
    let path = lab.connect(acts).await;
    lab.comes_to(&path, "waiting").await;
    let (account, id) = ids(&path);
    let list = format!("{FACE}/connections/health?account={account}");
    let list = lab.get(&list).await.json();
    assert_eq!(list["success"], true);
    for (count, expected) in [
        ("total_connections", 1),
        ("healthy_connections", 1),
        ("degraded_connections", 0),
        ("error_connections", 0),
        ("maintenance_connections", 0),
    ] {
        assert_eq!(list[count], expected, "{count}");
    }
    let shown = &list["connections"][0];
    assert_eq!(shown["connection_id"], id);
    assert_eq!(shown["institution_name"], "bank");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["reasons"], json!([]));
    assert!(shown["last_successful_sync"].is_string());
    assert_eq!(shown["sync_failure_count"], 0);
    assert_eq!(shown["maintenance_mode"], false);
    assert_eq!(shown["requires_reauth"], false);
    assert_eq!(shown["next_retry"], Value::Null);
    let mut one = lab.get(&of(&path, "health")).await.json();
    assert_eq!(one["success"].take(), true);
    one.as_object_mut().unwrap().remove("success");
    assert_eq!(&one, shown);

    let status = lab.get(&of(&path, "sync-status")).await.json();
    assert_eq!(status["connection_id"], id);
    assert_eq!(status["last_sync_at"], shown["last_successful_sync"]);
    let log = &status["sync_logs"][0];
    assert_eq!(
        (&log["sync_type"], &log["status"]),
        (&json!("created"), &json!("success"))
    );
    assert_eq!(log["documents_processed"], 1);
    assert!(log["duration"].is_number() && log["completed_at"].is_string());
    let stats = &status["reliability_stats"];
    assert_eq!(
        (&stats["total_syncs"], &stats["successful_syncs"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&stats["success_rate"], &stats["period_days"]),
        (&json!(100.0), &json!(30))
    );

    let overview = format!("{FACE}/metrics/overview?account={account}");
    let overview = lab.get(&overview).await.json();
    assert_eq!(overview["reliability_score"], 100.0);
    assert_eq!(overview["connections"]["health_rate"], 100.0);
    let metrics = format!("{FACE}/metrics/connections/{id}?days=7&limit=1");
    let metrics = lab.get(&metrics).await.json();
    assert_eq!(metrics["reliability_stats"]["period_days"], 7);
    assert_eq!(metrics["trend"].as_array().unwrap().len(), 1);
    assert_eq!(metrics["by_day"][0]["by_status"]["success"], 1);
    assert_eq!(metrics["last_7_days"]["success_rate"], 100.0);

    // A client sees its account's without naming it.
    let token = lab.token(account, TokenKind::Client, Page::default()).await;
    for path in ["connections/health", "metrics/overview"] {
        let path = format!("{FACE}/{path}");
        let mine = lab.send(request(&token, Method::GET, &path, "")).await;
        assert_eq!(mine.status, 200, "{mine:?}");
        assert_eq!(mine.json()["success"], true);
    }
}

#[tokio::test]
async fn a_retry_really_retries_and_what_failed_counts() {
    let lab = Lab::new().await;
    let path = lab
        .connect(vec![Act::Fail(ErrorClass::InstitutionError)])
        .await;
    lab.comes_to(&path, "retrying").await;
    let (account, id) = ids(&path);
    let health = lab.get(&of(&path, "health")).await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"][0]["code"], "consecutive_failures");
    assert_eq!(health["consecutive_failures"], 1);
    assert_eq!(health["sync_failure_count"], 1);
    assert_eq!(health["last_error"]["error_code"], "as_told");
    assert!(health["next_retry"].is_string());
    let overview = format!("{FACE}/metrics/overview?account={account}");
    assert_eq!(lab.get(&overview).await.json()["reliability_score"], 0.0);
    let degraded = format!("{FACE}/connections/health?account={account}&status=degraded&limit=1");
    let degraded = lab.get(&degraded).await.json();
    assert_eq!(degraded["connections"][0]["connection_id"], id);
    let active = format!("{FACE}/connections/health?account={account}&status=active");
    let active = lab.get(&active).await.json();
    assert_eq!(
        (&active["connections"], &active["total_connections"]),
        (&json!([]), &json!(1))
    );

    let reply = lab.post_with_key(&of(&path, "retry"), "", "again").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let begun = reply.json();
    assert_eq!(
        (&begun["success"], &begun["retry_count"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(begun["message"], "Connection retry started");
    assert!(begun["last_retry_attempt"].is_string());
    lab.comes_to(&path, "waiting").await;
    let again = lab.post_with_key(&of(&path, "retry"), "", "again").await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = lab.post_with_key(&of(&path, "sync-now"), "", "again").await;
    other.problem(422, "idempotency_key_reused");

    let status = lab
        .get(&format!("{}?limit=1", of(&path, "sync-status")))
        .await
        .json();
    assert_eq!(status["sync_logs"].as_array().unwrap().len(), 1);
    let status = lab.get(&of(&path, "sync-status")).await.json();
    let logs = status["sync_logs"].as_array().unwrap();
    let seen: Vec<&Value> = logs.iter().map(|log| &log["status"]).collect();
    assert_eq!(seen, ["success", "failed"]);
    assert_eq!(logs[1]["error_type"], "institution_error");
    assert_eq!(logs[1]["error_code"], "as_told");
    assert!(logs[1]["next_attempt_at"].is_string());
    assert_eq!(status["reliability_stats"]["success_rate"], 50.0);
    // One of one is healthy, one of two succeeded.
    assert_eq!(lab.get(&overview).await.json()["reliability_score"], 80.0);

    let reply = lab.post(&of(&path, "sync-now"), "").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.json()["message"], "Sync started");
    let stats = async || lab.get(&of(&path, "sync-status")).await.json();
    eventually(async || stats().await["reliability_stats"]["total_syncs"] == 3).await;
    lab.script.next(vec![Act::Hang]);
    assert_eq!(lab.post(&of(&path, "sync-now"), "").await.status, 202);
    lab.comes_to(&path, "connecting").await;
    let meanwhile = lab.post(&of(&path, "sync-now"), "{}").await;
    assert_eq!(meanwhile.status, 202, "{meanwhile:?}");
    let meanwhile = meanwhile.json();
    assert_eq!(meanwhile["message"], "A fetch is under way already");
    assert!(meanwhile["sync_id"].is_string());
}

#[tokio::test]
async fn maintenance_and_throttling_refuse_with_the_time_and_count_for_nothing() {
    for (class, code, status, seconds) in [
        (
            ErrorClass::BankMaintenance,
            "source_in_maintenance",
            "maintenance",
            300..=375,
        ),
        (
            ErrorClass::RateLimitExceeded,
            "rate_limited",
            "active",
            50..=61,
        ),
    ] {
        let lab = Lab::new().await;
        let path = lab.connect(vec![Act::Fail(class)]).await;
        let has_ended = async || lab.get(&path).await.json()["outcome"].is_object();
        eventually(has_ended).await;
        let health = lab.get(&of(&path, "health")).await.json();
        assert_eq!(health["status"], status, "{health}");
        assert_eq!(health["maintenance_mode"], status == "maintenance");
        assert_eq!(
            health["maintenance_until"].is_string(),
            status == "maintenance"
        );
        assert!(health["next_retry"].is_string());
        for action in ["retry", "sync-now"] {
            let reply = lab.post(&of(&path, action), "").await;
            let problem = reply.problem(409, code);
            let until = problem["next_allowed_at"].as_str().unwrap();
            assert!(
                problem["detail"].as_str().unwrap().contains(until),
                "{problem}"
            );
            assert!(
                seconds.contains(&problem["retry_after"].as_u64().unwrap()),
                "{problem}"
            );
            let header = problem["retry_after"].to_string();
            assert_eq!(reply.header("retry-after"), Some(header.as_str()));
            let shown = lab.get(&path).await.json();
            assert_eq!(shown["next_allowed_at"], until, "{shown}");
        }
        let overview = format!("{FACE}/metrics/overview?account={}", ids(&path).0);
        let overview = lab.get(&overview).await.json();
        assert_eq!(overview["sync"]["total_syncs"], 1);
        assert_eq!(overview["sync"]["counted_syncs"], 0);
        assert_eq!(overview["reliability_score"], Value::Null);
        assert_eq!(overview["connections"]["health_rate"], 100.0);
    }
}

#[tokio::test]
async fn who_waits_for_a_budget_is_told_until_when_and_a_fetch_in_vain_is_refused() {
    let lab = Lab::new().await;
    let acts = || vec![Act::Document("a.pdf", "one".into()), Act::Finish];
    let first = lab.connect(acts()).await;
    lab.comes_to(&first, "waiting").await;
    assert_eq!(lab.get(&first).await.json()["next_allowed_at"], json!(null));
    lab.narrow("bank", 1, Duration::from_secs(3_600)).await;
    let budgets = async || lab.get("/v1/sources/bank/budgets").await.json();
    eventually(async || budgets().await["next_allowed_at"].is_string()).await;

    let second = lab.connect(acts()).await;

    let until = budgets().await["next_allowed_at"].clone();
    let shown = lab.get(&second).await.json();
    assert_eq!(shown["state"], "created", "{shown}");
    assert_eq!(shown["next_allowed_at"], until);
    // The first rests until tomorrow, and does not wait for anything.
    assert_eq!(lab.get(&first).await.json()["next_allowed_at"], json!(null));
    for path in [&first, &second] {
        let reply = lab.post(&of(path, "sync-now"), "").await;
        let problem = reply.problem(409, "rate_limited");
        assert_eq!(problem["next_allowed_at"], until, "{problem}");
    }
}

#[tokio::test]
async fn who_must_reauthorise_gets_a_link_and_nobody_else_does() {
    let lab = Lab::new().await;
    let path = lab
        .connect(vec![Act::Fail(ErrorClass::AuthenticationError)])
        .await;
    let asked = lab.comes_to(&path, "question").await;
    let interaction = asked["open_interaction_id"].as_str().unwrap();
    let cancel = format!("{path}/interactions/{interaction}");
    assert!(
        lab.call(Method::DELETE, &cancel, "")
            .await
            .status
            .is_success()
    );
    lab.comes_to(&path, "waiting").await;
    let health = lab.get(&of(&path, "health")).await.json();
    assert_eq!(
        (&health["status"], &health["requires_reauth"]),
        (&json!("reauth_required"), &json!(true))
    );
    assert_eq!(health["reasons"][0]["code"], "credentials_refused");
    for action in ["retry", "sync-now"] {
        lab.post(&of(&path, action), "")
            .await
            .problem(409, "reauth_required");
    }
    let list = format!("{FACE}/connections/health?account={}", ids(&path).0);
    assert_eq!(lab.get(&list).await.json()["error_connections"], 1);

    let reply = lab.post_with_key(&of(&path, "reconnect"), "", "link").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let link = reply.json();
    let token = link["link_token"].as_str().unwrap();
    assert_eq!(
        link["link_url"],
        format!("http://wellspring.test/connect/{token}")
    );
    let again = lab.post_with_key(&of(&path, "reconnect"), "", "link").await;
    assert_eq!(again.json(), link);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    // The link leads to a page that mends this connection, in place.
    let open = format!("/connect/{token}/session");
    let session = lab.send(request("", Method::POST, &open, "{}")).await;
    assert!(session.status.is_success(), "{session:?}");
    let bearer = session.json()["token"].as_str().unwrap().to_owned();
    let body = r#"{"credentials": {"user": "ann", "password": "pw-2"}}"#;
    let mend = format!("{path}/credentials");
    let mended = lab.send(request(&bearer, Method::PUT, &mend, body)).await;
    assert!(mended.status.is_success(), "{mended:?}");
    eventually(async || lab.get(&path).await.json()["access"] == "valid").await;
    lab.post(&of(&path, "reconnect"), "")
        .await
        .problem(409, "reauth_not_required");

    let disable = lab
        .call(Method::PATCH, &path, r#"{"enabled": false}"#)
        .await;
    assert_eq!(disable.status, 200, "{disable:?}");
    assert_eq!(disable.json()["health"]["status"], "disabled");
    for action in ["retry", "sync-now", "reconnect"] {
        lab.post(&of(&path, action), "")
            .await
            .problem(409, "connection_disabled");
    }
    let wrong = lab.post(&of(&path, "sync-now"), r#"{"a": 1}"#).await;
    assert_eq!(
        wrong.problem(422, "validation_failed")["errors"][0]["pointer"],
        "/a"
    );
}

#[tokio::test]
async fn an_open_question_is_answered_first() {
    let lab = Lab::new().await;
    let question = Question {
        code: Code::OneTimeCode,
        title: None,
        parts: vec![Part::StaticText {
            id: "text".to_owned(),
            text: "Look at your phone".to_owned(),
        }],
        expires_in: Some(Duration::from_secs(600)),
    };
    let path = lab.connect(vec![Act::Ask(question)]).await;
    lab.comes_to(&path, "question").await;
    for action in ["retry", "sync-now"] {
        lab.post(&of(&path, action), "")
            .await
            .problem(409, "question_open");
    }
    let health = lab.get(&of(&path, "health")).await.json();
    let codes: Vec<&Value> = health["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert_eq!(codes, ["question_open", "never_fetched"]);
}

#[tokio::test]
async fn each_sees_its_own_and_every_fault_is_named() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![Act::Finish]).await;
    lab.comes_to(&path, "waiting").await;
    let (account, id) = ids(&path);
    let neighbour = lab.account().await;
    let neighbour = neighbour.rsplit('/').next().unwrap();
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, stranger) = lab.access.create_key("two", None).await.unwrap();
    let client = lab
        .token(neighbour, TokenKind::Client, Page::default())
        .await;
    let page = lab.token(account, TokenKind::Page, Page::default()).await;
    let one = [
        (Method::GET, format!("{FACE}/connections/{id}/health")),
        (Method::POST, format!("{FACE}/connections/{id}/retry")),
        (Method::POST, format!("{FACE}/connections/{id}/reconnect")),
        (Method::GET, format!("{FACE}/connections/{id}/sync-status")),
        (Method::POST, format!("{FACE}/connections/{id}/sync-now")),
        (Method::GET, format!("{FACE}/metrics/connections/{id}")),
    ];
    for (method, path) in &one {
        for key in [&stranger, &client] {
            let reply = lab.send(request(key, method.clone(), path, "")).await;
            reply.problem(404, "not_found");
        }
        let elsewhere = format!("{path}?account={neighbour}");
        let reply = lab.call(method.clone(), &elsewhere, "").await;
        reply.problem(404, "not_found");
        let reply = lab.send(request(&page, method.clone(), path, "")).await;
        reply.problem(403, "forbidden");
        let reply = lab.send(request("", method.clone(), path, "")).await;
        reply.problem(401, "unauthorized");
        let reply = lab
            .call(method.clone(), &format!("{path}?colour=red"), "")
            .await;
        let problem = reply.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["parameter"], "colour");
    }
    for all in ["connections/health", "metrics/overview"] {
        let path = format!("{FACE}/{all}");
        let problem = lab.get(&path).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["parameter"], "account");
        let named = format!("{path}?account={account}");
        for key in [&stranger, &client] {
            let reply = lab.send(request(key, Method::GET, &named, "")).await;
            reply.problem(404, "not_found");
        }
        lab.get(&format!("{path}?account=x"))
            .await
            .problem(422, "validation_failed");
    }
    for (path, parameter) in [
        (
            format!("connections/health?account={account}&status=well"),
            "status",
        ),
        (
            format!("connections/health?account={account}&limit=201"),
            "limit",
        ),
        (format!("connections/{id}/sync-status?limit=101"), "limit"),
        (format!("connections/{id}/sync-status?limit=0"), "limit"),
        (format!("connections/{id}/sync-status?days=731"), "days"),
        (format!("metrics/overview?account={account}&days=0"), "days"),
        (format!("metrics/connections/{id}?days=week"), "days"),
    ] {
        let problem = lab.get(&format!("{FACE}/{path}")).await;
        let problem = problem.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{path}");
    }
}

#[tokio::test]
async fn statistics_are_native_too_and_the_service_tells_of_itself() {
    let lab = Lab::new().await;
    let acts = vec![
        Act::Document("a.pdf", "one".into()),
        Act::Document("b.pdf", "two".into()),
        Act::Finish,
        Act::Fail(ErrorClass::InstitutionError),
    ];
    let path = lab.connect(acts).await;
    let first = lab.comes_to(&path, "waiting").await;
    assert_eq!(first["health"], json!({"status": "active", "reasons": []}));
    assert_eq!(lab.post(&format!("{path}/fetch"), "").await.status, 202);
    let failed = lab.comes_to(&path, "retrying").await;
    assert_eq!(failed["health"]["status"], "degraded");
    let of_connection = lab.get(&format!("{path}/statistics?days=90")).await.json();
    assert_eq!(of_connection["period"]["days"], 90);
    assert_eq!(
        (&of_connection["total"], &of_connection["counted"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(of_connection["success_rate"], 50.0);
    assert_eq!(of_connection["by_status"]["failed"], 1);
    assert_eq!(
        (&of_connection["documents"], &of_connection["attempts"]),
        (&json!(2), &json!(2))
    );
    assert!(of_connection["p99_duration_ms"].is_u64());
    let by_day = of_connection["by_day"].as_array().unwrap();
    let total: u64 = by_day
        .iter()
        .map(|day| day["total"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 2);
    // What operators see is a picture that is taken now and then.
    let budgets = async || lab.get("/v1/sources/bank/budgets").await.json();
    eventually(async || budgets().await["windows"][0]["used"] == 2).await;
    let budgets = budgets().await;
    assert_eq!(budgets["next_allowed_at"], json!(null));
    let windows = budgets["windows"].as_array().unwrap();
    let shown = windows.iter().map(|one| {
        let [calls, used, left] = ["calls", "used", "left"].map(|key| one[key].as_u64().unwrap());
        (one["per"].as_str().unwrap(), calls, used, left)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [("1m", 10_000, 2, 9_998), ("1h", 100_000, 2, 99_998)]
    );
    assert!(windows[0]["next_release_at"].is_string());
    let unlimited = lab.get("/v1/sources/gas/budgets").await.json();
    assert_eq!(unlimited["windows"], json!([]));
    lab.get("/v1/sources/nowhere/budgets")
        .await
        .problem(404, "not_found");
    let of_source = lab.get("/v1/sources/bank/statistics").await.json();
    assert_eq!(
        (&of_source["total"], &of_source["period"]["days"]),
        (&json!(2), &json!(30))
    );
    lab.get("/v1/sources/nowhere/statistics")
        .await
        .problem(404, "not_found");
    lab.get("/v1/sources/bank/statistics?days=0")
        .await
        .problem(400, "invalid_parameter");

    let fetches = lab.get(&format!("{path}/fetches")).await.json();
    let failed = &fetches["data"][0];
    assert!(failed["duration_ms"].is_u64() && failed["next_attempt_at"].is_string());
    let one = format!("{path}/fetches/{}", failed["id"].as_str().unwrap());
    let attempt = &lab.get(&one).await.json()["attempts"][0];
    assert_eq!(attempt["status"], "failed");
    assert_eq!(attempt["next_attempt_at"], failed["next_attempt_at"]);
    let one = format!(
        "{path}/fetches/{}",
        fetches["data"][1]["id"].as_str().unwrap()
    );
    let attempt = &lab.get(&one).await.json()["attempts"][0];
    assert_eq!(
        (&attempt["status"], &attempt["documents"]),
        (&json!("success"), &json!(2))
    );

    // What is kept of a fetch outlives it: 40 days on it counts for 90 days and not for 7.
    lab.clock.forward(Duration::from_secs(40 * 86_400));
    let long = lab.get(&format!("{path}/statistics?days=90")).await.json();
    assert!(long["total"].as_u64().unwrap() >= 2, "{long}");
    assert_eq!(long["by_day"][0], by_day[0]);
    let short = lab.get(&format!("{path}/statistics?days=7")).await.json();
    assert_ne!(short["by_day"][0], by_day[0]);

    let open = lab
        .send(request("", Method::GET, &format!("{FACE}/health"), ""))
        .await;
    assert_eq!(
        (open.status.as_u16(), &open.json()["status"]),
        (200, &json!("healthy"))
    );
    lab.store.set_down(true);
    let down = lab.get(&format!("{FACE}/health")).await;
    assert_eq!(
        (down.status.as_u16(), &down.json()["success"]),
        (503, &json!(false))
    );
}
