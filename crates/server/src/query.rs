//! Parameters of the query.

use http::Uri;

use crate::problem::{Fault, Problem};

/// The parameters of one request and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Parameters {
    /// Reads the query; parameters in `once` may stand there once, those in `many` as often as wanted.
    pub(crate) fn read(uri: &Uri, once: &[&str], many: &[&str]) -> Self {
        let mut read = Self {
            pairs: Vec::new(),
            faults: Vec::new(),
        };
        let query = uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let again = read.pairs.iter().any(|(have, _)| *have == name);
            if once.contains(&&*name) && again {
                read.fault(&name, "is there more than once");
            } else if once.contains(&&*name) || many.contains(&&*name) {
                read.pairs.push((name.into_owned(), value.into_owned()));
            } else if read.faults.len() < MOST_FAULTS {
                read.fault(&name, "is not known here");
            }
        }
        read
    }

    /// Returns the value of a parameter that may stand there once.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        pairs
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the values of a parameter.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.pairs.iter().filter(move |(have, _)| have == name);
        pairs.map(|(_, value)| value.as_str())
    }

    /// Returns `limit`, from 1 to `most`.
    pub(crate) fn limit(&mut self, default: usize, most: usize) -> usize {
        let Some(text) = self.value("limit") else {
            return default;
        };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => limit,
            Ok(_) | Err(_) => {
                self.fault("limit", format!("is a number from 1 to {most}"));
                default
            }
        }
    }

    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault::of_parameter(name, detail));
    }

    /// Returns what is wrong with the query.
    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Refuses the request if there was any fault.
    pub(crate) fn finish(self) -> Result<(), BadParameters> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(BadParameters(self.faults))
        }
    }
}

/// The query is wrong.
#[derive(Debug)]
pub(crate) struct BadParameters(Vec<Fault>);

impl From<BadParameters> for Problem {
    fn from(BadParameters(faults): BadParameters) -> Self {
        Self::parameters(faults)
    }
}

const MOST_FAULTS: usize = 20;
