//! An opened keyring.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretSlice;
use zeroize::Zeroizing;

use crate::keys::{self, DataKey, Keys};
use crate::{BlobOpener, BlobSealer, Keyring, MasterKey, RotateError, VaultError};

/// Seals and opens; clones share one state.
#[derive(Clone)]
pub struct Vault {
    state: Arc<RwLock<Arc<State>>>,
}

struct State {
    master: MasterKey,
    ring: Keyring,
    keys: Keys,
}

/// How the old master key goes when a new one comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// At once: nobody else has the old one.
    AtOnce,
    /// When the rotation is finished: until then both open the ring and the earlier data key seals.
    InSteps,
}

impl Vault {
    /// Makes the keyring of a new database.
    ///
    /// `now` is in milliseconds of Unix time, as everywhere here.
    pub fn create(master: MasterKey, now: i64) -> Self {
        Self::with_keys(master, BTreeMap::new(), 1, now)
    }

    /// Makes the keyring of a database whose values were sealed with the master key itself.
    pub fn import(master: MasterKey, now: i64) -> Self {
        let zero = DataKey {
            key: master.bytes().clone(),
            created_at: now,
        };
        Self::with_keys(master, [(0, zero)].into(), 1, now)
    }

    fn with_keys(master: MasterKey, data: BTreeMap<u32, DataKey>, sealing: u32, now: i64) -> Self {
        let mut keys = Keys {
            sealing,
            hash: Zeroizing::new(keys::random()),
            data,
        };
        keys.data.insert(sealing, fresh(now));
        let ring = Keyring::wrap(&keys, &[&master]);
        Self::from_state(State { master, ring, keys })
    }

    /// Opens a keyring.
    ///
    /// # Errors
    ///
    /// [`VaultError::MasterKey`] when the ring belongs to other master keys, others when it is
    /// damaged or newer than this program.
    pub fn load(master: MasterKey, ring: &Keyring) -> Result<Self, VaultError> {
        let keys = ring.unwrap(&master)?;
        let ring = ring.clone();
        Ok(Self::from_state(State { master, ring, keys }))
    }

    fn from_state(state: State) -> Self {
        Self {
            state: Arc::new(RwLock::new(Arc::new(state))),
        }
    }

    /// Returns the keyring as it is to be kept.
    pub fn keyring(&self) -> Keyring {
        self.state().ring.clone()
    }

    /// Returns the fingerprint of the master key that this vault has.
    pub fn fingerprint(&self) -> String {
        self.state().master.fingerprint()
    }

    /// Takes over a ring that this or another process changed.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]; what was known before stays.
    pub fn install(&self, ring: &Keyring) -> Result<(), VaultError> {
        let master = self.state().master.clone();
        self.install_with(master, ring)
    }

    /// Takes over a ring together with the master key that opens it.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]; what was known before stays.
    pub fn install_with(&self, master: MasterKey, ring: &Keyring) -> Result<(), VaultError> {
        let keys = ring.unwrap(&master)?;
        let ring = ring.clone();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(State { master, ring, keys });
        Ok(())
    }

    /// Returns the ring wrapped for a new master key, with a fresh data key.
    ///
    /// Nothing changes here: the ring is kept first, and then installed with
    /// [`Self::install_with`] where the old key goes at once, else with [`Self::install`].
    /// Asked again for a rotation that has begun, it returns the ring as it is.
    ///
    /// # Errors
    ///
    /// [`RotateError::SameKey`] and [`RotateError::UnderWay`].
    pub fn rotate_master(
        &self,
        new: &MasterKey,
        handover: Handover,
        now: i64,
    ) -> Result<Keyring, RotateError> {
        let state = self.state();
        let fingerprint = new.fingerprint();
        let mut masters = state.ring.fingerprints();
        let (first, second) = (masters.next(), masters.next());
        if second.is_some() {
            let again = handover == Handover::InSteps && second == Some(fingerprint.as_str());
            return again
                .then(|| state.ring.clone())
                .ok_or(RotateError::UnderWay);
        }
        if first == Some(fingerprint.as_str()) {
            return Err(RotateError::SameKey);
        }
        let mut keys = state.keys.clone();
        let number = keys.newest().saturating_add(1);
        keys.data.insert(number, fresh(now));
        Ok(match handover {
            Handover::AtOnce => {
                keys.sealing = number;
                Keyring::wrap(&keys, &[new])
            }
            Handover::InSteps => Keyring::wrap(&keys, &[&state.master, new]),
        })
    }

    /// Returns the ring without the old master key, sealing with the newest data key.
    ///
    /// # Errors
    ///
    /// [`RotateError::NotUnderWay`], and [`RotateError::LocksOut`] when this vault has the old key.
    pub fn finish_rotation(&self) -> Result<Keyring, RotateError> {
        let state = self.state();
        let Some(new) = state.ring.fingerprints().nth(1) else {
            return Err(RotateError::NotUnderWay);
        };
        if state.master.fingerprint() != new {
            return Err(RotateError::LocksOut);
        }
        Ok(state.ring.only(new, state.keys.newest()))
    }

    /// Returns the ring without the new master key; the fresh data key stays in it unused.
    ///
    /// # Errors
    ///
    /// [`RotateError::NotUnderWay`], and [`RotateError::LocksOut`] when this vault has the new key.
    pub fn cancel_rotation(&self) -> Result<Keyring, RotateError> {
        let state = self.state();
        let mut masters = state.ring.fingerprints();
        let (Some(old), Some(_)) = (masters.next(), masters.next()) else {
            return Err(RotateError::NotUnderWay);
        };
        if state.master.fingerprint() != old {
            return Err(RotateError::LocksOut);
        }
        Ok(state.ring.only(old, state.keys.sealing))
    }

    /// Seals `plain` for `context` with the present data key.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let state = self.state();
        let (number, key) = state.keys.sealing();
        let nonce: [u8; 24] = keys::random();
        let header = header(number);
        let sealed = keys::encrypt(key, nonce, &[&header, context].concat(), plain);
        [header.as_slice(), &nonce, &sealed].concat()
    }

    /// Opens what [`Self::seal`] sealed for the same context, under whichever data key.
    ///
    /// # Errors
    ///
    /// [`VaultError`] for everything else.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<SecretSlice<u8>, VaultError> {
        let state = self.state();
        let plain = match sealed.split_first() {
            Some((&VERSION, rest)) => {
                let (number, rest) = rest.split_first_chunk().ok_or(VaultError::Sealed)?;
                let number = u32::from_be_bytes(*number);
                let (nonce, rest) = rest.split_first_chunk().ok_or(VaultError::Sealed)?;
                let aad = [&header(number), context].concat();
                keys::decrypt(state.keys.data(number)?, *nonce, &aad, rest)?
            }
            Some((&UNDER_MASTER, rest)) => {
                let (nonce, rest) = rest.split_first_chunk().ok_or(VaultError::Sealed)?;
                let key = keys::derive(state.keys.data(0)?, b"data key", context);
                keys::decrypt(&key, *nonce, context, rest)?
            }
            Some(_) | None => return Err(VaultError::Version),
        };
        Ok(SecretSlice::from(plain))
    }

    /// Returns a hash that only this database's vault can make, the same through all rotations.
    ///
    /// It tells whether the same was said twice without keeping what was said.
    pub fn keyed_hash(&self, context: &[u8], bytes: &[u8]) -> [u8; 32] {
        let key = keys::derive(&self.state().keys.hash, b"hash", context);
        keys::mac(&key, bytes)
    }

    /// Begins a blob for `context`, sealed with the present data key.
    pub fn blob_sealer(&self, context: &[u8]) -> BlobSealer {
        let state = self.state();
        let (number, key) = state.keys.sealing();
        BlobSealer::new(number, key, context)
    }

    /// Begins to read a blob whose sealed bytes begin with `header`, of which more may follow.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when it is no header, or of a data key that is not there.
    pub fn blob_opener(&self, context: &[u8], header: &[u8]) -> Result<BlobOpener, VaultError> {
        let state = self.state();
        BlobOpener::new(|number| state.keys.data(number), context, header)
    }

    fn state(&self) -> Arc<State> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

fn fresh(now: i64) -> DataKey {
    DataKey {
        key: Zeroizing::new(keys::random()),
        created_at: now,
    }
}

fn header(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [VERSION, a, b, c, d]
}

const VERSION: u8 = 2;
/// Sealed with the master key itself, which is data key 0 since there are rings.
const UNDER_MASTER: u8 = 1;
