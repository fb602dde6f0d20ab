//! The conformance suite of blobs on PostgreSQL.

use wellspring_store::conformance::blobs as suite;
use wellspring_store::{PostgresBlobs, SealedBlobs};
use wellspring_vault::{MasterKey, Vault};

use super::harness::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_parts_conform() {
    let database = Postgres::new().await;
    let blobs = PostgresBlobs::new(database.store().await);
    suite::blobs_are_of_one_writer(&blobs).await;
    let vault = Vault::create(MasterKey::new([1; 32]), 0);
    let database = Postgres::new().await;
    let sealed = SealedBlobs::new(PostgresBlobs::new(database.store().await), vault);
    suite::blobs_read_back_whole_and_in_ranges(&sealed).await;
    let database = Postgres::new().await;
    let blobs = PostgresBlobs::new(database.store().await);
    suite::blobs_without_rows_are_swept(&blobs).await;
    suite::blobs_read_back_whole_and_in_ranges(&blobs).await;
}
