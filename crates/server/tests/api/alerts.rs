//! What has to be acted on, from its opening to its end.

use http::Method;
use serde_json::Value;
use wellspring_core::ErrorClass;

use crate::lab::{Lab, eventually, request};
use crate::script::Act;

#[tokio::test]
async fn an_alert_is_listed_acknowledged_and_closed_by_what_mends_it() {
    let lab = Lab::new().await;
    let acts = vec![Act::Fail(ErrorClass::InternalError)];
    let connection = lab.connect(acts).await;
    lab.comes_to(&connection, "waiting").await;
    let id = connection.rsplit('/').next().unwrap();

    let list = lab.get("/v1/alerts").await.json();
    let alert = &list["data"][0];
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(
        (&alert["kind"], &alert["audience"], &alert["state"]),
        (
            &"connector_crashed".into(),
            &"operator".into(),
            &"open".into()
        )
    );
    assert_eq!(
        (&alert["connection_id"], &alert["code"]),
        (&id.into(), &"as_told".into())
    );
    let path = format!("/v1/alerts/{}", alert["id"].as_str().unwrap());
    assert_eq!(lab.get(&path).await.json(), *alert);

    let acknowledge = format!("{path}/acknowledge");
    let known = lab.post_with_key(&acknowledge, "", "known-1").await;
    assert_eq!(
        (known.status.as_u16(), &known.json()["state"]),
        (200, &"acknowledged".into())
    );
    let again = lab.post_with_key(&acknowledge, "", "known-1").await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json(), known.json());
    lab.post(&acknowledge, r#"{"why": "x"}"#)
        .await
        .problem(422, "validation_failed");

    lab.post(&format!("{connection}/fetch"), "").await;
    eventually(async || lab.get(&path).await.json()["state"] == "closed").await;
    let close = format!("{path}/close");
    lab.post(&close, "").await.problem(409, "alert_closed");
    lab.post(&acknowledge, "")
        .await
        .problem(409, "alert_closed");
    let open = lab.get("/v1/alerts?state=open").await.json();
    assert_eq!(open["data"], serde_json::json!([]));

    let changes = lab.get("/v1/changes?pattern=*%20/alerts/**").await.json();
    let said: Vec<String> = changes["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let path = change["path"].as_str().unwrap();
            let (verb, cause) = (&change["verb"], &change["cause"]);
            format!("{verb} {} {cause}", path.rsplit('/').next().unwrap())
        })
        .collect();
    let id = alert["id"].as_str().unwrap();
    assert_eq!(
        said,
        [
            format!(r#""CREATED" {id} "FetchFailed""#),
            r#""UPDATED" acknowledged "AlertAsked""#.to_owned(),
            r#""UPDATED" closed "Fetched""#.to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_connector_that_panics_ends_its_own_attempt_and_nothing_else() {
    let lab = Lab::new().await;
    let other = lab.connect(vec![Act::Hang]).await;
    lab.comes_to(&other, "connecting").await;
    let connection = lab.connect(vec![Act::Panic]).await;
    let shown = lab.comes_to(&connection, "waiting").await;
    let id = connection.rsplit('/').next().unwrap();

    assert_eq!(shown["retries"], 0, "{shown}");
    let fetches = lab.get(&format!("{connection}/fetches")).await.json();
    let fetch = &fetches["data"][0];
    assert_eq!(
        (
            &fetch["status"],
            &fetch["error"]["class"],
            &fetch["error"]["code"]
        ),
        (
            &"failed".into(),
            &"internal_error".into(),
            &"connector_panicked".into()
        ),
        "{fetch}"
    );
    let alerts = lab.get("/v1/alerts?kind=connector_crashed").await.json();
    assert_eq!(alerts["data"][0]["connection_id"], id);
    assert_eq!(alerts["data"][0]["code"], "connector_panicked");
    assert_eq!(lab.get(&other).await.json()["state"], "connecting");

    let collection = lab.collect("rotten", "http://callback.test/").await;
    let failed = lab.settles(&collection, "failed").await;
    assert!(
        failed.to_string().contains("connector_panicked"),
        "{failed}"
    );
    eventually(async || lab.engine().snapshot().in_flight == 1).await;
    lab.post(&format!("{connection}/fetch"), "").await;
    let open = async || lab.get("/v1/alerts?state=open").await.json()["data"].clone();
    eventually(async || open().await.as_array().is_some_and(|open| open.len() == 1)).await;
    // That of the collection is about its source, and stays until a call to it is well.
    let left = &open().await[0];
    assert_eq!(
        (&left["kind"], &left["source"], &left["code"]),
        (
            &"connector_crashed".into(),
            &"rotten".into(),
            &"connector_panicked".into()
        )
    );
    assert!(left["connection_id"].is_null(), "{left}");
    let path = format!("/v1/alerts/{}/close", left["id"].as_str().unwrap());
    let closed = lab.post(&path, "").await;
    assert_eq!(closed.json()["state"], "closed");
}

#[tokio::test]
async fn an_alert_that_is_put_aside_comes_anew_and_is_nobody_elses() {
    let lab = Lab::new().await;
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, other) = lab.access.create_key("two", None).await.unwrap();
    let connection = lab
        .connect(vec![Act::Fail(ErrorClass::InternalError)])
        .await;
    lab.comes_to(&connection, "waiting").await;
    let alerts = async |query: &str| {
        let list = lab.get(&format!("/v1/alerts{query}")).await.json();
        list["data"].as_array().unwrap().clone()
    };
    let first = alerts("").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/alerts/{first}");

    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::POST, format!("{path}/acknowledge")),
        (Method::POST, format!("{path}/close")),
    ] {
        let reply = lab.send(request(&other, method, &path, "")).await;
        reply.problem(404, "not_found");
    }
    let theirs = lab
        .send(request(&other, Method::GET, "/v1/alerts", ""))
        .await;
    assert_eq!(theirs.json()["data"], serde_json::json!([]));

    let closed = lab.post(&format!("{path}/close"), "").await;
    assert_eq!(
        (closed.status.as_u16(), &closed.json()["state"]),
        (200, &"closed".into())
    );
    lab.script.next(vec![Act::Fail(ErrorClass::InternalError)]);
    lab.post(&format!("{connection}/fetch"), "").await;
    eventually(async || alerts("?state=open").await.len() == 1).await;
    assert_eq!(alerts("?kind=connector_crashed&source=bank").await.len(), 2);
    assert_eq!(alerts("?kind=throttled").await.len(), 0);
    let problem = lab
        .get("/v1/alerts?kind=x&state=y&source=Z&connection=1")
        .await;
    let problem = problem.problem(400, "invalid_parameter");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn the_operator_sees_the_alerts_of_all_and_mends_those_that_are_for_it() {
    let lab = Lab::new().await;
    lab.access.create_tenant("two", None).await.unwrap();
    let (_, two) = lab.access.create_key("two", None).await.unwrap();
    let fail = |class| vec![Act::Fail(class)];
    let mut connections = Vec::new();
    for (key, class) in [
        (&two, ErrorClass::InternalError),
        (&two, ErrorClass::RateLimitExceeded),
        (&lab.key, ErrorClass::InternalError),
    ] {
        let connection = lab.connect_as(key, fail(class)).await;
        let list = format!(
            "/v1/alerts?connection={}",
            connection.rsplit('/').next().unwrap()
        );
        let opened = async || lab.get_as(key, &list).await.json()["data"][0]["id"].is_string();
        eventually(opened).await;
        connections.push(connection);
    }

    let all = async |query: &str| {
        let list = lab.get(&format!("/v1/alerts?tenants=all{query}")).await;
        let list = list.json();
        let of = |alert: &Value| {
            let [tenant, kind] = ["tenant", "kind"].map(|key| alert[key].as_str().unwrap());
            format!("{tenant} {kind}")
        };
        let shown: Vec<String> = list["data"].as_array().unwrap().iter().map(of).collect();
        (shown, list)
    };
    let (shown, list) = all("").await;
    let everything = [
        "one connector_crashed",
        "two throttled",
        "two connector_crashed",
    ]
    .map(str::to_owned);
    assert_eq!(shown, everything);
    let (first, page) = all("&limit=2").await;
    assert_eq!(
        (&first[..], page["has_more"].as_bool()),
        (&everything[..2], Some(true))
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let (rest, page) = all(&format!("&limit=2&cursor={cursor}")).await;
    assert_eq!(
        (&rest[..], page["has_more"].as_bool()),
        (&everything[2..], Some(false))
    );
    assert_eq!(
        all("&kind=throttled&source=bank&state=open").await.0,
        ["two throttled"]
    );
    assert_eq!(all("&state=closed").await.0, [""; 0]);
    let own = lab.get("/v1/alerts").await.json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
    assert!(own["data"][0].get("tenant").is_none(), "{own}");
    let refused = lab.get_as(&two, "/v1/alerts?tenants=all").await;
    refused.problem(403, "not_the_operator");
    let wrong = lab.get("/v1/alerts?tenants=two").await;
    wrong.problem(400, "invalid_parameter");

    let path = |place: usize| format!("/v1/alerts/{}", list["data"][place]["id"].as_str().unwrap());
    let (throttled, crashed) = (path(1), path(2));
    assert_eq!(lab.get(&throttled).await.json(), list["data"][1]);
    assert_eq!(lab.get_as(&two, &path(0)).await.status, 404);
    let theirs = lab.get_as(&two, &throttled).await.json();
    assert!(theirs.get("tenant").is_none(), "{theirs}");
    for act in ["acknowledge", "close"] {
        let refused = lab.post(&format!("{throttled}/{act}"), "").await;
        refused.problem(403, "alert_of_another_tenant");
    }
    assert_eq!(lab.get_as(&two, &throttled).await.json()["state"], "open");

    // The tenant may call its requests as the operator does.
    let mut same_key = request(&two, Method::POST, &format!("{throttled}/acknowledge"), "");
    let headers = same_key.headers_mut();
    headers.insert("idempotency-key", "known-1".parse().unwrap());
    assert_eq!(lab.send(same_key).await.json()["state"], "acknowledged");
    let acknowledge = format!("{crashed}/acknowledge");
    for replayed in [None, Some("true")] {
        let known = lab.post_with_key(&acknowledge, "", "known-1").await;
        let shown = known.json();
        assert_eq!(
            (&shown["state"], &shown["tenant"]),
            (&"acknowledged".into(), &"two".into())
        );
        assert_eq!(known.header("idempotent-replayed"), replayed);
    }
    let closed = lab.post(&format!("{crashed}/close"), "").await.json();
    assert_eq!(
        (&closed["state"], &closed["tenant"]),
        (&"closed".into(), &"two".into())
    );
    assert_eq!(lab.get_as(&two, &crashed).await.json()["state"], "closed");
    let changes = "/v1/changes?pattern=UPDATED%20/alerts/**";
    let changes = lab.get_as(&two, changes).await.json();
    let actors: Vec<&str> = changes["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| {
            change["path"]
                .as_str()
                .unwrap()
                .contains(&crashed["/v1".len()..])
        })
        .map(|change| change["actor"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["operator", "operator"]);
}
