//! Pretend sources: they answer, fail, throttle, rest and go away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wellspring_core::budget;
use wellspring_core::interaction::CredentialField;
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::source::{Announced, Recurring, When};
use wellspring_core::{
    CollectionId, CollectionPolicy, Error, ErrorClass, RetryPolicy, SourceName, Timestamp,
};
use wellspring_engine::{ConnectionDefaults, FetchResult, Source};

use crate::clock::{MINUTE, SECOND};
use crate::dice::Dice;
use crate::figures::Figures;
use crate::wire;

/// One pretend source.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) source: Source,
    pub(crate) down: Window,
    pub(crate) throttling: Window,
    /// Whether a throttling answer says when to come back.
    pub(crate) says_when: bool,
    pub(crate) maintenance: Window,
    /// How many calls in a thousand fail when all is well.
    pub(crate) failing: u32,
    /// What it says of its own count, if it does.
    pub(crate) figures: Option<Figures>,
    calls: u64,
}

/// From when until when.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Window {
    pub(crate) const fn contains(self, now: i64) -> bool {
        self.from <= now && now < self.until
    }
}

impl Provider {
    /// Returns all sources; what their connectors may call, and what others spend from them, is
    /// drawn by dice of their own.
    pub(crate) fn all(dice: &mut Dice, mut calls: Dice, mut others: Dice) -> Vec<Self> {
        let gas = CollectionPolicy::default();
        let internet = CollectionPolicy {
            collect: policy(5, 2.0, 300, 20),
            deliver: policy(5, 2.0, 300, 20),
            give_up_after: Duration::from_secs(6 * 3_600),
        };
        let bank = CollectionPolicy {
            collect: policy(20, 1.5, 120, 30),
            deliver: policy(20, 1.5, 120, 30),
            give_up_after: Duration::from_secs(20 * 60),
        };
        let connected = CollectionPolicy::default();
        let sources = [
            ("gas", gas, false),
            ("internet", internet, false),
            ("bank", bank, false),
            ("house-bank", connected, true),
            ("telephone", connected, true),
        ];
        sources
            .into_iter()
            .filter_map(|(name, policy, connected)| {
                let maintenance = maintenance(name);
                let name: SourceName = name.parse().ok()?;
                let concurrency = u32::try_from(dice.between(1, 8)).unwrap_or(1);
                let limits_of_calls = connected.then(|| call_limits(&mut calls));
                let budget = windows(dice);
                let figures = Figures::draw(&budget, &mut others).filter(|_| !connected);
                Some(Self {
                    source: Source {
                        name,
                        policy,
                        concurrency,
                        budget,
                        connections: connected.then(defaults),
                        maintenance,
                        limits: limits_of_calls.unwrap_or_else(|| limits(dice)),
                        backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
                    },
                    down: Window::default(),
                    throttling: Window::default(),
                    says_when: false,
                    maintenance: Window::default(),
                    failing: u32::try_from(dice.between(0, 250)).unwrap_or(0),
                    figures,
                    calls: 0,
                })
            })
            .collect()
    }

    /// Puts everything right for good.
    pub(crate) fn mend(&mut self) {
        self.down = Window::default();
        self.throttling = Window::default();
        self.maintenance = Window::default();
        self.failing = 0;
        self.figures = None;
    }

    /// Answers a call made at `now`; `clock` is what the calling node takes the time to be.
    pub(crate) fn answer(
        &mut self,
        now: i64,
        clock: Timestamp,
        id: CollectionId,
        dice: &mut Dice,
    ) -> (FetchResult, i64) {
        self.calls += 1;
        if self.down.contains(now) {
            let latency = if dice.permille(500) {
                dice.between(5, 300)
            } else {
                dice.between(5 * SECOND, 15 * SECOND)
            };
            let (class, code) = (ErrorClass::ConnectionFailure, "connect");
            return (failed(class, code, None), latency);
        }
        let latency = latency(dice);
        if self.throttling.contains(now) {
            let when = self
                .says_when
                .then(|| clock.after(Duration::from_secs(30 + dice.seed() % 600)));
            return (
                failed(ErrorClass::RateLimitExceeded, "http_429", when),
                latency,
            );
        }
        if self.maintenance.contains(now) {
            return (
                failed(ErrorClass::BankMaintenance, "maintenance", None),
                latency,
            );
        }
        if dice.permille(self.failing) {
            let (class, code) = if dice.permille(400) {
                wire::junk(&self.source.name, dice)
            } else {
                dice.pick(&FAILURES).unwrap_or(FAILURES[0])
            };
            return (failed(class, code, None), latency);
        }
        let body = format!(
            "{{\"id\":\"{id}\",\"source\":\"{}\",\"call\":{}}}",
            self.source.name, self.calls
        );
        (FetchResult::Fetched(Bytes::from(body)), latency)
    }
}

/// What a source says about its connections.
fn defaults() -> ConnectionDefaults {
    let field = CredentialField {
        id: "password".to_owned(),
        label: "Password".to_owned(),
        sensitive: true,
        optional: false,
    };
    ConnectionDefaults {
        schedule: Schedule::Every(Duration::from_secs(86_400)),
        slow_plan: SlowPlan::default(),
        credential_fields: Arc::from([field]),
        attempts: None,
    }
}

/// Mostly quick, sometimes close to the deadline.
pub(crate) fn latency(dice: &mut Dice) -> i64 {
    if dice.permille(60) {
        dice.between(SECOND, 14 * SECOND)
    } else {
        dice.between(3, 800)
    }
}

fn failed(class: ErrorClass, code: &str, retry_at: Option<Timestamp>) -> FetchResult {
    let error = Error {
        class,
        code: code.to_owned(),
        message: format!("the pretend source answered with {code}"),
    };
    FetchResult::Failed {
        error,
        retry_at,
        unclassified: None,
    }
}

fn policy(base: u64, factor: f64, cap: u64, max_retries: u16) -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_secs(base),
        factor,
        cap: Duration::from_secs(cap),
        max_retries,
        jitter: true,
    }
}

/// How long throttling and maintenance last.
pub(crate) fn spell(dice: &mut Dice) -> i64 {
    dice.between(MINUTE, 120 * MINUTE)
}

const FAILURES: [(ErrorClass, &str); 9] = [
    (ErrorClass::ConnectionFailure, "http_500"),
    (ErrorClass::ConnectionFailure, "timeout"),
    (ErrorClass::InstitutionError, "http_502"),
    (ErrorClass::ItemError, "item"),
    (ErrorClass::UnknownError, "junk"),
    (ErrorClass::ProductNotAvailable, "http_404"),
    (ErrorClass::AuthenticationError, "http_401"),
    (ErrorClass::InvalidRequest, "http_400"),
    (ErrorClass::InternalError, "connector_panicked"),
];

/// Returns when a source announces that it is worked on.
fn maintenance(name: &str) -> Arc<[Announced]> {
    let every = match name {
        "gas" => Recurring::new("Wed,Sun 22:00-00:30", Some("Europe/Berlin")),
        "telephone" => Recurring::new("daily 03:00-04:00", None),
        _ => return Arc::default(),
    };
    let windows = every.into_iter().map(|every| Announced {
        when: When::Every(every),
        reason: None,
    });
    windows.collect()
}

/// What each tenant may have of a source of collections.
fn limits(dice: &mut Dice) -> Arc<[budget::Limit]> {
    let limited = dice.permille(300);
    let calls = u32::try_from(dice.between(1, 10)).unwrap_or(1);
    let limit = budget::Limit {
        scope: budget::Scope::Tenant,
        endpoint: None,
        windows: [budget::Window {
            calls,
            per: Duration::from_secs(60),
        }]
        .into(),
    };
    limited.then_some(limit).into_iter().collect()
}

/// What a source takes of the calls that attempts on connections make.
fn call_limits(dice: &mut Dice) -> Arc<[budget::Limit]> {
    let drawn = if dice.permille(600) {
        LIMITS.as_slice()
    } else {
        &[]
    };
    let limits = drawn
        .iter()
        .filter_map(|(chance, scope, endpoint, windows)| {
            let windows = windows.iter().map(|(least, most, per)| budget::Window {
                calls: u32::try_from(dice.between(*least, *most)).unwrap_or(1),
                per: Duration::from_secs(*per),
            });
            let windows = windows.collect();
            dice.permille(*chance).then(|| budget::Limit {
                scope: *scope,
                endpoint: endpoint.map(Arc::from),
                windows,
            })
        });
    limits.collect()
}

/// What a source takes: as much as comes, or so many calls a minute, or an hour and a day as well.
fn windows(dice: &mut Dice) -> Arc<[budget::Window]> {
    let limited = dice.permille(500);
    let mut windows = Vec::new();
    for (per, least, most) in [(60, 1, 20), (3_600, 60, 300), (86_400, 1_500, 5_000)] {
        if limited && (per == 60 || dice.permille(300)) {
            windows.push(budget::Window {
                calls: u32::try_from(dice.between(least, most)).unwrap_or(1),
                per: Duration::from_secs(per),
            });
        }
    }
    windows.into()
}

/// How often in a thousand there is such a limit, and of how many calls in how many seconds.
type Drawn = (
    u32,
    budget::Scope,
    Option<&'static str>,
    &'static [(i64, i64, u64)],
);

const LIMITS: [Drawn; 9] = [
    (
        400,
        budget::Scope::Source,
        None,
        &[(6, 30, 60), (100, 600, 3_600)],
    ),
    (250, budget::Scope::Source, Some("login"), &[(1, 6, 60)]),
    (150, budget::Scope::Source, Some("document"), &[(1, 3, 20)]),
    (250, budget::Scope::Tenant, None, &[(5, 20, 60)]),
    (
        200,
        budget::Scope::Tenant,
        Some("transactions"),
        &[(1, 6, 90)],
    ),
    (
        200,
        budget::Scope::Tenant,
        Some("documents"),
        &[(4, 20, 3_600)],
    ),
    (300, budget::Scope::Connection, None, &[(8, 30, 3_600)]),
    (
        300,
        budget::Scope::Connection,
        Some("login"),
        &[(8, 16, 86_400)],
    ),
    (
        200,
        budget::Scope::Connection,
        Some("document"),
        &[(3, 6, 600)],
    ),
];
