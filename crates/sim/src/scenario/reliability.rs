//! What does not count against anybody: being throttled, and maintenance.

use wellspring_core::connection::Reason;
use wellspring_core::reliability::Hundredths;
use wellspring_core::{AccountId, Error, Shard, Timestamp};
use wellspring_engine::{Notices, NotificationFilter, RunResult};

use super::*;
use crate::clock::BEGIN;

#[test]
fn a_source_that_throttles_is_waited_for_by_its_word_or_a_plan_and_that_is_no_failure() {
    let class = ErrorClass::RateLimitExceeded;
    let told = Timestamp::from_millis(BEGIN + 30 * MINUTE);
    let throttled = |at| vec![Act::End(failed(class, "http_429", at))];
    let mut stage = Stage::new(vec![throttled(Some(told)), throttled(None), vec![end()]]);
    let next = stage.link().connection.next().expect("a time");
    assert_eq!((next.at, next.reason), (told, Reason::RateLimit));
    assert_eq!(stage.link().connection.retries, 0);

    stage.run(29 * MINUTE);
    let again = stage.link().connection.next().expect("a time");
    assert_eq!(again.reason, Reason::RateLimit);
    let waits = again.at.since(told).as_secs();
    assert!((60..=301).contains(&waits), "{waits} s");
    assert_eq!(stage.link().connection.retries, 0);
    assert_eq!(stage.score(), None, "nothing counts yet");

    stage.run(6 * MINUTE);
    assert_eq!(stage.link().connection.state(), ConnectionState::Waiting);
    assert_eq!(stage.score(), Some(Hundredths(10_000)));
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn there_is_no_score_where_nothing_counts_and_what_is_partial_is_no_success() {
    let kept_out = vec![Act::End(failed(
        ErrorClass::BankMaintenance,
        "maintenance",
        None,
    ))];
    let error = Error {
        class: ErrorClass::ProductNotAvailable,
        code: "stream_failed".to_owned(),
        message: "one stream failed".to_owned(),
    };
    let partial = RunResult::Finished {
        partial: Some(error),
        unclassified: None,
    };
    let mut stage = Stage::new(vec![
        kept_out.clone(),
        kept_out,
        vec![Act::End(partial)],
        vec![end()],
    ]);
    let nobody = AccountId::mint_in(
        Timestamp::from_millis(BEGIN),
        Shard(0),
        stage.world.dice.rng(),
    );
    assert_eq!(stage.world.score_of(stage.tenant, nobody), None);
    assert_eq!(stage.score(), None, "maintenance alone counts for nothing");
    assert_eq!(stage.link().connection.retries, 0);

    stage.run(3 * HOUR);
    // Neither healthy nor successful.
    assert_eq!(stage.score(), Some(Hundredths(0)));
    assert_eq!(stage.told(), ["maintenance opened", "maintenance mended"]);

    stage.wish(Wish::Fetch);
    stage.run(MINUTE);
    assert_eq!(stage.score(), Some(Hundredths(8_000)));
    assert_eq!(stage.told().len(), 2, "nobody is told twice");
}

impl Stage {
    fn account(&self) -> AccountId {
        self.link().connection.account
    }

    fn score(&self) -> Option<Hundredths> {
        self.world.score_of(self.tenant, self.account())
    }

    /// Returns what the person was told, oldest first.
    fn told(&self) -> Vec<String> {
        let filter = NotificationFilter::default();
        let rows = self.world.store.notifications(self.account(), filter, 10);
        let rows = now(rows).expect("the memory store answers");
        let text = |row: &wellspring_engine::Notification, name: &str| {
            row.event[name].as_str().unwrap_or_default().to_owned()
        };
        let rows = rows.iter().rev();
        rows.map(|row| format!("{} {}", text(row, "reason"), text(row, "state")))
            .collect()
    }
}
