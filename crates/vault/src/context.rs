//! What the secrets of connections and subscriptions are sealed for: whoever seals one and whoever
//! opens it, in whichever crate, takes the context from here.
//!
//! Both are named by the sixteen bytes of their ids.

/// Returns the context of what a source is logged in to with, wherever it is kept.
///
/// Credentials that wait for a repair to succeed move unopened, so they have the same one.
pub fn credentials(connection: &[u8; 16]) -> Vec<u8> {
    slot("credentials", connection)
}

/// Returns the context of what a connector needs to go on after a question.
pub fn resume(connection: &[u8; 16]) -> Vec<u8> {
    slot("resume", connection)
}

/// Returns the context of an answer that was not used yet; an answer that is the credentials
/// themselves has that of [`credentials`].
pub fn answer(connection: &[u8; 16]) -> Vec<u8> {
    slot("answer", connection)
}

/// Returns the context of a record: its stream and the source's key for it.
pub fn record(connection: &[u8; 16], stream: &str, key: &str) -> Vec<u8> {
    let mut context = slot("record", connection);
    // With its length, so that no two pairs run into the same bytes.
    let length = u64::try_from(stream.len()).unwrap_or(u64::MAX);
    context.extend_from_slice(&length.to_be_bytes());
    context.extend_from_slice(stream.as_bytes());
    context.extend_from_slice(key.as_bytes());
    context
}

/// Returns the context of a keyed hash that tells whether something at the source is still what
/// it was, such as the account.
pub fn fingerprint(connection: &[u8; 16]) -> Vec<u8> {
    slot("fingerprint", connection)
}

/// Returns the context of the secrets of the subscription with this id.
pub fn subscription(id: &[u8; 16]) -> Vec<u8> {
    [b"subscription-secrets ".as_slice(), id].concat()
}

fn slot(name: &str, connection: &[u8; 16]) -> Vec<u8> {
    [b"connection-", name.as_bytes(), b" ", connection].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_secrets_have_the_same_context() {
        let (one, two) = ([1; 16], [2; 16]);
        let contexts = [
            credentials(&one),
            credentials(&two),
            resume(&one),
            answer(&one),
            fingerprint(&one),
            subscription(&one),
            record(&one, "a", "bc"),
            record(&one, "ab", "c"),
            record(&two, "a", "bc"),
        ];
        assert_eq!(BTreeSet::from_iter(&contexts).len(), contexts.len());
        assert_eq!(
            credentials(&one),
            [b"connection-credentials ".as_slice(), &one].concat()
        );
    }
}
