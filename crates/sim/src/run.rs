//! Running seeds.

use crate::errors::Errors;
use crate::world::World;
use crate::{Options, Run};

/// Runs one seed, alone on this thread; the same options give the same run.
pub fn run(options: Options) -> Run {
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || World::new(options, errors).run())
}

/// Runs the seeds of `options` from its own on, `count` of them, up to the first that fails.
pub fn first_violation(options: Options, count: u64) -> Option<(u64, Run)> {
    (options.seed..options.seed.saturating_add(count)).find_map(|seed| {
        let run = run(Options { seed, ..options });
        run.violation.is_some().then_some((seed, run))
    })
}
