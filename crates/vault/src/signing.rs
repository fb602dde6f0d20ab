//! Signatures after the Standard Webhooks specification, and the secrets they are made with.

mod secret;
mod subscription;

pub use secret::{SecretError, SecretKind, SigningSecret};
pub use subscription::{SubscriptionKey, SubscriptionSecrets, SubscriptionSecretsError};

/// Signs a message with every secret, for one `webhook-signature` header.
///
/// What is signed is `id.unix_seconds.` and the body, whose pieces are not put together for it.
pub fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    id: &str,
    unix_seconds: i64,
    body: &[&[u8]],
) -> String {
    let head = format!("{id}.{unix_seconds}.");
    let mut pieces = Vec::with_capacity(1 + body.len());
    pieces.push(head.as_bytes());
    pieces.extend_from_slice(body);
    let mut header = String::with_capacity(ROOM);
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        secret.sign_into(&pieces, &mut header);
    }
    header
}

/// Enough for two signatures.
const ROOM: usize = 192;
