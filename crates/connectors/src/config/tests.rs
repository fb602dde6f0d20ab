use std::time::Duration;

use wellspring_core::budget::{Limit, Scope, Window};
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{CollectionPolicy, ErrorClass, Failure, RetryPolicy};

use super::*;

#[test]
fn a_short_file_has_defaults() {
    let source = SourceConfig::from_yaml(MINIMAL).unwrap();

    assert_eq!(source.name.as_str(), "gas");
    assert_eq!(source.connector, ConnectorKind::HttpJson);
    assert_eq!(
        source.target.uri(),
        "http://127.0.0.1:4010/providers/gas?key=s3cret"
    );
    assert_eq!(source.timeout, Duration::from_secs(10));
    assert_eq!(source.policy, CollectionPolicy::default());
    assert_eq!((source.concurrency, source.max_body), (32, 8_388_608));
    assert!(source.budget.is_empty() && source.connections.is_none());
    assert_eq!(source.headers["accept"], "application/json");
    assert_eq!(source.headers["accept-encoding"], "identity");
    assert_eq!(source.headers.len(), 2);
}

#[test]
fn a_full_file_sets_everything_and_prints_no_secret() {
    let source = SourceConfig::from_yaml(
        "
name: gas
connector: http_json
url: https://example.com/providers/gas?key=s3cret
timeout: 250ms
retry:
  interval: 1s
  rate: 2.0
  max_delay: 1m
  max_retries: 3
  give_up_after: 1h
deliver:
  interval: 5s
concurrency: 4096
max_body: 1000
headers:
  Authorization: Bearer s3cret
  Accept: application/vnd.api+json
rules:
  - name: quota
    match: { status: [400, 403], header: X-Quota, message: 'daily (quota|limit)' }
    class: rate_limit_exceeded
    action: wait_for_event
",
    )
    .unwrap();

    let collect = RetryPolicy {
        base: Duration::from_secs(1),
        factor: 2.0,
        cap: Duration::from_secs(60),
        max_retries: 3,
        jitter: true,
    };
    let deliver = RetryPolicy {
        base: Duration::from_secs(5),
        ..collect
    };
    assert_eq!(
        source.policy,
        CollectionPolicy {
            collect,
            deliver,
            give_up_after: Duration::from_secs(3_600)
        }
    );
    assert_eq!(source.timeout, Duration::from_millis(250));
    assert_eq!((source.concurrency, source.max_body), (4096, 1000));
    assert_eq!(source.headers["accept"], "application/vnd.api+json");
    assert_eq!(source.headers["authorization"], "Bearer s3cret");
    let throttled = Failure {
        source: &source.name,
        operation: "fetch",
        status: Some(403),
        error_type: None,
        error_code: None,
        error_code_reason: None,
        headers: &[("x-quota", "0")],
        message: "the daily quota is spent",
    };
    let classified = source.rules.classify(&throttled);
    assert_eq!(
        (classified.class, classified.rule),
        (ErrorClass::RateLimitExceeded, Some("quota"))
    );
    assert!(!format!("{source:?}").contains("s3cret"));
}

#[test]
fn the_file_of_the_readme_can_be_read() {
    let readme = include_str!("../../README.md");
    let (_, sample) = readme.split_once("```yaml\n").unwrap();
    let (sample, _) = sample.split_once("```").unwrap();

    let source = SourceConfig::from_yaml(sample).unwrap();

    assert_eq!(source.policy.collect, CollectionPolicy::default().collect);
    assert_eq!(source.policy.deliver.base, Duration::from_secs(30));
}

#[test]
fn empty_blocks_are_as_good_as_none() {
    let source = SourceConfig::from_yaml(&format!(
        "{MINIMAL}retry:\ndeliver: {{}}\nheaders:\nrules: []\n"
    ))
    .unwrap();
    assert_eq!(source.policy, CollectionPolicy::default());
}

#[test]
fn what_a_file_may_not_say_is_refused_with_key_and_line() {
    for (more, expected) in [
        (
            "timeout: 10",
            "line 4: `timeout` must be a duration such as 250ms, 10s, 15m or 72h",
        ),
        ("timeout: 0s", "line 4: `timeout` must be more than 0"),
        (
            "timeout: 25h",
            "line 4: `timeout` must not be more than 24h",
        ),
        (
            "timeout: -1s",
            "line 4: `timeout` must be a duration such as 250ms, 10s, 15m or 72h",
        ),
        (
            "retry: { interval: 0ms }",
            "line 4: `retry.interval` must be more than 0",
        ),
        (
            "retry: { rate: 0.99 }",
            "line 4: `retry.rate` must be a number of at least 1",
        ),
        (
            "retry: { rate: .nan }",
            "line 4: `retry.rate` must be a number of at least 1",
        ),
        (
            "retry: { rate: .inf }",
            "line 4: `retry.rate` must be a number of at least 1",
        ),
        (
            "retry:\n  interval: 20m",
            "line 5: `retry.max_delay` (15m) must not be less than `retry.interval` (20m)",
        ),
        (
            "retry:\n  interval: 5s\n  max_delay: 1s",
            "line 6: `retry.max_delay` (1s) must not be less than `retry.interval` (5s)",
        ),
        (
            "retry: { give_up_after: 0h }",
            "line 4: `retry.give_up_after` must be more than 0",
        ),
        (
            "deliver: { give_up_after: 1h }",
            "line 4: `deliver.give_up_after` is not a key: both stages use that of `retry`",
        ),
        (
            "deliver: { rate: 0 }",
            "line 4: `deliver.rate` must be a number of at least 1",
        ),
        ("concurrency: 0", "line 4: `concurrency` must be 1 to 4096"),
        (
            "concurrency: 4097",
            "line 4: `concurrency` must be 1 to 4096",
        ),
        (
            "concurrency: many",
            "line 4: `concurrency` must be 1 to 4096",
        ),
        (
            "retry: { max_retries: 65536 }",
            "line 4: `retry.max_retries` must be 0 to 65535",
        ),
        ("per_minute: 0", "line 4: `per_minute` must be 1 to 60000"),
        (
            "budget:\n  - { calls: 0, per: 1m }",
            "line 5: `budget.calls` must be 1 to 10000000",
        ),
        (
            "budget:\n  - { calls: 5, per: 10ms }",
            "line 5: `budget.per` must not be less than 1s",
        ),
        (
            "per_minute: 9\nbudget:\n  - { calls: 5, per: 60s }",
            "line 6: `budget.per` has two windows of the same length",
        ),
        (
            "budget:\n  - { calls: 5, per: 60s, scope: tenant }\n  - { calls: 6, per: 1m, scope: tenant }",
            "line 6: `budget.per` has two windows of the same length",
        ),
        (
            "budget:\n  - { calls: 5, per: 60s, scope: connection }",
            "line 5: `budget.scope` must be source or tenant",
        ),
        (
            "budget:\n  - { calls: 5, per: 60s, endpoint: login }",
            "line 5: `budget.endpoint` is not for `connector: http_json`, which calls one endpoint only",
        ),
        (
            "maintenance:\n  - { every: \"Sun 02:00-05:00\" }\n  - { every: Sonntag }",
            "line 6: `maintenance` every: `Sonntag` is not like `Sun 02:00-05:00`, `Mon,Thu 22:30-01:00` or `daily 03:00-03:30`",
        ),
        (
            "maintenance:\n  - { every: \"Sun 02:00-05:00\", zone: Mars }",
            "line 5: `maintenance` zone: `Mars` is not a time zone such as `Europe/Berlin`",
        ),
        (
            "maintenance:\n  - { from: 2026-12-01T02:00:00Z, to: 2026-12-01T01:00:00Z }",
            "line 5: `maintenance` to: is not later than `from`, or later by more than 31 days",
        ),
        (
            "backlog_alert: soon",
            "line 4: `backlog_alert` must be a duration such as 250ms, 10s, 15m or 72h",
        ),
        (
            "schedule: { every: 24h }",
            "line 4: `schedule` is not a key of http_json, which has no connections",
        ),
        (
            "slow_plan: [2h]",
            "line 4: `slow_plan` is not a key of http_json, which has no connections",
        ),
        ("max_body: -1", "line 4: `max_body` must be 1 to 268435456"),
        ("max_body: 0", "line 4: `max_body` must be 1 to 268435456"),
        (
            "headers:\n  A: b\n  X-Key: \"a\\r\\nb\"",
            "line 6: `headers.X-Key` must not contain control characters",
        ),
        (
            "headers: { 'a b': c }",
            "line 4: `headers.a b` is not a header name",
        ),
        (
            "headers: { Content-Length: '3' }",
            "line 4: `headers.Content-Length` is set by the client itself",
        ),
        (
            "headers: { X-A: '1', x-a: '2' }",
            "line 4: `headers.x-a` is given twice",
        ),
        (
            "rules:\n  - { name: fine, class: item_error }\n  - { name: bad, match: { message: '(' }, class: item_error }",
            "line 6: `rules` the message pattern of `bad` is not a regular expression: unclosed group",
        ),
        (
            "rules: [{ name: a, class: item_error, until: next_day }]",
            "line 4: `rules` `until` of `a` is for classes that wait, rate_limit_exceeded and bank_maintenance, not for item_error",
        ),
    ] {
        assert_eq!(errors(&format!("{MINIMAL}{more}\n")), [expected], "{more}");
    }
}

#[test]
fn maintenance_is_announced_once_or_on_days_of_the_week() {
    let source = SourceConfig::from_yaml(&format!(
        "{BANK}backlog_alert: 30m\nmaintenance:\n  - {{ from: 2026-12-01T02:00:00Z, to: 2026-12-01T04:00:00Z, reason: New servers }}\n  - {{ every: \"Sun 02:00-05:00\", zone: Europe/Berlin }}\n"
    ))
    .unwrap();

    let table = crate::Sources::new([source]).table();
    let source = table.iter().next().unwrap();
    assert_eq!(source.backlog_alert, Duration::from_secs(1_800));
    let now = "2026-11-28T12:00:00Z".parse().unwrap();
    let spans = source.maintenance.iter().map(|window| {
        let span = window.span(now).unwrap();
        (span.from.to_string(), window.reason.as_deref())
    });
    let wanted = [
        ("2026-12-01T02:00:00.000Z".to_owned(), Some("New servers")),
        ("2026-11-29T01:00:00.000Z".to_owned(), None),
    ];
    assert_eq!(spans.collect::<Vec<_>>(), wanted);
}

#[test]
fn a_bank_needs_three_keys_and_takes_what_is_said_of_its_connections() {
    let short = SourceConfig::from_yaml(BANK).unwrap();

    assert_eq!(short.connector, ConnectorKind::SandboxBank);
    let connections = short.connections.unwrap();
    assert_eq!(connections.schedule, Schedule::Every(DEFAULT_PERIOD));
    assert_eq!(connections.slow_plan, SlowPlan::default());
    let fields = connections.credential_fields.iter();
    let fields: Vec<_> = fields
        .map(|field| (field.id.as_str(), field.sensitive))
        .collect();
    assert_eq!(fields, [("username", false), ("password", true)]);

    let long = SourceConfig::from_yaml(&format!(
        "{BANK}per_minute: 60000\nbudget: [{{ calls: 4, per: 24h }}]\nschedule: {{ cron: 0 6 * * *, timezone: Europe/Berlin }}\nslow_plan: [10m, 1h]\n"
    ))
    .unwrap();

    let window = |calls, seconds| Window {
        calls,
        per: Duration::from_secs(seconds),
    };
    // The attempts are limited by the one, and each of their calls by the other.
    let whole = Limit {
        scope: Scope::Source,
        endpoint: None,
        windows: [window(4, 86_400)].into(),
    };
    assert_eq!(*long.budget, [window(60_000, 60)]);
    let table = crate::Sources::new([long]).table();
    let source = table.iter().next().unwrap();
    assert_eq!(*source.budget, [window(60_000, 60)]);
    assert_eq!(*source.limits, [whole]);
    let connections = source.connections.as_ref().unwrap();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let gaps = connections.slow_plan.gaps();
    assert_eq!(gaps, [minutes(10), minutes(60)]);
    let Schedule::Cron(cron) = &connections.schedule else {
        panic!("{:?}", connections.schedule);
    };
    assert_eq!(cron.timezone(), Some("Europe/Berlin"));
}

#[test]
fn a_budget_holds_for_an_endpoint_a_tenant_or_a_connection() {
    let window = |calls, seconds| Window {
        calls,
        per: Duration::from_secs(seconds),
    };
    let limit = |scope, endpoint: Option<&str>, windows: &[Window]| Limit {
        scope,
        endpoint: endpoint.map(Into::into),
        windows: windows.into(),
    };
    let bank = SourceConfig::from_yaml(&format!(
        "{BANK}budget:\n  - {{ calls: 4, per: 24h, scope: connection, endpoint: login }}\n  - {{ calls: 9, per: 1m, scope: tenant }}\n  - {{ calls: 99, per: 1h, scope: tenant }}\n"
    ))
    .unwrap();
    let login = limit(Scope::Connection, Some("login"), &[window(4, 86_400)]);
    let tenant = limit(Scope::Tenant, None, &[window(9, 60), window(99, 3_600)]);
    assert_eq!(*bank.limits, [login, tenant]);
    assert!(bank.budget.is_empty());

    let gas = SourceConfig::from_yaml(&format!(
        "{MINIMAL}budget:\n  - {{ calls: 9, per: 1m, scope: source }}\n  - {{ calls: 2, per: 1m, scope: tenant }}\n"
    ))
    .unwrap();
    assert_eq!(*gas.budget, [window(9, 60)]);
    assert_eq!(*gas.limits, [limit(Scope::Tenant, None, &[window(2, 60)])]);
}

#[test]
fn what_does_not_fit_a_bank_is_refused_with_key_and_line() {
    for (more, expected) in [
        (
            "retry: { give_up_after: 1h }",
            "line 4: `retry.give_up_after` is not a key of sandbox_bank, which has `slow_plan`",
        ),
        (
            "deliver: { interval: 1s }",
            "line 4: `deliver` is not a key of sandbox_bank, which has no collections",
        ),
        (
            "budget:\n  - { calls: 5, per: 60s, endpoint: logins }",
            "line 5: `budget.endpoint` must be login or challenge or session or account or documents or document or transactions",
        ),
        (
            "budget:\n  - { calls: 5, per: 60s, scope: user }",
            "line 5: `budget.scope` must be source or tenant or connection",
        ),
        (
            "schedule: { every: 1s }",
            "line 4: `schedule` every: `1s` is not between 1m and 8784h (366 days)",
        ),
        (
            "schedule: { manual: perhaps }",
            "line 4: `schedule` manual: must be true",
        ),
        (
            "schedule: { every: 1h, manual: true }",
            r#"line 4: `schedule` a schedule is one of {"every": "24h"}, {"cron": "0 6 * * *", "timezone": "Europe/Berlin"} and {"manual": true}"#,
        ),
        (
            "schedule:\n  evry: 1h",
            "line 5: `evry` is not a key, there are every, cron, timezone, manual",
        ),
        (
            "slow_plan: [2h, soon]",
            "line 4: `slow_plan` gap 2: `soon` is not a duration such as 250ms, 10s, 15m or 72h",
        ),
        (
            "slow_plan: []",
            "line 4: `slow_plan` a plan has 1 to 20 gaps, this one has 0",
        ),
    ] {
        assert_eq!(errors(&format!("{BANK}{more}\n")), [expected], "{more}");
    }
    assert_eq!(
        errors(&BANK.replace("/bank", "/bank?a=b")),
        ["line 3: `url` of sandbox_bank must have no query"]
    );
}

#[test]
fn what_cannot_be_read_at_all_is_refused_with_its_line() {
    for (text, expected) in [
        (
            format!("{MINIMAL}retrys: {{}}\n"),
            "line 4: `retrys` is not a key, there are name, connector, url, timeout, ",
        ),
        (
            format!("{MINIMAL}retry:\n  max_retrys: 3\n"),
            "line 5: `max_retrys` is not a key, there are interval, ",
        ),
        (
            format!("{MINIMAL}deliver:\n  max_retrys: 3\n"),
            "line 5: `max_retrys` is not a key",
        ),
        (
            format!("{MINIMAL}rules:\n  - name: a\n    klass: x\n"),
            "line 6: `klass` is not a key, there are name, match, class, action",
        ),
        (
            format!("{MINIMAL}rules: [{{ name: a, class: nope }}]\n"),
            "line 4: unknown variant `nope`, expected one of connection_failure, ",
        ),
        (
            format!("{MINIMAL}retry: 5\n"),
            "line 4: expected mapping start",
        ),
        (
            format!("{MINIMAL}name: gas\n"),
            "line 4: duplicate mapping key: name",
        ),
        (
            "name: gas\nconnector: http_json\n".to_owned(),
            "line 2: `url` is missing",
        ),
        (
            format!("{MINIMAL}---\n{MINIMAL}"),
            "line 5: only single YAML document",
        ),
        ("name: [".to_owned(), "line 1"),
        ("just text\n".to_owned(), "line 1: "),
        (String::new(), "line 1: "),
    ] {
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].starts_with(expected), "{text}: {errors:?}");
        assert!(!errors[0].contains("s3cret"), "{errors:?}");
    }
}

#[test]
fn everything_wrong_with_one_file_is_told_at_once() {
    let found = errors(
        "
name: Gas!
connector: ftp
url: http://user:s3cret@example.com/
timeout: soon
concurrency: 0
",
    );
    assert_eq!(
        found,
        [
            "line 2: `name` must be 1 to 64 of a-z, 0-9, `-` and `_`",
            "line 3: `connector` must be http_json or sandbox_bank",
            "line 4: `url` must not contain credentials",
            "line 5: `timeout` must be a duration such as 250ms, 10s, 15m or 72h",
            "line 6: `concurrency` must be 1 to 4096",
        ]
    );
}

fn errors(text: &str) -> Vec<String> {
    let errors = SourceConfig::from_yaml(text).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

const BANK: &str = "name: sandbox-bank
connector: sandbox_bank
url: http://127.0.0.1:4010/bank
";

const MINIMAL: &str = "name: gas
connector: http_json
url: http://127.0.0.1:4010/providers/gas?key=s3cret
";
