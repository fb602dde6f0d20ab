//! Why access could not be read or changed.

use thiserror::Error;
use wellspring_core::TenantId;
use wellspring_engine::StoreError;
use wellspring_vault::VaultError;

use crate::problem::Problem;

/// Why access could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccessError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database was set up under another master key.
    #[error("the database was set up with another master key")]
    MasterKey,
    /// The keyring does not open although a master key fits it.
    #[error("the database's keyring cannot be used: {0}")]
    Keyring(VaultError),
    /// A tenant's secrets do not open.
    #[error("the secrets of {tenant} cannot be read: {error}")]
    Sealed {
        /// Whose.
        tenant: TenantId,
        /// Why.
        error: VaultError,
    },
    /// A tenant's secrets are sealed in a form that this program does not know.
    #[error("the secrets of {tenant} do not decode")]
    Decode {
        /// Whose.
        tenant: TenantId,
    },
    /// There is no tenant of this name or id.
    #[error("there is no tenant `{0}`")]
    UnknownTenant(String),
    /// There is a tenant of this name already.
    #[error("there is a tenant named `{0}` already")]
    NameTaken(String),
    /// The name is no name for a tenant.
    #[error("a tenant's name is 1 to 64 characters without control characters")]
    Name,
    /// The secret is no callback secret.
    #[error("a callback secret is `whsec_` and the base64 of 24 to 64 bytes")]
    Secret,
    /// The key is too short to be safe, or cannot be sent in a header.
    #[error("an API key has 16 to 255 visible ASCII characters and no space")]
    Key,
    /// The key is in use, or was.
    #[error("this API key exists already")]
    KeyTaken,
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::MasterKey
            | AccessError::Keyring(_)
            | AccessError::Sealed { .. }
            | AccessError::Decode { .. }
            | AccessError::UnknownTenant(_)
            | AccessError::NameTaken(_)
            | AccessError::Name
            | AccessError::Secret
            | AccessError::Key
            | AccessError::KeyTaken => Self::internal(error),
        }
    }
}
