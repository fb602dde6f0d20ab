//! Callers: what they ask, and what they remember having asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use wellspring_core::{Actor, CollectionId, IncarnationId, SourceName, TenantId, Timestamp};
use wellspring_engine::{Aggregate, Key, Request};

use crate::dice::Dice;

/// A request on its way, or waiting for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) key: Option<Key>,
    /// What the caller means by it: all repetitions of one request share it.
    pub(crate) intent: u64,
    /// The node that it was sent to, and that node's life.
    pub(crate) node: usize,
    pub(crate) boot: u64,
    /// The incarnation whose driver has it.
    pub(crate) held_by: Option<IncarnationId>,
    pub(crate) tries: u32,
}

/// A request with an idempotency key that may be repeated.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) ask: Ask,
    pub(crate) first_at: i64,
    pub(crate) id: Option<Aggregate>,
}

/// All callers together.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) tenants: Vec<TenantId>,
    /// By the number that the driver knows the caller by.
    pub(crate) waiting: BTreeMap<u64, Ask>,
    pub(crate) intents: BTreeMap<u64, Intent>,
    /// The latest collections that callers were promised.
    pub(crate) known: Vec<(TenantId, CollectionId)>,
    sent: u64,
    meant: u64,
}

impl Callers {
    pub(crate) fn new(dice: &mut Dice, now: Timestamp) -> Self {
        Self {
            tenants: (0..2).map(|_| TenantId::mint(now, dice.rng())).collect(),
            waiting: BTreeMap::new(),
            intents: BTreeMap::new(),
            known: Vec::new(),
            sent: 0,
            meant: 0,
        }
    }

    /// Makes a request for a new collection.
    pub(crate) fn collect(
        &mut self,
        dice: &mut Dice,
        now: i64,
        source: SourceName,
        host: &str,
    ) -> Ask {
        self.meant += 1;
        let intent = self.meant;
        let tenant = dice.pick(&self.tenants).unwrap_or(self.tenants[0]);
        let key = dice.permille(600).then(|| key_of(b'c', intent));
        let request = Request::Collect {
            id: None,
            tenant,
            source,
            callback_url: Arc::from(format!("https://{host}/cb/{intent}")),
            actor: Actor::Operator,
        };
        let ask = Ask {
            request,
            key,
            intent,
            node: 0,
            boot: 0,
            held_by: None,
            tries: 0,
        };
        if key.is_some() {
            let intent_of = Intent {
                ask: ask.clone(),
                first_at: now,
                id: None,
            };
            self.intents.insert(intent, intent_of);
        }
        ask
    }

    /// Makes a request about a collection.
    pub(crate) fn about(&mut self, request: Request, keyed: bool) -> Ask {
        self.meant += 1;
        Ask {
            request,
            key: keyed.then(|| key_of(b'r', self.meant)),
            intent: self.meant,
            node: 0,
            boot: 0,
            held_by: None,
            tries: 0,
        }
    }

    /// Notes that a request was sent; returns what the driver is to answer with.
    pub(crate) fn sent(&mut self, ask: Ask) -> u64 {
        self.sent += 1;
        self.waiting.insert(self.sent, ask);
        self.sent
    }

    /// Returns a number that the driver knows nobody else by.
    pub(crate) const fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    pub(crate) fn learned(&mut self, tenant: TenantId, id: CollectionId) {
        if self.known.len() >= KNOWN {
            self.known.remove(0);
        }
        self.known.push((tenant, id));
    }
}

/// Returns the caller's intent that a callback URL bears.
pub(crate) fn intent_of(callback_url: &str) -> Option<u64> {
    callback_url.rsplit('/').next()?.parse().ok()
}

fn key_of(operation: u8, intent: u64) -> Key {
    let mut hash = [0; 32];
    hash[0] = operation;
    hash[1..9].copy_from_slice(&intent.to_be_bytes());
    Key {
        hash,
        fingerprint: hash,
    }
}

/// Collections that callers still think of.
const KNOWN: usize = 200;
