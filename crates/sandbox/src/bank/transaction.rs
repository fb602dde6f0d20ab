use hyper::{Response, StatusCode};
use jiff::civil::{Date, date};
use serde::Serialize;
use serde_json::{Value, json};

use super::account::Account;
use super::document::{DocumentId, decimal};
use super::refusal::Refusal;
use super::script::{Flaw, Script};
use crate::answer::{JSON, json_answer};
use crate::serve::Body;

/// A movement of money.
#[derive(Serialize)]
pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) date: Date,
    pub(super) amount: String,
    currency: &'static str,
    pub(super) description: &'static str,
}

impl Transaction {
    fn new(account: &Account, ordinal: u32) -> Self {
        let draw = u64::from(ordinal).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let (description, least, spread, sign) = match draw % 8 {
            0 => ("Salary", 210_000, 9_000, ""),
            1 => ("Rent", 78_000, 1, "-"),
            2 | 3 => ("Groceries", 900, 8_000, "-"),
            4 => ("Electricity", 4_000, 3_000, "-"),
            5 => ("Coffee", 250, 300, "-"),
            6 => ("Book shop", 800, 4_000, "-"),
            _ => ("Refund", 500, 5_000, ""),
        };
        let amount = decimal(least + draw / 8 % spread);
        let days = i64::from(ordinal - 1) * 3 / 2;
        Self {
            id: id(account, ordinal),
            date: date(2026, 1, 1).saturating_add(jiff::Span::new().days(days)),
            amount: format!("{sign}{amount}"),
            currency: "EUR",
            description,
        }
    }
}

/// Answers with a page of what was booked after the `after` of `query`.
pub(super) fn answer(script: &Script, query: &str, new: u32) -> Response<Body> {
    let (mut after, mut limit) = (0, PAGE);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("after", "") => {}
            ("after", cursor) => match ordinal(script.account, cursor) {
                Some(ordinal) => after = ordinal,
                None => return Refusal::Unreadable.answer(),
            },
            ("limit", number) => match number.parse() {
                Ok(number @ 1..=PAGE) => limit = number,
                Ok(_) | Err(_) => return Refusal::Unreadable.answer(),
            },
            (_, _) => return Refusal::Unreadable.answer(),
        }
    }
    if script.flaw == Flaw::FewAtOnce && limit > FEW {
        return Refusal::WindowTooLarge.answer();
    }
    let last = FIRST + new;
    let end = after.saturating_add(limit).min(last).max(after);
    let transactions: Vec<_> = (after + 1..=end)
        .map(|ordinal| written(script, ordinal))
        .collect();
    let page = Page {
        transactions,
        cursor: (end > 0).then(|| id(script.account, end)),
        has_more: end < last,
    };
    json_answer(StatusCode::OK, JSON, &page)
}

/// Returns what is listed on one page of a statement.
pub(super) fn on_statement(
    statement: DocumentId,
    page: usize,
) -> impl Iterator<Item = Transaction> {
    let month = u32::from(statement.date.month().unsigned_abs());
    let page = u32::try_from(page).unwrap_or_default();
    let first = 1 + (month - 1) * 20 + page * 10;
    (first..first + 10).map(move |ordinal| Transaction::new(statement.account, ordinal))
}

#[derive(Serialize)]
struct Page {
    transactions: Vec<Value>,
    /// Where to go on, also when there is nothing more yet.
    cursor: Option<String>,
    has_more: bool,
}

fn written(script: &Script, ordinal: u32) -> Value {
    let transaction = Transaction::new(script.account, ordinal);
    match script.flaw {
        Flaw::Junk if ordinal.is_multiple_of(5) => json!({
            "id": transaction.id,
            "date": "the day before yesterday",
            "amount": null,
            "description": ["mistyped"],
        }),
        Flaw::None
        | Flaw::SlowDocuments
        | Flaw::NoBills
        | Flaw::Junk
        | Flaw::DocumentsThrottled
        | Flaw::Revoked
        | Flaw::LosesSession
        | Flaw::FewAtOnce => json!(transaction),
    }
}

fn id(account: &Account, ordinal: u32) -> String {
    format!("{}-t-{ordinal:06}", account.id)
}

fn ordinal(account: &Account, cursor: &str) -> Option<u32> {
    let digits = cursor.strip_prefix(account.id)?.strip_prefix("-t-")?;
    digits
        .parse()
        .ok()
        .filter(|ordinal| *ordinal <= MOST && id(account, *ordinal) == cursor)
}

const FIRST: u32 = 60;
const PAGE: u32 = 25;
/// How many are given at once where many are too much.
const FEW: u32 = 10;
/// More than can be booked, and few enough for all that is counted from it.
const MOST: u32 = 999_999;
