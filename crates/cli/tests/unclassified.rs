//! A failure that no rule knows, from the source's answer to the rule that is written for it.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use wellspring_engine::Tasks;

use common::child::{self, Server};
use common::{PATIENCE, World, program, request_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_no_rule_knows_is_listed_over_a_kill_until_its_source_has_a_rule() {
    let world = World::start("{ interval: 10m }");
    let moon = moon(&world.tasks).await;
    let yaml = format!(
        "name: moon\nconnector: http_json\nurl: http://{moon}/\nretry: {{ interval: 10m }}\n"
    );
    let file = world.folder.path().join("sources/moon.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let mut server = Server::start(world.serve(None)).await.unwrap();

    for key in ["first", "second"] {
        let posted = world.post(&server, "moon", Some(key)).await.unwrap();
        request_id(&posted);
    }
    let kinds = until(&world, &server, |kinds| {
        kinds.len() == 1 && kinds[0]["count"] == 2
    })
    .await;
    let kind = &kinds[0];
    assert_eq!(
        (
            &kind["source"],
            &kind["status"],
            &kind["error_code"],
            &kind["message"]
        ),
        (
            &json!("moon"),
            &json!(799),
            &json!("NO_MOON"),
            &json!("Account # is dark")
        )
    );
    let rule = kind["suggested_rule"].as_str().unwrap();

    server.kill().await.unwrap();
    let (server, _ready) = server.restart().await.unwrap();
    let after = until(&world, &server, |kinds| !kinds.is_empty()).await;
    assert_eq!(after, kinds);

    std::fs::write(&file, format!("{yaml}{rule}")).unwrap();
    until(&world, &server, Vec::is_empty).await;
    let verdict = classified(&world);
    assert_eq!(
        (&verdict["rule"], &verdict["class"]),
        (&json!("moon 799 NO_MOON"), &json!("institution_error"))
    );
    // Without the rule nothing matches again: what is listed follows from the rules alone.
    std::fs::write(&file, &yaml).unwrap();
    assert_eq!(
        until(&world, &server, |kinds| !kinds.is_empty()).await,
        kinds
    );
    world.tasks.stop();
}

async fn until(world: &World, server: &Server, wanted: impl Fn(&Vec<Value>) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let url = server.url("/v1/unclassified?source=moon");
        let list = child::get(&world.client, &url).await.unwrap();
        let list = common::json(&list);
        let kinds = list["data"].as_array().expect("is a list").clone();
        if wanted(&kinds) {
            return kinds;
        }
        assert!(Instant::now() < deadline, "{list}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Asks the command what the rules of the source say of the answer.
fn classified(world: &World) -> Value {
    let mut command = Command::new(program())
        .args(["connector", "classify", "--json", "--source", "moon", "-"])
        .env(
            "WELLSPRING_SOURCES_DIR",
            world.folder.path().join("sources"),
        )
        .current_dir(world.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let recording = json!({"status": 799, "body": BODY}).to_string();
    let mut input = command.stdin.take().unwrap();
    input.write_all(recording.as_bytes()).unwrap();
    drop(input);
    let output = command.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Answers as no other source does; returns where.
async fn moon(tasks: &Tasks) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tasks.stop_token().clone();
    tasks.spawn("moon", async move {
        while let Some(Ok((mut stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let mut request = [0; 4_096];
            drop(stream.read(&mut request).await);
            let answer = format!(
                "HTTP/1.1 799 Odd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
                BODY.len()
            );
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    address
}

const BODY: &str = r#"{"error_code": "NO_MOON", "error_message": "Account 4711 is dark"}"#;
