//! The dispatcher inside its driver: changes in, messages out, over a model of a store.

mod bench;
mod endpoints;
mod live;
mod model;
mod random;
mod wishes;
