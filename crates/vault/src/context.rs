//! What values are sealed for.

/// Returns the context of the secrets of the subscription with this id.
pub fn subscription(id: &[u8; 16]) -> Vec<u8> {
    [b"subscription-secrets ".as_slice(), id].concat()
}
