#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod callbacks;
mod secret;

pub use callbacks::{CallbackOptions, Callbacks};
pub use secret::{SecretError, Secrets, SigningSecret};
