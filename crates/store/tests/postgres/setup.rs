//! Connecting and migrating.

use std::sync::Arc;

use wellspring_engine::StoreError;
use wellspring_store::conformance::{Node, START, TENANT};
use wellspring_store::{PostgresOptions, PostgresStore};

use super::chaos::Chaos;
use super::harness::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_schemas_and_other_programs_databases_are_refused() {
    let database = Postgres::empty().await;
    let options = PostgresOptions::default;
    assert_eq!(
        PostgresStore::schema_version(database.url(), options()).await,
        Ok(0)
    );
    drop(database.store().await);
    let version = PostgresStore::schema_version(database.url(), options()).await;
    assert_eq!(version, Ok(PostgresStore::SCHEMA));
    let client = database.client().await;
    let newer = i32::try_from(PostgresStore::SCHEMA + 1).unwrap();
    let sql = "INSERT INTO schema_version (number) VALUES ($1)";
    client.execute(sql, &[&newer]).await.unwrap();
    let refused = PostgresStore::connect(database.url(), options())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(why) if why.contains("newer")),
        "{refused}"
    );

    for table in ["shards", "schema_version"] {
        let foreign = Postgres::empty().await;
        let sql = format!("CREATE TABLE {table} (name text)");
        foreign.client().await.batch_execute(&sql).await.unwrap();
        let refused = PostgresStore::connect(foreign.url(), options())
            .await
            .unwrap_err();
        let refused =
            matches!(&refused, StoreError::Refused(why) if why.contains("another program"));
        assert!(refused, "{table}");
    }
    let missing = format!("{}_missing?sslmode=disable", database.url());
    let refused = PostgresStore::connect(&missing, options())
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    let unreachable = "postgres://wellspring:secret@127.0.0.1:1/wellspring";
    let unavailable = PostgresStore::connect(unreachable, options())
        .await
        .unwrap_err();
    assert!(
        matches!(unavailable, StoreError::Unavailable(_)),
        "{unavailable}"
    );
    assert!(!unavailable.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_once() {
    let database = Postgres::empty().await;
    let stores = futures_util::future::join_all((0..6).map(|_| database.store())).await;
    let row = database
        .client()
        .await
        .query_one("SELECT count(*) FROM shards", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), stores.len()), (64, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_encrypted_and_certificates_verified() {
    let database = Postgres::new().await;
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("authority.pem");
    let chaos = Chaos::start_encrypted(database.url(), &authorities).await;
    let options = PostgresOptions {
        authorities: Some(authorities),
        ..PostgresOptions::default()
    };
    let url = format!("{}?sslmode=require", chaos.url());
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let mut node = Node::join(Arc::new(store)).await;
    node.accepted(START, TENANT).await;

    let stranger = PostgresStore::connect(&url, PostgresOptions::default())
        .await
        .unwrap_err();
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    let plain = format!("{}?sslmode=require", database.url());
    assert!(
        PostgresStore::connect(&plain, PostgresOptions::default())
            .await
            .is_err()
    );
    let prefer = format!("{}?sslmode=prefer", database.url());
    assert!(
        PostgresStore::connect(&prefer, PostgresOptions::default())
            .await
            .is_ok()
    );
}
