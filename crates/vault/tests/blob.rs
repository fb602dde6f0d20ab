//! Blobs come back whole or in any part, and never changed.

use proptest::prelude::*;
use wellspring_vault::{
    BLOB_CHUNK, BLOB_HEADER, Handover, MasterKey, Vault, VaultError, sealed_range,
};

const SEALED: usize = BLOB_CHUNK + 16;

fn vault() -> Vault {
    Vault::create(MasterKey::new([1; 32]), 0)
}

fn pattern(length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|at| (at * 31 + at / BLOB_CHUNK) % 251);
    bytes
        .map(|byte| u8::try_from(byte).expect("below 251"))
        .collect()
}

fn seal(vault: &Vault, plain: &[u8], piece: usize) -> Vec<u8> {
    let mut sealer = vault.blob_sealer(b"doc");
    let mut sealed = sealer.header().to_vec();
    for piece in plain.chunks(piece) {
        sealer.push(piece, &mut sealed);
    }
    sealer.finish(&mut sealed);
    sealed
}

fn read(vault: &Vault, sealed: &[u8], range: std::ops::Range<u64>) -> Result<Vec<u8>, VaultError> {
    let opener = vault.blob_opener(b"doc", sealed)?;
    let at = sealed_range(&range);
    let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(sealed.len());
    opener.open_range(&range, &sealed[inside(at.start)..inside(at.end)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_range_of_any_length_reads_back(
        chunks in 0_usize..4,
        more in prop_oneof![Just(0_usize), Just(1), Just(BLOB_CHUNK - 1), 0..BLOB_CHUNK],
        piece in prop_oneof![Just(BLOB_CHUNK), 1_000..200_000_usize],
        from in 0.0..1.1_f64,
        length in prop_oneof![Just(0_u64), Just(1), 0..300_000_u64, Just(u64::MAX)],
    ) {
        let vault = vault();
        let plain = pattern(chunks * BLOB_CHUNK + more);
        let sealed = seal(&vault, &plain, piece);
        let from = (plain.len() as f64 * from) as u64;
        let to = from.saturating_add(length);
        let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(plain.len());
        let want = &plain[inside(from)..inside(to)];
        let got = read(&vault, &sealed, from..to).unwrap();
        prop_assert!(got == want, "{from}..{to} of {}: {} bytes", plain.len(), got.len());
    }
}

#[test]
fn chunks_that_are_changed_missing_or_moved_do_not_open() {
    let vault = vault();
    let plain = pattern(3 * BLOB_CHUNK);
    let sealed = seal(&vault, &plain, BLOB_CHUNK);
    assert_eq!(sealed.len(), BLOB_HEADER + 3 * SEALED, "a full last chunk");
    let whole = 0..u64::MAX;
    assert_eq!(read(&vault, &sealed, whole.clone()), Ok(plain.clone()));

    for at in [0, 7, BLOB_HEADER, BLOB_HEADER + SEALED, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[at] ^= 4;
        assert!(read(&vault, &changed, whole.clone()).is_err(), "byte {at}");
    }
    for end in [
        BLOB_HEADER,
        BLOB_HEADER + SEALED,
        BLOB_HEADER + 2 * SEALED,
        sealed.len() - 1,
    ] {
        let cut = read(&vault, &sealed[..end], whole.clone());
        assert_eq!(cut, Err(VaultError::Sealed), "cut at {end}");
    }
    let mut swapped = sealed.clone();
    swapped.copy_within(BLOB_HEADER + SEALED..BLOB_HEADER + 2 * SEALED, BLOB_HEADER);
    assert_eq!(
        read(&vault, &swapped, whole.clone()),
        Err(VaultError::Sealed)
    );
    let longer = [sealed.as_slice(), &sealed[BLOB_HEADER..]].concat();
    assert_eq!(read(&vault, &longer, whole), Err(VaultError::Sealed));

    let elsewhere = vault.blob_opener(b"other", &sealed).unwrap();
    let first = &sealed[BLOB_HEADER..BLOB_HEADER + SEALED];
    assert_eq!(
        elsewhere.open_chunk(0, false, first),
        Err(VaultError::Sealed)
    );
    let here = vault.blob_opener(b"doc", &sealed[..BLOB_HEADER]).unwrap();
    assert_eq!(
        here.open_chunk(0, false, first).unwrap(),
        plain[..BLOB_CHUNK]
    );
    assert_eq!(here.open_chunk(0, true, first), Err(VaultError::Sealed));
}

#[test]
fn a_blob_outlives_a_rotation() {
    let vault = vault();
    let plain = pattern(100_000);
    let mut sealer = vault.blob_sealer(b"doc");
    let mut sealed = sealer.header().to_vec();
    sealer.push(&plain[..70_000], &mut sealed);
    let new = MasterKey::new([2; 32]);
    let ring = vault.rotate_master(&new, Handover::AtOnce, 0).unwrap();
    vault.install_with(new, &ring).unwrap();
    sealer.push(&plain[70_000..], &mut sealed);
    sealer.finish(&mut sealed);
    assert_eq!(read(&vault, &sealed, 0..u64::MAX), Ok(plain));
}
