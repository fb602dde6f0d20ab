//! A database of its own for each test.

#![expect(clippy::unwrap_used, reason = "a fixture")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use wellspring_core::{Actor, CollectionId, IncarnationId};
use wellspring_engine::{Backend, Request};
use wellspring_store::conformance::{Harness, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

/// A database that is dropped at the end.
pub(crate) struct Postgres {
    url: String,
    server: String,
    name: String,
    connections: Mutex<JoinSet<()>>,
}

impl Postgres {
    /// Makes a database with the schema in it.
    pub(crate) async fn new() -> Self {
        let database = Self::empty().await;
        drop(database.store().await);
        database
    }

    /// Makes a database with nothing in it.
    pub(crate) async fn empty() -> Self {
        let server = server();
        let name = format!("wellspring_test_{:016x}", wellspring_engine::random_seed());
        let (base, _) = server.split_once('?').unwrap_or((&server, ""));
        let (base, _) = base.rsplit_once('/').expect("a URL with a database");
        let database = Self {
            url: format!("{base}/{name}"),
            server: server.clone(),
            name,
            connections: Mutex::default(),
        };
        let client = database.connect(&server).await;
        client
            .batch_execute(&format!("CREATE DATABASE {}", database.name))
            .await
            .unwrap();
        database
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens the store as another process would.
    pub(crate) async fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.url, PostgresOptions::default())
            .await
            .expect("connects")
    }

    /// Opens a plain connection.
    pub(crate) async fn client(&self) -> Client {
        self.connect(&self.url).await
    }

    async fn connect(&self, url: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
        self.connections
            .lock()
            .unwrap()
            .spawn(async move { drop(connection.await) });
        client
    }

    pub(crate) async fn expire_now(&self, incarnation: IncarnationId) {
        let sql =
            "UPDATE nodes SET expires_at = now() - interval '1 second' WHERE incarnation = $1";
        let client = self.client().await;
        assert_eq!(
            client.execute(sql, &[&incarnation.uuid()]).await.unwrap(),
            1
        );
    }

    /// Waits until a statement waits for a lock.
    pub(crate) async fn until_somebody_waits(&self) {
        let client = self.client().await;
        let sql = format!("SELECT count(*) FROM pg_stat_activity {WAITING}");
        eventually("somebody waits for a lock", async || {
            client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
    }

    pub(crate) async fn kill_waiting(&self) {
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity {WAITING}");
        self.client().await.query(&sql, &[]).await.unwrap();
    }

    /// Kills every connection to the database.
    pub(crate) async fn kill_all(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.client().await.query(sql, &[]).await.unwrap();
    }
}

impl Harness for Postgres {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Backend>> {
        Box::pin(async {
            let store: Arc<dyn Backend> = Arc::new(self.store().await);
            store
        })
    }

    fn expire(&self, incarnation: IncarnationId) -> BoxFuture<'_, ()> {
        Box::pin(self.expire_now(incarnation))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The test's own runtime may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let (client, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
                let sql = format!("DROP DATABASE {name} WITH (FORCE)");
                tokio::select! {
                    dropped = client.batch_execute(&sql) => dropped.unwrap(),
                    _ = connection => {}
                }
            });
        });
        // A test that fails has said why already.
        drop(dropped.join());
    }
}

/// What a node that does not own the shard leaves for its owner.
pub(crate) fn collect(id: CollectionId) -> Request {
    Request::Collect {
        id: Some(id),
        tenant: TENANT,
        source: "gas".parse().expect("a name"),
        callback_url: "http://127.0.0.1:9/callback".into(),
        actor: Actor::Operator,
    }
}

/// Asks again and again, for a bounded time.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let checks = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), checks)
        .await
        .expect(what);
}

#[expect(clippy::disallowed_methods, reason = "the tests' one setting")]
fn server() -> String {
    std::env::var("WELLSPRING_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "WELLSPRING_TEST_POSTGRES is not set: run ./test, which starts a PostgreSQL, \
             or set it to the URL of a superuser"
        )
    })
}

const WAITING: &str = "WHERE datname = current_database() AND wait_event_type = 'Lock'";
