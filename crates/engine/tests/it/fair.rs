//! Who is next at a source: tenants in turn, what somebody waits for before what is scheduled, and
//! age where age decides.

use std::time::Duration;

use wellspring_core::connection::{Next, State};
use wellspring_core::{Actor, CollectionId, ErrorClass, Phase, Reason, TenantId, Timestamp};
use wellspring_engine::{Action, Aggregate, Limits, Live, Request, Source, Wish};

use crate::bench::{Bench, HOUR, NOW, SECOND, SOURCE, connection, lane, source};

#[test]
fn tenants_take_turns_whoever_has_most_waiting() {
    let mut bench = bench(1, &[]);
    // The first tenant's have waited longest, all of them.
    let mut rows = vec![];
    for number in 0..30 {
        rows.push(bench.resting(1, number, HOUR * 9 - SECOND * number.into()));
    }
    for number in 0..3 {
        rows.push(bench.resting(2, number, HOUR));
        rows.push(bench.resting(3, number, SECOND));
    }
    bench.scan(rows);

    let order = bench.run_all();

    assert_eq!(order.len(), 36);
    let tenants: Vec<u8> = order.iter().map(|(tenant, _)| *tenant).collect();
    // The first had its slot before anybody else was known to wait.
    assert_eq!(tenants[1..10], [2, 3, 1, 2, 3, 1, 2, 3, 1]);
    assert!(tenants[10..].iter().all(|tenant| *tenant == 1));
    let firsts = order.iter().filter(|(tenant, _)| *tenant == 1);
    let firsts: Vec<u8> = firsts.map(|(_, number)| *number).collect();
    assert_eq!(firsts, (0..30).collect::<Vec<_>>(), "each its oldest first");
}

#[test]
fn what_a_person_asks_for_goes_before_what_is_scheduled() {
    let mut bench = bench(1, &[]);
    let rows = (0..20).map(|number| bench.resting(1, number, HOUR));
    let rows: Vec<Live> = rows.collect();
    bench.scan(rows);
    let later = bench.resting(2, 99, Duration::ZERO);
    let Aggregate::Connection(id) = later.id else {
        unreachable!("a connection");
    };
    let at = NOW.after(HOUR * 24);
    bench.connections.get_mut(&id).unwrap().state = waiting(at);
    bench.scan(vec![Live {
        due: at,
        since: at,
        ..later
    }]);

    bench.request(Request::Connection {
        id,
        tenant: tenant(2),
        wish: Wish::Fetch,
        actor: Actor::Operator,
    });
    bench.commit_all();

    let order = bench.run_all();
    assert_eq!(order.len(), 21);
    assert_eq!(order[1], (2, 99), "after the one that was under way");
}

#[test]
fn the_scan_says_who_is_awaited_and_schedules_do_not_starve() {
    let mut bench = bench(1, &[]);
    let mut rows = vec![];
    for number in 0..4 {
        rows.push(bench.resting(1, number, HOUR));
    }
    for number in 0..40 {
        rows.push(bench.made(2, number));
    }
    bench.scan(rows);

    let order = bench.run_all();

    let turns = |wanted: u8| {
        let turns = order.iter().enumerate();
        let turns = turns.filter(move |(_, (tenant, _))| *tenant == wanted);
        turns.map(|(turn, _)| turn).collect::<Vec<_>>()
    };
    assert_eq!(order.len(), 44);
    let (scheduled, awaited) = (turns(1), turns(2));
    // The first one waited for nobody.
    let gaps = scheduled.windows(2).map(|pair| pair[1] - pair[0]);
    assert_eq!(gaps.collect::<Vec<_>>(), [8; 3], "{scheduled:?}");
    assert!(awaited[..7].iter().all(|turn| *turn < 9), "{awaited:?}");
}

#[test]
fn a_probe_is_who_has_waited_longest_whoever_has_the_turn() {
    let mut bench = bench(8, &[]);
    let mut rows = vec![];
    for number in 0..60 {
        let waits = HOUR - SECOND * number.into();
        rows.push(bench.resting(1 + number % 2, number, waits));
    }
    // The oldest of all is the third tenant's, who is never first in turn.
    bench.scan(rows);
    while bench.lane_phase() == Phase::Closed {
        bench.now = bench.now.after(SECOND);
        bench.fail();
    }
    while !bench.runs.is_empty() {
        bench.fail();
    }
    let oldest = bench.resting(3, 99, HOUR * 2);
    bench.scan(vec![oldest]);
    assert!(bench.runs.is_empty());

    bench.forward(HOUR);

    let (_, probe) = bench.runs.pop_front().unwrap();
    assert_eq!(Aggregate::Connection(probe.connection), oldest.id);
    assert!(bench.runs.is_empty(), "one probe at a time");
}

#[test]
fn what_waits_too_long_is_given_up_by_age_whosever_it_is() {
    let window = serde_json::json!({
        "from": NOW.to_string(), "to": NOW.after(HOUR * 200).to_string(),
    });
    let mut bench = bench(8, &[&window.to_string()]);
    let policy = wellspring_core::CollectionPolicy::default();
    let mut rows = vec![];
    for number in 0..30 {
        let mut id = [number; 16];
        id[15] = 1;
        let since = NOW.after(SECOND * number.into());
        rows.push(Live {
            id: Aggregate::Collection(CollectionId::from_bytes(id)),
            due: NOW,
            since,
            lane: lane(),
            tenant: tenant(number % 7),
            awaited: false,
        });
    }
    let ids: Vec<Aggregate> = rows.iter().map(|row| row.id).collect();
    bench.scan(rows);

    bench.forward(policy.give_up_after + SECOND * 9);

    assert_eq!(bench.asked, ids[..10]);
    bench.forward(SECOND * 20);
    assert_eq!(bench.asked, ids);
    assert!(bench.runs.is_empty());
}

fn bench(concurrency: u32, maintenance: &[&str]) -> Bench {
    let windows = maintenance.iter();
    let windows = windows.map(|json| serde_json::from_str(json).unwrap());
    let source = Source {
        maintenance: windows.collect(),
        backlog_alert: HOUR * 1_000,
        ..source(SOURCE, concurrency)
    };
    // Not the first shard: sources are stepped there, which is another matter.
    Bench::new([source], &[1], Limits::default(), |action| {
        matches!(
            action,
            Action::Resolve(_) | Action::Fetch(..) | Action::Deliver(..) | Action::Fenced
        )
    })
}

impl Bench {
    /// A connection whose schedule was due so long ago.
    fn resting(&mut self, tenant: u8, number: u8, waits: Duration) -> Live {
        let mut made = connection(self::tenant(tenant), number, 1);
        made.state = waiting(NOW.before(waits));
        self.keep(made)
    }

    /// A connection that was made just now.
    fn made(&mut self, tenant: u8, number: u8) -> Live {
        self.keep(connection(self::tenant(tenant), number, 1))
    }

    /// Ends one attempt after another; returns whose they were, and which.
    fn run_all(&mut self) -> Vec<(u8, u8)> {
        let mut order = vec![];
        while let Some((_, run)) = self.runs.front() {
            order.push((run.tenant.as_bytes()[0], run.connection.as_bytes()[1]));
            self.end(None);
        }
        order
    }

    /// Ends the oldest attempt as one that did not reach the source.
    fn fail(&mut self) {
        self.end(Some(ErrorClass::ConnectionFailure));
    }

    fn lane_phase(&self) -> Phase {
        self.driver.lanes().remove(0).breaker
    }
}

fn waiting(at: Timestamp) -> State {
    let reason = Reason::Schedule;
    State::Waiting {
        next: Some(Next { at, reason }),
    }
}

const fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}
