//! The keyring as the database keeps it.

use wellspring_core::Timestamp;
use wellspring_engine::{Directory, StoreError};
use wellspring_vault::{Keyring, MasterKey, Vault};

use crate::AccessError;

/// Opens the database's keyring with whichever of the master keys fits it.
///
/// Where there is no ring one is made: of the first key for a database that is new, of the one
/// that it was set up with for a database that sealed with the master key itself.
///
/// # Errors
///
/// [`AccessError::MasterKey`] when none of them fits; else when the database does not answer or
/// the ring cannot be used.
pub async fn open_vault(
    directory: &(impl Directory + ?Sized),
    masters: &[MasterKey],
    now: Timestamp,
) -> Result<Vault, AccessError> {
    let text = match directory.meta(RING).await? {
        Some(text) => text,
        None => {
            let vault = first_vault(directory, masters, now).await?;
            // Two nodes may start at once: what the first of them put is everybody's.
            directory
                .put_meta(RING, vault.keyring().to_string())
                .await?
        }
    };
    let ring: Keyring = text.parse().map_err(AccessError::Keyring)?;
    let fitting = masters.iter().find(|master| ring.opens_with(master));
    let master = fitting.ok_or(AccessError::MasterKey)?;
    Vault::load(master.clone(), &ring).map_err(AccessError::Keyring)
}

async fn first_vault(
    directory: &(impl Directory + ?Sized),
    masters: &[MasterKey],
    now: Timestamp,
) -> Result<Vault, AccessError> {
    let now = now.as_millis();
    let Some(fingerprint) = directory.meta(FINGERPRINT).await? else {
        let master = masters.first().ok_or(AccessError::MasterKey)?;
        return Ok(Vault::create(master.clone(), now));
    };
    let mut masters = masters.iter();
    let fitting = masters.find(|master| master.fingerprint() == fingerprint);
    let master = fitting.ok_or(AccessError::MasterKey)?;
    Ok(Vault::import(master.clone(), now))
}

/// Keeps `new` if the ring is still `old`; returns whether it was.
///
/// # Errors
///
/// When the database does not answer; whether it was replaced is then not known.
pub async fn replace_keyring(
    directory: &(impl Directory + ?Sized),
    old: &Keyring,
    new: &Keyring,
) -> Result<bool, StoreError> {
    let Some(text) = directory.meta(RING).await? else {
        return Ok(false);
    };
    if text.parse().as_ref() != Ok(old) {
        return Ok(false);
    }
    directory.replace_meta(RING, text, new.to_string()).await
}

/// Returns the ring that the database keeps; `None` where none was made.
///
/// # Errors
///
/// When the database does not answer or keeps something else.
pub async fn read_keyring(
    directory: &(impl Directory + ?Sized),
) -> Result<Option<Keyring>, AccessError> {
    let text = directory.meta(RING).await?;
    text.map(|text| text.parse().map_err(AccessError::Keyring))
        .transpose()
}

/// Takes over the ring if it has changed.
pub(crate) async fn refresh(
    directory: &(impl Directory + ?Sized),
    vault: &Vault,
) -> Result<(), AccessError> {
    match read_keyring(directory).await? {
        Some(ring) if ring != vault.keyring() => vault.install(&ring).map_err(AccessError::Keyring),
        Some(_) | None => Ok(()),
    }
}

/// Under which name the ring is kept.
const RING: &str = "keyring";
/// Under which name the master key's fingerprint was kept before there were rings.
const FINGERPRINT: &str = "master_key_fingerprint";
