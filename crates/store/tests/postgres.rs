//! The conformance suite on PostgreSQL, and what only a server with a network can do.

mod postgres {
    mod blobs;
    mod chaos;
    mod connections;
    mod faults;
    pub(crate) mod harness;
    mod nodes;
    mod rows;
    mod setup;
}

use postgres::harness::Postgres;

wellspring_store::conformance!(Postgres::new().await);
