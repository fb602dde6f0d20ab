//! The rule table: that look-ups agree with trying one rule after the other, and what they cost.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wellspring_core::{
    Action, ErrorClass, ErrorModel, Failure, Matcher, Rule, RuleTable, SourceName, StatusRange,
};

fn rule(number: usize, matcher: Matcher) -> Rule {
    Rule {
        name: format!("rule {number}"),
        matcher,
        class: ErrorClass::ALL[number % ErrorClass::ALL.len()],
        action: Action::Default,
        until: None,
        say: None,
    }
}

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(of).prop_map(str::to_owned))
}

const TYPES: &[&str] = &["A", "B", "transport"];
const CODES: &[&str] = &["X", "Y", "Z"];
const REASONS: &[&str] = &["P", "Q"];
const PATTERNS: &[&str] = &["quota", "(?i)MAINT", "^a", "b+$", "limit|daily", "x.y"];

fn matcher() -> impl Strategy<Value = Matcher> {
    let status = prop::option::of(prop_oneof![
        (400..404_u16).prop_map(StatusRange::One),
        (398..404_u16, 0..400_u16).prop_map(|(from, by)| StatusRange::Range(from, from + by)),
    ]);
    let source = some(&["bank", "gas"])
        .prop_map(|name| name.map(|name| name.parse::<SourceName>().unwrap()));
    (
        (source, some(&["fetch", "login"]), status, some(TYPES)),
        (
            some(CODES),
            some(REASONS),
            some(&["retry-after"]),
            some(PATTERNS),
        ),
    )
        .prop_map(
            |((source, operation, status, error_type), (error_code, reason, header, message))| {
                Matcher {
                    source,
                    operation,
                    status,
                    error_type,
                    error_code,
                    error_code_reason: reason,
                    header,
                    message,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_look_up_finds_what_trying_in_order_finds(
        matchers in prop::collection::vec(matcher(), 0..40),
        status in prop::option::of(397..405_u16),
        (kind, code, reason) in (some(TYPES), some(CODES), some(REASONS)),
        throttled in any::<bool>(),
        message in "(quota|maint|a|b|limit| |x1y){0,5}",
    ) {
        let rules = matchers.into_iter().enumerate().map(|(n, matcher)| rule(n, matcher));
        let table = RuleTable::shipped().with_first(rules.collect()).unwrap();
        let source: SourceName = "bank".parse().unwrap();
        let headers: &[(&str, &str)] = if throttled { &[("retry-after", "1")] } else { &[] };
        let failure = Failure {
            source: &source,
            operation: "fetch",
            status,
            error_type: kind.as_deref(),
            error_code: code.as_deref(),
            error_code_reason: reason.as_deref(),
            headers,
            message: &message,
        };

        let hit = table.classify(&failure);
        let wanted = table.classify_in_order(&failure);

        prop_assert_eq!(hit.rule, wanted.map(|rule| rule.name.as_str()));
        prop_assert_eq!(
            hit.class,
            wanted.map_or(ErrorClass::UnknownError, |rule| rule.class)
        );
    }
}

/// Prints what one classification costs; run it optimised for figures that mean something.
#[test]
fn a_thousand_rules_cost_little() {
    let source: SourceName = "bank".parse().unwrap();
    let by_code = (0..1_000).map(|n| {
        let matcher = Matcher {
            status: Some(StatusRange::One(400)),
            error_code: Some(format!("CODE_{n}")),
            ..Matcher::default()
        };
        rule(n, matcher)
    });
    let by_message = (0..1_000).map(|n| {
        let matcher = Matcher {
            status: Some(StatusRange::One(400)),
            message: Some(format!("(?i)account {n} .*(exceeded|blocked)")),
            ..Matcher::default()
        };
        rule(n, matcher)
    });
    let tables = [by_code.collect::<Vec<_>>(), by_message.collect()]
        .map(|rules| RuleTable::of(ErrorModel::Plaid).with_first(rules).unwrap());
    let mut figures = String::new();
    for (what, table) in [
        ("by status and code", &tables[0]),
        ("with message patterns", &tables[1]),
    ] {
        let words: Vec<(String, String)> = (0..1_000)
            .map(|n| {
                let odd = n * 7 % 1_000;
                let message = format!("The daily quota of ACCOUNT {odd} at bank was exceeded");
                (format!("CODE_{odd}"), message)
            })
            .collect();
        let failures: Vec<Failure<'_>> = words
            .iter()
            .map(|(code, message)| Failure {
                source: &source,
                operation: "fetch",
                status: Some(400),
                error_type: None,
                error_code: Some(code),
                error_code_reason: None,
                headers: &[],
                message,
            })
            .collect();
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let started = started();
            for failure in &failures {
                black_box(table.classify(black_box(failure)));
            }
            best = best.min(started.elapsed() / 1_000);
        }
        let wanted = failures.iter().enumerate().find(|(n, failure)| {
            let name = format!("rule {}", n * 7 % 1_000);
            table.classify(failure).rule != Some(name.as_str())
        });
        assert!(wanted.is_none(), "{what}: {wanted:?}");
        writeln!(figures, "1,000 rules, {what}: {best:?} a failure").unwrap();
    }
    println!("{figures}");
}

#[expect(clippy::disallowed_methods, reason = "a figure needs a clock")]
fn started() -> Instant {
    Instant::now()
}
