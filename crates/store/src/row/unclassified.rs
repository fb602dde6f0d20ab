//! Failures that no rule matched.

use std::time::Duration;

use wellspring_core::{Timestamp, Unclassified, UnclassifiedId};
use wellspring_engine::{StoreError, UnclassifiedView};

use super::inconsistent;

/// The columns of a kind of failure as the databases hold them.
#[derive(Debug)]
pub(crate) struct UnclassifiedRow {
    pub(crate) id: [u8; 16],
    pub(crate) body: String,
    pub(crate) count: i64,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
}

/// Rebuilds a kind of failure from its columns.
pub(crate) fn unclassified(row: &UnclassifiedRow) -> Result<UnclassifiedView, StoreError> {
    let id = UnclassifiedId::from_bytes(row.id);
    let broken = |column| inconsistent("unclassified", column, &id);
    Ok(UnclassifiedView {
        id,
        kept: serde_json::from_str(&row.body).map_err(|_error| broken("body"))?,
        count: u64::try_from(row.count).map_err(|_error| broken("count"))?,
        first_at: Timestamp::from_millis(row.first_at),
        last_at: Timestamp::from_millis(row.last_at),
    })
}

/// Returns what is kept of a failure as text.
pub(crate) fn unclassified_body(kept: &Unclassified) -> serde_json::Result<String> {
    serde_json::to_string(kept)
}

/// How long a kind of failure is kept after its last.
pub(crate) const KEEP_UNCLASSIFIED: Duration = Duration::from_secs(30 * 86_400);
