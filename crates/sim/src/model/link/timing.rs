//! When things are due, and what goes with a fetch, by the domain's own words.

use std::time::Duration;

use wellspring_core::connection::{Connection, Next, Reason, Slot};
use wellspring_core::schedule::phase_seed;
use wellspring_core::{Access, ErrorClass, Timestamp};

use super::Link;

/// When the schedule wants the next fetch.
pub(super) fn scheduled(connection: &Connection, at: Timestamp) -> Option<Next> {
    let mended = !matches!(connection.access, Access::ReauthRequired | Access::Revoked);
    if !mended || connection.config.paused {
        return None;
    }
    let seed = phase_seed(connection.id);
    let due = connection.config.schedule.next(at, at, seed)?;
    Some(Next {
        at: due,
        reason: Reason::Schedule,
    })
}

pub(super) fn forget(after: &mut Link) {
    after.slots.remove(&Slot::Resume);
    after.slots.remove(&Slot::Answer);
}

/// The source's own word counts; else the plan of the class does.
pub(super) fn wait_fits(
    due: Timestamp,
    at: Timestamp,
    told: Option<Timestamp>,
    class: ErrorClass,
) -> Result<(), String> {
    let fits = match (told, class.policy()) {
        (Some(told), _) => {
            let longest =
                if class == ErrorClass::RateLimitExceeded || class == ErrorClass::BankMaintenance {
                    31
                } else {
                    1
                };
            let latest = at.after(Duration::from_secs(longest * 86_400));
            due == told.max(at.after(Duration::from_secs(1))).min(latest)
        }
        (None, Some(plan)) => {
            let least = plan.base.min(plan.cap.mul_f64(0.79));
            at.after(least) <= due && due <= at.after(plan.cap)
        }
        (None, None) => false,
    };
    require(fits, "it is tried again at another time")
}

pub(super) fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
