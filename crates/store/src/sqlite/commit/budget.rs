//! What is spent of budgets, in the transaction of the steps that start the calls.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use wellspring_core::Timestamp;
use wellspring_core::budget::{BudgetName, Ledger, Spends, Spent, hour, settle, spenders};

use crate::row::{ledger, quiet_from};

/// Spends what may be spent, by the clock of the node: no other shares the file.
pub(super) fn apply(transaction: &Transaction<'_>, spends: &Spends) -> rusqlite::Result<Spent> {
    if spends.is_empty() {
        return Ok(Spent::default());
    }
    let names = spends.budgets.iter().map(|(name, _)| name);
    let mut spent = read(transaction, spends.at, names)?;
    spent.granted = settle(&mut spent.ledgers, spends, spends.at);
    let sql = "INSERT INTO budgets (name, ledger, quiet_from) VALUES (?1, ?2, ?3) \
               ON CONFLICT (name) DO UPDATE SET ledger = ?2, quiet_from = ?3";
    let mut statement = transaction.prepare_cached(sql)?;
    for ((name, _), ledger) in spends.budgets.iter().zip(&spent.ledgers) {
        let quiet = quiet_from(ledger, spends.at);
        statement.execute(params![name.as_str(), ledger.to_bytes(), quiet])?;
    }
    let sql = "INSERT INTO budget_use (source, hour, tenant, calls) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (source, hour, tenant) DO UPDATE SET calls = calls + ?4";
    let mut statement = transaction.prepare_cached(sql)?;
    let hour = hour(spends.at).as_millis();
    for (by, calls) in spenders(spends, &spent.granted) {
        let (source, tenant) = (by.source.as_str(), by.tenant.as_bytes());
        statement.execute(params![source, hour, tenant, calls.cast_signed()])?;
    }
    Ok(spent)
}

/// Reads what was spent.
pub(in super::super) fn read<'a>(
    connection: &Connection,
    now: Timestamp,
    names: impl Iterator<Item = &'a BudgetName>,
) -> rusqlite::Result<Spent> {
    let mut statement = connection.prepare_cached("SELECT ledger FROM budgets WHERE name = ?1")?;
    let mut ledgers = Vec::new();
    for name in names {
        let bytes: Option<Vec<u8>> = statement
            .query_row([name.as_str()], |row| row.get(0))
            .optional()?;
        ledgers.push(bytes.map_or_else(Ledger::default, |bytes| ledger(name, &bytes)));
    }
    Ok(Spent {
        now,
        granted: Vec::new(),
        ledgers,
    })
}
