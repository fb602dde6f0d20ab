//! Errors that an operator can act on: each has a code and a page under `docs/errors`.

use std::fmt;

/// What an operator can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Another process has the data folder.
    FolderInUse,
    /// The master key is not the one that the database was made with.
    MasterKeyMismatch,
    /// The database is from a newer program, or no database of ours.
    DatabaseRefused,
    /// The database cannot be reached or opened.
    DatabaseUnavailable,
    /// A source file is wrong.
    Sources,
    /// PostgreSQL needs a master key that every node has.
    MasterKeyMissing,
    /// The address to listen on is taken or not ours.
    Listen,
}

impl Code {
    /// Every code; the test below looks for their pages.
    #[cfg(test)]
    const ALL: [Self; 7] = [
        Self::FolderInUse,
        Self::MasterKeyMismatch,
        Self::DatabaseRefused,
        Self::DatabaseUnavailable,
        Self::Sources,
        Self::MasterKeyMissing,
        Self::Listen,
    ];

    /// Returns the code's name, which is also its page's.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FolderInUse => "WS0001",
            Self::MasterKeyMismatch => "WS0002",
            Self::DatabaseRefused => "WS0003",
            Self::DatabaseUnavailable => "WS0004",
            Self::Sources => "WS0005",
            Self::MasterKeyMissing => "WS0006",
            Self::Listen => "WS0007",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes an error that bears its code.
pub(crate) fn coded(code: Code, message: impl fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{code}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_suggests_something() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        for code in Code::ALL {
            let page = std::fs::read_to_string(format!("{folder}/{code}.md")).unwrap_or_default();
            assert!(
                page.starts_with(&format!("# {code}")),
                "docs/errors/{code}.md"
            );
            assert!(page.contains("## Suggestions"), "docs/errors/{code}.md");
        }
    }
}
