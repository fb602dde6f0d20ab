//! How many calls a source takes in which time.

use std::time::Duration;

use serde_saphyr::Spanned;
use wellspring_core::budget::Window;

use super::fault::{self, Faults};
use super::file::WindowFile;

/// Reads the windows; `per_minute` is the short form of one.
pub(super) fn budget(
    per_minute: Option<&Spanned<String>>,
    windows: &[WindowFile],
    faults: &mut Faults,
) -> Vec<Window> {
    let short = per_minute.and_then(|value| {
        let calls = faults.read("per_minute", value, |text| {
            fault::number(text, 1, MAX_PER_MINUTE)
        });
        calls.map(|calls| Window { calls, per: MINUTE })
    });
    let mut budget: Vec<Window> = short.into_iter().collect();
    for window in windows {
        let calls = faults.read("budget.calls", &window.calls, |text| {
            fault::number(text, 1, MAX_CALLS)
        });
        let per = faults.read("budget.per", &window.per, |text| {
            let per = fault::duration(text, Some(LONGEST))?;
            if per < SHORTEST {
                return Err("must not be less than 1s".to_owned());
            }
            Ok(per)
        });
        let (Some(calls), Some(per)) = (calls, per) else {
            continue;
        };
        if budget.iter().any(|other| other.per == per) {
            let line = window.per.referenced.line();
            let reason = "`budget.per` has two windows of the same length".to_owned();
            faults.add(Some(line), reason);
        }
        budget.push(Window { calls, per });
    }
    budget
}

const MINUTE: Duration = Duration::from_secs(60);
const MAX_PER_MINUTE: u32 = 60_000;
const MAX_CALLS: u32 = 10_000_000;
/// Calls are late on their way by times that differ, so that a shorter window says nothing.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
