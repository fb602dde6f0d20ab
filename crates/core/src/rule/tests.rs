use super::*;

fn failure<'a>(source: &'a SourceName, status: Option<u16>, message: &'a str) -> Failure<'a> {
    Failure {
        source,
        operation: "fetch",
        status,
        error_type: None,
        error_code: None,
        error_code_reason: None,
        headers: &[],
        message,
    }
}

#[test]
fn shipped_rules_map_http_and_the_exchange_itself() {
    let table = RuleTable::shipped();
    let gas: SourceName = "gas".parse().unwrap();
    let class = |status, message| table.classify(&failure(&gas, Some(status), message)).class;

    assert_eq!(class(500, "#fail"), ErrorClass::ConnectionFailure);
    assert_eq!(
        class(503, "Scheduled maintenance"),
        ErrorClass::BankMaintenance
    );
    assert_eq!(class(503, ""), ErrorClass::ConnectionFailure);
    assert_eq!(class(429, ""), ErrorClass::RateLimitExceeded);
    for (status, expected) in [
        (400, ErrorClass::InvalidRequest),
        (401, ErrorClass::AuthenticationError),
        (403, ErrorClass::AuthenticationError),
        (404, ErrorClass::ProductNotAvailable),
        (410, ErrorClass::ProductNotAvailable),
    ] {
        assert_eq!(class(status, ""), expected);
        assert_eq!(expected.disposition(), crate::Disposition::Stop);
    }
    let timeout = Failure {
        error_type: Some("transport"),
        error_code: Some("timeout"),
        ..failure(&gas, None, "")
    };
    assert_eq!(
        table.classify(&timeout).class,
        ErrorClass::ConnectionFailure
    );
    let not_json = Failure {
        error_type: Some("body"),
        error_code: Some("body_not_json"),
        ..failure(&gas, Some(200), "")
    };
    assert_eq!(
        table.classify(&not_json).class,
        ErrorClass::InstitutionError
    );
    assert_eq!(table.classify(&failure(&gas, None, "")).rule, None);
}

#[test]
fn added_rules_come_first_and_a_bad_pattern_is_named() {
    let gas: SourceName = "gas".parse().unwrap();
    let rule = |message: &str| Rule {
        name: "quota".to_owned(),
        matcher: Matcher {
            source: Some(gas.clone()),
            message: Some(message.to_owned()),
            ..Matcher::default()
        },
        class: ErrorClass::RateLimitExceeded,
        action: Action::WaitForEvent,
        until: None,
        say: None,
    };
    let table = RuleTable::shipped()
        .with_first(vec![rule("daily .* exceeded")])
        .unwrap();

    let hit = table.classify(&failure(&gas, Some(400), "daily quota exceeded"));
    assert_eq!(
        (hit.class, hit.action, hit.rule),
        (
            ErrorClass::RateLimitExceeded,
            Action::WaitForEvent,
            Some("quota")
        )
    );
    let other: SourceName = "internet".parse().unwrap();
    assert_eq!(
        table
            .classify(&failure(&other, Some(400), "daily quota exceeded"))
            .class,
        ErrorClass::InvalidRequest
    );
    assert_eq!(
        RuleTable::shipped()
            .with_first(vec![rule("(")])
            .unwrap_err()
            .rule,
        "quota"
    );
}
