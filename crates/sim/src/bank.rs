//! A pretend bank: what an attempt on a connection finds there, drawn anew for each.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wellspring_core::interaction::{ButtonAction, Code, Part, Question};
use wellspring_core::{Action, ConnectionId, Error, ErrorClass, Sealed, Timestamp};
use wellspring_engine::{Record, RunInputs, RunOrder, RunResult};

use crate::clock::{HOUR, MINUTE, SECOND};
use crate::dice::Dice;
use crate::provider::Provider;
use crate::wire;

/// What a connector does next.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// It takes its time.
    Rest(i64),
    /// It calls an endpoint, once it has leave to.
    Call(&'static str),
    /// It finds a document of this number, which it fetches unless it is here already.
    Document(u32),
    /// It has fetched a document of this number.
    Fetched(u32),
    /// It finds records of a stream, and where the stream goes on.
    Records(String, Vec<Record>, Option<String>),
    /// A stream goes on elsewhere.
    Checkpoint(String, String),
    /// The bank gives other credentials.
    Rotate(Sealed),
    /// The bank asks something; the attempt ends with it.
    Ask(Question, Option<Sealed>),
    /// The attempt ends.
    End(RunResult),
    /// Nothing happens any more until somebody ends the attempt.
    Hang,
}

/// One account at the bank.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// Documents that the bank has.
    documents: u32,
    /// Records of each stream that the bank has.
    records: [u32; 2],
    /// Which credentials the bank takes.
    pub(crate) generation: u32,
    /// How many attempts in a thousand are asked something.
    asks: u32,
    published_at: i64,
}

/// The bank, all accounts of it.
#[derive(Debug, Default)]
pub(crate) struct Bank {
    pub(crate) ledgers: BTreeMap<ConnectionId, Ledger>,
    /// Attempts that a test has written beforehand, in order; then all goes well and nothing is new.
    pub(crate) written: Option<VecDeque<Vec<Act>>>,
    serial: u32,
    /// Whether everything goes well from now on.
    pub(crate) mended: bool,
}

impl Bank {
    pub(crate) fn open(&mut self, id: ConnectionId, now: i64, dice: &mut Dice) -> &mut Ledger {
        self.ledgers.entry(id).or_insert_with(|| Ledger {
            documents: u32::try_from(dice.between(0, 4)).unwrap_or(0),
            records: [3, 0],
            generation: 1,
            asks: [0, 30, 300, 900][dice.below(4)],
            published_at: now,
        })
    }

    /// Returns credentials that the bank takes, or some that it does not.
    pub(crate) fn credentials(&mut self, id: Option<ConnectionId>, right: bool) -> Sealed {
        let ledger = id.and_then(|id| self.ledgers.get(&id));
        let generation = ledger.map_or(1, |ledger| ledger.generation);
        self.sealed("key", if right { generation } else { 0 })
    }

    /// Returns an answer that the bank takes, or one that it does not.
    pub(crate) fn answer(&mut self, right: bool) -> Sealed {
        self.sealed("answer", u32::from(right))
    }

    fn sealed(&mut self, what: &str, value: u32) -> Sealed {
        self.serial += 1;
        let text = format!("{what}/{value}/{}", self.serial);
        Sealed::new(text.into_bytes())
    }

    /// Draws what an attempt made at `now` meets; `clock` is what its node takes the time to be.
    pub(crate) fn script(
        &mut self,
        (now, clock): (i64, Timestamp),
        provider: &Provider,
        order: &RunOrder,
        inputs: &RunInputs,
        dice: &mut Dice,
    ) -> VecDeque<Act> {
        let id = order.connection;
        if let Some(written) = &mut self.written {
            let well = || vec![Act::End(finished(None))];
            return written.pop_front().unwrap_or_else(well).into();
        }
        self.open(id, now, dice);
        self.publish(id, now, dice);
        let acts = self.acts((now, clock), provider, order, inputs, dice);
        through_calls(acts, inputs.answer.is_some())
    }

    /// Draws what there is to find, whatever calls it takes.
    fn acts(
        &mut self,
        (now, clock): (i64, Timestamp),
        provider: &Provider,
        order: &RunOrder,
        inputs: &RunInputs,
        dice: &mut Dice,
    ) -> VecDeque<Act> {
        let id = order.connection;
        let mut acts = VecDeque::from([Act::Rest(latency(dice))]);
        if let Some(refusal) = refusal(now, clock, provider, dice) {
            if dice.permille(300) && inputs.credentials.is_some() {
                self.find(id, inputs, dice, &mut acts);
                acts.truncate(3);
            }
            acts.push_back(Act::End(refusal));
            return acts;
        }
        let ledger = &self.ledgers[&id];
        let given = inputs.credentials.as_ref().map(value);
        if given != Some(ledger.generation) {
            acts.push_back(Act::End(failed(
                ErrorClass::AuthenticationError,
                "login_refused",
                None,
            )));
            return acts;
        }
        if !self.mended && dice.permille(4) {
            let (class, code, follow) = dice.pick(&FOLLOWED).unwrap_or(FOLLOWED[0]);
            let mut result = failed(class, code, None);
            if let RunResult::Failed { action, .. } = &mut result {
                *action = follow;
            }
            acts.push_back(Act::End(result));
            return acts;
        }
        if let Some(question) = self.next_question(id, inputs, dice) {
            acts.push_back(question);
            return acts;
        }
        self.find(id, inputs, dice, &mut acts);
        acts.push_back(self.end(provider, dice));
        if !self.mended && dice.permille(15) {
            let at = dice.below(acts.len());
            let hang = if dice.permille(250) {
                Act::Hang
            } else {
                Act::Rest(dice.between(2 * MINUTE, 20 * MINUTE))
            };
            acts.insert(at, hang);
        }
        acts
    }

    fn end(&self, provider: &Provider, dice: &mut Dice) -> Act {
        if self.mended || !dice.permille(provider.failing) {
            let partial = (!self.mended && dice.permille(50)).then(|| Error {
                class: ErrorClass::ProductNotAvailable,
                code: "stream_failed".to_owned(),
                message: "one stream failed".to_owned(),
            });
            return Act::End(finished(partial));
        }
        let (class, code) = if dice.permille(400) {
            wire::junk(&provider.source.name, dice)
        } else {
            dice.pick(&FAILURES).unwrap_or(FAILURES[0])
        };
        Act::End(failed(class, code, None))
    }

    fn next_question(
        &mut self,
        id: ConnectionId,
        inputs: &RunInputs,
        dice: &mut Dice,
    ) -> Option<Act> {
        let steps = match (&inputs.resume, &inputs.answer) {
            (Some(resume), Some(answer)) => {
                let left = value(resume);
                if value(answer) == 0 {
                    left
                } else {
                    left.saturating_sub(1)
                }
            }
            // Whoever comes back without an answer is asked afresh.
            (Some(resume), None) => value(resume),
            (None, _) if self.mended => 0,
            (None, _) if dice.permille(self.ledgers[&id].asks) => {
                u32::try_from(dice.between(1, 3)).unwrap_or(1)
            }
            (None, _) => 0,
        };
        if steps == 0 {
            return None;
        }
        let resume = self.sealed("resume", steps);
        let (code, lives) = dice.pick(&QUESTIONS).unwrap_or(QUESTIONS[0]);
        let lives = lives.map(|lives| {
            Duration::from_secs(lives) + Duration::from_millis(u64::from(self.serial % 977))
        });
        Some(Act::Ask(question(code, lives), Some(resume)))
    }

    /// What is new at the bank, and some that is not.
    fn find(
        &mut self,
        id: ConnectionId,
        inputs: &RunInputs,
        dice: &mut Dice,
        acts: &mut VecDeque<Act>,
    ) {
        let ledger = self.ledgers[&id].clone();
        let given = inputs
            .cursors
            .get("documents")
            .map_or(0, |cursor| number(cursor));
        // A bank shows the latest ones again.
        let first = given.saturating_sub(u32::try_from(dice.between(0, 2)).unwrap_or(0));
        for document in first..ledger.documents {
            acts.push_back(Act::Document(document));
        }
        if ledger.documents > given {
            let cursor = ledger.documents.to_string();
            acts.push_back(Act::Checkpoint("documents".to_owned(), cursor));
        }
        for (stream, have) in ["transactions", "holdings"].into_iter().zip(ledger.records) {
            let mut from = inputs
                .cursors
                .get(stream)
                .map_or(0, |cursor| number(cursor));
            while from < have {
                let until = (from + u32::try_from(dice.between(1, 4)).unwrap_or(1)).min(have);
                let records = (from..until).map(record).collect();
                let cursor = dice.permille(900).then(|| until.to_string());
                acts.push_back(Act::Records(stream.to_owned(), records, cursor));
                from = until;
            }
        }
        if dice.permille(40) {
            let rotated = self.sealed("key", ledger.generation);
            let at = 1.min(acts.len());
            acts.insert(at, Act::Rotate(rotated));
        }
    }

    /// Time passes at the bank as well.
    fn publish(&mut self, id: ConnectionId, now: i64, dice: &mut Dice) {
        let Some(ledger) = self.ledgers.get_mut(&id) else {
            return;
        };
        if now - ledger.published_at < 8 * HOUR {
            return;
        }
        ledger.published_at = now;
        let more = |dice: &mut Dice, most| u32::try_from(dice.between(0, most)).unwrap_or(0);
        ledger.documents += more(dice, 1);
        ledger.records[0] += more(dice, 4);
        ledger.records[1] += more(dice, 1);
        // Somebody changed the password at the bank itself.
        ledger.generation += u32::from(!self.mended && dice.permille(12));
    }
}

/// What the source as such answers, when it is not well.
fn refusal(now: i64, clock: Timestamp, provider: &Provider, dice: &mut Dice) -> Option<RunResult> {
    if provider.down.contains(now) {
        return Some(failed(ErrorClass::ConnectionFailure, "connect", None));
    }
    if provider.throttling.contains(now) {
        let when = provider
            .says_when
            .then(|| clock.after(Duration::from_secs(30 + dice.seed() % 600)));
        return Some(failed(ErrorClass::RateLimitExceeded, "http_429", when));
    }
    let maintenance = provider.maintenance.contains(now);
    maintenance.then(|| failed(ErrorClass::BankMaintenance, "maintenance", None))
}

/// Puts before everything the call by which the bank gives it.
fn through_calls(acts: VecDeque<Act>, is_answered: bool) -> VecDeque<Act> {
    let enter = if is_answered { "challenge" } else { "login" };
    let mut through = VecDeque::from([Act::Call(enter)]);
    let (mut identified, mut listed) = (false, false);
    for act in acts {
        let (is_inside, endpoint) = match &act {
            Act::Document(_) | Act::Fetched(_) => (true, (!listed).then_some("documents")),
            Act::Records(..) => (true, Some("transactions")),
            Act::Checkpoint(..) => (true, None),
            Act::End(RunResult::Finished { .. }) => (true, None),
            Act::End(RunResult::NotBegun | RunResult::Asked | RunResult::Failed { .. })
            | Act::Rest(_)
            | Act::Call(_)
            | Act::Rotate(_)
            | Act::Ask(..)
            | Act::Hang => (false, None),
        };
        if is_inside && !identified {
            identified = true;
            through.push_back(Act::Call("account"));
        }
        listed |= endpoint == Some("documents");
        through.extend(endpoint.map(Act::Call));
        through.push_back(act);
    }
    through
}

pub(crate) fn failed(class: ErrorClass, code: &str, retry_at: Option<Timestamp>) -> RunResult {
    RunResult::Failed {
        error: Error {
            class,
            code: code.to_owned(),
            message: format!("the pretend bank answered with {code}"),
        },
        retry_at,
        action: Action::Default,
        unclassified: None,
    }
}

pub(crate) const fn finished(partial: Option<Error>) -> RunResult {
    RunResult::Finished {
        partial,
        unclassified: None,
    }
}

pub(crate) fn question(code: Code, lives: Option<Duration>) -> Question {
    let text = "The bank wants to know.".to_owned();
    let note = Part::StaticText {
        id: "note".to_owned(),
        text,
    };
    let mut parts = vec![note];
    if !code.is_notice() {
        parts.push(Part::TextInput {
            id: "value".to_owned(),
            label: "Value".to_owned(),
            sensitive: true,
            default: None,
            pattern: None,
            max_length: None,
        });
    }
    parts.push(Part::Button {
        id: "stop".to_owned(),
        label: "Stop".to_owned(),
        action: ButtonAction::RespondOnly,
    });
    Question {
        code,
        title: None,
        parts,
        expires_in: lives,
    }
}

fn record(place: u32) -> Record {
    let key = place.to_string();
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&place.to_be_bytes());
    Record {
        key,
        hash,
        body: Sealed::new(format!("record {place}").into_bytes()),
    }
}

/// Returns the number in the middle of a sealed text.
fn value(sealed: &Sealed) -> u32 {
    let text = String::from_utf8_lossy(sealed.as_bytes());
    text.split('/').nth(1).map_or(0, number)
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

/// Mostly quick, sometimes half a minute.
fn latency(dice: &mut Dice) -> i64 {
    if dice.permille(100) {
        dice.between(SECOND, 30 * SECOND)
    } else {
        dice.between(5, 900)
    }
}

const QUESTIONS: [(Code, Option<u64>); 6] = [
    (Code::OneTimeCode, Some(600)),
    (Code::OneTimeCode, Some(120)),
    (Code::SecretQuestion, None),
    (Code::Captcha, Some(300)),
    (Code::CodeDelivery, Some(7_200)),
    (Code::NotPaperless, None),
];

const FOLLOWED: [(ErrorClass, &str, Action); 4] = [
    (
        ErrorClass::AuthenticationError,
        "consent_withdrawn",
        Action::Revoke,
    ),
    (
        ErrorClass::ProductNotAvailable,
        "not_ready",
        Action::WaitForEvent,
    ),
    (
        ErrorClass::ProductNotAvailable,
        "unsupported",
        Action::Unsupported,
    ),
    (
        ErrorClass::ItemError,
        "locked",
        Action::Notice(Code::LockedOut),
    ),
];

const FAILURES: [(ErrorClass, &str); 8] = [
    (ErrorClass::ConnectionFailure, "http_500"),
    (ErrorClass::ConnectionFailure, "timeout"),
    (ErrorClass::InstitutionError, "http_502"),
    (ErrorClass::ItemError, "item"),
    (ErrorClass::UnknownError, "junk"),
    (ErrorClass::ProductNotAvailable, "http_404"),
    (ErrorClass::InvalidRequest, "http_400"),
    (ErrorClass::InternalError, "our_fault"),
];
