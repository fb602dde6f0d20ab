use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde::Serialize;

use super::captcha;
use super::session::SessionId;
use super::step::{Notice, Step};

/// A question as it goes over the wire.
#[derive(Serialize)]
pub(super) struct Question<'q> {
    code: &'static str,
    title: &'static str,
    parts: Vec<Part<'q>>,
    expires_in: Option<String>,
}

/// What the bank knows when it asks.
pub(super) struct Asker<'q> {
    pub(super) session: SessionId,
    pub(super) host: &'q str,
    pub(super) captcha: &'q str,
    pub(super) code_expires_in: Duration,
}

/// Several things of which one is to be chosen.
pub(super) struct Choosing {
    pub(super) id: &'static str,
    label: &'static str,
    choices: &'static [Choice],
    widget: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct Choice {
    id: &'static str,
    label: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Part<'q> {
    StaticText {
        id: &'static str,
        text: Cow<'q, str>,
    },
    TextInput {
        id: &'static str,
        label: &'static str,
        sensitive: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pattern: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_length: Option<u32>,
    },
    Choices {
        id: &'static str,
        label: &'static str,
        choices: &'static [Choice],
        widget: &'static str,
    },
    Date {
        id: &'static str,
        label: &'static str,
    },
    Number {
        id: &'static str,
        label: &'static str,
        min: i64,
        max: i64,
    },
    Image {
        id: &'static str,
        label: &'static str,
        media_type: &'static str,
        data: String,
    },
    Link {
        id: &'static str,
        text: &'static str,
        url: String,
    },
    Button {
        id: &'static str,
        label: &'static str,
        action: &'static str,
    },
    Redirect {
        id: &'static str,
        label: &'static str,
        url: String,
    },
}

impl<'q> Question<'q> {
    /// Puts `step`, with the reason why the last answer would not do in front.
    pub(super) fn new(step: Step, reason: Option<&'q str>, asker: &Asker<'_>) -> Self {
        let (code, title) = heading(step);
        let reason = reason.map(|reason| text("reason", reason));
        Self {
            code,
            title,
            parts: reason.into_iter().chain(parts(step, asker)).collect(),
            expires_in: step.lifetime(asker).map(written),
        }
    }
}

impl Choosing {
    pub(super) fn offers(&self, id: &str) -> bool {
        self.choices.iter().any(|choice| choice.id == id)
    }

    fn part(&self) -> Part<'static> {
        Part::Choices {
            id: self.id,
            label: self.label,
            choices: self.choices,
            widget: self.widget,
        }
    }
}

fn heading(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Region => ("region", "Your region"),
        Step::Branch => ("branch_code", "Your branch"),
        Step::Pin => ("pin", "Your PIN"),
        Step::Notice(Notice::LockedOut) => ("locked_out", "Your account is locked"),
        Step::Notice(Notice::UserActionRequired) => {
            ("user_action_required", "Something for you to do")
        }
        Step::Notice(Notice::SetUpAccount) => ("set_up_account", "Your account is not set up"),
        Step::Notice(Notice::NotSupported) => ("not_supported", "Account not supported"),
        Step::Notice(Notice::NotPaperless) => ("not_paperless", "Statements on paper"),
        Step::Secret => ("secret_question", "Your secret question"),
        Step::Delivery => ("code_delivery", "A code for you"),
        Step::Code => ("one_time_code", "Your code"),
        Step::Several => ("secret_question", "Some questions"),
        Step::Captcha => ("captcha", "Are you a person?"),
        Step::Consent => ("consent", "Your agreement"),
        Step::EveryPart => ("secret_question", "A long form"),
    }
}

fn parts(step: Step, asker: &Asker<'_>) -> Vec<Part<'static>> {
    match step {
        Step::Region => vec![REGIONS.part()],
        Step::Branch => vec![input("branch_code", "Branch code", false, 12)],
        Step::Pin => vec![input("pin", "PIN", true, 12)],
        Step::Notice(notice) => told(notice, asker),
        Step::Secret => vec![input(
            "secret",
            "What was your mother's maiden name?",
            true,
            64,
        )],
        Step::Delivery => vec![DELIVERIES.part()],
        Step::Code => vec![
            text("sent", "We have sent you a code of six digits."),
            Part::TextInput {
                id: "code",
                label: "Code",
                sensitive: true,
                pattern: Some("[0-9]{6}"),
                max_length: Some(6),
            },
        ],
        Step::Several => HABITS.iter().map(Choosing::part).collect(),
        Step::Captcha => vec![
            picture(asker.captcha),
            input("letters", "What does the picture show?", false, 8),
        ],
        Step::Consent => vec![
            text(
                "terms",
                "The bank asks you to agree that your documents are fetched.",
            ),
            Part::Redirect {
                id: "consent",
                label: "Go to the bank",
                url: format!("http://{}/bank/consent/{}", asker.host, asker.session),
            },
        ],
        Step::EveryPart => vec![
            text("intro", "One of each kind."),
            picture(asker.captcha),
            home_link(asker),
            input("name", "Your first pet's name", true, 40),
            COLOURS.part(),
            Part::Date {
                id: "birthday",
                label: "Your day of birth",
            },
            Part::Number {
                id: "postcode",
                label: "Your postcode",
                min: 0,
                max: 99_999,
            },
            Part::Button {
                id: "later",
                label: "Answer later",
                action: "defer",
            },
        ],
    }
}

fn told(notice: Notice, asker: &Asker<'_>) -> Vec<Part<'static>> {
    let (words, linked) = match notice {
        Notice::LockedOut => (
            "The bank has locked your account. Please call your branch.",
            false,
        ),
        Notice::UserActionRequired => ("Please log in at the bank and confirm your address.", true),
        Notice::SetUpAccount => ("Please set up online banking at the bank first.", true),
        Notice::NotSupported => ("Accounts of this kind cannot be fetched from.", false),
        Notice::NotPaperless => (
            "You get your statements on paper. Please switch to online statements.",
            true,
        ),
    };
    let mut parts = vec![text("notice", words)];
    if linked {
        parts.push(home_link(asker));
    }
    parts
}

/// Writes a duration as people do, such as `10m`.
fn written(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_endless| "∞".to_owned(), |signed| format!("{signed:#}"))
}

fn text<'q>(id: &'static str, text: impl Into<Cow<'q, str>>) -> Part<'q> {
    Part::StaticText {
        id,
        text: text.into(),
    }
}

fn input(id: &'static str, label: &'static str, sensitive: bool, most: u32) -> Part<'static> {
    Part::TextInput {
        id,
        label,
        sensitive,
        pattern: None,
        max_length: Some(most),
    }
}

fn picture(captcha: &str) -> Part<'static> {
    Part::Image {
        id: "picture",
        label: "Letters and digits, drawn crookedly",
        media_type: "image/png",
        data: STANDARD.encode(captcha::png(captcha)),
    }
}

fn home_link(asker: &Asker<'_>) -> Part<'static> {
    Part::Link {
        id: "bank",
        text: "Open the bank",
        url: format!("http://{}/bank", asker.host),
    }
}

const fn choice(id: &'static str, label: &'static str) -> Choice {
    Choice { id, label }
}

pub(super) const DELIVERIES: Choosing = Choosing {
    id: "delivery",
    label: "How shall we send you a code?",
    choices: &[
        choice("sms", "Text to the number ending in 42"),
        choice("call", "Call to the number ending in 42"),
        choice("email", "Mail to s…@example.com"),
    ],
    widget: "radio_buttons",
};

pub(super) const HABITS: &[Choosing] = &[
    Choosing {
        id: "street",
        label: "On which of these streets have you lived?",
        choices: &[
            choice("elm", "Elm Street"),
            choice("mill", "Mill Lane"),
            choice("none", "None of these"),
        ],
        widget: "radio_buttons",
    },
    Choosing {
        id: "car",
        label: "Which of these cars have you owned?",
        choices: &[
            choice("van", "A van"),
            choice("estate", "An estate car"),
            choice("none", "None of these"),
        ],
        widget: "list_box",
    },
    Choosing {
        id: "school",
        label: "Which of these schools have you been to?",
        choices: &[
            choice("north", "North School"),
            choice("south", "South School"),
            choice("none", "None of these"),
        ],
        widget: "drop_down",
    },
];

const REGIONS: Choosing = Choosing {
    id: "region",
    label: "Where was the account opened?",
    choices: &[
        choice("CA", "California"),
        choice("MA", "Massachusetts"),
        choice("NY", "New York"),
        choice("TX", "Texas"),
        choice("WA", "Washington"),
    ],
    widget: "drop_down",
};

const COLOURS: Choosing = Choosing {
    id: "colour",
    label: "Your favourite colour",
    choices: &[
        choice("green", "Green"),
        choice("blue", "Blue"),
        choice("other", "Another one"),
    ],
    widget: "combo_box",
};
