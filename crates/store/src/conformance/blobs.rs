//! Documents' bytes.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::{DocumentId, Timestamp};
use wellspring_engine::{Blobs, StoreError, sweep_orphans};

use super::START;

/// A blob reads back whole and in parts, is written over whole, and is gone when removed.
pub async fn blobs_read_back_whole_and_in_ranges(blobs: &dyn Blobs) {
    let ids = mint(START, 3);
    let whole = async |id| blobs.read(id, None).await.expect("reads");
    let range = async |id, range| blobs.read(id, Some(range)).await.expect("reads");
    assert_eq!(whole(ids[0]).await, None);
    assert_eq!(range(ids[0], 0..1).await, None);

    // Longer than the parts and chunks that anything is cut into, and ending inside one.
    let large = pattern(5 * (256 << 10) + 1_001);
    put(blobs, ids[0], &large).await;
    put(blobs, ids[1], &Bytes::new()).await;
    assert_eq!(whole(ids[0]).await.as_ref(), Some(&large));
    assert_eq!(whole(ids[1]).await, Some(Bytes::new()));
    assert_eq!(whole(ids[2]).await, None);
    let length = large.len() as u64;
    for (from, to) in [
        (0, 1),
        (1, 300_000),
        (262_144, 524_288),
        (65_535, 65_537),
        (length - 1, length),
        (length - 10, u64::MAX),
        (length, length + 1),
        (length * 3, length * 4),
        (7, 7),
    ] {
        let want = large.slice(super::super::blobs::within(&(from..to), large.len()));
        assert!(range(ids[0], from..to).await == Some(want), "{from}..{to}");
        assert_eq!(range(ids[1], from..to).await, Some(Bytes::new()));
    }

    let shorter = pattern(70_000);
    put(blobs, ids[0], &shorter).await;
    put(blobs, ids[0], &shorter).await;
    assert!(
        whole(ids[0]).await == Some(shorter),
        "nothing of the longer is left"
    );
    for _ in 0..2 {
        blobs.delete(ids[0]).await.expect("removes");
    }
    assert_eq!(whole(ids[0]).await, None);
    assert_eq!(whole(ids[1]).await, Some(Bytes::new()), "the other stays");
    put(blobs, ids[0], &large).await;
    assert!(whole(ids[0]).await == Some(large), "and again");
}

/// Writers of one blob do not mix, and writers beside removers lose nothing.
pub async fn blobs_are_of_one_writer(blobs: &dyn Blobs) {
    let ids = mint(START, 20);
    let bodies = [pattern(700_000), pattern(900_001).slice(1..)];
    let writes = (0..6).map(|n| put(blobs, ids[0], &bodies[n % 2]));
    let beside = ids[1..].iter().map(async |id| {
        for _ in 0..3 {
            put(blobs, *id, &Bytes::from_static(b"x")).await;
            blobs.delete(*id).await.expect("removes");
        }
        put(blobs, *id, &Bytes::from_static(b"kept")).await;
    });
    let read = async || blobs.read(ids[0], None).await.expect("reads");
    let reads = (0..6).map(async |_| {
        let body = read().await;
        assert!(body.is_none_or(|body| bodies.contains(&body)), "a mixture");
    });
    tokio::join!(
        futures_util::future::join_all(writes),
        futures_util::future::join_all(beside),
        futures_util::future::join_all(reads),
    );
    assert!(bodies.contains(&read().await.expect("written")));
    for id in &ids[1..] {
        let kept = blobs.read(*id, None).await.expect("reads");
        assert_eq!(kept, Some(Bytes::from_static(b"kept")));
    }
}

/// The list pages through all in order, and a sweep removes what is old and has no row.
pub async fn blobs_without_rows_are_swept(blobs: &dyn Blobs) {
    let hours = |hours: u64| START.after(Duration::from_secs(hours * 3_600));
    let mut ids = mint(START, 3);
    // Ids of other hours and days, and two of one moment.
    ids.extend(mint(hours(1), 2));
    ids.extend(mint(hours(90), 1));
    ids.extend(mint(hours(2_000), 3));
    ids.sort_unstable();
    for id in ids.iter().rev() {
        put(blobs, *id, &pattern(10)).await;
    }
    for limit in [1, 2, 4, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = blobs.list(after, limit).await.expect("lists");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            listed.extend(page);
        }
        assert_eq!(listed, ids, "in pages of {limit}");
    }

    let named = BTreeSet::from([ids[1], ids[4], ids[8]]);
    let asked = Mutex::new(BTreeSet::new());
    let known = async |some: Vec<DocumentId>| {
        asked.lock().expect("no panic").extend(some.iter().copied());
        Ok(some.into_iter().filter(|id| named.contains(id)).collect())
    };
    let fails = async |_: Vec<DocumentId>| Err(StoreError::Unavailable("down".to_owned()));
    let now = hours(2_000).after(Duration::from_secs(3_599));
    assert!(sweep_orphans(blobs, now, fails).await.is_err());
    assert_eq!(blobs.list(None, 100).await, Ok(ids.clone()), "no guesses");

    assert_eq!(sweep_orphans(blobs, now, known).await, Ok(4));
    let young: BTreeSet<DocumentId> = ids[6..].iter().copied().collect();
    assert!(asked.lock().expect("no panic").is_disjoint(&young));
    let left = [&[ids[1], ids[4]], &ids[6..]].concat();
    assert_eq!(blobs.list(None, 100).await, Ok(left));
    let later = now.after(Duration::from_secs(2));
    assert_eq!(sweep_orphans(blobs, later, known).await, Ok(2));
    let left = named.iter().copied().collect();
    assert_eq!(blobs.list(None, 100).await, Ok(left));
}

async fn put(blobs: &dyn Blobs, id: DocumentId, body: &Bytes) {
    blobs.put(id, body.clone()).await.expect("puts");
}

fn mint(at: Timestamp, count: u64) -> Vec<DocumentId> {
    let mut rng = ChaCha8Rng::seed_from_u64(at.as_millis().unsigned_abs());
    (0..count).map(|_| DocumentId::mint(at, &mut rng)).collect()
}

fn pattern(length: usize) -> Bytes {
    let bytes = (0..length).map(|at| (at * 31 + at / 65_536) % 251);
    bytes
        .map(|byte| u8::try_from(byte).expect("below 251"))
        .collect()
}
