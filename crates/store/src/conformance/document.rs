//! Documents: what is known of them besides their bytes.

use std::time::Duration;

use wellspring_core::connection::Input;
use wellspring_core::document::Origin;
use wellspring_core::{Actor, ConnectionId, Document, DocumentId, TenantId};

use super::{Harness, Node, START, TENANT};

/// They read back, go newest first in pages, and are known by the source's id or by their bytes.
pub async fn documents_are_listed_and_known_again(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    let mut all = Vec::new();
    let mut owners = Vec::new();
    for n in 0..2 {
        let account = node.account(START, TENANT, None).await;
        let mut connection = node.connected(START, &account).await;
        for m in 0..3 {
            let at = START.after(Duration::from_secs(u64::from(2 * m + n)));
            let fetched = node.document(&connection, at, m);
            let document = if m == 1 {
                Document {
                    fetch: None,
                    origin: Origin::Manual,
                    source_id: None,
                    date: None,
                    metadata: Default::default(),
                    ..fetched
                }
            } else {
                fetched
            };
            let input = Input::Uploaded(Box::new(document.clone()), Actor::Operator);
            connection = node.moved(&connection, at, input).await;
            all.push(document);
        }
        owners.push((account.id, connection.id));
    }
    all.sort_by_key(|document| std::cmp::Reverse(document.id));

    let store = harness.open().await;
    let list = async |of, before, limit| {
        let rows = store.documents(TENANT, of, before, limit).await;
        rows.expect("reads")
    };
    assert_eq!(list((None, None), None, 10).await, all);
    assert_eq!(list((None, None), None, 2).await, all[..2]);
    assert_eq!(list((None, None), Some(all[1].id), 3).await, all[2..5]);
    for (account, connection) in &owners {
        let of_it = |document: &&Document| document.connection == *connection;
        let own: Vec<Document> = all.iter().filter(of_it).cloned().collect();
        assert_eq!(own.len(), 3);
        for of in [
            (Some(*account), None),
            (None, Some(*connection)),
            (Some(*account), Some(*connection)),
        ] {
            assert_eq!(list(of, None, 10).await, own);
            assert_eq!(list(of, None, 1).await, own[..1]);
            assert_eq!(list(of, Some(own[0].id), 10).await, own[1..]);
        }
        for document in &own {
            let read = store.document(TENANT, document.id).await;
            assert_eq!(read, Ok(Some(document.clone())));
            let by_id = document.source_id.clone();
            let known = store.known_document(*connection, by_id.clone(), None).await;
            assert_eq!(known, Ok(by_id.map(|_| document.id)));
            let by_bytes = store.known_document(*connection, None, Some(document.hash));
            assert_eq!(by_bytes.await, Ok(Some(document.id)));
        }
    }
    let crossed = (Some(owners[0].0), Some(owners[1].1));
    assert_eq!(list(crossed, None, 10).await, []);
    let (_, connection) = owners[0];
    for (of, source_id, hash) in [
        (connection, Some("bill-9"), None),
        (connection, None, Some([9; 32])),
        // The source's own id is what counts where it has one.
        (connection, Some("bill-9"), Some([1; 32])),
        (ConnectionId::from_bytes([9; 16]), Some("bill-0"), None),
        (ConnectionId::from_bytes([9; 16]), None, Some([1; 32])),
    ] {
        let source_id = source_id.map(str::to_owned);
        assert_eq!(store.known_document(of, source_id, hash).await, Ok(None));
    }
    let other = TenantId::from_bytes([2; 16]);
    assert_eq!(store.document(other, all[0].id).await, Ok(None), "walls");
    let listed = store.documents(other, crossed, None, 10).await;
    assert_eq!(listed, Ok(Vec::new()));

    let unknown = DocumentId::from_bytes([9; 16]);
    let asked = vec![all[3].id, unknown, all[0].id];
    let mut known = store.existing_documents(asked).await.expect("reads");
    known.sort();
    assert_eq!(known, [all[3].id, all[0].id]);
    assert_eq!(store.existing_documents(Vec::new()).await, Ok(Vec::new()));
}
