#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod blob;
pub mod context;
mod error;
mod keyring;
mod keys;
mod master;
mod signing;
mod vault;

pub use blob::{BLOB_CHUNK, BLOB_HEADER, BlobOpener, BlobSealer, sealed_range};
pub use error::{RotateError, VaultError};
pub use keyring::Keyring;
pub use master::{MasterKey, MasterKeyError};
pub use signing::{
    SecretError, SecretKind, SigningSecret, SubscriptionKey, SubscriptionSecrets,
    SubscriptionSecretsError, signatures,
};
pub use vault::{Handover, Vault};
