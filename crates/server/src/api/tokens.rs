//! `/v1/accounts/{a}/tokens`: links to the connect page, and tokens for clients.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::{AccountId, ConnectionId, SourceName, parse_duration};
use wellspring_engine::{StoreError, TokenKind, TokenRecord};

use crate::body::{self, BodyError, Fields, json};
use crate::idempotency::{self, Malformed, REPLAYED, Refusal};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::{App, within};
use crate::{Caller, auth, tokens};

/// What a token is to be good for.
// `Wanted::read` reads it by hand, so that every fault is found; this describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `connect`: a link to the page where a person connects or repairs; `client`: a token that sees this account only.
    #[serde(rename = "for")]
    purpose: String,
    /// The connection that the page repairs, in place.
    connection: Option<String>,
    /// The source that the page connects; without it the person picks one.
    source: Option<String>,
    /// Where the page sends the person back to: one of the settings' `return_urls`.
    return_url: Option<String>,
    /// How long it lives, such as `15m`: 30 minutes for a link and 15 for a client unless told, a day at most.
    expires_in: Option<String>,
}

/// A token; it is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenBody {
    /// The token: for a client, what goes into `Authorization: Bearer`.
    token: String,
    /// The link for the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it ends.
    expires_at: String,
}

/// Why no token is given.
#[derive(Debug)]
pub(crate) enum TokenError {
    Body(BodyError),
    MalformedKey(Malformed),
    Key(Refusal),
    NotFound,
    Invalid(Vec<Fault>),
    Store(StoreError),
    Answer(Problem),
}

/// Gives out a token for one account.
///
/// A link to the connect page is spent by the page itself, not by opening it.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/tokens", tag = "accounts", operation_id = "createToken",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same token, as long as it is kept"),
    ),
    request_body(content = TokenRequest, example = json!({"for": "connect", "source": "sandbox-bank", "return_url": "https://app.example.com/done"})),
    responses(
        (status = 201, description = "The token", body = TokenBody, headers(("Idempotent-Replayed" = String, description = "`true` where the key was used before"))),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such account"),
        (status = 422, description = "The body is not valid, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, TokenError> {
    let (mut parts, body) = request.into_parts();
    let account = account(&app, &caller, &mut parts).await?;
    let key = idempotency::hash(&parts.headers).map_err(TokenError::MalformedKey)?;
    let body = body::read(body).await.map_err(TokenError::Body)?;
    let wanted = Wanted::read(&app, &caller, account, &body).await?;
    let now = app.clock.now();
    let record = TokenRecord {
        // `give` knows the token.
        hash: [0; 32],
        tenant: caller.tenant,
        account,
        kind: wanted.kind,
        connection: wanted.connection,
        source: wanted.source,
        return_url: wanted.return_url,
        created_at: now,
        expires_at: now.after(wanted.lifetime),
        spent_at: None,
    };
    let given = give(&app, record, key).await?;
    answer(&app, given.token, &given.record, given.is_replay)
}

/// A token that was given out, now or before.
pub(crate) struct Given {
    /// The token.
    pub(crate) token: String,
    /// What is kept of it.
    pub(crate) record: TokenRecord,
    /// Whether it was given out before, under the same idempotency key.
    pub(crate) is_replay: bool,
}

/// Makes up a token that is good for what `wanted` says, whose hash is yet to be known.
pub(crate) async fn give(
    app: &App,
    wanted: TokenRecord,
    key: Option<[u8; 32]>,
) -> Result<Given, TokenError> {
    let token = key.map_or_else(tokens::mint, |key| {
        tokens::mint_for(app.access.vault(), wanted.tenant, &key)
    });
    let record = TokenRecord {
        hash: auth::hash(&token),
        ..wanted
    };
    if key.is_some()
        && let Some(before) = within(app.backend.token(record.hash)).await?
    {
        return if is_same(&before, &record) {
            Ok(Given {
                token,
                record: before,
                is_replay: true,
            })
        } else {
            Err(TokenError::Key(Refusal::Reused))
        };
    }
    within(app.backend.put_token(record.clone())).await?;
    Ok(Given {
        token,
        record,
        is_replay: false,
    })
}

fn answer(
    app: &App,
    token: String,
    record: &TokenRecord,
    replayed: bool,
) -> Result<Response, TokenError> {
    let is_link = record.kind == TokenKind::Connect;
    let url = is_link.then(|| format!("{}/connect/{token}", app.public_url));
    let body = TokenBody {
        token,
        url,
        expires_at: record.expires_at.to_string(),
    };
    let mut response = json(StatusCode::CREATED, &body).map_err(TokenError::Answer)?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Returns whether two requests under one idempotency key said the same.
fn is_same(before: &TokenRecord, now: &TokenRecord) -> bool {
    let lifetime =
        |record: &TokenRecord| record.expires_at.as_millis() - record.created_at.as_millis();
    let said = |record: &TokenRecord| TokenRecord {
        created_at: now.created_at,
        expires_at: now.expires_at,
        spent_at: None,
        ..record.clone()
    };
    said(before) == said(now) && lifetime(before) == lifetime(now)
}

/// Returns the account that the path names, if it is the tenant's.
async fn account(app: &App, caller: &Caller, parts: &mut Parts) -> Result<AccountId, TokenError> {
    let text = Path::<String>::from_request_parts(parts, &()).await;
    let id = text.ok().and_then(|Path(text)| text.parse().ok());
    let id: AccountId = id.ok_or(TokenError::NotFound)?;
    let account = within(app.backend.account(caller.tenant, id)).await?;
    account
        .map(|account| account.id)
        .ok_or(TokenError::NotFound)
}

/// What was asked for.
#[derive(Debug)]
struct Wanted {
    kind: TokenKind,
    connection: Option<ConnectionId>,
    source: Option<SourceName>,
    return_url: Option<String>,
    lifetime: Duration,
}

impl Wanted {
    async fn read(
        app: &App,
        caller: &Caller,
        account: AccountId,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        let mut faults = Vec::new();
        let mut fields = Fields::read(body, &mut faults).map_err(TokenError::Body)?;
        let kind = match fields.take("for", &mut faults) {
            Some(Value::String(text)) if text == "connect" => TokenKind::Connect,
            Some(Value::String(text)) if text == "client" => TokenKind::Client,
            Some(_) | None => {
                faults.push(Fault::at("/for", "must be `connect` or `client`"));
                TokenKind::Connect
            }
        };
        let mut text = |name: &'static str| take_text(&mut fields, name, &mut faults);
        let (connection, source) = (text("connection"), text("source"));
        let (return_url, expires_in) = (text("return_url"), text("expires_in"));
        fields.finish(&mut faults);
        if kind == TokenKind::Client {
            for (place, given) in [
                ("/connection", &connection),
                ("/source", &source),
                ("/return_url", &return_url),
            ] {
                if given.is_some() {
                    faults.push(Fault::at(place, "is for links to the connect page only"));
                }
            }
        }
        let connection = match connection {
            Some(text) => {
                let found = find_connection(app, caller, account, &text).await?;
                if found.is_none() {
                    faults.push(Fault::at("/connection", "is no connection of this account"));
                }
                if source.is_some() {
                    let detail = "does not go with `connection`, which has one already";
                    faults.push(Fault::at("/source", detail));
                }
                found
            }
            None => None,
        };
        let source = source.and_then(|text| {
            let name = text.parse::<SourceName>().ok();
            let known = name.filter(|name| app.intake.knows(name));
            if known.is_none() {
                faults.push(Fault::at("/source", "is no source that is configured"));
            }
            known
        });
        if let Some(url) = &return_url
            && !app.access.settings(caller.tenant).return_urls.contains(url)
        {
            let detail = "is none of the `return_urls` in the settings";
            faults.push(Fault::at("/return_url", detail));
        }
        let lifetime = lifetime(kind, expires_in.as_deref(), &mut faults);
        if !faults.is_empty() {
            return Err(TokenError::Invalid(faults));
        }
        Ok(Self {
            kind,
            connection,
            source,
            return_url,
            lifetime,
        })
    }
}

fn take_text(fields: &mut Fields, name: &'static str, faults: &mut Vec<Fault>) -> Option<String> {
    match fields.take(name, faults)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            faults.push(Fault::at(body::pointer("", name), "must be a string"));
            None
        }
    }
}

async fn find_connection(
    app: &App,
    caller: &Caller,
    account: AccountId,
    text: &str,
) -> Result<Option<ConnectionId>, StoreError> {
    let Ok(id) = text.parse::<ConnectionId>() else {
        return Ok(None);
    };
    let connection = within(app.backend.connection(caller.tenant, id)).await?;
    let own = connection.filter(|connection| connection.account == account);
    Ok(own.map(|connection| connection.id))
}

fn lifetime(kind: TokenKind, text: Option<&str>, faults: &mut Vec<Fault>) -> Duration {
    let default = match kind {
        TokenKind::Connect | TokenKind::Page => LINK,
        TokenKind::Client => CLIENT,
    };
    let Some(text) = text else {
        return default;
    };
    match parse_duration(text) {
        Ok(lifetime) if lifetime < SHORTEST => {
            faults.push(Fault::at("/expires_in", "must be at least 1m"));
            default
        }
        Ok(lifetime) if lifetime > LONGEST => {
            faults.push(Fault::at("/expires_in", "must be at most 24h"));
            default
        }
        Ok(lifetime) => lifetime,
        Err(detail) => {
            faults.push(Fault::at("/expires_in", detail));
            default
        }
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Body(error) => error.into(),
            TokenError::MalformedKey(error) => error.into(),
            TokenError::Key(refusal) => refusal.into(),
            TokenError::NotFound => Self::not_found("There is no such account"),
            TokenError::Invalid(faults) => Self::invalid(faults),
            TokenError::Store(error) => error.into(),
            TokenError::Answer(problem) => problem,
        }
    }
}

const LINK: Duration = Duration::from_secs(30 * 60);
const CLIENT: Duration = Duration::from_secs(15 * 60);
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);
