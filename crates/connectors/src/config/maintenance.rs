//! When a source is worked on, as its file announces it.

use serde_saphyr::Spanned;
use wellspring_core::source::{Announced, Written};

use super::fault::Faults;

/// Reads the windows; a faulty one is left out.
pub(super) fn maintenance(windows: &[Spanned<Written>], faults: &mut Faults) -> Vec<Announced> {
    let read = windows.iter().filter_map(|window| {
        let line = window.referenced.line();
        faults.unless("maintenance", line, window.value.clone().try_into())
    });
    read.collect()
}
