//! The endpoints, by noun.

pub(crate) mod callback_secret;
pub(crate) mod changes;
pub(crate) mod collect;
pub(crate) mod settings;
pub(crate) mod tokens;
