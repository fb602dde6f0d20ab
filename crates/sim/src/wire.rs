//! What sources answer when they do not answer what was asked, as connectors read it off the wire,
//! and what the rules that ship make of it.

use std::sync::LazyLock;

use wellspring_core::{ErrorClass, Failure, RuleTable, SourceName};

use crate::dice::Dice;

/// One failed exchange.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// Its stable code.
    code: &'static str,
    /// `transport` or `body` where the exchange itself failed.
    error_type: Option<&'static str>,
    status: Option<u16>,
    message: &'static str,
}

/// Draws an answer that is no use, and returns its class by the rules, and its code.
pub(crate) fn junk(source: &SourceName, dice: &mut Dice) -> (ErrorClass, &'static str) {
    let answer = dice.pick(&JUNK).unwrap_or(JUNK[0]);
    (class_of(source, &answer), answer.code)
}

fn class_of(source: &SourceName, answer: &Answer) -> ErrorClass {
    let failure = Failure {
        source,
        operation: "fetch",
        status: answer.status,
        error_type: answer.error_type,
        error_code: answer.error_type.map(|_| answer.code),
        error_code_reason: None,
        headers: &[("content-type", "text/html")],
        message: answer.message,
    };
    RULES.classify(&failure).class
}

const fn exchange(kind: &'static str, code: &'static str, status: Option<u16>) -> Answer {
    Answer {
        code,
        error_type: Some(kind),
        status,
        message: "",
    }
}

const fn page(code: &'static str, status: u16, message: &'static str) -> Answer {
    Answer {
        code,
        error_type: None,
        status: Some(status),
        message,
    }
}

static RULES: LazyLock<RuleTable> = LazyLock::new(RuleTable::shipped);

const JUNK: [Answer; 11] = [
    // A page of HTML or half a document where JSON was due.
    exchange("body", "body_not_json", Some(200)),
    exchange("body", "body_cut_off", Some(200)),
    exchange("body", "body_mistyped", Some(200)),
    exchange("transport", "timeout", None),
    exchange("transport", "body_too_large", None),
    page("http_500", 500, "<h1>Internal Server Error</h1>"),
    page("http_502", 502, "<html><title>Bad gateway</title>"),
    page("http_404", 404, "<html>Nothing here"),
    page("http_418", 418, "short and stout"),
    page("http_302", 302, "<a href=\"/login\">moved</a>"),
    page("http_200", 200, "{\"error\": \"try again\"}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_useless_answer_has_the_class_that_the_documentation_gives_it() {
        let source: SourceName = "bank".parse().expect("a name");
        let classes = JUNK.map(|answer| class_of(&source, &answer));

        assert_eq!(
            classes,
            [
                ErrorClass::InstitutionError,
                ErrorClass::InstitutionError,
                ErrorClass::InstitutionError,
                ErrorClass::ConnectionFailure,
                ErrorClass::InstitutionError,
                ErrorClass::ConnectionFailure,
                ErrorClass::ConnectionFailure,
                ErrorClass::ProductNotAvailable,
                ErrorClass::InvalidRequest,
                ErrorClass::InvalidRequest,
                ErrorClass::UnknownError,
            ]
        );
        let resting = page("http_503", 503, "<p>Scheduled downtime until 6</p>");
        let quota = page("http_403", 403, "<p>Too many requests</p>");
        let both = [resting, quota].map(|answer| class_of(&source, &answer));
        assert_eq!(
            both,
            [ErrorClass::BankMaintenance, ErrorClass::RateLimitExceeded]
        );
    }
}
