//! What is spent of budgets, under locks that all nodes take in the same order.

use std::collections::BTreeMap;

use uuid::Uuid;
use wellspring_core::Timestamp;
use wellspring_core::budget::{BudgetName, Ledger, Spends, Spent, hour, settle, spenders};

use super::session::{Fault, Param, Session};
use crate::row::{ledger, quiet_from};

/// Spends what may be spent, in the transaction that is open, by the database's clock.
pub(super) async fn spend(session: &Session, spends: &Spends) -> Result<Spent, Fault> {
    if spends.is_empty() {
        return Ok(Spent::default());
    }
    let names: Vec<&str> = spends
        .budgets
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut found = select(session, LOCKED, &names).await?;
    // Rows come with the first call and go when they are of no use: others may do either meanwhile.
    while found.1.len() < names.len() {
        let sql = "INSERT INTO budgets (name, ledger, quiet_from) \
                   SELECT u.name, ''::bytea, 0 FROM unnest($1::text[]) AS u (name) \
                   ON CONFLICT DO NOTHING";
        session.execute(sql, &[&names]).await?;
        found = select(session, LOCKED, &names).await?;
    }
    let budgets = spends.budgets.iter().map(|(name, _)| name);
    let mut spent = spent(found, budgets);
    spent.granted = settle(&mut spent.ledgers, spends, spent.now);
    let bytes: Vec<Vec<u8>> = spent.ledgers.iter().map(Ledger::to_bytes).collect();
    let quiet = spent.ledgers.iter().map(|one| quiet_from(one, spent.now));
    let quiet: Vec<i64> = quiet.collect();
    let hour = hour(spent.now).as_millis();
    let by = spenders(spends, &spent.granted);
    let sources: Vec<&str> = by.keys().map(|by| by.source.as_str()).collect();
    let tenants: Vec<Uuid> = by.keys().map(|by| by.tenant.uuid()).collect();
    let calls: Vec<i64> = by.values().map(|calls| calls.cast_signed()).collect();
    let params: [Param<'_>; 7] = [&names, &bytes, &quiet, &sources, &tenants, &calls, &hour];
    session.execute(WRITTEN, &params).await?;
    Ok(spent)
}

/// Reads what was spent.
pub(super) async fn read(
    session: &Session,
    now: Timestamp,
    names: &[BudgetName],
) -> Result<Spent, Fault> {
    let texts: Vec<&str> = names.iter().map(BudgetName::as_str).collect();
    let (by_database, rows) = select(session, READ, &texts).await?;
    // Where there are no rows no ledger has a moment in it.
    let now = by_database.or(Some(now));
    Ok(spent((now, rows), names.iter()))
}

type Found = (Option<Timestamp>, BTreeMap<String, Vec<u8>>);

/// Returns what the database's clock says, and the rows.
async fn select(session: &Session, sql: &'static str, names: &[&str]) -> Result<Found, Fault> {
    let mut now = None;
    let mut rows = BTreeMap::new();
    for row in session.query(sql, &[&names]).await? {
        let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<_, i64>(2)?));
        let (name, bytes, at) = read().map_err(Fault::Postgres)?;
        now = Some(Timestamp::from_millis(at));
        rows.insert(name, bytes);
    }
    Ok((now, rows))
}

fn spent<'a>((now, rows): Found, names: impl Iterator<Item = &'a BudgetName>) -> Spent {
    let ledgers = names.map(|name| match rows.get(name.as_str()) {
        Some(bytes) if !bytes.is_empty() => ledger(name, bytes),
        Some(_) | None => Ledger::default(),
    });
    Spent {
        now: now.unwrap_or_default(),
        granted: Vec::new(),
        ledgers: ledgers.collect(),
    }
}

const LOCKED: &str = "SELECT name, ledger, \
                      (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now FROM budgets \
                      WHERE name = ANY($1) ORDER BY name FOR UPDATE";
const READ: &str = "SELECT name, ledger, \
                    (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now FROM budgets \
                    WHERE name = ANY($1)";
/// Rows of those who spent are locked in their order too, as all nodes sort them alike.
const WRITTEN: &str = "WITH spent AS (UPDATE budgets b \
                       SET ledger = u.ledger, quiet_from = u.quiet_from \
                       FROM unnest($1::text[], $2::bytea[], $3::int8[]) \
                       AS u (name, ledger, quiet_from) WHERE b.name = u.name) \
                       INSERT INTO budget_use AS b (source, hour, tenant, calls) \
                       SELECT u.source, $7::int8, u.tenant, u.calls \
                       FROM unnest($4::text[], $5::uuid[], $6::int8[]) \
                       AS u (source, tenant, calls) \
                       ON CONFLICT (source, hour, tenant) \
                       DO UPDATE SET calls = b.calls + excluded.calls";
