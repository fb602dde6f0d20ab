use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wellspring_engine::Blobs;

use crate::lab::{Lab, Reply, request};
use crate::script::Act;

/// Uploads a form of parts, each a name, perhaps a file name, and bytes.
async fn upload(
    lab: &Lab,
    path: &str,
    parts: &[(&str, Option<&str>, &[u8])],
    key: Option<&str>,
) -> Reply {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        body.extend_from_slice(b"--edge\r\nContent-Disposition: form-data; name=\"");
        body.extend_from_slice(name.as_bytes());
        if let Some(file) = file {
            body.extend_from_slice(
                format!("\"; filename=\"{file}\"\r\nContent-Type: application/pdf").as_bytes(),
            );
        } else {
            body.push(b'"');
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    let mut request = request(&lab.key, Method::POST, &format!("{path}/documents"), body);
    let headers = request.headers_mut();
    headers.insert(
        "content-type",
        "multipart/form-data; boundary=edge".parse().unwrap(),
    );
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().unwrap());
    }
    lab.send(request).await
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

#[tokio::test]
async fn a_document_is_downloaded_whole_in_part_and_not_again() {
    let lab = Lab::new().await;
    let bytes: Bytes = (0..3_000_000_u32)
        .map(|n| (n % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    let path = lab
        .connect(vec![Act::Document("Übersicht.pdf", bytes.clone())])
        .await;
    lab.comes_to(&path, "waiting").await;
    let list = lab.get(&format!("{path}/documents")).await.json();
    let document = &list["data"][0];
    assert_eq!(document["size"], 3_000_000);
    assert_eq!(
        (&document["origin"], &document["kind"]),
        (&json!("fetched"), &json!("statement"))
    );
    assert_eq!(document["metadata"], json!({"page": "1"}));
    assert!(document["fetch_id"].is_string());
    let one = format!("/v1/documents/{}", document["id"].as_str().unwrap());
    assert_eq!(&lab.get(&one).await.json(), document);

    let content = format!("{one}/content");
    let whole = lab.get(&content).await;
    assert_eq!((whole.status.as_u16(), &whole.body), (200, &bytes));
    let etag = format!("\"{}\"", document["sha256"].as_str().unwrap());
    for (name, value) in [
        ("etag", etag.as_str()),
        ("content-length", "3000000"),
        ("content-type", "application/pdf"),
        (
            "content-disposition",
            "attachment; filename=\"_bersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf",
        ),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("repr-digest", &digest(&bytes)),
        ("content-digest", &digest(&bytes)),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }

    let ask = async |method: Method, headers: &[(&'static str, &str)]| {
        let mut request: Request<_> = request(&lab.key, method, &content, "");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        lab.send(request).await
    };
    let part = ask(
        Method::GET,
        &[("range", "bytes=10-19"), ("if-range", &etag)],
    )
    .await;
    assert_eq!(
        (part.status.as_u16(), &part.body[..]),
        (206, &bytes[10..20])
    );
    assert_eq!(part.header("content-range"), Some("bytes 10-19/3000000"));
    assert_eq!(
        part.header("content-digest"),
        Some(digest(&bytes[10..20]).as_str())
    );
    assert_eq!(part.header("repr-digest"), Some(digest(&bytes).as_str()));
    let tail = ask(Method::GET, &[("range", "bytes=-2000000")]).await;
    assert_eq!(
        (tail.status.as_u16(), &tail.body[..]),
        (206, &bytes[1_000_000..])
    );
    let changed = ask(
        Method::GET,
        &[("range", "bytes=10-19"), ("if-range", "\"other\"")],
    )
    .await;
    assert_eq!(
        (changed.status.as_u16(), changed.body.len()),
        (200, 3_000_000)
    );
    let beyond = ask(Method::GET, &[("range", "bytes=3000000-")]).await;
    beyond.problem(416, "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), Some("bytes */3000000"));
    let known = ask(Method::GET, &[("if-none-match", &etag)]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let head = ask(Method::HEAD, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("3000000"));
    assert_eq!(head.header("repr-digest"), Some(digest(&bytes).as_str()));
}

#[tokio::test]
async fn an_upload_joins_the_documents_of_its_connection_once() {
    let lab = Lab::new().await;
    let path = lab
        .connect(vec![Act::Document("a.pdf", "fetched".into())])
        .await;
    lab.comes_to(&path, "waiting").await;
    let head = lab.get("/v1/changes/head").await.json();
    // Ids of one millisecond sort by chance.
    lab.clock.forward(Duration::from_millis(1));
    let parts: &[(&str, Option<&str>, &[u8])] = &[
        ("kind", None, b"statement"),
        ("date", None, b"2026-11-01"),
        ("file", Some("..\\scan.pdf"), b"by hand"),
    ];
    let made = upload(&lab, &path, parts, Some("k")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let document = made.json();
    assert_eq!(
        (&document["origin"], &document["name"]),
        (&json!("manual"), &json!("scan.pdf"))
    );
    assert_eq!(
        (&document["kind"], &document["date"]),
        (&json!("statement"), &json!("2026-11-01"))
    );
    assert_eq!(document["media_type"], "application/pdf");
    assert_eq!(document["fetch_id"], Value::Null);
    let one = format!("/v1/documents/{}", document["id"].as_str().unwrap());
    assert!(made.header("location").unwrap().ends_with(&one));
    assert_eq!(
        &lab.get(&format!("{one}/content")).await.body[..],
        b"by hand"
    );
    let after = format!("/v1/changes?after={}", head["cursor"].as_str().unwrap());
    let changes = lab.get(&after).await.json();
    assert_eq!(changes["data"][0]["verb"], "CREATED");
    assert_eq!(changes["data"][0]["body"]["origin"], "manual");

    let replay = upload(&lab, &path, parts, Some("k")).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (201, &made.body));
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    let same = upload(&lab, &path, &[("file", None, b"by hand")], None).await;
    assert_eq!((same.status.as_u16(), &same.json()), (200, &document));
    let fetched = upload(
        &lab,
        &path,
        &[("file", Some("x"), b"else"), ("source_id", None, b"a.pdf")],
        None,
    )
    .await;
    assert_eq!(
        (fetched.status.as_u16(), &fetched.json()["origin"]),
        (200, &json!("fetched"))
    );
    let list = lab.get(&format!("{path}/documents?limit=1")).await.json();
    assert_eq!(list["data"], json!([document]));
    let rest = format!(
        "{path}/documents?cursor={}",
        list["next_cursor"].as_str().unwrap()
    );
    let rest = lab.get(&rest).await.json();
    assert_eq!(
        (&rest["data"][0]["name"], &rest["has_more"]),
        (&json!("a.pdf"), &json!(false))
    );
    let id = path.rsplit('/').next().unwrap();
    for (filter, count) in [
        (format!("connection={id}"), 2),
        (
            "account=acct_0193b8a1c2d37a4b9e0f1a2b3c4d5e6f".to_owned(),
            0,
        ),
    ] {
        let found = lab.get(&format!("/v1/documents?{filter}")).await.json();
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{filter}");
    }
    lab.get("/v1/documents?connection=x")
        .await
        .problem(400, "invalid_parameter");
}

#[tokio::test]
async fn an_upload_with_any_fault_leaves_nothing() {
    let lab = Lab::new().await;
    let path = lab.connect(vec![]).await;
    lab.comes_to(&path, "waiting").await;
    for (parts, pointers) in [
        (
            vec![("kind", None, &b"two words"[..]), ("date", None, b"soon")],
            vec!["/file", "/kind", "/date"],
        ),
        (vec![("file", Some("a"), &b""[..])], vec!["/file"]),
        (
            vec![("file", Some("a"), &b"1"[..]), ("file", Some("b"), b"2")],
            vec!["/file"],
        ),
        (
            vec![("file", Some("a"), &b"1"[..]), ("colour", None, b"red")],
            vec!["/colour"],
        ),
        (
            vec![("file", Some("a"), &b"1"[..]), ("name", None, b"\xff")],
            vec!["/name"],
        ),
    ] {
        let problem = upload(&lab, &path, &parts, None)
            .await
            .problem(422, "validation_failed");
        let faults = problem["errors"].as_array().unwrap();
        let places: Vec<&str> = faults
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(places, pointers);
    }
    let large = vec![0; (50 << 20) + 1];
    let reply = upload(&lab, &path, &[("file", Some("a"), &large)], None).await;
    reply.problem(413, "body_too_large");
    lab.post(&format!("{path}/documents"), "{}")
        .await
        .problem(415, "unsupported_media_type");
    let mut cut = request(
        &lab.key,
        Method::POST,
        &format!("{path}/documents"),
        "--edge\r\nContent-Disp",
    );
    cut.headers_mut().insert(
        "content-type",
        "multipart/form-data; boundary=edge".parse().unwrap(),
    );
    lab.send(cut).await.problem(400, "malformed_body");

    lab.store.set_down(true);
    let reply = upload(&lab, &path, &[("file", Some("a"), b"1")], None).await;
    reply.problem(503, "database_unavailable");
    lab.store.set_down(false);
    assert_eq!(lab.get("/v1/documents").await.json()["data"], json!([]));
    assert_eq!(lab.blobs.list(None, 10).await.unwrap(), []);
}
