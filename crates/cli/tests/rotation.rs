//! The master key is replaced under a running server, a stopped one, and one that was killed.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use standardwebhooks::Webhook;
use wellspring_core::DocumentId;
use wellspring_engine::Blobs;
use wellspring_sandbox::{Receiver, Source};
use wellspring_store::FolderBlobs;

use common::child::{self, Server};
use common::{World, json, program, request_id};

const FAST: &str = "{ interval: 30ms, rate: 1.5, max_delay: 200ms, max_retries: 3 }";

/// What was delivered, with its headers.
type Deliveries = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A world whose callbacks are kept with their signatures.
struct Signed {
    world: World,
    deliveries: Deliveries,
    data: PathBuf,
}

impl Signed {
    fn start() -> Self {
        let mut world = World::start(FAST);
        world
            .sandbox
            .update(Source::Gas, |gas| gas.failure_rate = 0.0);
        let deliveries = Deliveries::default();
        let kept = Arc::clone(&deliveries);
        let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let receiver = receiver.on_delivery(Arc::new(move |delivery| {
            let delivery = (delivery.headers.clone(), delivery.body.clone());
            kept.lock().unwrap().push(delivery);
        }));
        world.callback = format!("http://{}/signed", receiver.local_addr());
        let stop = world.tasks.stop_token().clone();
        let serving = receiver.run(async move { stop.cancelled().await });
        world.tasks.spawn("signed receiver", serving);
        let data = world.folder.path().join("data");
        Self {
            world,
            deliveries,
            data,
        }
    }

    async fn secret(&self, server: &Server) -> String {
        let url = server.url("/v1/callback-secret");
        let shown = json(&child::get(&self.world.client, &url).await.unwrap());
        shown["secret"].as_str().unwrap().to_owned()
    }

    /// Collects, and sees that the callback is signed with the secret.
    async fn collects(&self, server: &Server, secret: &str) {
        let id = request_id(&self.world.post(server, "gas", None).await.unwrap());
        self.world.until_status(server, &id, "delivered").await;
        let (headers, body) = self.deliveries.lock().unwrap().pop().unwrap();
        let verifier = Webhook::new(secret).unwrap();
        verifier.verify(&body, &headers).unwrap();
        assert!(String::from_utf8_lossy(&body).contains(&id));
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        run(&self.data, &[], arguments)
    }

    fn key(&self, name: &str) -> String {
        std::fs::read_to_string(self.data.join(name)).unwrap()
    }
}

fn run(data: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program())
        .args(arguments)
        .args(["--data-dir", &data.display().to_string()])
        .env_remove("WELLSPRING_DATABASE_URL")
        .env_remove("WELLSPRING_MASTER_KEY")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_the_folder_is_replaced_under_a_running_server_and_wherever_it_is_killed() {
    let signed = Signed::start();
    let mut server = Server::start(signed.world.serve(None)).await.unwrap();
    let secret = signed.secret(&server).await;
    signed.collects(&server, &secret).await;
    let first = signed.key("master.key");

    let (done, said) = signed.run(&["key", "rotate-master"]);
    assert!(done && said.contains("master.key.previous"), "{said}");
    let second = signed.key("master.key");
    assert_eq!(signed.key("master.key.previous"), first);
    assert_ne!(second, first);
    assert!(!said.contains(second.trim()) && !said.contains(first.trim()));
    signed.collects(&server, &secret).await;
    let (done, said) = signed.run(&["key", "create", "--tenant", "after"]);
    assert!(done, "sealed under the new data key: {said}");
    let (done, said) = signed.run(&["key", "rotate-master"]);
    assert!(!done && said.contains("still there"), "{said}");
    let (done, said) = signed.run(&["key", "rotate-master", "--finish"]);
    assert!(!done && said.contains("no rotation"), "{said}");

    server.kill().await.unwrap();
    let (mut server, _) = server.restart().await.unwrap();
    assert_eq!(signed.secret(&server).await, secret);
    signed.collects(&server, &secret).await;
    server.kill().await.unwrap();

    // Killed before the database changed: the next key is none.
    let stray = signed.data.join("master.key.next");
    std::fs::write(&stray, "07".repeat(32)).unwrap();
    let (done, said) = signed.run(&["key", "list"]);
    assert!(done && said.contains("after") && !stray.exists(), "{said}");
    assert_eq!(signed.key("master.key"), second);
    // Killed after it: the next key is the one.
    std::fs::rename(signed.data.join("master.key"), &stray).unwrap();
    std::fs::rename(
        signed.data.join("master.key.previous"),
        signed.data.join("master.key"),
    )
    .unwrap();
    let (mut server, _) = server.restart().await.unwrap();
    assert_eq!(signed.key("master.key"), second);
    assert_eq!(signed.key("master.key.previous"), first);
    assert!(!stray.exists());
    signed.collects(&server, &secret).await;
    server.kill().await.unwrap();

    // A stopped one, with a key that the operator made.
    std::fs::remove_file(signed.data.join("master.key.previous")).unwrap();
    let file = signed.data.join("made");
    std::fs::write(&file, format!("{}\n", "09".repeat(32))).unwrap();
    let file = file.display().to_string();
    let (done, said) = signed.run(&["key", "rotate-master", "--new-key-file", &file]);
    assert!(done, "{said}");
    assert_eq!(signed.key("master.key").trim(), "09".repeat(32));
    let (done, said) = signed.run(&["key", "rotate-master", "--new-key-file", &file]);
    assert!(!done, "{said}");

    for old in [&first, &second] {
        std::fs::write(signed.data.join("master.key"), old).unwrap();
        let (done, said) = signed.run(&["key", "list"]);
        assert!(!done && said.contains("WS0002"), "{said}");
    }
    std::fs::write(signed.data.join("master.key"), "09".repeat(32)).unwrap();
    let (server, _) = server.restart().await.unwrap();
    signed.collects(&server, &secret).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_key_is_replaced_in_steps() {
    let signed = Signed::start();
    let (old, new) = ("01".repeat(32), "02".repeat(32));
    let start = |key: &String| {
        let mut start = signed.world.serve(None);
        let given = ("WELLSPRING_MASTER_KEY".to_owned(), key.clone());
        start.environment.push(given);
        start
    };
    let mut server = Server::start(start(&old)).await.unwrap();
    let secret = signed.secret(&server).await;
    assert!(!signed.data.join("master.key").exists());

    let file = signed.data.join("made");
    std::fs::write(&file, &new).unwrap();
    let file = file.display().to_string();
    let begin = ["key", "rotate-master", "--new-key-file", &file];
    let (done, said) = signed.run(&["key", "rotate-master"]);
    assert!(!done && said.contains("--new-key-file"), "{said}");
    let (done, said) = signed.run(&begin);
    assert!(done && said.contains("--finish"), "{said}");
    let (done, said) = signed.run(&["key", "rotate-master", "--cancel"]);
    assert!(done, "{said}");
    for _ in 0..2 {
        let (done, said) = signed.run(&begin);
        assert!(done, "also when it is repeated: {said}");
    }
    signed.collects(&server, &secret).await;
    let (done, said) = signed.run(&["key", "rotate-master", "--finish"]);
    assert!(!done && said.contains("lock out"), "{said}");

    server.kill().await.unwrap();
    let mut server = Server::start(start(&old)).await.unwrap();
    signed.collects(&server, &secret).await;
    server.kill().await.unwrap();
    let mut server = Server::start(start(&new)).await.unwrap();
    signed.collects(&server, &secret).await;
    let (done, said) = signed.run(&["key", "rotate-master", "--finish"]);
    assert!(done, "{said}");
    signed.collects(&server, &secret).await;
    server.kill().await.unwrap();

    let refused = Server::start(start(&old)).await.unwrap_err().to_string();
    assert!(refused.contains("WS0002"), "{refused}");
    let server = Server::start(start(&new)).await.unwrap();
    assert_eq!(signed.secret(&server).await, secret);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_the_documents_and_opens_with_the_key_of_its_time() {
    let signed = Signed::start();
    let (done, said) = signed.run(&["key", "create"]);
    assert!(done, "{said}");
    let id = DocumentId::from_bytes([7; 16]);
    let blobs = FolderBlobs::open(&signed.data.join("blobs")).unwrap();
    blobs.put(id, Bytes::from_static(b"sealed")).await.unwrap();
    let copy = signed.world.folder.path().join("copy.db");
    let copy = copy.display().to_string();
    std::fs::write(format!("{copy}.partial"), "of a killed one").unwrap();
    let (done, said) = signed.run(&["backup", &copy]);
    assert!(done && said.contains("1 documents"), "{said}");
    assert!(!Path::new(&format!("{copy}.partial")).exists());
    let (done, said) = signed.run(&["backup", &copy]);
    assert!(!done && said.contains("exists"), "{said}");
    let (done, said) = signed.run(&["key", "rotate-master"]);
    assert!(done, "{said}");
    blobs.delete(id).await.unwrap();

    let restored = signed.world.folder.path().join("restored");
    // A start that found no key leaves an empty folder.
    std::fs::create_dir_all(restored.join("blobs/incoming")).unwrap();
    let (done, said) = run(&restored, &[], &["restore", &copy]);
    assert!(done, "{said}");
    let (present, previous) = ("master.key", "master.key.previous");
    std::fs::copy(signed.data.join(present), restored.join(present)).unwrap();
    let (done, said) = run(&restored, &[], &["key", "list"]);
    assert!(!done && said.contains("WS0002"), "{said}");
    std::fs::copy(signed.data.join(previous), restored.join(present)).unwrap();
    let (done, said) = run(&restored, &[], &["key", "list"]);
    assert!(done && said.contains("default"), "{said}");
    let blobs = FolderBlobs::open(&restored.join("blobs")).unwrap();
    let body = blobs.read(id, None).await.unwrap();
    assert_eq!(body, Some(Bytes::from_static(b"sealed")));
}
