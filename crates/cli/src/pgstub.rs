#[derive(Default)]
pub(crate) struct PostgresOptions;
pub(crate) struct PostgresStore;
impl PostgresStore {
    pub(crate) const SCHEMA: u32 = 0;
    pub(crate) async fn connect(_: &str, _: PostgresOptions) -> Result<wellspring_store::MemoryStore, wellspring_engine::StoreError> {
        Err(wellspring_engine::StoreError::Refused(String::new()))
    }
}
