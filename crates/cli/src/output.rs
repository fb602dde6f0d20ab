//! Data on stdout, for people or for programs.

#![expect(clippy::print_stdout, reason = "this is where data goes to stdout")]

use serde_json::Value;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// As one JSON object.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result as JSON, or as the text.
    pub(crate) fn print(self, value: &Value, text: impl FnOnce() -> String) {
        if self.json {
            println!("{value}");
        } else {
            println!("{}", text());
        }
    }
}
