//! Who has how many of the streams that a node has room for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wellspring_core::{AccountId, TenantId};

use crate::Caller;
use crate::problem::Problem;

/// Open streams by whose they are; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    tenants: BTreeMap<TenantId, Of>,
    /// Those of clients that reach one account.
    accounts: BTreeMap<AccountId, usize>,
}

/// The streams of one tenant.
#[derive(Debug, Default)]
struct Of {
    all: usize,
    /// Those of its people's clients.
    clients: usize,
}

/// The place of one stream.
#[derive(Debug)]
pub(crate) struct Seat {
    streams: Streams,
    tenant: TenantId,
    account: Option<AccountId>,
}

impl Streams {
    /// Gives a caller room for one more, if it has less than its share.
    pub(crate) fn seat(&self, caller: &Caller) -> Result<Seat, Problem> {
        let (tenant, account) = (caller.tenant, caller.account);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = counts.tenants.get(&tenant);
        let (its, clients) = of.map_or((0, 0), |of| (of.all, of.clients));
        let own = account.and_then(|account| counts.accounts.get(&account));
        if own.is_some_and(|own| *own >= MOST_OF_ACCOUNT) {
            return Err(refused("An account's clients have 10 streams at most"));
        }
        if its >= MOST_OF_TENANT || account.is_some() && clients >= MOST_OF_CLIENTS {
            return Err(refused(
                "The tenant has as many streams of a node as it may",
            ));
        }
        if counts.all >= MOST {
            let detail = "This node streams to as many clients as it can";
            return Err(Problem::busy("too_many_streams", detail));
        }
        counts.all += 1;
        let of = counts.tenants.entry(tenant).or_default();
        of.all += 1;
        if let Some(account) = account {
            of.clients += 1;
            *counts.accounts.entry(account).or_default() += 1;
        }
        let streams = self.clone();
        Ok(Seat {
            streams,
            tenant,
            account,
        })
    }
}

impl Seat {
    /// Returns how long a stream waits between reads, so that all together ask little of the database.
    pub(crate) fn pace(&self) -> Duration {
        let counts = self.streams.0.lock();
        let all = counts.unwrap_or_else(PoisonError::into_inner).all;
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        SHARE.saturating_mul(all).max(PACE)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let counts = self.streams.0.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(of) = counts.tenants.get_mut(&self.tenant) {
            of.all = of.all.saturating_sub(1);
            if self.account.is_some() {
                of.clients = of.clients.saturating_sub(1);
            }
            if of.all == 0 {
                counts.tenants.remove(&self.tenant);
            }
        }
        if let Some(account) = self.account
            && let Some(own) = counts.accounts.get_mut(&account)
        {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.accounts.remove(&account);
            }
        }
    }
}

fn refused(detail: &'static str) -> Problem {
    Problem::too_many("too_many_streams", detail)
}

/// Streams of one node.
const MOST: usize = 1_000;
/// Those of one tenant, so that none shuts the others out.
const MOST_OF_TENANT: usize = 500;
/// Of these, those of its people's clients: what its own servers follow goes on.
const MOST_OF_CLIENTS: usize = 400;
/// Those of the clients of one account.
const MOST_OF_ACCOUNT: usize = 10;
/// The least time between two reads of a stream that has caught up.
const PACE: Duration = Duration::from_millis(50);
/// What each open stream adds to that: all together read 500 times a second at most.
const SHARE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use wellspring_core::Actor;

    use super::*;

    fn caller(tenant: u8, account: Option<u16>) -> Caller {
        let id = |number: u16| {
            let mut id = [tenant; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            AccountId::from_bytes(id)
        };
        Caller {
            tenant: TenantId::from_bytes([tenant; 16]),
            actor: Actor::Operator,
            account: account.map(id),
            page: None,
        }
    }

    #[test]
    fn nobody_takes_the_streams_of_the_others() {
        let streams = Streams::default();
        let mut seats = Vec::new();
        for account in 0..40 {
            for _ in 0..MOST_OF_ACCOUNT {
                seats.push(streams.seat(&caller(1, Some(account))).unwrap());
            }
            assert!(streams.seat(&caller(1, Some(account))).is_err());
        }
        assert!(streams.seat(&caller(1, Some(40))).is_err());
        while let Ok(seat) = streams.seat(&caller(1, None)) {
            seats.push(seat);
        }
        assert_eq!(seats.len(), MOST_OF_TENANT);
        while let Ok(seat) = streams.seat(&caller(2, None)) {
            seats.push(seat);
        }
        assert_eq!(seats.len(), MOST);
        assert_eq!(seats[0].pace(), SHARE * 1_000);
        assert!(streams.seat(&caller(3, None)).is_err(), "the node is full");
        seats.truncate(1);
        assert!(streams.seat(&caller(3, None)).is_ok());
        drop(seats);
        let counts = streams.0.lock().unwrap();
        assert!(counts.all == 0 && counts.tenants.is_empty() && counts.accounts.is_empty());
    }
}
