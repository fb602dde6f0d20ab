//! Subscriptions and their pretend endpoints: what they want, what they take, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wellspring_core::{AnyId, Error, ErrorClass, Shard, SubscriptionId, TenantId, Timestamp};
use wellspring_engine::{
    Batch, DeliveryStatus, Directory, DisabledReason, Entry, Event, SendFailure, SendId, SendOrder,
    SendResult, Subscription, SubscriptionKind, SubscriptionTable,
};

use crate::agenda::{News, Occurrence};
use crate::clock::{DAY, HOUR, MINUTE, SECOND};
use crate::dice::Dice;
use crate::disk::now;
use crate::model::Broken;
use crate::provider::{Window, latency};
use crate::world::World;
use crate::{Fault, Plant};

/// One subscription and the endpoint that it leads to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) subscription: Subscription,
    wants: Wants,
    pub(crate) down: Window,
    pub(crate) gone: Window,
    pub(crate) throttling: Window,
    /// How many messages in a thousand it fails to take when all is well.
    failing: u32,
    /// How many in a thousand it takes very long for.
    slow: u32,
    /// When it last took something, and when it last said 410.
    took_at: i64,
    /// When an answer of its got lost.
    lost_at: i64,
    gone_at: i64,
    /// When somebody last enabled it.
    enabled_at: i64,
    /// What it has to be sent and has not taken.
    missing: BTreeMap<(Shard, u64), Missing>,
    /// The ids under which messages came.
    ids: BTreeMap<(Shard, u64), String>,
    pub(crate) taken: u64,
}

/// What a subscription wants, by the look of the path.
#[derive(Debug, Clone, Copy)]
enum Wants {
    Everything,
    States,
    Documents,
}

/// A change that was not taken yet.
#[derive(Debug, Clone, Copy)]
struct Missing {
    line: AnyId,
    since: i64,
}

impl Wants {
    const fn pattern(self) -> &'static str {
        match self {
            Self::Everything => "* /**",
            Self::States => "UPDATED /accounts/*/connections/*/state/*",
            Self::Documents => "CREATED /accounts/*/connections/*/documents/*",
        }
    }

    fn matches(self, path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::States => path.starts_with("/accounts/") && path.contains("/state/"),
            Self::Documents => path.contains("/documents/"),
        }
    }
}

impl Endpoint {
    pub(crate) fn all(dice: &mut Dice, tenant: TenantId, created_at: Timestamp) -> Vec<Self> {
        let kinds = [
            ("well.example", Wants::Everything, 0, 0),
            ("shaky.example", Wants::Everything, 200, 20),
            ("sluggish.example", Wants::States, 20, 500),
            ("files.example", Wants::Documents, 100, 20),
        ];
        let made = kinds.into_iter().map(|(host, wants, failing, slow)| Self {
            subscription: Subscription {
                id: SubscriptionId::mint(created_at, dice.rng()),
                tenant,
                kind: SubscriptionKind::Webhook,
                patterns: wants.pattern().parse().into_iter().collect(),
                url: Arc::from(format!("https://{host}/hook")),
                description: None,
                created_at,
                version: 1,
                enabled: true,
                disabled: None,
                sealed_secrets: Vec::new(),
            },
            wants,
            down: Window::default(),
            gone: Window::default(),
            throttling: Window::default(),
            failing,
            slow,
            took_at: created_at.as_millis(),
            lost_at: 0,
            gone_at: 0,
            enabled_at: 0,
            missing: BTreeMap::new(),
            ids: BTreeMap::new(),
            taken: 0,
        });
        made.collect()
    }

    pub(crate) fn mend(&mut self) {
        self.down = Window::default();
        self.gone = Window::default();
        self.throttling = Window::default();
        self.failing = 0;
        self.slow = 0;
    }

    const fn is_well(&self) -> bool {
        self.failing == 0 && self.slow == 0
    }

    fn answer(&mut self, at: i64, clock: Timestamp, dice: &mut Dice) -> (SendResult, i64) {
        let (class, code, status, quick) = if self.down.contains(at) {
            let quick = dice.permille(500);
            (ErrorClass::ConnectionFailure, "connect", None, quick)
        } else if self.gone.contains(at) {
            self.gone_at = at;
            (ErrorClass::ProductNotAvailable, "http_410", Some(410), true)
        } else if self.throttling.contains(at) {
            (ErrorClass::RateLimitExceeded, "http_429", Some(429), true)
        } else if dice.permille(self.failing) {
            (ErrorClass::ConnectionFailure, "http_500", Some(500), true)
        } else {
            let long = dice.permille(self.slow);
            let millis = if long {
                dice.between(5 * SECOND, 14 * SECOND)
            } else {
                latency(dice)
            };
            return (sent(Some(204), None), millis);
        };
        let failure = SendFailure {
            error: Error {
                class,
                code: code.to_owned(),
                message: format!("the pretend endpoint answered with {code}"),
            },
            gone: status == Some(410),
            retry_at: (status == Some(429)).then(|| clock.after(Duration::from_secs(90))),
            unreachable: status.is_none(),
        };
        let millis = if quick { latency(dice) } else { 15 * SECOND };
        (sent(status, Some(failure)), millis)
    }

    /// The message has reached the endpoint, which keeps it.
    fn take(&mut self, at: i64, place: (Shard, u64), line: AnyId) -> Result<(), Broken> {
        self.took_at = at;
        self.taken += 1;
        let earlier = self
            .missing
            .range((place.0, 0)..place)
            .find(|(_, missing)| missing.line == line);
        if let Some((earlier, _)) = earlier {
            let seen = format!("{}: {place:?} before {earlier:?}", self.subscription.url);
            return Err(("changes of one line come in order", seen));
        }
        self.missing.remove(&place);
        Ok(())
    }
}

fn sent(status: Option<u16>, failure: Option<SendFailure>) -> SendResult {
    SendResult {
        status,
        snippet: String::new(),
        duration: Duration::from_millis(5),
        failure,
    }
}

impl World {
    /// Takes in what a durable batch says to subscribers, and what it says of deliveries.
    pub(crate) fn dispatched(&mut self, batch: &Batch) -> Result<(), Broken> {
        let at = self.now;
        for entry in &batch.entries {
            for endpoint in &mut self.endpoints {
                if endpoint.subscription.tenant == entry.tenant
                    && endpoint.wants.matches(&entry.change.subject.to_string())
                {
                    let missing = Missing {
                        line: line_of(entry),
                        since: at,
                    };
                    endpoint.missing.insert((entry.shard, entry.seq), missing);
                }
            }
        }
        for row in &batch.dispatch.deliveries {
            let found = self.endpoint(row.subscription);
            let Some(endpoint) = found.filter(|_| row.status == DeliveryStatus::Exhausted) else {
                continue;
            };
            if usize::from(row.failures) < TRIES {
                return Err(("a delivery is given up by its plan", format!("{row:?}")));
            }
            endpoint.missing.remove(&(row.shard, row.seq));
        }
        for (id, reason, _) in &batch.dispatch.disabled {
            let Some(endpoint) = self.endpoint(*id) else {
                continue;
            };
            let fits = match reason {
                DisabledReason::Gone => endpoint.gone_at > at - HOUR,
                // Clocks jump by hours.
                DisabledReason::Failing => endpoint.took_at < at - 5 * DAY + 9 * HOUR,
            };
            if !fits {
                let seen = format!("{}: {reason:?}", endpoint.subscription.url);
                return Err(("an endpoint is disabled for a reason", seen));
            }
            self.report.strike(Fault::EndpointGone);
            let later = at + self.dice.between(SECOND, 5 * SECOND);
            self.agenda.push(later, Occurrence::Announce);
            let enabled_at = at + self.dice.between(MINUTE, DAY);
            self.agenda.push(enabled_at, Occurrence::Enable(*id));
        }
        Ok(())
    }

    fn endpoint(&mut self, id: SubscriptionId) -> Option<&mut Endpoint> {
        self.endpoints
            .iter_mut()
            .find(|endpoint| endpoint.subscription.id == id)
    }

    /// A message goes out to a subscription.
    pub(crate) fn send_change(&mut self, node: usize, id: SendId, order: &SendOrder) {
        self.report.calls += 1;
        self.report.sends += 1;
        let (at, clock) = (self.now, self.node_now(node));
        let (place, line) = ((order.message.shard, order.message.seq), order.message.line);
        let lost = self.plant == Some(Plant::LoseMessage) && self.dice.permille(5);
        let subscription = order.subscription.id;
        let flying = self
            .sending
            .iter()
            .filter(|(flying, of)| flying.incarnation == id.incarnation && *of == subscription);
        if flying.count() >= self.limits.subscription_concurrency {
            let seen = format!("{}", order.subscription.url);
            return self.broken("no more messages in flight than allowed", seen);
        }
        self.sending.push((id, subscription));
        let dice = &mut self.dice;
        let found = self
            .endpoints
            .iter_mut()
            .find(|endpoint| endpoint.subscription.id == subscription);
        let Some(endpoint) = found else {
            return self.broken("calls go to known endpoints", format!("{order:?}"));
        };
        let message_id = if self.plant == Some(Plant::NewIdOnRepeat) {
            format!("{}-{}", order.message.id, id.number)
        } else {
            order.message.id.clone()
        };
        let known = endpoint
            .ids
            .entry(place)
            .or_insert_with(|| message_id.clone());
        if *known != message_id {
            let seen = format!("{known} and {message_id}");
            return self.broken("one change has one id", seen);
        }
        let (mut result, mut millis) = endpoint.answer(at, clock, dice);
        let taken = if result.failure.is_none() && !lost {
            endpoint.take(at, place, line)
        } else {
            Ok(())
        };
        if let Err(broken) = taken {
            return self.broken(broken.0, broken.1);
        }
        if result.failure.is_none() && self.spend(Fault::ResponseLost) {
            if let Some(endpoint) = self.endpoint(subscription) {
                endpoint.lost_at = at;
            }
            let error = Error {
                class: ErrorClass::ConnectionFailure,
                code: "timeout".to_owned(),
                message: "no answer".to_owned(),
            };
            let failure = SendFailure {
                error,
                gone: false,
                retry_at: None,
                unreachable: false,
            };
            result = sent(None, Some(failure));
            millis = 15 * SECOND;
        }
        self.note(|| {
            let ended = result
                .failure
                .as_ref()
                .map_or("taken", |why| &why.error.code);
            format!(
                "node {node} sends {place:?} to {}: {ended}",
                order.subscription.url
            )
        });
        let boot = self.nodes[node].boot;
        let news = News::Driver(None, Event::Sent(id, result));
        self.agenda
            .push(at + millis, Occurrence::Tell { node, boot, news });
    }

    /// Returns the subscriptions as the database has them.
    pub(crate) fn subscription_table(&self) -> Arc<SubscriptionTable> {
        let rows = now(self.store.subscriptions()).unwrap_or_default();
        let rows = rows.into_iter().map(|row| (row.id, Arc::new(row)));
        Arc::new(SubscriptionTable {
            by_id: rows.collect(),
        })
    }

    /// Every node hears what subscriptions there are.
    pub(crate) fn announce(&mut self) {
        let table = self.subscription_table();
        for node in 0..self.nodes.len() {
            let boot = self.nodes[node].boot;
            let event = Event::Subscriptions {
                table: Arc::clone(&table),
                whole: true,
            };
            let news = News::Driver(None, event);
            self.agenda
                .push(self.now, Occurrence::Tell { node, boot, news });
        }
    }

    /// The tenant has mended its endpoint and wants to be sent changes again.
    pub(crate) fn enable(&mut self, id: SubscriptionId) {
        let (table, at) = (self.subscription_table(), self.now);
        let Some(row) = table.by_id.get(&id) else {
            return;
        };
        if let Some(endpoint) = self.endpoint(id) {
            endpoint.gone = Window::default();
            endpoint.down = Window::default();
            endpoint.enabled_at = at;
        }
        let enabled = Subscription {
            disabled: None,
            version: row.version + 1,
            ..Subscription::clone(row)
        };
        let put = self.store.put_subscription(enabled, Some(row.version));
        if let Err(error) = now(put) {
            self.broken("the store answers", error.to_string());
        }
        self.announce();
    }

    /// Looks for changes that do not reach an endpoint that is well.
    pub(crate) fn check_reach(&mut self, healthy: &dyn Fn(Shard) -> bool, calm: i64) {
        // When a node has gone, another waits as long as the first one's clock wanted.
        let clocks = self.nodes.iter().map(|node| node.offset);
        let spread = clocks.clone().max().unwrap_or(0) - clocks.min().unwrap_or(0);
        let lately = calm - 2 * HOUR - spread;
        let late = self.endpoints.iter().find_map(|endpoint| {
            // What failed while it was not well waits for its plan, whose last gaps are a day.
            let lost = Window {
                from: 0,
                until: endpoint.lost_at,
            };
            let windows = [endpoint.down, endpoint.gone, endpoint.throttling, lost];
            let over = windows.iter().all(|window| window.until < calm - 2 * DAY);
            let well = endpoint.is_well() && over;
            // One that was just enabled has yet to catch up.
            let caught_up = endpoint.enabled_at < calm - 2 * HOUR;
            if !well || !caught_up || endpoint.took_at < calm - 12 * HOUR {
                return None;
            }
            let late = endpoint
                .missing
                .iter()
                .find(|((shard, _), missing)| missing.since < lately && healthy(*shard));
            late.map(|(place, _)| format!("{place:?} to {}", endpoint.subscription.url))
        });
        if let Some(seen) = late {
            self.broken("a change reaches an endpoint that is well", seen);
        }
    }

    /// Returns a change that was not brought to its subscription.
    pub(crate) fn undelivered(&self) -> Option<String> {
        self.endpoints.iter().find_map(|endpoint| {
            let (place, missing) = endpoint.missing.first_key_value()?;
            let url = &endpoint.subscription.url;
            Some(format!(
                "{place:?} {missing:?} to {url}, {}",
                endpoint.missing.len()
            ))
        })
    }
}

fn line_of(entry: &Entry) -> AnyId {
    entry.change.subject.line()
}

/// The tries of one message's plan.
const TRIES: usize = 10;
