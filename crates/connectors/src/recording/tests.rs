use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::ConnectorKind;

#[test]
fn every_shipped_rule_has_a_recorded_response_that_it_fires_on() {
    let http = RuleTable::of(ErrorModel::Http);
    for model in ErrorModel::ALL {
        let table = RuleTable::of(model);
        let own = table.rules().count() - http.rules().count();
        let count = if model == ErrorModel::Http {
            http.rules().count()
        } else {
            own
        };
        each_of_the_first_rules_is_recorded(model.as_str(), model, (&table, count), None);
    }
    for kind in ConnectorKind::ALL {
        let Some(native) = kind.native() else {
            continue;
        };
        let own = native.rules();
        let count = own.len();
        let table = http.clone().with_first(own).unwrap();
        let rules = (&table, count);
        each_of_the_first_rules_is_recorded(kind.as_str(), ErrorModel::Http, rules, Some(native));
    }
}

fn each_of_the_first_rules_is_recorded(
    folder: &str,
    model: ErrorModel,
    (table, count): (&RuleTable, usize),
    native: Option<&dyn Native>,
) {
    let source: SourceName = "recorded".parse().unwrap();
    let responses = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/responses");
    let first = table.rules().take(count);
    let mut missing: BTreeSet<String> = first.map(|rule| rule.name.clone()).collect();
    for entry in fs::read_dir(responses.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let path = path.display();
        let text = fs::read_to_string(path.to_string()).unwrap();
        let recording = Recording::parse(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let expect = recording.expect.clone().expect("says what it expects");

        let verdict = recording.classify(&source, table, native);

        assert_eq!(recording.errors.unwrap_or_default(), model, "{path}");
        assert_eq!(
            (verdict.rule.as_deref(), verdict.class, verdict.action),
            (Some(expect.rule.as_str()), expect.class, expect.action),
            "{path}"
        );
        assert_eq!(verdict.until, expect.until, "{path}");
        missing.remove(&expect.rule);
    }
    assert!(missing.is_empty(), "no recorded response: {missing:?}");
}

#[test]
fn what_curl_prints_is_read_and_the_last_answer_counts() {
    let text = "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\nHTTP/2 503\r\nRetry-After: 5\r\n\r\n{\"error_type\": \"ITEM_ERROR\",\r\n \"error_code\": \"ITEM_LOCKED\"}";
    let recording = Recording::parse(text).unwrap();

    assert_eq!(recording.status, Some(503));
    assert_eq!(recording.headers["Retry-After"], "5");
    let source = "bank".parse().unwrap();
    let verdict = recording.classify(&source, &RuleTable::of(ErrorModel::Plaid), None);
    assert_eq!(verdict.rule.as_deref(), Some("plaid: ITEM_LOCKED"));
    assert!(verdict.say.is_some());
}

#[test]
fn what_is_no_recording_says_why() {
    for (text, wanted) in [
        ("HTTP/1.1 banana", "line 1: must be like"),
        ("HTTP/1.1 500 No\nnonsense\n\n", "line 2: must be a header"),
        ("body: x", "`status` is missing"),
        ("status: 503\nno_answer: timeout", "keep one of them"),
        ("status: 42", "none of HTTP"),
        ("status: 200\nbody: '[]'", "no failure"),
        ("status: 500\nunusable: x", "whose `status` is good"),
        ("no_answer: timeout\nunusable: x", "whose `status` is good"),
        ("status: 500\ncolour: red", "colour"),
    ] {
        let error = Recording::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn what_no_rule_matches_is_kept_without_what_tells_of_a_person() {
    let recording = Recording::parse("status: 1000\n").unwrap_err();
    assert!(recording.to_string().contains("1000"));
    let recording =
        Recording::parse("status: 101\nbody: 'Sam@example.com asked 99 times'").unwrap();
    let verdict = recording.classify(&"bank".parse().unwrap(), &RuleTable::shipped(), None);
    assert_eq!(verdict.class, ErrorClass::UnknownError);
    let kept = verdict.unclassified.unwrap();
    assert_eq!(
        (kept.status, kept.shape.as_str()),
        (Some(101), "<address> asked # times")
    );
}
