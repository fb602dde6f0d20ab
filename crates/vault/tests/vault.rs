//! What opens, what does not, and what a rotation changes.

use secrecy::ExposeSecret;
use wellspring_vault::{Handover, Keyring, MasterKey, RotateError, Vault, VaultError};

const NOW: i64 = 1_790_000_000_000;

fn master(byte: u8) -> MasterKey {
    MasterKey::new([byte; 32])
}

fn open(vault: &Vault, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let plain = vault.open(context, sealed)?;
    Ok(plain.expose_secret().to_vec())
}

#[test]
fn what_is_sealed_opens_only_unchanged_in_its_context_under_its_ring() {
    let vault = Vault::create(master(1), NOW);
    let sealed = vault.seal(b"a", b"secret");

    assert_eq!(open(&vault, b"a", &sealed), Ok(b"secret".to_vec()));
    assert_eq!(open(&vault, b"b", &sealed), Err(VaultError::Sealed));
    let stranger = Vault::create(master(1), NOW);
    assert_eq!(open(&stranger, b"a", &sealed), Err(VaultError::Sealed));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 4;
        assert!(open(&vault, b"a", &changed).is_err(), "byte {at}");
        assert!(open(&vault, b"a", &sealed[..at]).is_err(), "cut at {at}");
    }
    assert!(!sealed.windows(6).any(|part| part == b"secret"));
    assert_ne!(vault.seal(b"a", b"secret"), sealed, "nonces are random");
}

#[test]
fn a_value_sealed_under_the_master_key_itself_opens_also_after_rotations() {
    let sealed = hex::decode(
        "01070707070707070707070707070707070707070707070707152c6628d3744962070ecf24\
         e773df847d80cef5561a2df9d4c18c7b6e34",
    );
    let sealed = sealed.unwrap();
    let context = b"callback-secrets one";
    let plain = Ok(b"whsec_c2VjcmV0".to_vec());
    assert_eq!(
        master(1).fingerprint(),
        "879b8accfa92b6e7e45eb9664592995c817f4945d8ab9b199a2a7c933a2cd237"
    );
    let vault = Vault::import(master(1), NOW);
    assert_eq!(open(&vault, context, &sealed), plain);
    assert_eq!(
        open(&vault, b"callback-secrets two", &sealed),
        Err(VaultError::Sealed)
    );

    let ring = vault.rotate_master(&master(2), Handover::AtOnce, NOW);
    let again = Vault::load(master(2), &ring.unwrap()).unwrap();
    assert_eq!(open(&again, context, &sealed), plain);
    let fresh = Vault::create(master(1), NOW);
    assert_eq!(
        open(&fresh, context, &sealed),
        Err(VaultError::UnknownKey(0)),
        "a database that never had such values does not keep the key"
    );
}

#[test]
fn a_rotation_at_once_reaches_every_clone_and_locks_the_old_key_out() {
    let vault = Vault::create(master(1), NOW);
    let user = vault.clone();
    let before = user.seal(b"a", b"before");
    let hash = user.keyed_hash(b"answers", b"1234");

    let ring = vault.rotate_master(&master(2), Handover::AtOnce, NOW);
    let ring = ring.unwrap();
    assert_eq!(vault.install(&ring), Err(VaultError::MasterKey));
    assert_eq!(
        open(&user, b"a", &before),
        Ok(b"before".to_vec()),
        "as before"
    );
    vault.install_with(master(2), &ring).unwrap();

    let after = user.seal(b"a", b"after");
    assert_ne!(after[..5], before[..5], "another data key seals");
    let text = ring.to_string();
    let ring: Keyring = text.parse().unwrap();
    assert!(ring.opens_with(&master(2)) && !ring.opens_with(&master(1)));
    assert_eq!(
        Vault::load(master(1), &ring).err(),
        Some(VaultError::MasterKey)
    );
    let restarted = Vault::load(master(2), &ring).unwrap();
    for vault in [&user, &restarted] {
        assert_eq!(open(vault, b"a", &before), Ok(b"before".to_vec()));
        assert_eq!(open(vault, b"a", &after), Ok(b"after".to_vec()));
        assert_eq!(vault.keyed_hash(b"answers", b"1234"), hash);
        assert_eq!(vault.fingerprint(), master(2).fingerprint());
    }
    assert_ne!(user.keyed_hash(b"other", b"1234"), hash);
    assert_eq!(
        user.rotate_master(&master(2), Handover::AtOnce, NOW),
        Err(RotateError::SameKey)
    );
}

#[test]
fn in_steps_nobody_meets_a_key_that_it_does_not_have() {
    let first = Vault::create(master(1), NOW);
    let second = Vault::load(master(1), &first.keyring()).unwrap();
    assert_eq!(first.finish_rotation(), Err(RotateError::NotUnderWay));
    assert_eq!(first.cancel_rotation(), Err(RotateError::NotUnderWay));

    let rotate = |to| first.rotate_master(&master(to), Handover::InSteps, NOW);
    let ring = rotate(2).unwrap();
    first.install(&ring).unwrap();
    assert_eq!(rotate(2), Ok(ring.clone()), "asked again");
    assert_eq!(rotate(3), Err(RotateError::UnderWay));
    let restarted = Vault::load(master(2), &ring).unwrap();
    // The second has not heard of it, and is understood and understands.
    for (from, to) in [(&first, &second), (&restarted, &second), (&second, &first)] {
        assert_eq!(open(to, b"a", &from.seal(b"a", b"x")), Ok(b"x".to_vec()));
    }
    assert_eq!(first.finish_rotation(), Err(RotateError::LocksOut));
    assert_eq!(restarted.cancel_rotation(), Err(RotateError::LocksOut));
    let cancelled = first.cancel_rotation().unwrap();
    assert!(cancelled.opens_with(&master(1)) && !cancelled.opens_with(&master(2)));

    second.install(&ring).unwrap();
    let finished = restarted.finish_rotation().unwrap();
    restarted.install(&finished).unwrap();
    assert!(!finished.opens_with(&master(1)));
    assert_eq!(second.install(&finished), Err(VaultError::MasterKey));
    let sealed = restarted.seal(b"a", b"late");
    assert_eq!(
        open(&second, b"a", &sealed),
        Ok(b"late".to_vec()),
        "who was not restarted in time goes on with the keys that it has"
    );
    assert_ne!(sealed[..5], second.seal(b"a", b"x")[..5]);
}

#[test]
fn a_damaged_ring_is_refused_and_nothing_prints_a_key() {
    let vault = Vault::create(master(1), NOW);
    let text = vault.keyring().to_string();
    assert!("{}".parse::<Keyring>().is_err());
    let newer: Keyring = text
        .replace("\"version\":1", "\"version\":2")
        .parse()
        .unwrap();
    assert_eq!(
        Vault::load(master(1), &newer).err(),
        Some(VaultError::Version)
    );
    for (from, to) in [
        ("\"number\":1", "\"number\":2"),
        ("\"sealing\":1", "\"sealing\":2"),
        ("\"key\":\"", "\"key\":\"AA"),
    ] {
        let changed: Keyring = text.replace(from, to).parse().unwrap();
        let refused = Vault::load(master(1), &changed).err();
        assert_eq!(refused, Some(VaultError::Keyring), "{from}");
    }
    let key = master(1);
    assert_eq!(format!("{vault:?} {key:?}"), "Vault MasterKey");
    assert_eq!(*key.to_hex(), "01".repeat(32));
    for spelled in ["01".repeat(32), format!("{}=\n", "AQEB".repeat(10) + "AQE")] {
        let parsed: MasterKey = spelled.parse().unwrap();
        assert_eq!(parsed.fingerprint(), key.fingerprint());
    }
    assert!("01".parse::<MasterKey>().is_err());
}
