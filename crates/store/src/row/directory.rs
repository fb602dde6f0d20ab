//! Tenants, subscriptions and tokens.

use std::time::Duration;

use wellspring_core::{Pattern, SourceName, Stored, SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{
    Disabled, DisabledReason, StoreError, SubscriptionKind, Tenant, TokenKind,
};

use super::inconsistent;

/// How long a token is kept after its end.
pub(crate) const KEEP_TOKENS: Duration = Duration::from_secs(86_400);

/// Returns the text form of a tenant's settings.
pub(crate) fn settings_text(tenant: &Tenant) -> String {
    serde_json::to_string(&tenant.settings).unwrap_or_else(|_| "{}".to_owned())
}

/// Returns the tenant with the settings of their text form.
pub(crate) fn with_settings(tenant: Tenant, settings: &str) -> Result<Tenant, StoreError> {
    let settings = serde_json::from_str(settings)
        .map_err(|_error| inconsistent("tenants", "settings", &tenant.id))?;
    Ok(Tenant { settings, ..tenant })
}

/// Returns the text form of patterns, a JSON list of texts.
pub(crate) fn patterns_text(patterns: &[Pattern]) -> Result<String, serde_json::Error> {
    let patterns: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
    serde_json::to_string(&patterns)
}

/// Rebuilds patterns from their text form.
pub(crate) fn patterns(id: SubscriptionId, text: &str) -> Result<Vec<Pattern>, StoreError> {
    let broken = || inconsistent("subscriptions", "patterns", &id);
    let patterns: Vec<String> = serde_json::from_str(text).map_err(|_error| broken())?;
    let patterns = patterns.iter().map(|pattern| pattern.parse());
    let patterns: Result<_, wellspring_core::PatternError> = patterns.collect();
    patterns.map_err(|_error| broken())
}

/// Returns the number of what a subscription sends.
pub(crate) const fn subscription_kind_code(kind: SubscriptionKind) -> u8 {
    match kind {
        SubscriptionKind::Webhook => 1,
        SubscriptionKind::Documents => 2,
    }
}

/// Rebuilds from its number what a subscription sends.
pub(crate) fn subscription_kind(
    id: SubscriptionId,
    code: u8,
) -> Result<SubscriptionKind, StoreError> {
    match code {
        1 => Ok(SubscriptionKind::Webhook),
        2 => Ok(SubscriptionKind::Documents),
        _ => Err(inconsistent("subscriptions", "kind", &id)),
    }
}

/// Returns the number of why nothing is sent any more.
pub(crate) const fn disabled_code(reason: DisabledReason) -> u8 {
    match reason {
        DisabledReason::Gone => 1,
        DisabledReason::Failing => 2,
    }
}

/// Rebuilds from its columns why and since when nothing is sent any more.
pub(crate) fn disabled(
    id: SubscriptionId,
    reason: Option<u8>,
    at: Option<i64>,
) -> Result<Option<Disabled>, StoreError> {
    let reason = match (reason, at) {
        (None, None) => return Ok(None),
        (Some(1), Some(_)) => DisabledReason::Gone,
        (Some(2), Some(_)) => DisabledReason::Failing,
        (_, _) => return Err(inconsistent("subscriptions", "disabled", &id)),
    };
    let at = Timestamp::from_millis(at.unwrap_or_default());
    Ok(Some(Disabled { reason, at }))
}

/// Rebuilds from its number what a token is good for.
pub(crate) fn token_kind(tenant: TenantId, code: u8) -> Result<TokenKind, StoreError> {
    TokenKind::from_code(code).ok_or_else(|| inconsistent("tokens", "kind", &tenant))
}

/// Rebuilds the source that a token is for.
pub(crate) fn token_source(
    tenant: TenantId,
    source: Option<&str>,
) -> Result<Option<SourceName>, StoreError> {
    let source = source.map(str::parse).transpose();
    source.map_err(|_error| inconsistent("tokens", "source", &tenant))
}
