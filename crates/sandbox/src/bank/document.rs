use jiff::civil::{Date, date};
use serde::Serialize;

use super::account::Account;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Statement,
    Bill,
    Notice,
}

/// A document, whether or not it is issued yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DocumentId {
    pub(super) date: Date,
    pub(super) kind: Kind,
    pub(super) account: &'static Account,
    ordinal: u32,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Statement, Self::Bill, Self::Notice];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Bill => "bill",
            Self::Notice => "notice",
        }
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Statement => "Statement",
            Self::Bill => "Bill",
            Self::Notice => "Notice",
        }
    }

    pub(super) fn pages(self) -> usize {
        match self {
            Self::Statement => 2,
            Self::Bill | Self::Notice => 1,
        }
    }

    /// Returns the ordinal of the last document of which `new` were issued beyond the start.
    fn last(self, new: u32) -> u32 {
        let first = u32::try_from(self.first().len()).unwrap_or(u32::MAX);
        first.saturating_add(new)
    }

    /// Returns the days of the documents there are from the start.
    fn first(self) -> &'static [Date] {
        const STATEMENTS: &[Date] = &[date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)];
        const BILLS: &[Date] = &[date(2026, 2, 15), date(2026, 3, 15)];
        const NOTICES: &[Date] = &[date(2026, 3, 5)];
        match self {
            Self::Statement => STATEMENTS,
            Self::Bill => BILLS,
            Self::Notice => NOTICES,
        }
    }
}

impl DocumentId {
    fn new(account: &'static Account, kind: Kind, ordinal: u32) -> Self {
        Self {
            date: day(kind, ordinal),
            kind,
            account,
            ordinal,
        }
    }

    /// Returns the documents of one kind of which `new` were issued beyond those of the start.
    pub(super) fn issued(
        account: &'static Account,
        kind: Kind,
        new: u32,
    ) -> impl Iterator<Item = Self> {
        (1..=kind.last(new)).map(move |ordinal| Self::new(account, kind, ordinal))
    }

    /// Returns the document called `text`, if `new` are enough for it to be issued.
    pub(super) fn parse(account: &'static Account, text: &str, new: u32) -> Option<Self> {
        let (kind, ordinal) = text
            .strip_prefix(account.id)?
            .strip_prefix('-')?
            .split_once('-')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        let ordinal = ordinal.parse().ok()?;
        if !(1..=kind.last(new)).contains(&ordinal) {
            return None;
        }
        // Only the one spelling is a name.
        Some(Self::new(account, kind, ordinal)).filter(|found| found.name() == text)
    }

    /// Returns the name by which it is asked for, for ever the same.
    pub(super) fn name(self) -> String {
        let Self {
            date: _,
            kind,
            account,
            ordinal,
        } = self;
        format!("{}-{}-{ordinal:04}", account.id, kind.name())
    }

    pub(super) fn title(self) -> String {
        format!(
            "{} of {}",
            self.kind.heading(),
            self.date.strftime("%-d %B %Y")
        )
    }

    /// Returns what a bill asks for, in cents.
    pub(super) fn amount_due(self) -> Option<u64> {
        match self.kind {
            Kind::Bill => Some(4_990 + u64::from(self.ordinal) * 137 % 1_000),
            Kind::Statement | Kind::Notice => None,
        }
    }
}

/// Writes cents as people do.
pub(super) fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Returns the day of a document: what comes after the start comes day by day from April on.
fn day(kind: Kind, ordinal: u32) -> Date {
    let first = kind.first();
    let index = usize::try_from(ordinal.saturating_sub(1)).unwrap_or(usize::MAX);
    first.get(index).copied().unwrap_or_else(|| {
        let later = i64::try_from(index - first.len()).unwrap_or_default();
        date(2026, 4, 1).saturating_add(jiff::Span::new().days(later))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_documents_once_those_are_issued() {
        for kind in Kind::ALL {
            let all: Vec<_> = DocumentId::issued(&Account::USUAL, kind, 5).collect();
            assert!(all.is_sorted());
            for (index, document) in all.iter().enumerate() {
                let name = document.name();
                let missing = u32::try_from(index + 1 - kind.first().len().min(index + 1)).unwrap();
                let parse = |account, new| DocumentId::parse(account, &name, new);
                assert_eq!(parse(&Account::USUAL, missing), Some(*document));
                assert_eq!(parse(&Account::OTHER, 5), None);
                if let Some(fewer) = missing.checked_sub(1) {
                    assert_eq!(parse(&Account::USUAL, fewer), None);
                }
            }
        }
        for wrong in [
            "4711-statement-1",
            "4711-statement-0000",
            "4711-letter-0001",
            "4711",
        ] {
            assert_eq!(
                DocumentId::parse(&Account::USUAL, wrong, 5),
                None,
                "{wrong}"
            );
        }
    }
}
