use proptest::prelude::*;
use serde_json::json;

use super::*;

fn question(code: Code, parts: serde_json::Value) -> Question {
    let mut written = json!({"code": code});
    written["parts"] = parts;
    serde_json::from_value(written).unwrap()
}

/// A question with a part of every kind.
fn everything() -> Question {
    let question = question(
        Code::OneTimeCode,
        json!([
            {"kind": "static_text", "id": "why", "text": "We sent you a code."},
            {"kind": "image", "id": "photo", "label": "A photo-TAN", "media_type": "image/png", "data": "iVBORw=="},
            {"kind": "link", "id": "help", "text": "Help", "url": "https://bank.example/help"},
            {"kind": "redirect", "id": "away", "label": "To the bank", "url": "HTTPS://bank.example:8443?state=1"},
            {"kind": "text_input", "id": "code", "label": "Code", "sensitive": true, "pattern": "\\d{4}|\\d{6}"},
            {"kind": "text_input", "id": "device", "label": "Device", "default": "phone", "max_length": 5},
            {"kind": "choices", "id": "region", "label": "Region", "choices": [{"id": "n", "label": "North"}, {"id": "s", "label": "South"}], "default": "s"},
            {"kind": "date", "id": "born", "label": "Born"},
            {"kind": "number", "id": "share", "label": "Share", "min": -1, "max": 10},
            {"kind": "button", "id": "later", "label": "Later", "action": "defer"},
            {"kind": "button", "id": "only", "label": "Only this", "action": "respond_only"},
        ]),
    );
    assert_eq!(question.check(), Ok(()));
    question
}

const FULL: [(&str, &str); 5] = [
    ("code", "123456"),
    ("device", "Täöü!"),
    ("region", "n"),
    ("born", "2024-02-29"),
    ("share", "-0.5"),
];

fn response(parts: &[(&str, &str)]) -> Response {
    let parts = parts
        .iter()
        .map(|(id, value)| PartValue {
            id: (*id).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    Response { version: 1, parts }
}

/// The full answer with another value for one part.
fn with(id: &str, value: &str) -> Response {
    let parts: Vec<_> = FULL
        .iter()
        .map(|part| if part.0 == id { (id, value) } else { *part })
        .collect();
    response(&parts)
}

fn faults(question: &Question, response: &Response) -> Vec<(String, String)> {
    question
        .validate(response)
        .unwrap_err()
        .into_iter()
        .map(|fault| (fault.pointer, fault.detail))
        .collect()
}

#[test]
fn a_full_answer_is_the_same_in_any_order_and_with_defaults_written_out() {
    let question = everything();
    let forward = question.validate(&response(&FULL)).unwrap();
    assert_eq!(forward.action, ButtonAction::RespondAndContinue);
    assert!(forward.sensitive);
    assert_eq!(forward.answers.len(), 5);
    assert_eq!(forward.answers["code"], "123456");

    let mut parts = FULL;
    parts.reverse();
    let backward = question.validate(&response(&parts)).unwrap();
    assert_eq!(backward.canonical(), forward.canonical());
    let other = question.validate(&with("share", "-0.6")).unwrap();
    assert_ne!(other.canonical(), forward.canonical());
    let mut clicked = FULL.to_vec();
    clicked.push(("only", "respond_only"));
    let only = question.validate(&response(&clicked)).unwrap();
    assert_eq!(only.action, ButtonAction::RespondOnly);
    assert_eq!(only.answers, forward.answers);
    assert_ne!(only.canonical(), forward.canonical());

    let needed = [FULL[0], FULL[3], FULL[4]];
    let filled = question.validate(&response(&needed)).unwrap();
    assert_eq!(filled.answers["device"], "phone");
    assert_eq!(filled.answers["region"], "s");
    let mut written_out = needed.to_vec();
    written_out.extend([("device", "phone"), ("region", "s")]);
    let written_out = question.validate(&response(&written_out)).unwrap();
    assert_eq!(written_out.canonical(), filled.canonical());
}

#[test]
fn what_does_not_fit_is_named_and_not_repeated() {
    let question = everything();
    for (id, value, place, message) in [
        ("code", "12345", 0, "form that is asked for"),
        ("code", "1234567", 0, "form that is asked for"),
        ("code", "1234\n", 0, "form that is asked for"),
        ("code", "", 0, "is empty"),
        ("device", "phones", 1, "more than 5 characters"),
        ("region", "w", 2, "none of the choices"),
        ("region", "", 2, "none of the choices"),
        ("born", "2023-02-29", 3, "not a day"),
        ("born", "20230228", 3, "not a day"),
        ("born", "2023-2-28", 3, "not a day"),
        ("share", "-1.01", 4, "less than -1"),
        (
            "share",
            "10.0000000000000000000000000000001",
            4,
            "greater than 10",
        ),
        ("share", "1e3", 4, "not a number"),
        ("share", "5.", 4, "not a number"),
        ("share", ".5", 4, "not a number"),
        ("share", "--5", 4, "not a number"),
        ("share", &"9".repeat(39), 4, "not a number"),
        ("device", &"x".repeat(4_097), 1, "more than 4 KiB"),
    ] {
        let found = faults(&question, &with(id, value));
        assert_eq!(found.len(), 1, "{id} {value}");
        assert_eq!(found[0].0, format!("/parts/{place}/value"));
        assert!(found[0].1.contains(message), "{value}: {}", found[0].1);
        assert!(
            value.len() < 3 || !found[0].1.contains(value),
            "{}",
            found[0].1
        );
    }
    for value in ["-1", "-1.00", "10", "10.0", "0", "007", "-0"] {
        assert!(question.validate(&with("share", value)).is_ok(), "{value}");
    }
}

#[test]
fn parts_that_are_missing_unknown_repeated_or_only_shown_are_all_named() {
    let wrong = response(&[
        ("code", "1234"),
        ("code", "1234"),
        ("pin", "1"),
        ("why", "because"),
        ("photo", "x"),
        ("help", "x"),
        ("away", "x"),
        ("later", "respond_only"),
        ("only", "respond_only"),
        ("born", "1999-12-31"),
    ]);
    let expected = [
        ("/parts/1/id", "this part is given twice"),
        ("/parts/2/id", "the question has no such part"),
        ("/parts/3/id", "this part is only shown, it takes no value"),
        ("/parts/4/id", "this part is only shown, it takes no value"),
        ("/parts/5/id", "this part is only shown, it takes no value"),
        ("/parts/6/id", "this part is only shown, it takes no value"),
        ("/parts/7/value", "the value of a button is its action"),
        ("/parts", "part `share` is missing"),
    ]
    .map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned()));
    assert_eq!(faults(&everything(), &wrong), expected);

    let two_buttons = response(&[("later", "defer"), ("only", "respond_only")]);
    let found = faults(&everything(), &two_buttons);
    assert_eq!(found[0].0, "/parts/1/id");
    assert_eq!(found[0].1, "another button was clicked as well");
    let many = response(&[("code", "1234"); 51]);
    assert_eq!(faults(&everything(), &many).len(), 1);
}

#[test]
fn an_answer_that_is_put_off_needs_nothing_and_keeps_nothing() {
    let later = response(&[("code", "12"), ("later", "defer")]);
    let validated = everything().validate(&later).unwrap();
    assert_eq!(validated.action, ButtonAction::Defer);
    assert!(validated.answers.is_empty());
    assert!(!validated.sensitive);
    assert!(
        everything()
            .validate(&response(&[("nowhere", ""), ("later", "defer")]))
            .is_err()
    );
}

#[test]
fn a_notice_is_acknowledged_with_no_parts_or_a_button() {
    let notice = question(
        Code::NotSupported,
        json!([
            {"kind": "static_text", "id": "why", "text": "No such bank."},
            {"kind": "button", "id": "away", "label": "Delete", "action": "respond_and_delete_connection"},
        ]),
    );
    assert_eq!(notice.check(), Ok(()));
    let seen = notice.validate(&response(&[])).unwrap();
    assert_eq!(seen.action, ButtonAction::RespondAndContinue);
    assert!(seen.answers.is_empty());
    let deleted = notice.validate(&response(&[("away", "respond_and_delete_connection")]));
    assert_eq!(
        deleted.unwrap().action,
        ButtonAction::RespondAndDeleteConnection
    );
    let found = faults(&notice, &response(&[("why", "seen")]));
    assert_eq!(found[0].1, "a notice is acknowledged with no parts");
}

#[test]
fn answers_are_not_printed() {
    let validated = everything().validate(&response(&FULL)).unwrap();
    for printed in [format!("{:?}", response(&FULL)), format!("{validated:#?}")] {
        assert!(printed.contains("born"), "{printed}");
        assert!(
            !printed.contains("2024") && !printed.contains("123456"),
            "{printed}"
        );
    }
    let read: Response =
        serde_json::from_str(r#"{"version":3,"parts":[{"id":"a","value":"b"}]}"#).unwrap();
    assert_eq!((read.version, read.parts[0].value.as_str()), (3, "b"));
    let unknown = r#"{"version":3,"parts":[],"part":[]}"#;
    assert!(serde_json::from_str::<Response>(unknown).is_err());
}

#[test]
fn credentials_are_asked_for_field_by_field() {
    let fields: Vec<CredentialField> = serde_json::from_value(json!([
        {"id": "user", "label": "User name", "sensitive": false},
        {"id": "password", "label": "Password"},
        {"id": "branch", "label": "Branch", "sensitive": false, "optional": true},
        {"id": "second", "label": "Second password", "optional": true},
    ]))
    .unwrap();
    assert!(fields[1].sensitive && !fields[1].optional);
    let question = Question::credentials(&fields);
    assert_eq!(question.check(), Ok(()));
    assert_eq!(question.code, Code::Credentials);

    let found = faults(&question, &response(&[("user", "ann"), ("password", "")]));
    assert_eq!(
        found,
        [("/parts/1/value".to_owned(), "the value is empty".to_owned())]
    );
    let given = question
        .validate(&response(&[("user", "ann"), ("password", "x")]))
        .unwrap();
    assert!(given.sensitive);
    assert_eq!(given.answers["branch"], "");

    let open = Question::credentials(&[fields[0].clone(), fields[3].clone()]);
    let nothing_secret = open.validate(&response(&[("user", "ann")])).unwrap();
    assert!(!nothing_secret.sensitive);
}

#[test]
fn what_is_wrong_with_a_question_is_named() {
    let long = "x".repeat(4_097);
    let image = |bytes: usize| "AAAA".repeat(bytes.div_ceil(3));
    let input = |more: serde_json::Value| {
        let mut part = json!({"kind": "text_input", "id": "a", "label": "A"});
        part.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        part
    };
    let choices = |ids: &[&str]| {
        let choices: Vec<_> = ids
            .iter()
            .map(|id| json!({"id": id, "label": "x"}))
            .collect();
        json!({"kind": "choices", "id": "a", "label": "A", "choices": choices, "default": "1"})
    };
    let picture = |media_type: &str, data: &str| json!({"kind": "image", "id": "a", "label": "A", "media_type": media_type, "data": data});
    let link = |url: &str| json!({"kind": "link", "id": "a", "text": "A", "url": url});
    for (part, message) in [
        (
            json!({"kind": "date", "id": "", "label": "A"}),
            "part number 1: an id has",
        ),
        (
            json!({"kind": "date", "id": "a\n", "label": "A"}),
            "part number 1: an id has",
        ),
        (
            json!({"kind": "date", "id": "a", "label": long}),
            "part `a`: `label` has more than 4 KiB",
        ),
        (input(json!({"max_length": 0})), "`max_length` is 0"),
        (
            input(json!({"pattern": "a(b"})),
            "the pattern does not compile: unclosed group",
        ),
        (
            input(json!({"pattern": "a)|(b"})),
            "the pattern does not compile: unopened group",
        ),
        (
            input(json!({"pattern": "(\\d{1000}){1000}"})),
            "the pattern does not compile",
        ),
        (
            input(json!({"pattern": "\\d", "default": "x"})),
            "the default is not accepted",
        ),
        (
            input(json!({"sensitive": true, "default": "x"})),
            "no default but the empty one",
        ),
        (choices(&[]), "there are 1 to 200 choices, not 0"),
        (choices(&["1"; 201]), "there are 1 to 200 choices, not 201"),
        (choices(&["1", "1"]), "choice number 2 has an id"),
        (choices(&["1", ""]), "choice number 2 has an id"),
        (choices(&["2"]), "the default is not accepted"),
        (
            json!({"kind": "number", "id": "a", "label": "A", "min": 2, "max": 1}),
            "`min` is greater",
        ),
        (picture("text/html", "AAAA"), "`media_type` is not one"),
        (picture("image/", "AAAA"), "`media_type` is not one"),
        (picture("image/png", ""), "not base64"),
        (picture("image/png", "AAA"), "not base64"),
        (picture("image/png", "A==="), "not base64"),
        (
            picture("image/png", &image(256 * 1_024 + 3)),
            "more than 256 KiB",
        ),
        (link("javascript:alert(1)"), "not an absolute http"),
        (link("ftp://bank.example"), "not an absolute http"),
        (link("https:///path"), "not an absolute http"),
        (
            link("https://bank.example@elsewhere.example/"),
            "not an absolute http",
        ),
        (link("https://bank.example/a b"), "not an absolute http"),
    ] {
        let error = question(Code::Pin, json!([part]))
            .check()
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
    let part = json!({"kind": "date", "id": "a", "label": "A"});
    for (question, message) in [
        (
            question(Code::Pin, json!([part, part])),
            "part `a`: another part has the same id",
        ),
        (
            question(Code::Retry, json!([part])),
            "part `a`: a notice asks for nothing",
        ),
        (
            question(Code::Pin, vec![part; 51].into()),
            "at most 50 parts, this one has 51",
        ),
        (
            Question {
                title: Some(long),
                ..everything()
            },
            "the title has more",
        ),
        (
            Question {
                expires_in: Some(Duration::ZERO),
                ..everything()
            },
            "it expires at once",
        ),
    ] {
        assert!(
            question.check().unwrap_err().to_string().contains(message),
            "{message}"
        );
    }
    let largest = picture("image/svg+xml", &image(256 * 1_024 - 1));
    assert_eq!(question(Code::Captcha, json!([largest])).check(), Ok(()));
}

proptest! {
    #[test]
    fn any_answer_is_accepted_or_has_faults_that_point_into_it(
        parts in prop::collection::vec(("(code|device|region|born|share|later|only|why|x)", "([0-9.-]{0,12}|defer|s|\\PC{0,6})"), 0..8),
    ) {
        let parts: Vec<(&str, &str)> = parts.iter().map(|(id, value)| (id.as_str(), value.as_str())).collect();
        match everything().validate(&response(&parts)) {
            Ok(validated) => prop_assert_eq!(validated.answers.len(), if validated.action == ButtonAction::Defer { 0 } else { 5 }),
            Err(faults) => {
                let written = serde_json::to_value(response(&parts)).unwrap();
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    prop_assert!(written.pointer(&fault.pointer).is_some(), "{:?}", fault);
                }
            }
        }
    }

    #[test]
    fn numbers_are_compared_exactly(value in -2_000i64..2_000, min in -20i64..20, max in -20i64..20) {
        let text = format!("{}{}.{:02}", if value < 0 { "-" } else { "" }, value.abs() / 100, value.abs() % 100);
        let question = question(Code::Pin, json!([{"kind": "number", "id": "n", "label": "N", "min": min, "max": max}]));
        let accepted = question.validate(&response(&[("n", &text)])).is_ok();
        prop_assert_eq!(accepted, (min * 100..=max * 100).contains(&value));
    }
}
