use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::script::Script;
use super::step::Step;

/// A session's secret name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionId(u128);

impl SessionId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Someone who is logged in, or is about to be.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) script: &'static Script,
    pub(super) stage: Stage,
    /// Is gone when the question is answered.
    pub(super) doomed: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    LoggedIn,
    Asked(Asked),
}

/// A question that is open.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) step: Step,
    pub(super) wrong_answers: u8,
    /// When an answer comes too late.
    pub(super) until: Option<Instant>,
    /// What the person decided on the consent page.
    pub(super) consent: Option<Consent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Agreed,
    Refused,
}

impl Session {
    pub(super) fn logged_in(&self) -> Result<&'static Script, Refusal> {
        match self.stage {
            Stage::LoggedIn => Ok(self.script),
            Stage::Asked(_) => Err(Refusal::ChallengePending),
        }
    }
}

/// The sessions, for an hour each; beyond a million the oldest go first.
#[derive(Debug)]
pub(super) struct Sessions {
    rng: ChaCha8Rng,
    held: HashMap<SessionId, Session>,
    /// Those held and some that were closed, by age.
    opened: VecDeque<(SessionId, Instant)>,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self {
            rng,
            held: HashMap::new(),
            opened: VecDeque::new(),
        }
    }

    pub(super) fn open(&mut self, session: Session, now: Instant) -> SessionId {
        self.forget_old(MOST - 1, now);
        let id = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let id = SessionId(id);
        self.held.insert(id, session);
        self.opened.push_back((id, now));
        id
    }

    pub(super) fn find(&mut self, id: SessionId, now: Instant) -> Option<&mut Session> {
        self.forget_old(MOST, now);
        self.held.get_mut(&id)
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.held.remove(&id);
    }

    pub(super) fn close_all(&mut self) {
        self.held.clear();
        self.opened.clear();
    }

    fn forget_old(&mut self, most: usize, now: Instant) {
        while let Some((oldest, opened)) = self.opened.front()
            && (self.opened.len() > most || now.duration_since(*opened) >= LIFE)
        {
            self.held.remove(oldest);
            self.opened.pop_front();
        }
    }
}

/// Apart from the sources' draws, whose streams are numbered from 0.
const STREAM: u64 = 1_000;
const LIFE: Duration = Duration::from_secs(3_600);
const MOST: usize = 1_000_000;
