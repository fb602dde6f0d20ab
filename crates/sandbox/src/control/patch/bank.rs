use std::time::Duration;

use serde_json::Value;

use super::{latency, merge};
use crate::bank::is_captcha;
use crate::control::BankSettings;

/// The part of a patch that only the bank has.
#[derive(Debug, Default, PartialEq)]
pub(in crate::control) struct BankPatch {
    pub(in crate::control) expire_sessions: bool,
    new_documents: Option<u32>,
    new_transactions: Option<u32>,
    document_latency: Option<Option<Duration>>,
    truncate_documents: Option<bool>,
    code_expires_in: Option<Duration>,
    captcha: Option<String>,
}

impl BankPatch {
    pub(in crate::control) fn apply(self, settings: &mut BankSettings) {
        let Self {
            expire_sessions: _,
            new_documents,
            new_transactions,
            document_latency,
            truncate_documents,
            code_expires_in,
            captcha,
        } = self;
        merge(&mut settings.new_documents, new_documents);
        merge(&mut settings.new_transactions, new_transactions);
        merge(&mut settings.document_latency, document_latency);
        merge(&mut settings.truncate_documents, truncate_documents);
        merge(&mut settings.code_expires_in, code_expires_in);
        merge(&mut settings.captcha, captcha);
    }

    /// Reads one setting; nothing when `name` is none of the bank's own.
    pub(super) fn read(&mut self, name: &str, value: &Value) -> Option<Result<(), &'static str>> {
        let read = match name {
            "new_documents" => at_most(value, MAX_NEW_DOCUMENTS)
                .ok_or("must be a whole number from 0 to 1000")
                .map(|number| self.new_documents = Some(number)),
            "new_transactions" => at_most(value, MAX_NEW_TRANSACTIONS)
                .ok_or("must be a whole number from 0 to 100000")
                .map(|number| self.new_transactions = Some(number)),
            "document_latency_ms" if value.is_null() => {
                self.document_latency = Some(None);
                Ok(())
            }
            "document_latency_ms" => {
                latency(value).map(|latency| self.document_latency = Some(Some(latency)))
            }
            "code_expires_in_s" => at_most(value, MAX_CODE_LIFE_S)
                .ok_or("must be a whole number of seconds from 0 to 86400")
                .map(|s| self.code_expires_in = Some(Duration::from_secs(s.into()))),
            "truncate_documents" => value
                .as_bool()
                .ok_or("must be true or false")
                .map(|truncate| self.truncate_documents = Some(truncate)),
            "expire_sessions" => value
                .as_bool()
                .ok_or("must be true or false")
                .map(|expire| self.expire_sessions = expire),
            "captcha" => value
                .as_str()
                .filter(|text| is_captcha(text))
                .ok_or("must be 4 to 8 of A to Z and 2 to 9, without I and O")
                .map(|text| self.captcha = Some(text.to_owned())),
            _ => return None,
        };
        Some(read)
    }
}

fn at_most(value: &Value, most: u32) -> Option<u32> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number <= most)
}

const MAX_NEW_DOCUMENTS: u32 = 1_000;
const MAX_NEW_TRANSACTIONS: u32 = 100_000;
const MAX_CODE_LIFE_S: u32 = 86_400;
