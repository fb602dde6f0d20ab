use super::*;
use crate::connection::{Config, LastOutcome, Next, OnQuestionExpired, State};
use crate::schedule::Schedule;
use crate::{AccountId, ConnectionId, Error, ErrorClass, TenantId};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// Fetched with success an hour ago, and every day.
fn well() -> Connection {
    Connection {
        id: ConnectionId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        tenant: TenantId::from_bytes([3; 16]),
        source: "bank".parse().unwrap(),
        created_at: NOW.before(HOUR * 24 * 90),
        version: 7,
        config: Config {
            label: None,
            schedule: Schedule::every(HOUR * 24).unwrap(),
            slow_plan: None,
            on_question_expired: OnQuestionExpired::Retry,
            start_date: None,
            paused: false,
        },
        state: waiting(Reason::Schedule, HOUR * 20),
        access: Access::Valid,
        outcome: Some(LastOutcome {
            kind: OutcomeKind::Success,
            at: NOW.before(HOUR),
            error: None,
        }),
        retries: 0,
        waits: 0,
        last_success_at: Some(NOW.before(HOUR)),
        repair: None,
        alerts: Vec::new(),
        asked_in: None,
    }
}

fn waiting(reason: Reason, from_now: Duration) -> State {
    State::Waiting {
        next: Some(Next {
            at: NOW.after(from_now),
            reason,
        }),
    }
}

fn ended(kind: OutcomeKind, class: Option<ErrorClass>) -> LastOutcome {
    LastOutcome {
        kind,
        at: NOW.before(HOUR),
        error: class.map(|class| Error {
            class,
            code: "said_so".to_owned(),
            message: "It does not want to".to_owned(),
        }),
    }
}

fn failed(class: ErrorClass) -> LastOutcome {
    ended(OutcomeKind::Failed(class), Some(class))
}

#[test]
fn each_trouble_has_its_health_and_its_reasons() {
    use HealthCode as Code;
    let long_ago = Some(NOW.before(HOUR * 24 * 7));
    let cases: Vec<(&str, Connection, Health, Vec<Code>)> = vec![
        ("well", well(), Health::Active, vec![]),
        (
            "new",
            Connection {
                created_at: NOW,
                state: State::Created { due: NOW },
                access: Access::Unverified,
                outcome: None,
                last_success_at: None,
                ..well()
            },
            Health::Active,
            vec![Code::NeverFetched],
        ),
        (
            "disabled while reauthorisation was wanted",
            Connection {
                state: State::Disabled,
                access: Access::ReauthRequired,
                last_success_at: long_ago,
                ..well()
            },
            Health::Disabled,
            vec![Code::Disabled, Code::CredentialsRefused],
        ),
        (
            "reauth",
            Connection {
                state: State::Waiting { next: None },
                access: Access::ReauthRequired,
                outcome: Some(failed(ErrorClass::AuthenticationError)),
                last_success_at: long_ago,
                ..well()
            },
            Health::ReauthRequired,
            vec![Code::CredentialsRefused],
        ),
        (
            "revoked",
            Connection {
                state: State::Waiting { next: None },
                access: Access::Revoked,
                ..well()
            },
            Health::ReauthRequired,
            vec![Code::ConsentRevoked],
        ),
        (
            "error",
            Connection {
                state: State::Error,
                retries: 4,
                outcome: Some(failed(ErrorClass::InstitutionError)),
                last_success_at: long_ago,
                ..well()
            },
            Health::Error,
            vec![Code::RetriesSpent, Code::Stale],
        ),
        (
            "retrying, an hour after the error and all the same not well",
            Connection {
                state: State::Retrying {
                    due: NOW.after(HOUR),
                },
                retries: 2,
                outcome: Some(failed(ErrorClass::ConnectionFailure)),
                ..well()
            },
            Health::Degraded,
            vec![Code::ConsecutiveFailures],
        ),
        (
            "maintenance",
            Connection {
                state: waiting(Reason::Maintenance, HOUR),
                outcome: Some(failed(ErrorClass::BankMaintenance)),
                ..well()
            },
            Health::Maintenance,
            vec![Code::SourceMaintenance],
        ),
        (
            "maintenance of a source that failed before",
            Connection {
                state: waiting(Reason::Maintenance, HOUR),
                retries: 1,
                ..well()
            },
            Health::Maintenance,
            vec![Code::SourceMaintenance, Code::ConsecutiveFailures],
        ),
        (
            "throttled",
            Connection {
                state: waiting(Reason::RateLimit, HOUR),
                outcome: Some(failed(ErrorClass::RateLimitExceeded)),
                ..well()
            },
            Health::Active,
            vec![Code::RateLimited],
        ),
        (
            "partial",
            Connection {
                outcome: Some(ended(
                    OutcomeKind::Partial,
                    Some(ErrorClass::ProductNotAvailable),
                )),
                ..well()
            },
            Health::Degraded,
            vec![Code::PartialData],
        ),
        (
            "nobody answered",
            Connection {
                outcome: Some(ended(OutcomeKind::UserTooSlow, None)),
                ..well()
            },
            Health::Degraded,
            vec![Code::UserNeeded],
        ),
        (
            "never succeeded in a week",
            Connection {
                created_at: NOW.before(HOUR * 24 * 7),
                last_success_at: None,
                outcome: None,
                ..well()
            },
            Health::Degraded,
            vec![Code::Stale, Code::NeverFetched],
        ),
        (
            "expiring and paused, and not fetched for a week on purpose",
            Connection {
                access: Access::Expiring,
                config: Config {
                    paused: true,
                    ..well().config
                },
                last_success_at: long_ago,
                ..well()
            },
            Health::Active,
            vec![Code::ConsentExpiring, Code::Paused],
        ),
        (
            "fetched by hand, a week ago",
            Connection {
                config: Config {
                    schedule: Schedule::Manual,
                    ..well().config
                },
                last_success_at: long_ago,
                ..well()
            },
            Health::Active,
            vec![],
        ),
    ];
    for (name, connection, health, codes) in cases {
        let report = HealthReport::of(&connection, NOW, None);
        let found: Vec<HealthCode> = report.reasons.iter().map(|reason| reason.code).collect();
        assert_eq!((report.health, found), (health, codes), "{name}");
        assert!(
            report
                .reasons
                .iter()
                .all(|reason| !reason.sentence.is_empty())
        );
    }
}

#[test]
fn a_connection_goes_stale_by_its_own_schedule() {
    for (hours, stale) in [(1, false), (35, false), (62, true), (1_000, true)] {
        let connection = Connection {
            last_success_at: Some(NOW.before(HOUR * hours)),
            ..well()
        };
        let report = HealthReport::of(&connection, NOW, None);
        assert_eq!(
            report.health == Health::Degraded,
            stale,
            "{hours}: {report:?}"
        );
    }
    let weekly = Connection {
        config: Config {
            schedule: Schedule::every(HOUR * 24 * 7).unwrap(),
            ..well().config
        },
        last_success_at: Some(NOW.before(HOUR * 62)),
        ..well()
    };
    assert_eq!(HealthReport::of(&weekly, NOW, None).health, Health::Active);
}

#[test]
fn what_is_known_of_the_source_counts_until_it_is_over() {
    let maintenance = |until| {
        Some(SourceIncident {
            maintenance: true,
            until,
        })
    };
    let until = NOW.after(HOUR);
    let report = HealthReport::of(&well(), NOW, maintenance(Some(until)));
    assert_eq!(report.health, Health::Maintenance);
    assert_eq!(report.maintenance_until, Some(until));
    assert!(report.in_maintenance());
    assert!(
        report.reasons[0].sentence.ends_with(&until.to_string()),
        "{report:?}"
    );
    let report = HealthReport::of(&well(), NOW, maintenance(None));
    assert_eq!(
        (report.health, report.maintenance_until),
        (Health::Maintenance, None)
    );
    let report = HealthReport::of(&well(), NOW, maintenance(Some(NOW)));
    assert_eq!(report.health, Health::Active, "it is over");
    let outage = SourceIncident {
        maintenance: false,
        until: None,
    };
    let report = HealthReport::of(&well(), NOW, Some(outage));
    assert_eq!(report.health, Health::Degraded);
    assert_eq!(report.reasons[0].code, HealthCode::SourceIncident);

    // A wait that is over is no maintenance any more.
    let connection = Connection {
        state: waiting(Reason::Maintenance, Duration::ZERO),
        ..well()
    };
    assert_eq!(
        HealthReport::of(&connection, NOW, None).health,
        Health::Active
    );
    let healthy: Vec<&str> = Health::ALL
        .into_iter()
        .filter(|health| health.is_healthy())
        .map(Health::as_str)
        .collect();
    assert_eq!(healthy, ["active", "maintenance"]);
}
