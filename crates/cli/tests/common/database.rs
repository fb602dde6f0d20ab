//! A database on the test cluster.

use super::postgres;

/// A database of this test's own.
pub(crate) struct Database {
    admin: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let admin = postgres();
        let name = format!("nodes_{:016x}", wellspring_engine::random_seed());
        execute(&admin, &format!("CREATE DATABASE {name}")).await;
        let (base, _) = admin.rsplit_once('/').unwrap();
        Self {
            url: format!("{base}/{name}"),
            admin,
            name,
        }
    }

    /// Ends all connections and lets none in.
    pub(crate) async fn close(&self) {
        let name = &self.name;
        execute(
            &self.admin,
            &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
        )
        .await;
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        execute(&self.admin, &sql).await;
    }

    pub(crate) async fn open(&self) {
        execute(
            &self.admin,
            &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name),
        )
        .await;
    }

    pub(crate) async fn remove(self) {
        execute(
            &self.admin,
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        )
        .await;
    }
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let tasks = wellspring_engine::Tasks::default();
    tasks.spawn(
        "connection",
        async move { connection.await.unwrap_or_default() },
    );
    client.batch_execute(sql).await.unwrap();
}
