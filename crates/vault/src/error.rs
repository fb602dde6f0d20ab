//! Why something is not opened or not rotated.

use thiserror::Error;

/// Why sealed bytes, or a keyring, do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VaultError {
    /// The sealed bytes are of a version that this program does not know.
    #[error("the version of the sealed bytes is unknown")]
    Version,
    /// The bytes were changed, or belong to another context.
    #[error("the sealed bytes were changed or belong elsewhere")]
    Sealed,
    /// The data key came into the ring after this vault read it, or belongs to another ring.
    #[error("there is no data key {0} in the keyring")]
    UnknownKey(u32),
    /// The keyring is not wrapped for this master key.
    #[error("the keyring does not open with this master key")]
    MasterKey,
    /// The text is no keyring, or its parts do not fit each other.
    #[error("the keyring is damaged")]
    Keyring,
}

/// Why the master key is not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RotateError {
    /// The new master key is the present one.
    #[error("the new master key is the present one")]
    SameKey,
    /// Another rotation has not been finished.
    #[error("a rotation to another master key has begun: finish or cancel it first")]
    UnderWay,
    /// There is nothing to finish or to cancel.
    #[error("no rotation of the master key is under way")]
    NotUnderWay,
    /// Finished by somebody who has the old key, or cancelled by somebody who has the new one.
    #[error("this would lock out the master key that it is done with")]
    LocksOut,
}
