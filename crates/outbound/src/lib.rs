#![doc = include_str!("../README.md")]

mod client;
mod connect;
mod error;
mod policy;
mod resolve;
mod target;

pub use client::{Client, ClientError, ClientOptions, Request, Response};
pub use error::{SendError, TimeoutPhase};
pub use policy::AddressPolicy;
pub use resolve::{Resolution, check_resolves};
pub use target::{Target, TargetError};
