#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod callbacks;
mod deliveries;
mod documents;
mod failure;
mod notices;
mod post;
mod secrets;
mod traced;
mod webhooks;

pub use callbacks::{CallbackOptions, Callbacks};
pub use deliveries::{Deliveries, DeliveryOptions, DeliveryParts};
pub use documents::{DocumentFiles, FileError, StoredFiles};
pub use notices::{
    EmailError, EmailOptions, Letter, NoticeError, NoticeOptions, NoticeParts, Notices, PushError,
    PushOptions, Security, SmsBody, SmsError, SmsOptions, TemplateError, Templates, Words,
};
pub use secrets::Secrets;
pub use wellspring_vault::{SecretError, SigningSecret};
