//! The conformance suite of blobs on PostgreSQL.

use wellspring_engine::Blobs;
use wellspring_store::conformance::blobs as suite;
use wellspring_store::{PostgresBlobs, SealedBlobs};
use wellspring_vault::{MasterKey, Vault};

use super::harness::Postgres;

async fn conform(seal: impl Fn(PostgresBlobs) -> Box<dyn Blobs>) {
    let blobs = async |database: &Postgres| seal(PostgresBlobs::new(&database.store().await));
    let database = Postgres::new().await;
    suite::blobs_are_of_one_writer(blobs(&database).await.as_ref()).await;
    let database = Postgres::new().await;
    suite::blobs_read_back_whole_and_in_ranges(blobs(&database).await.as_ref()).await;
    let database = Postgres::new().await;
    suite::blobs_without_rows_are_swept(blobs(&database).await.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_parts_conform() {
    conform(|blobs| Box::new(blobs)).await;
    let vault = Vault::create(MasterKey::new([1; 32]), 0);
    conform(|blobs| Box::new(SealedBlobs::new(blobs, vault.clone()))).await;
}
