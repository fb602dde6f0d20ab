//! Messages to people against real counterparts: a mail server, a push service that decrypts, a gateway, a webhook.

mod browser;
mod email;
mod mail_server;
mod push;
mod sms;
mod support;
mod templates;
mod webhook;
