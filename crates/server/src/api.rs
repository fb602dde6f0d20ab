//! The endpoints, by noun.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod callback_secret;
pub(crate) mod changes;
pub(crate) mod collect;
pub(crate) mod connections;
pub(crate) mod deliveries;
pub(crate) mod documents;
pub(crate) mod health;
pub(crate) mod incidents;
pub(crate) mod notifications;
pub(crate) mod reliability;
pub(crate) mod seats;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod statistics;
pub(crate) mod stream;
pub(crate) mod subscriptions;
pub(crate) mod tokens;
pub(crate) mod unclassified;
