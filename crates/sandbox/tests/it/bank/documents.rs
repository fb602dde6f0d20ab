use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant};

use super::{assert_refused, call, documents, read, session, texts};
use crate::client::sandbox;

#[tokio::test]
async fn documents_are_whole_pdf_files_and_the_same_every_time() {
    let (client, control, running) = sandbox(1);
    control.update_bank(|bank| bank.new_documents = 3);
    let reader = session(&client, "all").await;
    let list = read(&client, &reader, "/bank/documents?page=1")
        .await
        .json();

    for line in list["documents"].as_array().unwrap() {
        let path = format!("/bank/documents/{}", line["id"].as_str().unwrap());
        let document = read(&client, &reader, &path).await;
        assert_eq!(document.status, StatusCode::OK);
        assert_eq!(document.header("content-type"), Some("application/pdf"));
        assert_eq!(
            document.header("content-length").unwrap(),
            line["size"].to_string()
        );
        assert_eq!(line["size"], document.body.len());
        assert_eq!(line["sha256"], hex::encode(Sha256::digest(&document.body)));
        let text = pdf(&document.body);
        assert_eq!(text.matches("/Type /Page ").count() as u64, line["pages"]);
        assert!(text.contains("(Account holder: Sam Sample)"));
        assert!(text.contains(&format!("(Date: {})", line["date"].as_str().unwrap())));
        assert!(text.contains(&format!("({})", line["name"].as_str().unwrap())));
        if line["kind"] == "bill" {
            let due = line["amount_due"].as_str().unwrap();
            assert!(text.contains(&format!("(Amount due: {due} EUR)")));
            assert_eq!(line["currency"], "EUR");
        } else {
            assert_eq!(line.get("amount_due"), None);
        }
        control.reset();
        control.update_bank(|bank| bank.new_documents = 3);
        let again = session(&client, "all").await;
        assert_eq!(again, reader, "one seed, one sequence of sessions");
        assert_eq!(read(&client, &again, &path).await.body, document.body);
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_newly_issued_comes_after_what_there_was_under_names_that_stay() {
    let (client, _, running) = sandbox(1);
    let session = session(&client, "statements").await;

    let before = documents(&client, &session).await;
    assert_eq!(
        before,
        [
            "4711-statement-0001",
            "4711-statement-0002",
            "4711-statement-0003"
        ]
    );
    let unissued = "/bank/documents/4711-statement-0004";
    assert_refused(&read(&client, &session, unissued).await, 404, "NOT_FOUND");
    client
        .put("/control/sandbox-bank", r#"{"new_documents": 22}"#)
        .await;
    let after = documents(&client, &session).await;
    assert_eq!(after.len(), 25);
    assert_eq!(after[..3], before);
    assert_eq!(
        read(&client, &session, unissued).await.status,
        StatusCode::OK
    );
    for foreign in [
        "4711-bill-0001",
        "4712-statement-0001",
        "4711-statement-1",
        "..",
    ] {
        let answer = read(&client, &session, &format!("/bank/documents/{foreign}")).await;
        assert_refused(&answer, 404, "NOT_FOUND");
    }

    let page = async |query: &str| {
        let path = format!("/bank/documents?{query}");
        let list = read(&client, &session, &path).await.json();
        (
            texts(&list["documents"], "id").len(),
            list["next_page"].clone(),
        )
    };
    assert_eq!(page("").await, (10, json!(2)));
    assert_eq!(page("page=2").await, (10, json!(3)));
    assert_eq!(page("since=&page=3").await, (5, Value::Null));
    assert_eq!(page("page=4").await, (0, Value::Null));
    assert_eq!(page("page=18446744073709551615").await, (0, Value::Null));
    assert_eq!(page("since=2026-02-28").await, (10, json!(2)));
    assert_eq!(page("since=2026-04-22").await, (1, Value::Null));
    assert_eq!(page("since=2026-04-23").await, (0, Value::Null));
    for query in ["page=0", "page=one", "since=yesterday", "limit=5"] {
        let answer = read(&client, &session, &format!("/bank/documents?{query}")).await;
        assert_refused(&answer, 400, "UNREADABLE");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn flawed_passwords_log_in_and_fail_at_the_documents_every_time() {
    let (client, control, running) = sandbox(1);
    let statement = "/bank/documents/4711-statement-0001";

    for _ in 0..2 {
        let partial = session(&client, "partial").await;
        let mut statuses = Vec::new();
        for id in documents(&client, &partial).await {
            let answer = read(&client, &partial, &format!("/bank/documents/{id}")).await;
            assert_eq!(
                answer.status == StatusCode::OK,
                !id.contains("bill"),
                "{id}"
            );
            statuses.push(answer.status.as_u16());
        }
        assert_eq!(statuses, [200, 500, 200, 200, 500, 200]);

        let slow = session(&client, "slow").await;
        let asked = Instant::now();
        assert_eq!(read(&client, &slow, statement).await.status, StatusCode::OK);
        assert!(asked.elapsed() >= Duration::from_secs(2));

        let junk = session(&client, "junk").await;
        let list = read(&client, &junk, "/bank/documents").await;
        assert_eq!(list.status, StatusCode::OK);
        assert!(serde_json::from_slice::<Value>(&list.body).is_err());

        let limited = session(&client, "ratelimit").await;
        assert_eq!(documents(&client, &limited).await.len(), 3);
        let answer = read(&client, &limited, statement).await;
        assert_refused(&answer, 429, "TOO_MANY_REQUESTS");
        assert_eq!(answer.header("retry-after"), None);

        let revoked = session(&client, "revoked").await;
        for path in ["/bank/documents", statement, "/bank/transactions"] {
            let answer = read(&client, &revoked, path).await;
            assert_refused(&answer, 403, "CONSENT_REVOKED");
        }
    }

    control.update_bank(|bank| bank.document_latency = Some(Duration::from_millis(700)));
    for password in ["slow", "pass"] {
        let session = session(&client, password).await;
        let asked = Instant::now();
        read(&client, &session, statement).await;
        assert!(asked.elapsed() >= Duration::from_millis(700));
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
    control.update_bank(|bank| bank.truncate_documents = true);
    let cut = session(&client, "pass").await;
    assert_eq!(documents(&client, &cut).await.len(), 3);
    assert!(call(&client, Method::GET, &cut, statement).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn transactions_are_paged_by_cursor_and_go_on_where_one_was() {
    let (client, control, running) = sandbox(1);
    let reader = session(&client, "pass").await;
    let page = async |after: &str| {
        let path = format!("/bank/transactions?after={after}");
        read(&client, &reader, &path).await.json()
    };

    let mut ids = Vec::new();
    let mut cursor = String::new();
    let mut lengths = Vec::new();
    loop {
        let page = page(&cursor).await;
        for transaction in page["transactions"].as_array().unwrap() {
            let amount = transaction["amount"].as_str().unwrap();
            let (whole, cents) = amount.split_once('.').unwrap();
            assert!(whole.parse::<i64>().is_ok() && cents.len() == 2, "{amount}");
            let date: jiff::civil::Date = transaction["date"].as_str().unwrap().parse().unwrap();
            assert!(date.year() == 2026 && transaction["currency"] == "EUR");
        }
        let found = texts(&page["transactions"], "id");
        lengths.push(found.len());
        ids.extend(found);
        cursor = page["cursor"].as_str().unwrap().to_owned();
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(lengths, [25, 25, 10]);
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), 60);
    let nothing = json!({"transactions": [], "cursor": cursor, "has_more": false});
    assert_eq!(page(&cursor).await, nothing);
    control.update_bank(|bank| bank.new_transactions = 2);
    assert_eq!(
        texts(&page(&cursor).await["transactions"], "id"),
        ["4711-t-000061", "4711-t-000062"]
    );
    assert_eq!(page("4711-t-999999").await["transactions"], json!([]));

    for wrong in [
        "after=4712-t-000001",
        "after=4711-t-1",
        "from=1",
        "limit=0",
        "limit=26",
    ] {
        let answer = read(&client, &reader, &format!("/bank/transactions?{wrong}")).await;
        assert_refused(&answer, 400, "UNREADABLE");
    }
    let junk = session(&client, "junk").await;
    let page = read(&client, &junk, "/bank/transactions").await.json();
    let mistyped = |t: &&Value| !t["amount"].is_string();
    assert_eq!(
        page["transactions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(mistyped)
            .count(),
        5
    );
    running.stop().await;
}

/// Requires that the cross-reference table leads to each object and each stream has its length.
fn pdf(bytes: &[u8]) -> String {
    assert!(bytes.starts_with(b"%PDF-1.4\n"));
    assert!(bytes.ends_with(b"%%EOF\n"));
    // One character per byte, so that offsets are those of the file.
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let at = |offset: usize| std::str::from_utf8(&bytes[offset..]).unwrap();

    let (_, start) = text.rsplit_once("startxref\n").unwrap();
    let table = at(start.lines().next().unwrap().parse().unwrap());
    let table = table.strip_prefix("xref\n0 ").unwrap();
    let (size, entries) = table.split_once('\n').unwrap();
    let size: usize = size.parse().unwrap();
    assert!(entries[size * 20..].starts_with(&format!("trailer\n<< /Size {size} /Root 1 0 R")));
    for number in 0..size {
        let entry = &entries[number * 20..(number + 1) * 20];
        if number == 0 {
            assert_eq!(entry, "0000000000 65535 f\r\n");
            continue;
        }
        let offset = entry.strip_suffix(" 00000 n\r\n").unwrap();
        let object = at(offset.parse().unwrap());
        let body = object.strip_prefix(&format!("{number} 0 obj\n")).unwrap();
        let (body, _) = body.split_once("\nendobj\n").unwrap();
        if let Some((head, stream)) = body.split_once("\nstream\n") {
            let length = stream.strip_suffix("\nendstream").unwrap().len();
            assert_eq!(head, format!("<< /Length {length} >>"));
        }
    }
    assert_eq!(text.matches(" 0 obj\n").count(), size - 1);
    text
}
