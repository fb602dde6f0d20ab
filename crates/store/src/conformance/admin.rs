//! Administrative rows.

use std::time::Duration;

use wellspring_core::{AccountId, ApiKeyId, ConnectionId, TenantId};
use wellspring_engine::{
    Disabled, DisabledReason, KeyRecord, Settings, StoreError, Subscription, SubscriptionKind,
    Tenant, TokenKind, TokenRecord,
};

use super::steps::subscription;
use super::{Harness, Node, START, TENANT};

/// They read back, also by another connection, and names are unique.
pub async fn tenants_keys_and_meta_read_back(harness: &dyn Harness) {
    let store = harness.open().await;
    let tenant = Tenant {
        id: TENANT,
        name: "default".to_owned(),
        created_at: START,
        sealed_secrets: vec![1, 2, 3],
        settings: Settings {
            contact: Some("ops@example.com".to_owned()),
            ..Settings::default()
        },
    };
    store.put_tenant(tenant.clone()).await.expect("puts");
    let changed = Tenant {
        sealed_secrets: vec![4],
        ..tenant
    };
    store
        .put_tenant(changed.clone())
        .await
        .expect("puts over it");
    let twin = Tenant {
        id: TenantId::from_bytes([2; 16]),
        ..changed.clone()
    };
    assert!(matches!(
        store.put_tenant(twin).await,
        Err(StoreError::Refused(_))
    ));

    let key = KeyRecord {
        id: ApiKeyId::from_bytes([3; 16]),
        tenant: TENANT,
        hash: [4; 32],
        created_at: START,
        revoked_at: None,
    };
    store.put_key(key.clone()).await.expect("puts");
    let revoked = KeyRecord {
        revoked_at: Some(START),
        ..key
    };
    store.put_key(revoked.clone()).await.expect("puts over it");

    assert_eq!(store.meta("probe").await, Ok(None));
    assert_eq!(
        store.put_meta("probe", "first".to_owned()).await,
        Ok("first".to_owned())
    );
    assert_eq!(
        store.put_meta("probe", "second".to_owned()).await,
        Ok("first".to_owned()),
        "the first stays"
    );
    let replace = async |name, old: &str, new: &str| {
        let replaced = store.replace_meta(name, old.to_owned(), new.to_owned());
        replaced.await.expect("answers")
    };
    assert!(!replace("absent", "", "third").await);
    assert!(
        !replace("probe", "second", "third").await,
        "not what is kept"
    );
    assert!(replace("probe", "first", "third").await);
    assert!(!replace("probe", "first", "fourth").await, "only once");

    let again = harness.open().await;
    assert_eq!(again.tenants().await, Ok(vec![changed]));
    assert_eq!(again.keys().await, Ok(vec![revoked]));
    assert_eq!(again.meta("probe").await, Ok(Some("third".to_owned())));
    assert_eq!(again.meta("absent").await, Ok(None));
}

/// A subscription is told what happens after it was made, and is changed by who knows its version.
pub async fn subscriptions_begin_at_the_end_of_the_log(harness: &dyn Harness) {
    let mut node = Node::join(harness.open().await).await;
    node.delivered(START, TENANT).await;
    let store = harness.open().await;
    let webhook = subscription(2);
    let documents = Subscription {
        kind: SubscriptionKind::Documents,
        patterns: Vec::new(),
        description: None,
        sealed_secrets: Vec::new(),
        ..subscription(1)
    };
    for subscription in [&webhook, &documents] {
        assert_eq!(
            store.put_subscription(subscription.clone(), None).await,
            Ok(true)
        );
        assert_eq!(
            store.put_subscription(subscription.clone(), None).await,
            Ok(false),
            "an id is taken once"
        );
    }
    assert_eq!(
        store.subscriptions().await,
        Ok(vec![documents.clone(), webhook.clone()])
    );
    let mut ends = Vec::new();
    for shard in store.shards() {
        let state = store.dispatch_state(shard).await.expect("reads");
        let of: Vec<_> = state.positions.iter().map(|row| row.subscription).collect();
        assert_eq!(of, [documents.id, webhook.id]);
        let position = store.subscription_state(webhook.id, shard).await;
        let position = position.expect("reads").position.expect("begins here");
        assert_eq!((position.shard, position.failing_since), (shard, None));
        ends.push(position.seen);
    }
    ends.sort_unstable();
    assert_eq!(ends.pop(), Some(3), "what has happened is over");
    assert!(ends.iter().all(|end| *end == 0));

    let changed = Subscription {
        version: 2,
        enabled: false,
        patterns: vec!["UPDATED /**".parse().expect("a pattern")],
        url: "http://127.0.0.1:9/other".into(),
        disabled: Some(Disabled {
            reason: DisabledReason::Gone,
            at: START,
        }),
        ..webhook.clone()
    };
    for (expected, did) in [(7, false), (1, true), (1, false)] {
        let put = store.put_subscription(changed.clone(), Some(expected));
        assert_eq!(put.await, Ok(did));
    }
    let unknown = store.put_subscription(subscription(9), Some(1)).await;
    assert_eq!(unknown, Ok(false));
    let back = Subscription {
        version: 3,
        enabled: true,
        disabled: None,
        ..changed.clone()
    };
    assert_eq!(
        store.subscriptions().await,
        Ok(vec![documents.clone(), changed])
    );
    assert_eq!(
        store.put_subscription(back.clone(), Some(2)).await,
        Ok(true)
    );
    let again = harness.open().await;
    assert_eq!(again.subscriptions().await, Ok(vec![documents, back]));
}

/// Of several who spend a token one does, in time, and what it is exchanged for is there with it.
pub async fn a_token_is_exchanged_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let later = |secs| START.after(Duration::from_secs(secs));
    let link = TokenRecord {
        hash: [1; 32],
        tenant: TENANT,
        account: AccountId::from_bytes([2; 16]),
        kind: TokenKind::Connect,
        connection: Some(ConnectionId::from_bytes([3; 16])),
        source: Some("gas".parse().expect("a name")),
        return_url: Some("http://127.0.0.1:9/back".to_owned()),
        created_at: START,
        expires_at: later(60),
        spent_at: None,
    };
    store.put_token(link.clone()).await.expect("puts");
    let other = TokenRecord {
        kind: TokenKind::Client,
        ..link.clone()
    };
    store.put_token(other).await.expect("the first stays");
    assert_eq!(store.token(link.hash).await, Ok(Some(link.clone())));
    assert_eq!(store.token([9; 32]).await, Ok(None));

    let bearer = |byte| TokenRecord {
        hash: [byte; 32],
        kind: TokenKind::Page,
        connection: None,
        source: None,
        return_url: None,
        ..link.clone()
    };
    for (hash, now) in [([9; 32], START), (link.hash, later(60))] {
        let exchanged = store.exchange_token(hash, now, bearer(10)).await;
        assert_eq!(exchanged, Ok(false), "unknown, or too late");
    }
    assert_eq!(store.token([10; 32]).await, Ok(None), "both or neither");
    let again = harness.open().await;
    let tries = (11..17).map(|byte| {
        let from = if byte % 2 == 0 { &store } else { &again };
        from.exchange_token(link.hash, later(59), bearer(byte))
    });
    let outcomes = futures_util::future::join_all(tries).await;
    let mut winners = (11..17).zip(outcomes);
    let won: Vec<u8> = winners
        .by_ref()
        .filter_map(|(byte, outcome)| outcome.expect("answers").then_some(byte))
        .collect();
    assert_eq!(won.len(), 1);
    for byte in 11..17 {
        let expected = won.contains(&byte).then(|| bearer(byte));
        assert_eq!(again.token([byte; 32]).await, Ok(expected));
    }
    let spent = TokenRecord {
        spent_at: Some(later(59)),
        ..link
    };
    assert_eq!(again.token([1; 32]).await, Ok(Some(spent)));
}
