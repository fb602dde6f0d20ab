//! What all notifiers have in common: chance, the far sides of their channels, and what was seen of both.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use wellspring_core::notification::{Channel, Contact, NotificationKind};
use wellspring_core::{AccountId, ConnectionId, Sealed, Timestamp};
use wellspring_engine::{
    AddressBook, Clock, NoticeBatch, NoticeOrder, NoticeResult, NoticeWords, Person, PhoneMark,
    Transport,
};

use super::way::Fate;
use crate::Plant;
use crate::clock::{HOUR, SECOND, VirtualClock};
use crate::dice::Dice;

/// Shared by the notifiers of all nodes.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(super) plant: Option<Plant>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    dice: Dice,
    calm: bool,
    scripted: bool,
    down: BTreeMap<Channel, i64>,
    gates: Vec<Gate>,
    heard: Vec<Heard>,
    stirred: bool,
    /// How many milliseconds each request to the store takes, where nothing is drawn.
    slow: i64,
    /// What becomes of the next writes, where nothing is drawn; after these all goes well.
    fates: VecDeque<Fate>,
    /// What the far sides say to the next messages, and after how many milliseconds, where nothing is drawn.
    answers: VecDeque<(i64, NoticeResult)>,
}

/// Somebody waits so many milliseconds.
pub(super) type Gate = (i64, oneshot::Sender<()>);

/// Something that happened.
#[derive(Debug)]
pub(super) enum Heard {
    /// A step of a notifier became durable.
    Written(Box<NoticeBatch>),
    /// Messages from before a moment were removed.
    Swept(Timestamp),
    /// A message left a node, and came to the person or did not.
    Left {
        node: usize,
        order: Box<NoticeOrder>,
        taken: bool,
        unknown: bool,
    },
}

impl Outside {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        Self {
            plant,
            inner: Mutex::new(Inner {
                dice: Dice::new(seed),
                calm: false,
                scripted: false,
                down: BTreeMap::new(),
                gates: Vec::new(),
                heard: Vec::new(),
                stirred: false,
                slow: 0,
                fates: VecDeque::new(),
                answers: VecDeque::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on all goes well.
    pub(crate) fn mend(&self) {
        let mut inner = self.inner();
        inner.calm = true;
        inner.down.clear();
    }

    /// Nothing is drawn any more: the store answers at once, and each message is taken.
    #[cfg(test)]
    pub(crate) fn script(&self) {
        self.inner().scripted = true;
    }

    /// Has each request to the store take so many milliseconds.
    #[cfg(test)]
    pub(super) fn slow(&self, millis: i64) {
        self.inner().slow = millis;
    }

    /// Has the next writes come to this.
    #[cfg(test)]
    pub(super) fn fates(&self, fates: impl IntoIterator<Item = Fate>) {
        self.inner().fates.extend(fates);
    }

    /// Has the far sides say this to the next messages.
    #[cfg(test)]
    pub(super) fn answers(&self, answers: impl IntoIterator<Item = (i64, NoticeResult)>) {
        self.inner().answers.extend(answers);
    }

    /// Returns what was heard, who waits, and whether anything was done.
    pub(super) fn take(&self) -> (Vec<Heard>, Vec<Gate>, bool) {
        let mut inner = self.inner();
        let stirred = std::mem::take(&mut inner.stirred);
        let heard = std::mem::take(&mut inner.heard);
        (heard, std::mem::take(&mut inner.gates), stirred)
    }

    pub(super) fn hear(&self, heard: Heard) {
        let mut inner = self.inner();
        inner.stirred = true;
        inner.heard.push(heard);
    }

    pub(super) fn stir(&self) {
        self.inner().stirred = true;
    }

    /// Takes its time now and then.
    pub(super) async fn pause(&self) {
        let drawn = {
            let inner = &mut *self.inner();
            let slow = (inner.slow > 0).then_some(inner.slow);
            let waits = !inner.scripted && inner.dice.permille(80);
            let many = if inner.dice.permille(100) { 4_000 } else { 30 };
            waits.then(|| inner.dice.between(1, many)).or(slow)
        };
        if let Some(millis) = drawn {
            self.wait(millis).await;
        }
    }

    async fn wait(&self, millis: i64) {
        let (open, opened) = oneshot::channel();
        self.inner().gates.push((millis, open));
        // Who opened it may be gone; then so is this.
        opened.await.ok();
    }

    /// Draws what becomes of a request.
    pub(super) fn fate(&self, reading: bool) -> Fate {
        let inner = &mut *self.inner();
        if inner.scripted {
            let written = (!reading).then(|| inner.fates.pop_front()).flatten();
            return written.unwrap_or(Fate::Done);
        }
        if inner.calm {
            return Fate::Done;
        }
        let fate = match inner.dice.below(200) {
            0 => Fate::Refused,
            1..3 if !reading => Fate::Unheard,
            3 if !reading => Fate::Lost,
            4 if !reading => Fate::Late,
            _ => Fate::Done,
        };
        inner.stirred |= fate != Fate::Done;
        fate
    }

    /// Draws what the far side does and says, and how long it takes.
    fn answer(&self, now: i64, channel: Channel) -> (bool, i64, NoticeResult) {
        let inner = &mut *self.inner();
        let sent = || NoticeResult::Sent {
            receipt: Some("250 taken".to_owned()),
        };
        let unknown = || NoticeResult::Unknown {
            reason: "the connection broke".to_owned(),
        };
        if inner.scripted {
            let (millis, said) = inner.answers.pop_front().unwrap_or_else(|| (50, sent()));
            return (matches!(said, NoticeResult::Sent { .. }), millis, said);
        }
        if inner.calm {
            return (true, inner.dice.between(5, 900), sent());
        }
        if inner.dice.permille(10) {
            let until = now + inner.dice.between(SECOND, 60 * HOUR);
            inner.down.insert(channel, until);
        }
        let soon = inner.dice.between(5, 900);
        let failed = |retry_at| NoticeResult::Failed {
            reason: "451 later".to_owned(),
            retry_at,
        };
        if inner.down.get(&channel).is_some_and(|until| *until > now) {
            return (false, soon, failed(None));
        }
        let refused = |address_gone| NoticeResult::Refused {
            reason: "550 no".to_owned(),
            address_gone,
        };
        match inner.dice.below(100) {
            0..60 => (true, soon, sent()),
            60..66 => (false, soon, failed(None)),
            66..69 => {
                let at = now + inner.dice.between(0, HOUR);
                (false, soon, failed(Some(Timestamp::from_millis(at))))
            }
            69..75 => (true, inner.dice.between(SECOND, 30 * SECOND), unknown()),
            75..80 => (false, inner.dice.between(SECOND, 30 * SECOND), unknown()),
            80..82 => (false, soon, refused(false)),
            82..83 => (false, soon, refused(true)),
            // Longer than anybody waits.
            83..87 => (true, inner.dice.between(61 * SECOND, 200 * SECOND), sent()),
            _ => (true, inner.dice.between(SECOND, 40 * SECOND), sent()),
        }
    }
}

/// The far sides as one node reaches them.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) node: usize,
    pub(super) clock: std::sync::Arc<VirtualClock>,
    pub(super) outside: std::sync::Arc<Outside>,
}

impl Transport for Post {
    fn send(&self, order: NoticeOrder) -> BoxFuture<'_, NoticeResult> {
        Box::pin(async move {
            let channel = order.channel;
            let now = self.clock.now().as_millis();
            let (taken, millis, result) = self.outside.answer(now, channel);
            let is_late = millis > LONGEST;
            let unknown = is_late || matches!(result, NoticeResult::Unknown { .. });
            self.outside.hear(Heard::Left {
                node: self.node,
                order: Box::new(order),
                taken,
                unknown,
            });
            self.outside.wait(millis).await;
            if self.outside.plant == Some(Plant::UnknownIsFailed)
                && let NoticeResult::Unknown { reason } = result
            {
                let retry_at = None;
                return NoticeResult::Failed { reason, retry_at };
            }
            result
        })
    }

    fn has(&self, _channel: Channel) -> bool {
        true
    }

    fn push_key(&self) -> Option<String> {
        None
    }

    fn words(&self, order: &NoticeOrder) -> NoticeWords {
        NoticeWords {
            subject: order.kind.as_str().to_owned(),
            text: String::new(),
        }
    }
}

/// Addresses that are not sealed at all.
#[derive(Debug)]
pub(super) struct OpenBook;

impl AddressBook for OpenBook {
    fn open(&self, person: &Person) -> Option<Contact> {
        serde_json::from_slice(person.contact.as_ref()?.as_bytes()).ok()
    }

    fn seal(&self, _account: AccountId, contact: &Contact) -> Sealed {
        Sealed::new(serde_json::to_vec(contact).unwrap_or_default())
    }

    fn mark(&self, text: &str) -> PhoneMark {
        let mut mark = PhoneMark::default();
        for (place, byte) in text.bytes().enumerate() {
            let at = place % mark.len();
            mark[at] = mark[at].rotate_left(1) ^ byte;
        }
        mark
    }

    fn mend_url(
        &self,
        _account: AccountId,
        _connection: ConnectionId,
        _until: Timestamp,
    ) -> Option<String> {
        None
    }

    fn unsubscribe_url(
        &self,
        _account: AccountId,
        _kind: NotificationKind,
        _channel: Channel,
    ) -> Option<String> {
        None
    }
}

/// How long a notifier waits for a far side.
const LONGEST: i64 = 60 * SECOND;

/// Returns a span of virtual time for a runtime's own clock.
pub(super) fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
