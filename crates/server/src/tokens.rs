//! Tokens that a tenant gives out for one of its accounts: 256 bits, kept as a hash.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wellspring_core::{TenantId, Timestamp};
use wellspring_engine::{StoreError, TokenKind, TokenRecord};
use wellspring_vault::Vault;

use crate::access::random;
use crate::auth::{self, TOKEN_PREFIX};
use crate::router::{App, within};

/// How a link stands.
#[derive(Debug)]
pub(crate) enum Link {
    /// It can be exchanged.
    Open(TokenRecord),
    /// It was exchanged.
    Spent(TokenRecord),
    /// Its time is over.
    Expired(TokenRecord),
    /// There is none, or no more.
    Unknown,
}

/// Makes up a token.
pub(crate) fn mint() -> String {
    text(random())
}

/// Returns the token that this idempotency key stands for: the same each time, and nobody else's to guess.
pub(crate) fn mint_for(vault: &Vault, tenant: TenantId, key: &[u8; 32]) -> String {
    let context = [b"token ".as_slice(), tenant.as_bytes()].concat();
    text(vault.keyed_hash(&context, key))
}

/// Looks up how the link stands that a token belongs to.
pub(crate) async fn link(app: &App, token: &str) -> Result<Link, StoreError> {
    if !token.starts_with(TOKEN_PREFIX) {
        return Ok(Link::Unknown);
    }
    let record = within(app.backend.token(auth::hash(token))).await?;
    let now = app.clock.now();
    Ok(match record {
        Some(record) if record.kind != TokenKind::Connect => Link::Unknown,
        Some(record) if record.spent_at.is_some() => Link::Spent(record),
        Some(record) if record.expires_at <= now => Link::Expired(record),
        Some(record) => Link::Open(record),
        None => Link::Unknown,
    })
}

/// Exchanges an open link for what the page works with; nothing where it was spent meanwhile.
pub(crate) async fn exchange(
    app: &App,
    link: &TokenRecord,
) -> Result<Option<(String, Timestamp)>, StoreError> {
    let now = app.clock.now();
    let token = mint();
    let bearer = TokenRecord {
        hash: auth::hash(&token),
        kind: TokenKind::Page,
        created_at: now,
        expires_at: now.after(PAGE),
        spent_at: None,
        ..link.clone()
    };
    let expires_at = bearer.expires_at;
    let exchanged = within(app.backend.exchange_token(link.hash, now, bearer)).await?;
    Ok(exchanged.then_some((token, expires_at)))
}

fn text(bytes: [u8; 32]) -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// How long an opened page can be worked with.
const PAGE: Duration = Duration::from_secs(3_600);
