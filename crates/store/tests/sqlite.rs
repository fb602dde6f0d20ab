//! The conformance suite on SQLite, and what only a file can do.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use tempfile::TempDir;
use wellspring_core::connection::Input;
use wellspring_core::{Actor, IncarnationId};
use wellspring_engine::{
    Aggregate, Backend, Cursor, CursorError, Directory, Queries, Record, StoreError, Write,
};
use wellspring_store::conformance::account::full;
use wellspring_store::conformance::steps::sealed;
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
        max_bytes: Some(600 << 10),
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
            Ok(_) => {
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
    let refused_id = match refused.0.writes[0].id() {
        Aggregate::Collection(id) => id,
        other @ (Aggregate::Account(_) | Aggregate::Connection(_) | Aggregate::Source(_)) => {
            panic!("{other}")
        }
    };
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
            .collection(TENANT, refused_id)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn no_table_names_an_erased_account() {
    let harness = Sqlite::new();
    let mut node = Node::join(Arc::new(harness.store())).await;
    let one = full(&mut node).await;
    let mut ids = vec![(*one.account.id.as_bytes(), one.account.id.to_string())];
    for connection in &one.connections {
        ids.push((*connection.id.as_bytes(), connection.id.to_string()));
        let fetch = connection.fetch().unwrap().id;
        ids.push((*fetch.as_bytes(), fetch.to_string()));
    }
    let found = tables_naming(&harness, &ids).unwrap();
    for table in [
        "accounts",
        "connections",
        "documents",
        "fetch_attempts",
        "fetches",
        "interactions",
        "log",
        "records",
        "secrets",
        "stream_cursors",
        "tokens",
    ] {
        assert!(found.iter().any(|name| name == table), "{table}: {found:?}");
    }

    let erasing = one.account.clone().erase(START, Actor::Operator);
    node.account_stepped(START, &one.account, erasing.clone())
        .await;
    for connection in &one.connections {
        let input = Input::DeleteAsked(Actor::Operator);
        let (_, batch) = node.connection_step(connection, START, input);
        node.commit(batch).await;
    }
    let erasing = erasing.next.unwrap();
    node.account_stepped(START, &erasing, erasing.clone().erased())
        .await;
    assert_eq!(tables_naming(&harness, &ids).unwrap(), ["log"]);
    let garbage = wellspring_engine::Store::garbage(node.store.as_ref(), 10).await;
    assert_eq!(garbage, Ok(one.documents));
}

/// Returns the tables in which one of these ids stands, as bytes or in a text.
fn tables_naming(harness: &Sqlite, ids: &[([u8; 16], String)]) -> rusqlite::Result<Vec<String>> {
    use rusqlite::types::ValueRef::{Blob, Integer, Null, Real, Text};

    let connection = rusqlite::Connection::open(harness.path())?;
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let names: rusqlite::Result<Vec<String>> = connection
        .prepare(names)?
        .query_map([], |row| row.get(0))?
        .collect();
    let mut naming = Vec::new();
    for name in names? {
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        let mut is_named = false;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let bytes = match row.get_ref(column)? {
                    Blob(bytes) | Text(bytes) => bytes,
                    Null | Integer(_) | Real(_) => &[],
                };
                let names = |wanted: &[u8]| bytes.windows(wanted.len()).any(|some| some == wanted);
                let mut ids = ids.iter();
                is_named |= ids.any(|(id, text)| names(id) || names(text.as_bytes()));
            }
        }
        if is_named {
            naming.push(name);
        }
    }
    Ok(naming)
}

#[tokio::test]
async fn records_of_one_key_replace_each_other_where_they_differ() {
    let harness = Sqlite::new();
    let mut node = Node::join(Arc::new(harness.store())).await;
    let account = node.account(START, TENANT, None).await;
    let mut connection = node.connected(START, &account).await;
    connection = node.fetching(&connection, START).await;
    // The same hash with another body stands for a record that was encrypted once more.
    for (key, hash, body) in [
        ("a", 1, 1),
        ("a", 1, 2),
        ("b", 3, 3),
        ("b", 4, 4),
        ("a", 1, 5),
    ] {
        let input = Input::ItemsCame {
            documents: Vec::new(),
            records: 1,
        };
        let (step, mut batch) = node.connection_step(&connection, START, input);
        let Some(Write::Connection(write)) = batch.writes.first_mut() else {
            panic!("{:?}", batch.writes);
        };
        let record = Record {
            key: key.to_owned(),
            hash: [hash; 32],
            body: sealed(body),
        };
        write.records.push(("bills".to_owned(), record));
        node.commit(batch).await;
        connection = step.next.unwrap();
    }
    let database = rusqlite::Connection::open(harness.path()).unwrap();
    let sql = "SELECT stream, key, hash, body FROM records ORDER BY key";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    let rows: Vec<(String, String, [u8; 32], Vec<u8>)> =
        rows.unwrap().map(Result::unwrap).collect();
    let row = |key: &str, hash, body| ("bills".to_owned(), key.to_owned(), [hash; 32], vec![body]);
    assert_eq!(rows, [row("a", 1, 1), row("b", 4, 4)]);
}
