//! The conformance suite on SQLite, and what only a file can do.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use tempfile::TempDir;
use wellspring_core::IncarnationId;
use wellspring_engine::{Backend, Cursor, CursorError, Directory, Queries, StoreError};
use wellspring_store::conformance::{Harness, Node, START, TENANT};
use wellspring_store::{SqliteOptions, SqliteStore};

struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("wellspring.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), &SqliteOptions::default()).expect("opens")
    }
}

impl Harness for Sqlite {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Backend>> {
        let store: Arc<dyn Backend> = Arc::new(self.store());
        Box::pin(ready(store))
    }

    fn expire(&self, _incarnation: IncarnationId) -> BoxFuture<'_, ()> {
        // Whoever joins holds the folder's lock, which proves that all others are dead.
        Box::pin(ready(()))
    }
}

wellspring_store::conformance!(Sqlite::new());

#[tokio::test]
async fn a_backup_restores_into_another_life_of_the_log() {
    let harness = Sqlite::new();
    let store = harness.store();
    store.put_meta("log_life", "41".to_owned()).await.unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    let delivered = node.delivered(START, TENANT).await;
    let cursor = store.head().await.unwrap();
    let copy = harness.folder.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    assert!(
        matches!(store.backup(&copy).await, Err(StoreError::Refused(_))),
        "no copy is written over"
    );

    let target = harness.folder.path().join("restored.db");
    SqliteStore::restore(&copy, &target, 42).unwrap();
    assert!(matches!(
        SqliteStore::restore(&copy, &target, 43),
        Err(StoreError::Refused(_))
    ));
    let beside = harness.folder.path().join("other.db-wal");
    std::fs::write(&beside, "left over").unwrap();
    let spoilt = SqliteStore::restore(&copy, &harness.folder.path().join("other.db"), 43);
    assert!(
        spoilt.unwrap_err().to_string().contains("other.db-wal"),
        "an old log would be replayed onto it"
    );
    let restored = SqliteStore::open(&target, &SqliteOptions::default()).unwrap();
    assert!(
        restored
            .collection(TENANT, delivered.id)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        restored.changes(TENANT, cursor, 10).await.err(),
        Some(CursorError::Unknown)
    );
    let start = Cursor::start(42);
    assert_eq!(
        restored
            .changes(TENANT, start, 10)
            .await
            .unwrap()
            .entries
            .len(),
        3
    );
}

#[tokio::test]
async fn files_of_other_programs_and_newer_versions_are_refused() {
    let harness = Sqlite::new();
    std::fs::write(
        harness.path(),
        "this is no database, but long enough to be looked at as one",
    )
    .unwrap();
    assert!(matches!(
        SqliteStore::open(&harness.path(), &SqliteOptions::default()),
        Err(StoreError::Refused(_))
    ));

    let newer = harness.folder.path().join("newer.db");
    drop(SqliteStore::open(&newer, &SqliteOptions::default()).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection
        .pragma_update(None, "user_version", SqliteStore::SCHEMA + 1)
        .unwrap();
    drop(connection);
    let refused = SqliteStore::open(&newer, &SqliteOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("newer"), "{refused}");
}

#[tokio::test]
async fn a_locked_database_takes_nothing_and_later_everything() {
    let harness = Sqlite::new();
    let store = harness.store();
    let mut node = Node::join(Arc::new(store.clone())).await;
    let blocker = rusqlite::Connection::open(harness.path()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (id, step) = node.accept(START, TENANT);
    let batch = Arc::new(node.batch(START, wellspring_engine::Before::New, id, step));
    let outcome = wellspring_engine::Store::commit(&store, Arc::clone(&batch)).await;
    assert!(
        matches!(
            outcome,
            Err(wellspring_engine::CommitError::NotCommitted(_))
        ),
        "{outcome:?}"
    );
    assert!(store.collection(TENANT, id).await.unwrap().is_none());

    blocker.execute_batch("ROLLBACK").unwrap();
    wellspring_engine::Store::commit(&store, batch)
        .await
        .unwrap();
    assert!(store.collection(TENANT, id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_takes_more_once_there_is_room() {
    let harness = Sqlite::new();
    let options = SqliteOptions {
        max_bytes: Some(300 << 10),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&harness.path(), &options).unwrap();
    let mut node = Node::join(Arc::new(store.clone())).await;
    let mut kept = Vec::new();
    let refused = loop {
        assert!(kept.len() < 10_000, "the limit is met");
        let (id, step) = node.accept(START, TENANT);
        let batch = Arc::new(node.batch(START, wellspring_engine::Before::New, id, step));
        match wellspring_engine::Store::commit(&store, Arc::clone(&batch)).await {
            Ok(()) => {
                node.advance(&batch);
                kept.push(id);
            }
            Err(error) => break (batch, error),
        }
    };
    assert!(
        matches!(refused.1, wellspring_engine::CommitError::NotCommitted(_)),
        "{:?}",
        refused.1
    );
    for id in &kept {
        assert!(
            store.collection(TENANT, *id).await.unwrap().is_some(),
            "what was committed is there"
        );
    }
    drop(node);
    drop(store);

    let roomy = harness.store();
    let mut node = Node::join(Arc::new(roomy.clone())).await;
    let accepted = node.accepted(START, TENANT).await;
    assert!(
        roomy
            .collection(TENANT, accepted.id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        roomy
            .collection(TENANT, refused.0.writes[0].id)
            .await
            .unwrap()
            .is_none()
    );
}
