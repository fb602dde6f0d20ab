//! The endpoints, by noun.

pub(crate) mod callback_secret;
pub(crate) mod changes;
pub(crate) mod collect;
pub(crate) mod deliveries;
pub(crate) mod settings;
pub(crate) mod stream;
pub(crate) mod subscriptions;
pub(crate) mod tokens;
