//! What the black-box tests share: a folder, a world on loopback, and the binary.

#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../../src/child.rs"]
pub(crate) mod child;

pub(crate) mod bank;
pub(crate) mod database;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;
use wellspring_engine::Tasks;
use wellspring_outbound::{Client, Response};
use wellspring_sandbox::{Control, Receiver, ReceiverHandle, Sandbox};

use child::{Server, Start};

/// Providers and a receiver that live as long as this does.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) sandbox: Control,
    pub(crate) sandbox_url: String,
    pub(crate) receiver: ReceiverHandle,
    pub(crate) callback: String,
    pub(crate) client: Client,
    pub(crate) tasks: Tasks,
}

impl World {
    /// Starts them and writes the sources `gas` and `internet` with these retries.
    pub(crate) fn start(retry: &str) -> Self {
        let tasks = Tasks::default();
        let folder = tempfile::tempdir().unwrap();
        let loopback = "127.0.0.1:0".parse().unwrap();
        let sandbox = Sandbox::bind(loopback, 1).unwrap();
        let receiver = Receiver::bind(loopback, 2).unwrap().keep_bodies();
        std::fs::create_dir_all(folder.path().join("sources")).unwrap();
        for source in ["gas", "internet"] {
            let yaml = format!(
                "name: {source}\nconnector: http_json\nurl: http://{}/providers/{source}\ntimeout: 5s\nretry: {retry}\n",
                sandbox.local_addr()
            );
            std::fs::write(folder.path().join(format!("sources/{source}.yaml")), yaml).unwrap();
        }
        let world = Self {
            sandbox: sandbox.control(),
            sandbox_url: format!("http://{}", sandbox.local_addr()),
            receiver: receiver.handle(),
            callback: format!("http://{}/callback", receiver.local_addr()),
            client: child::client().unwrap(),
            folder,
            tasks: tasks.clone(),
        };
        let (one, two) = (tasks.stop_token().clone(), tasks.stop_token().clone());
        tasks.spawn("sandbox", sandbox.run(async move { one.cancelled().await }));
        tasks.spawn(
            "receiver",
            receiver.run(async move { two.cancelled().await }),
        );
        world
    }

    /// Returns how the binary serves this world's folder.
    pub(crate) fn serve(&self, database: Option<&str>) -> Start {
        Start::serve(program(), self.folder.path(), database)
    }

    /// Posts a collection once.
    pub(crate) async fn post(
        &self,
        server: &Server,
        provider: &str,
        key: Option<&str>,
    ) -> anyhow::Result<Response> {
        let body =
            serde_json::json!({"provider": provider, "callbackUrl": self.callback}).to_string();
        child::send(
            &self.client,
            http::Method::POST,
            &server.url("/collect"),
            key,
            body.into(),
        )
        .await
    }

    /// Reads a collection.
    pub(crate) async fn show(&self, server: &Server, id: &str) -> Value {
        let response = child::get(&self.client, &server.url(&format!("/collect/{id}")))
            .await
            .unwrap();
        json(&response)
    }

    /// Waits until a collection has a status.
    pub(crate) async fn until_status(&self, server: &Server, id: &str, status: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.show(server, id).await;
            if shown["status"] == status {
                return shown;
            }
            assert!(Instant::now() < deadline, "{id} is not {status}: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Returns the binary under test.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_wellspring").into()
}

/// Reads a body as JSON.
pub(crate) fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        )
    })
}

/// Returns the `requestId` of an accepted collection.
pub(crate) fn request_id(response: &Response) -> String {
    assert_eq!(
        response.status,
        202,
        "{}",
        String::from_utf8_lossy(&response.body)
    );
    json(response)["requestId"].as_str().unwrap().to_owned()
}

/// Returns the test cluster's URL.
#[expect(
    clippy::disallowed_methods,
    reason = "`./test` tells the tests where the cluster is"
)]
pub(crate) fn postgres() -> String {
    std::env::var("WELLSPRING_TEST_POSTGRES").expect(
        "WELLSPRING_TEST_POSTGRES names a PostgreSQL for tests: run `./test`, which starts one",
    )
}

/// How long anything may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
