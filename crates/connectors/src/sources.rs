use std::collections::BTreeMap;
use std::sync::Arc;

use wellspring_core::SourceName;
use wellspring_engine::{Source, SourceTable};

use crate::SourceConfig;

/// All configured sources at one time.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    by_name: BTreeMap<SourceName, Arc<SourceConfig>>,
}

impl Sources {
    /// Collects sources; a later one of the same name replaces an earlier one.
    pub fn new(sources: impl IntoIterator<Item = SourceConfig>) -> Self {
        let by_name = sources
            .into_iter()
            .map(|source| (source.name.clone(), Arc::new(source)));
        Self {
            by_name: by_name.collect(),
        }
    }

    /// Returns the source of this name.
    pub fn get(&self, name: &SourceName) -> Option<&Arc<SourceConfig>> {
        self.by_name.get(name)
    }

    /// Iterates over the sources in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SourceConfig>> {
        self.by_name.values()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns what the driver needs of them.
    pub fn table(&self) -> SourceTable {
        SourceTable::new(self.iter().map(|source| Source {
            name: source.name.clone(),
            policy: source.policy,
            concurrency: source.concurrency,
            budget: Arc::clone(&source.budget),
            limits: Arc::clone(&source.limits),
            connections: source.connections.clone(),
            maintenance: Arc::clone(&source.maintenance),
            backlog_alert: source.backlog_alert,
        }))
    }
}
