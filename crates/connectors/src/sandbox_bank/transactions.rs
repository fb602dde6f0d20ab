//! The bank's movements of money, a page at a time.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::api::{Api, odd};
use super::refusal::concerns_everything;
use super::{TRANSACTIONS, Taken, start_date, unreadable};
use crate::{Failed, NewRecord, Session, Stop};

/// Fetches the transactions that were booked since the last time.
pub(super) async fn take(session: &Session, api: &Api<'_>) -> Result<Taken, Stop> {
    let from = start_date(session);
    let mut cursor = session.cursor(STREAM).map(str::to_owned);
    // Each time the bank finds it too much, half of it is asked for.
    let limit = match session.narrowed() {
        0 => None,
        times => Some((PAGE >> times).max(1)),
    };
    let mut left_out = 0;
    loop {
        session.call(TRANSACTIONS).await?;
        let page = match api.transactions(cursor.as_deref(), limit).await {
            Ok(page) => page,
            Err(failed) => return broken_off(session, failed),
        };
        let mut records = Vec::with_capacity(page.transactions.len());
        for written in &page.transactions {
            match read(written) {
                None => left_out += 1,
                Some(transaction) if from.is_some_and(|from| transaction.date < from) => {}
                Some(transaction) => records.push(NewRecord {
                    key: transaction.id,
                    body: Zeroizing::new(written.get().as_bytes().to_vec()),
                }),
            }
        }
        let moved = page.cursor.is_some() && page.cursor != cursor;
        let is_odd = page
            .cursor
            .as_ref()
            .is_some_and(|cursor| cursor.len() > LONGEST)
            || (page.has_more && !moved);
        if is_odd {
            return broken_off(session, odd("transactions"));
        }
        if moved {
            cursor = page.cursor;
        }
        if !records.is_empty() {
            session.records(STREAM, records, cursor.clone()).await?;
        } else if let (true, Some(cursor)) = (moved, &cursor) {
            session.checkpoint(STREAM, cursor.clone()).await?;
        }
        if !page.has_more {
            return Ok(Taken {
                any: true,
                failed: unreadable(left_out),
            });
        }
    }
}

fn broken_off(session: &Session, failed: Failed) -> Result<Taken, Stop> {
    if concerns_everything(session, &failed) {
        return Err(failed.into());
    }
    Ok(Taken {
        any: false,
        failed: Some(failed),
    })
}

/// What has to be right for a transaction to be one; it is kept as the bank wrote it.
#[derive(Deserialize)]
struct Transaction {
    id: String,
    date: Date,
    amount: String,
    currency: String,
    #[serde(rename = "description")]
    _description: String,
}

fn read(written: &RawValue) -> Option<Transaction> {
    let transaction: Transaction = serde_json::from_str(written.get()).ok()?;
    let id = (1..=LONGEST).contains(&transaction.id.len())
        && !transaction.id.chars().any(char::is_control);
    let currency = &transaction.currency;
    let currency = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    (id && currency && is_decimal(&transaction.amount)).then_some(transaction)
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match digits.split_once('.') {
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => all_digits(digits),
    }
}

const STREAM: &str = "transactions";
/// As many transactions as the bank gives at once.
const PAGE: u32 = 25;
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::is_decimal;

    #[test]
    fn amounts_are_decimals() {
        for good in ["0", "12.50", "-78000.1"] {
            assert!(is_decimal(good), "{good}");
        }
        for bad in ["", "-", "1.", ".5", "1e3", "+1", "1.2.3", "12,50", "NaN"] {
            assert!(!is_decimal(bad), "{bad}");
        }
    }
}
