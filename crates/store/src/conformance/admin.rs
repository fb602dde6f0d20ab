//! Administrative rows.

use wellspring_core::{ApiKeyId, TenantId};
use wellspring_engine::{KeyRecord, Settings, StoreError, Tenant};

use super::{Harness, START, TENANT};

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
