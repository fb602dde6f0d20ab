use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wellspring_core::Actor;
use wellspring_engine::{Backend, Clock, Directory, SystemClock};
use wellspring_server::{Access, AccessError, open_vault, replace_keyring};
use wellspring_store::MemoryStore;
use wellspring_vault::{Handover, MasterKey, Vault};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock), 1, None))
}

async fn load(store: &Arc<MemoryStore>, master: u8) -> Result<Access, AccessError> {
    let backend: Arc<dyn Backend> = Arc::<MemoryStore>::clone(store);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = vault(store, master).await?;
    Access::load(backend, vault, clock).await
}

async fn vault(store: &Arc<MemoryStore>, master: u8) -> Result<Vault, AccessError> {
    let masters = [MasterKey::new([master; 32])];
    open_vault(store.as_ref(), &masters, SystemClock.now()).await
}

#[tokio::test]
async fn what_was_made_is_there_after_a_restart_with_the_same_master_key_only() {
    let store = store();
    let access = load(&store, 1).await.unwrap();
    assert_eq!(access.tenant_count(), 0);
    let secret = format!("whsec_{}", STANDARD.encode([9; 24]));
    let tenant = access
        .create_tenant("one", Some(secret.clone()))
        .await
        .unwrap();
    let given = "a-key-of-sixteen".to_owned();
    let (id, key) = access.create_key("one", Some(given.clone())).await.unwrap();
    assert_eq!(key, given);
    let (_, generated) = access.create_key("one", None).await.unwrap();
    assert_eq!(generated.len(), 47);
    assert!(generated.starts_with("wsk_"));

    let again = load(&store, 1).await.unwrap();
    assert_eq!(again.authenticate(&key).unwrap().tenant, tenant);
    assert_eq!(again.authenticate(&key).unwrap().actor, Actor::Key(id));
    assert_eq!(*again.callback_secrets(tenant), [secret.as_str()]);
    assert_eq!(again.list_keys(Some("one")).len(), 2);
    assert_eq!(again.list_keys(Some("two")), []);
    assert_eq!(load(&store, 2).await.unwrap_err(), AccessError::MasterKey);

    let shown = format!("{again:?} {:?}", again.secret(tenant));
    assert!(!shown.contains(&secret) && !shown.contains(&key));
    let rows = store.tenants().await.unwrap();
    let part = &secret.as_bytes()[6..14];
    assert!(
        !rows[0]
            .sealed_secrets
            .windows(part.len())
            .any(|window| window == part)
    );
}

#[tokio::test]
async fn a_rotation_in_steps_reaches_nodes_that_are_not_restarted() {
    let store = store();
    let here = load(&store, 1).await.unwrap();
    let tenant = here.create_tenant("one", None).await.unwrap();

    let operator = vault(&store, 1).await.unwrap();
    let ring = operator.rotate_master(&MasterKey::new([2; 32]), Handover::InSteps, 0);
    let (old, both) = (operator.keyring(), ring.unwrap());
    assert_eq!(replace_keyring(store.as_ref(), &old, &both).await, Ok(true));
    assert_eq!(
        replace_keyring(store.as_ref(), &old, &both).await,
        Ok(false)
    );
    here.reload().await.unwrap();
    let restarted = load(&store, 2).await.unwrap();

    let operator = vault(&store, 2).await.unwrap();
    let finished = operator.finish_rotation().unwrap();
    let replaced = replace_keyring(store.as_ref(), &both, &finished).await;
    assert_eq!(replaced, Ok(true));
    restarted.reload().await.unwrap();
    let rotated = restarted.rotate_secret(tenant, None).await.unwrap().secret;
    // It has the old master key and the data keys of both.
    here.reload().await.unwrap();
    here.reload().await.unwrap();
    assert_eq!(here.secret(tenant), Some(rotated));
    assert_eq!(load(&store, 1).await.unwrap_err(), AccessError::MasterKey);
}

#[tokio::test]
async fn a_database_from_before_there_were_keyrings_opens_with_its_master_key_only() {
    let store = store();
    let fingerprint = MasterKey::new([1; 32]).fingerprint();
    let kept = store.put_meta("master_key_fingerprint", fingerprint).await;
    kept.unwrap();
    let sealed = hex::decode(
        "01070707070707070707070707070707070707070707070707152c6628d3744962070ecf24\
         e773df847d80cef5561a2df9d4c18c7b6e34",
    );
    assert_eq!(vault(&store, 2).await.err(), Some(AccessError::MasterKey));
    let opened = vault(&store, 1).await.unwrap();
    assert!(
        opened
            .open(b"callback-secrets one", &sealed.unwrap())
            .is_ok()
    );
    assert_eq!(vault(&store, 2).await.err(), Some(AccessError::MasterKey));
}

#[tokio::test]
async fn revoking_on_one_node_reaches_another_at_its_reload() {
    let store = store();
    let here = load(&store, 1).await.unwrap();
    here.create_tenant("one", None).await.unwrap();
    let (id, key) = here.create_key("one", None).await.unwrap();
    let there = load(&store, 1).await.unwrap();

    assert_eq!(there.revoke_key(id).await, Ok(true));
    assert_eq!(there.revoke_key(id).await, Ok(true));
    assert!(there.authenticate(&key).is_none());
    assert!(here.authenticate(&key).is_some());
    let version = here.secrets_version();
    here.reload().await.unwrap();
    assert!(here.authenticate(&key).is_none());
    assert_eq!(here.secrets_version(), version);
    assert!(here.list_keys(None)[0].revoked_at.is_some());

    let missing = wellspring_core::ApiKeyId::from_bytes([1; 16]);
    assert_eq!(here.revoke_key(missing).await, Ok(false));
    // A revoked key is never taken up again.
    let again = here.create_key("one", Some(key)).await;
    assert_eq!(again, Err(AccessError::KeyTaken));
}

#[tokio::test]
async fn names_keys_and_secrets_that_are_none_are_refused() {
    let access = load(&store(), 1).await.unwrap();
    access.create_tenant("one", None).await.unwrap();

    assert_eq!(
        access.create_tenant("one", None).await,
        Err(AccessError::NameTaken("one".to_owned()))
    );
    for name in ["", " one", "a\nb", &"x".repeat(65)] {
        assert_eq!(
            access.create_tenant(name, None).await,
            Err(AccessError::Name)
        );
    }
    for secret in ["", "whsec_", "whsec_***", "abc"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("whsec_{}", STANDARD.encode([1; 23])),
            format!("whsec_{}", STANDARD.encode([1; 65])),
        ])
    {
        assert_eq!(
            access.create_tenant("two", Some(secret)).await,
            Err(AccessError::Secret)
        );
    }
    for key in ["short", "has a space in the middle", "ümlaut-ümlaut-ümlaut"] {
        assert_eq!(
            access.create_key("one", Some(key.to_owned())).await,
            Err(AccessError::Key)
        );
    }
    assert_eq!(
        access.create_key("two", None).await,
        Err(AccessError::UnknownTenant("two".to_owned()))
    );
    let stranger = wellspring_core::TenantId::from_bytes([1; 16]);
    assert!(access.callback_secrets(stranger).is_empty());
    assert_eq!(access.secret(stranger), None);
}

#[tokio::test]
async fn every_replaced_secret_lives_its_day_even_when_another_follows() {
    let access = load(&store(), 1).await.unwrap();
    let tenant = access.create_tenant("one", None).await.unwrap();
    let first = access.secret(tenant).unwrap().secret;
    let second = access
        .rotate_secret(tenant, None)
        .await
        .unwrap()
        .secret
        .secret;
    let third = access
        .rotate_secret(tenant, None)
        .await
        .unwrap()
        .secret
        .secret;
    assert_eq!(*access.callback_secrets(tenant), [third, second, first]);
}
