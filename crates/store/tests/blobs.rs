//! The conformance suite of blobs, and what only sealed ones and files can do.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use wellspring_core::DocumentId;
use wellspring_engine::{BlobError, Blobs, StoreError, sweep_orphans};
use wellspring_store::conformance::{START, blobs as suite};
use wellspring_store::{FolderBlobs, MemoryBlobs, SealedBlobs};
use wellspring_vault::{MasterKey, Vault};

fn vault() -> Vault {
    Vault::create(MasterKey::new([1; 32]), 0)
}

fn folder() -> (TempDir, FolderBlobs) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(&folder.path().join("blobs")).unwrap();
    (folder, blobs)
}

async fn conforms(make: impl Fn() -> Box<dyn Blobs>) {
    suite::blobs_read_back_whole_and_in_ranges(make().as_ref()).await;
    suite::blobs_are_of_one_writer(make().as_ref()).await;
    suite::blobs_without_rows_are_swept(make().as_ref()).await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(|| Box::new(MemoryBlobs::default())).await;
    conforms(|| Box::new(SealedBlobs::new(MemoryBlobs::default(), vault()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_conform() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    let open = || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        FolderBlobs::open(&folder.path().join(number.to_string())).unwrap()
    };
    conforms(|| Box::new(open())).await;
    conforms(|| Box::new(SealedBlobs::new(open(), vault()))).await;
}

/// Returns every file and folder below.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test]
async fn a_folder_is_left_as_small_as_it_was() {
    let (folder, blobs) = folder();
    let root = folder.path().join("blobs");
    let ids = [[1; 16], [2; 16]].map(DocumentId::from_bytes);
    for id in ids {
        blobs.put(id, Bytes::from_static(b"x")).await.unwrap();
    }
    std::fs::write(root.join("incoming/left-over"), "half a fi").unwrap();
    let again = FolderBlobs::open(&root).unwrap();
    assert_eq!(again.list(None, 10).await, Ok(ids.to_vec()));
    for id in ids {
        again.delete(id).await.unwrap();
    }
    assert_eq!(everything(&root), [root.join("incoming")]);

    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "not a folder").unwrap();
    let put = blobs.put(ids[0], Bytes::new()).await;
    assert!(matches!(put, Err(BlobError::Unavailable(_))), "{put:?}");
}

#[tokio::test]
async fn what_is_kept_says_nothing_and_a_change_or_a_swap_is_noticed() {
    let inner = MemoryBlobs::default();
    let sealed = SealedBlobs::new(inner.clone(), vault());
    let ids = [[1; 16], [2; 16]].map(DocumentId::from_bytes);
    let body = Bytes::from("a statement of account ".repeat(10_000));
    for id in ids {
        sealed.put(id, body.clone()).await.unwrap();
    }
    let kept = inner.read(ids[0], None).await.unwrap().unwrap();
    assert!(!kept.windows(9).any(|part| part == b"statement"));

    let damaged = async |kept: Bytes, range: Option<std::ops::Range<u64>>| {
        inner.put(ids[1], kept).await.unwrap();
        let read = sealed.read(ids[1], range).await;
        matches!(read, Err(BlobError::Damaged { document, .. }) if document == ids[1])
    };
    assert!(damaged(kept.clone(), None).await, "another document's");
    assert!(damaged(kept.clone(), Some(100_000..100_001)).await);
    let own = {
        sealed.put(ids[1], body).await.unwrap();
        inner.read(ids[1], None).await.unwrap().unwrap()
    };
    let chunk = 24 + (64 << 10) + 16;
    for cut in [0, 10, 24, 1_000, chunk, own.len() - 1] {
        for range in [
            None,
            Some(0..1),
            Some(200_000..200_001),
            Some(1 << 40..1 << 41),
        ] {
            let noticed = damaged(own.slice(..cut), range.clone()).await;
            // A part that is whole is good, whatever became of the rest.
            let whole_part = cut >= own.len() - 1 && range == Some(0..1);
            assert!(noticed != whole_part, "cut at {cut}, {range:?}");
        }
    }
}

#[tokio::test]
async fn a_copy_has_what_was_there_and_outlives_changes() {
    let (folder, blobs) = folder();
    let ids: Vec<DocumentId> = (1..=40_u8)
        .map(|n| DocumentId::from_bytes([n, n, n, n % 3, n, n, 7, n, 8, n, n, n, n, n, n, n]))
        .collect();
    for id in &ids {
        blobs.put(*id, Bytes::from_static(b"before")).await.unwrap();
    }
    let copy = folder.path().join("copy");
    std::fs::create_dir_all(folder.path().join("copy.partial/left-over")).unwrap();
    assert_eq!(blobs.backup(&copy).await, Ok(40));
    assert!(matches!(
        blobs.backup(&copy).await,
        Err(StoreError::Refused(_))
    ));
    assert!(!folder.path().join("copy.partial").exists());
    blobs
        .put(ids[0], Bytes::from_static(b"after"))
        .await
        .unwrap();
    blobs.delete(ids[1]).await.unwrap();

    let target = folder.path().join("restored");
    assert_eq!(FolderBlobs::restore(&copy, &target), Ok(40));
    std::fs::remove_dir_all(&copy).unwrap();
    let restored = FolderBlobs::open(&target).unwrap();
    assert_eq!(restored.list(None, 100).await, Ok(ids.clone()));
    for id in &ids {
        let body = restored.read(*id, None).await.unwrap();
        assert_eq!(body, Some(Bytes::from_static(b"before")), "{id}");
    }
}

#[tokio::test]
async fn the_largest_document_is_sealed_and_read_in_a_moment() {
    let (_folder, blobs) = folder();
    let sealed = SealedBlobs::new(blobs, vault());
    let id = DocumentId::from_bytes([1; 16]);
    let body = Bytes::from(vec![7; 50 << 20]);
    let work = async {
        sealed.put(id, body.clone()).await.unwrap();
        let end = sealed.read(id, Some(52_428_000..u64::MAX)).await.unwrap();
        assert_eq!(end.unwrap().len(), 800);
        assert!(sealed.read(id, None).await.unwrap() == Some(body));
    };
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_sweep_goes_on_past_its_first_page() {
    let blobs = MemoryBlobs::default();
    let id = |n: u16| {
        let [a, b] = n.to_be_bytes();
        DocumentId::from_bytes([0, 0, 0, 0, a, b, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0])
    };
    for n in 0..2_500 {
        blobs.put(id(n), Bytes::new()).await.unwrap();
    }
    let known = async |some: Vec<DocumentId>| {
        assert!(some.len() <= 1_000);
        Ok(some.into_iter().filter(|some| *some >= id(2_000)).collect())
    };
    let swept = sweep_orphans(&blobs, START, known).await;
    assert_eq!(swept, Ok(2_000));
    assert_eq!(blobs.list(None, 9_999).await.unwrap().len(), 500);
}
