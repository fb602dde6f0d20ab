//! Encrypted bytes, of which the core knows nothing but that they are.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An encrypted value on its way to or from its row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(Arc<[u8]>);

impl Sealed {
    /// Takes what a vault has sealed.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the encrypted bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
