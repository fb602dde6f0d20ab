//! Failures that no rule matched.

use wellspring_core::{SourceName, UnclassifiedId};
use wellspring_engine::{MOST_UNCLASSIFIED, UnclassifiedView, UnclassifiedWrite};

use super::Image;

impl Image {
    pub(super) fn apply_unclassified(&mut self, writes: &[UnclassifiedWrite]) {
        for write in writes {
            if let Some(kept) = self.unclassified.get_mut(&write.digest) {
                kept.count += u64::from(write.count);
                kept.last_at = kept.last_at.max(write.last_at);
                continue;
            }
            let of_source = self.unclassified.values();
            let of_source = of_source.filter(|kept| kept.kept.source == write.kept.source);
            if of_source.count() < MOST_UNCLASSIFIED {
                let view = UnclassifiedView {
                    id: write.id,
                    kept: write.kept.clone(),
                    count: write.count.into(),
                    first_at: write.first_at,
                    last_at: write.last_at,
                };
                self.unclassified.insert(write.digest, view);
            }
        }
    }

    pub(super) fn listed_unclassified(
        &self,
        source: Option<&SourceName>,
        before: Option<UnclassifiedId>,
        limit: usize,
    ) -> Vec<UnclassifiedView> {
        let wanted = |view: &&UnclassifiedView| {
            source.is_none_or(|of| *of == view.kept.source) && before.is_none_or(|id| view.id < id)
        };
        let mut views: Vec<_> = self.unclassified.values().filter(wanted).cloned().collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.id));
        views.truncate(limit);
        views
    }

    pub(super) fn forget_unclassified(&mut self, id: UnclassifiedId) -> bool {
        let before = self.unclassified.len();
        self.unclassified.retain(|_, view| view.id != id);
        self.unclassified.len() < before
    }
}
