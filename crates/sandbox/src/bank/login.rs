use std::borrow::Cow;
use std::collections::BTreeMap;

use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::Bank;
use super::answers::Answers;
use super::question::{Asker, Question};
use super::refusal::Refusal;
use super::script::{Entry, Flaw, Script};
use super::session::{Asked, Session, SessionId, Stage};
use super::state::BankState;
use super::step::{Judgement, Step};
use crate::answer::{JSON, json_answer};
use crate::serve::Body;

impl Bank {
    pub(super) fn login(&self, body: &[u8], host: &str) -> Response<Body> {
        let Ok(login) = serde_json::from_slice::<Login<'_>>(body) else {
            return Refusal::Unreadable.answer();
        };
        let Some(script) = Script::of(&login.username, &login.password) else {
            return Refusal::InvalidCredentials.answer();
        };
        let step = match script.entry {
            Entry::Opens => None,
            Entry::Asks(step) => Some(step),
            Entry::Refuses(refusal) => return refusal.answer(),
            Entry::RefusesFor(refusal, seconds) => return refusal.for_now(seconds),
        };

        let now = Instant::now();
        let mut state = self.control.bank();
        let doomed = match script.flaw {
            Flaw::LosesSession => {
                state.loses_next = !state.loses_next;
                !state.loses_next
            }
            Flaw::None
            | Flaw::FewAtOnce
            | Flaw::SlowDocuments
            | Flaw::NoBills
            | Flaw::Junk
            | Flaw::DocumentsThrottled
            | Flaw::Revoked => false,
        };
        let session = Session {
            script,
            stage: Stage::LoggedIn,
            doomed,
        };
        let id = state.sessions.open(session, now);
        match step {
            None => logged_in(id),
            Some(step) => pose(&mut state, id, Posed::new(step), host, now),
        }
    }

    pub(super) fn answer_question(&self, body: &[u8], host: &str) -> Response<Body> {
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
            return Refusal::Unreadable.answer();
        };
        let Some(id) = SessionId::parse(&answer.session) else {
            return Refusal::SessionExpired.answer();
        };
        let answers = Answers::new(answer.answers);

        let now = Instant::now();
        let mut state = self.control.bank();
        let captcha = state.settings().captcha.clone();
        let Some(session) = state.sessions.find(id, now) else {
            return Refusal::SessionExpired.answer();
        };
        let Stage::Asked(asked) = &session.stage else {
            // An answer that is sent again since its own answer was lost.
            return logged_in(id);
        };
        if session.doomed {
            state.sessions.close(id);
            return Refusal::SessionExpired.answer();
        }
        let posed = if asked.until.is_some_and(|until| now >= until) {
            Posed {
                wrong_answers: asked.wrong_answers,
                ..Posed::again(asked.step, "That code has expired, and a new one was sent.")
            }
        } else {
            match asked.step.judge(&answers, asked.consent, &captcha) {
                Judgement::LogsIn => {
                    session.stage = Stage::LoggedIn;
                    return logged_in(id);
                }
                Judgement::Next(step) => Posed::new(step),
                Judgement::Again(reason) => Posed {
                    wrong_answers: asked.wrong_answers,
                    ..Posed::again(asked.step, reason)
                },
                Judgement::Wrong(reason) if asked.wrong_answers + 1 < TRIES => Posed {
                    wrong_answers: asked.wrong_answers + 1,
                    ..Posed::again(asked.step, reason)
                },
                Judgement::Wrong(_) => {
                    state.sessions.close(id);
                    return Refusal::AccountLocked.answer();
                }
                Judgement::Refused => {
                    state.sessions.close(id);
                    return Refusal::ConsentRefused.answer();
                }
            }
        };
        pose(&mut state, id, posed, host, now)
    }
}

#[derive(Deserialize)]
struct Login<'b> {
    #[serde(borrow)]
    username: Cow<'b, str>,
    #[serde(borrow)]
    password: Cow<'b, str>,
}

#[derive(Deserialize)]
struct Answer<'b> {
    #[serde(borrow)]
    session: Cow<'b, str>,
    #[serde(default)]
    answers: BTreeMap<String, Value>,
}

/// A question to be put.
#[derive(Clone, Copy)]
struct Posed {
    step: Step,
    /// What was wrong with the last answer.
    reason: Option<&'static str>,
    wrong_answers: u8,
}

impl Posed {
    fn new(step: Step) -> Self {
        Self {
            step,
            reason: None,
            wrong_answers: 0,
        }
    }

    fn again(step: Step, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(step)
        }
    }
}

fn pose(
    state: &mut BankState,
    id: SessionId,
    posed: Posed,
    host: &str,
    now: Instant,
) -> Response<Body> {
    let asker = Asker {
        session: id,
        host,
        captcha: &state.settings().captcha,
        code_expires_in: state.settings().code_expires_in,
    };
    let lifetime = posed.step.lifetime(&asker);
    let challenge = Question::new(posed.step, posed.reason, &asker);
    let answer = json_answer(
        StatusCode::OK,
        JSON,
        &Challenged {
            session: id,
            challenge,
        },
    );
    if let Some(session) = state.sessions.find(id, now) {
        session.stage = Stage::Asked(Asked {
            step: posed.step,
            wrong_answers: posed.wrong_answers,
            until: lifetime.map(|lifetime| now + lifetime),
            consent: None,
        });
    }
    state.counts.challenges += 1;
    answer
}

fn logged_in(id: SessionId) -> Response<Body> {
    let answer = LoggedIn {
        session: id,
        next: (),
    };
    json_answer(StatusCode::OK, JSON, &answer)
}

#[derive(Serialize)]
struct LoggedIn {
    session: SessionId,
    next: (),
}

#[derive(Serialize)]
struct Challenged<'q> {
    session: SessionId,
    challenge: Question<'q>,
}

const TRIES: u8 = 3;
