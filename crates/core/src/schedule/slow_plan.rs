//! The gaps between fetches that fail.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{format_duration, parse_duration};

/// Why something is not a slow plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SlowPlanError {
    /// There is no gap, or there are too many.
    #[error("a plan has 1 to 20 gaps, this one has {0}")]
    Length(usize),
    /// A gap, counted from 1, is not a duration.
    #[error("gap {0}: {1}")]
    Gap(usize, String),
    /// A gap, counted from 1, is zero or too long.
    #[error("gap {0}: `{1}` is not between 1ms and 8784h (366 days)")]
    Range(usize, String),
}

/// How long after each failed fetch the next one comes; after the last gap there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct SlowPlan(Vec<Duration>);

impl SlowPlan {
    /// Takes the gaps in order.
    ///
    /// # Errors
    ///
    /// When there are none or more than 20, or one is zero or longer than 366 days.
    pub fn new(gaps: Vec<Duration>) -> Result<Self, SlowPlanError> {
        if !(1..=MOST_GAPS).contains(&gaps.len()) {
            return Err(SlowPlanError::Length(gaps.len()));
        }
        for (number, gap) in (1..).zip(&gaps) {
            if !(Duration::from_millis(1)..=super::LONGEST).contains(gap) {
                return Err(SlowPlanError::Range(number, format_duration(*gap)));
            }
        }
        Ok(Self(gaps))
    }

    /// Returns the gap after failed fetch number `retries`, or `None` when that one was the last.
    ///
    /// Nothing has failed at 0, which gets what 1 gets.
    pub fn gap(&self, retries: u8) -> Option<Duration> {
        self.0.get(usize::from(retries.saturating_sub(1))).copied()
    }

    /// Returns all gaps in order.
    pub fn gaps(&self) -> &[Duration] {
        &self.0
    }
}

impl Default for SlowPlan {
    fn default() -> Self {
        Self(
            [2, 24, 24, 24]
                .map(|hours| Duration::from_secs(hours * 3_600))
                .to_vec(),
        )
    }
}

impl TryFrom<Vec<String>> for SlowPlan {
    type Error = SlowPlanError;

    fn try_from(written: Vec<String>) -> Result<Self, SlowPlanError> {
        let gaps = (1..)
            .zip(&written)
            .map(|(number, text)| {
                parse_duration(text).map_err(|detail| SlowPlanError::Gap(number, detail))
            })
            .collect::<Result<_, _>>()?;
        Self::new(gaps)
    }
}

impl From<SlowPlan> for Vec<String> {
    fn from(plan: SlowPlan) -> Self {
        plan.0.into_iter().map(format_duration).collect()
    }
}

const MOST_GAPS: usize = 20;
