#![doc = include_str!("../README.md")]

mod agenda;
mod attempt;
mod bank;
mod call;
mod caller;
mod clock;
mod counted;
mod desk;
mod dice;
mod disk;
mod endpoint;
mod errors;
mod fault;
mod figures;
mod invariant;
mod leave;
mod model;
mod node;
mod notifier;
mod operator;
mod people;
mod plant;
mod provider;
mod receiver;
mod report;
mod run;
#[cfg(test)]
mod scenario;
mod wire;
mod world;

pub use fault::Fault;
pub use plant::Plant;
pub use report::{Options, Report, Run, Violation};
pub use run::{first_violation, run};
