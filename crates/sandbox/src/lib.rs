#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod answer;
mod bank;
mod control;
mod gate;
mod limit;
mod providers;
mod receiver;
mod sandbox;
mod serve;

pub use control::{
    BankCounts, BankSettings, Budget, BudgetWindow, Control, Counts, Outage, RateLimit, Settings,
    Tells, WindowCount,
};
pub use providers::Source;
pub use receiver::{
    Answer, Behaviour, Delivery, DeliveryRecord, KeyError, OnDelivery, Part, Receiver,
    ReceiverCounts, ReceiverHandle, VerifyingKey,
};
pub use sandbox::Sandbox;
