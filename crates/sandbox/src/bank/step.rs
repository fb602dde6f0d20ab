use std::time::Duration;

use super::answers::Answers;
use super::question::{Asker, DELIVERIES, HABITS};
use super::session::Consent;

/// A question in the course of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Region,
    Branch,
    Pin,
    Notice(Notice),
    Secret,
    /// How a code is to be sent.
    Delivery,
    Code,
    Several,
    Captcha,
    Consent,
    EveryPart,
}

/// Something to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    LockedOut,
    UserActionRequired,
    SetUpAccount,
    NotSupported,
    NotPaperless,
}

/// What the bank makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    LogsIn,
    Next(Step),
    /// Something is missing, which costs no try.
    Again(&'static str),
    Wrong(&'static str),
    /// The person does not want to.
    Refused,
}

impl Step {
    /// Returns how long an answer is waited for, where it is not as long as the session lasts.
    pub(super) fn lifetime(self, asker: &Asker<'_>) -> Option<Duration> {
        match self {
            Self::Code => Some(asker.code_expires_in),
            Self::Region
            | Self::Branch
            | Self::Pin
            | Self::Notice(_)
            | Self::Secret
            | Self::Delivery
            | Self::Several
            | Self::Captcha
            | Self::Consent
            | Self::EveryPart => None,
        }
    }

    pub(super) fn judge(
        self,
        answers: &Answers,
        consent: Option<Consent>,
        captcha: &str,
    ) -> Judgement {
        match self {
            Self::Region => filled(answers, &["region"], "Please choose a region."),
            Self::Branch => filled(answers, &["branch_code"], "The branch code is missing."),
            Self::Pin => filled(answers, &["pin"], "The PIN is missing."),
            Self::Notice(_) => Judgement::LogsIn,
            Self::Secret if answers.to("secret") == "Smith" => Judgement::LogsIn,
            Self::Secret => Judgement::Wrong("That was not the right name."),
            Self::Delivery if DELIVERIES.offers(answers.to("delivery")) => {
                Judgement::Next(Self::Code)
            }
            Self::Delivery => Judgement::Again("Please choose one of the ways."),
            Self::Code if answers.to("code") == "123456" => Judgement::LogsIn,
            Self::Code => Judgement::Wrong("That was not the code."),
            Self::Several => {
                let chosen = |asked: &super::question::Choosing| asked.offers(answers.to(asked.id));
                if HABITS.iter().all(chosen) {
                    Judgement::LogsIn
                } else {
                    Judgement::Again("Please answer every question.")
                }
            }
            Self::Captcha if answers.to("letters").eq_ignore_ascii_case(captcha) => {
                Judgement::LogsIn
            }
            Self::Captcha => Judgement::Wrong("That is not what the picture shows."),
            Self::Consent => match consent {
                Some(Consent::Agreed) => Judgement::LogsIn,
                Some(Consent::Refused) => Judgement::Refused,
                None => Judgement::Again("You have not agreed yet."),
            },
            Self::EveryPart => filled(
                answers,
                &["name", "colour", "birthday", "postcode"],
                "Please answer every question.",
            ),
        }
    }
}

fn filled(answers: &Answers, parts: &[&str], otherwise: &'static str) -> Judgement {
    if parts.iter().all(|part| !answers.to(part).is_empty()) {
        Judgement::LogsIn
    } else {
        Judgement::Again(otherwise)
    }
}
