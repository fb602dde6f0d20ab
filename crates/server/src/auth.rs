//! Who a request comes from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use wellspring_core::{AccountId, Actor, ConnectionId, SourceName, TenantId};
use wellspring_engine::{StoreError, TokenKind, TokenRecord};

use crate::problem::Problem;
use crate::router::{App, within};

/// Who a request comes from, and how far that reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// By what authority: one of the tenant's keys, or a person to whom it gave a token.
    pub actor: Actor,
    /// The one account that a token reaches; a key reaches all of the tenant's.
    pub account: Option<AccountId>,
    /// What the connect page is held to; nothing where it is not the page that asks.
    pub page: Option<Page>,
}

/// What the token of a connect page is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The connection that it repairs.
    pub connection: Option<ConnectionId>,
    /// The source that it connects.
    pub source: Option<SourceName>,
}

/// Whom an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// API keys alone.
    Keys,
    /// Clients of one account as well.
    Clients,
    /// And the connect page.
    Pages,
}

impl Caller {
    /// Returns whether the tenant itself asks, by one of its keys.
    pub const fn is_tenant(&self) -> bool {
        self.account.is_none()
    }

    /// Returns whether things of this account are the caller's to see.
    pub fn reaches(&self, account: AccountId) -> bool {
        self.account.is_none_or(|own| own == account)
    }

    const fn is_of(&self, audience: Audience) -> bool {
        match audience {
            Audience::Keys => self.is_tenant(),
            Audience::Clients => self.page.is_none(),
            Audience::Pages => true,
        }
    }
}

/// Returns who sent the API key or the token in the headers, if the endpoint serves them.
///
/// It comes as a Bearer token or as the password of Basic (RFC 7617); the user name is ignored.
pub(crate) async fn caller(
    app: &App,
    headers: &HeaderMap,
    audience: Audience,
) -> Result<Caller, Problem> {
    let secret = secret(headers).ok_or_else(Problem::unauthorized)?;
    let caller = match app.access.authenticate(&secret) {
        Some(caller) => Some(caller),
        None => token(app, &secret).await?,
    };
    let caller = caller.ok_or_else(Problem::unauthorized)?;
    if caller.is_of(audience) {
        Ok(caller)
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "A token of this kind does not serve here",
        ))
    }
}

/// Returns the hash by which a key or a token is kept.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn secret(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(rest.to_owned())
    } else if scheme.eq_ignore_ascii_case("basic") {
        password(rest)
    } else {
        None
    }
}

fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    text.split_once(':').map(|(_user, key)| key.to_owned())
}

/// Tokens are many and short-lived, so that they are looked up where they are kept.
async fn token(app: &App, secret: &str) -> Result<Option<Caller>, StoreError> {
    if !secret.starts_with(TOKEN_PREFIX) {
        return Ok(None);
    }
    let record = within(app.backend.token(hash(secret))).await?;
    let live = record.filter(|record| record.expires_at > app.clock.now());
    Ok(live.and_then(of_token))
}

fn of_token(record: TokenRecord) -> Option<Caller> {
    let page = match record.kind {
        // A link is good for its exchange and for nothing else.
        TokenKind::Connect => return None,
        TokenKind::Page => Some(Page {
            connection: record.connection,
            source: record.source,
        }),
        TokenKind::Client => None,
    };
    Some(Caller {
        tenant: record.tenant,
        actor: Actor::Person(record.account),
        account: Some(record.account),
        page,
    })
}

/// What every token that this server gives out begins with; no lookup is made for anything else.
pub(crate) const TOKEN_PREFIX: &str = "wst_";
