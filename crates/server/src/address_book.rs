//! The addresses of people, as they are sealed and as they are used.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use wellspring_core::notification::{Channel, Contact, NotificationKind};
use wellspring_core::{AccountId, ConnectionId, Sealed, Stored, Timestamp};
use wellspring_engine::{AddressBook, Person, PhoneMark};
use wellspring_vault::Vault;
use zeroize::Zeroizing;

use crate::Access;

/// Seals addresses under the vault's keys, and makes the links by which people switch messages off.
#[derive(Debug)]
pub struct SealedAddresses {
    vault: Vault,
    public_url: String,
}

impl SealedAddresses {
    /// Takes who holds the vault, and the base of links as people reach it.
    pub fn new(access: &Access, public_url: &str) -> Self {
        Self {
            vault: access.vault().clone(),
            public_url: public_url.trim_end_matches('/').to_owned(),
        }
    }
}

impl AddressBook for SealedAddresses {
    fn open(&self, person: &Person) -> Option<Contact> {
        let sealed = person.contact.as_ref()?;
        let plain = self.vault.open(&context(person.account), sealed.as_bytes());
        let contact = plain
            .ok()
            .and_then(|plain| serde_json::from_slice(plain.expose_secret()).ok());
        if contact.is_none() {
            tracing::error!(account = %person.account, "The addresses of a person cannot be opened");
        }
        contact
    }

    fn seal(&self, account: AccountId, contact: &Contact) -> Sealed {
        let plain = serde_json::to_vec(contact).expect("texts always serialize");
        Sealed::new(self.vault.seal(&context(account), &Zeroizing::new(plain)))
    }

    fn mark(&self, text: &str) -> PhoneMark {
        let hash = self.vault.keyed_hash(b"phone", text.as_bytes());
        let mut mark = PhoneMark::default();
        let length = mark.len();
        mark.copy_from_slice(&hash[..length]);
        mark
    }

    fn mend_url(
        &self,
        account: AccountId,
        connection: ConnectionId,
        until: Timestamp,
    ) -> Option<String> {
        let token = mend_token(&self.vault, account, connection, until);
        Some(format!("{}/mend/{token}", self.public_url))
    }

    fn unsubscribe_url(
        &self,
        account: AccountId,
        kind: NotificationKind,
        channel: Channel,
    ) -> Option<String> {
        let token = unsubscribe_token(&self.vault, account, kind, channel);
        Some(format!("{}/unsubscribe/{token}", self.public_url))
    }
}

/// Returns the token by which anybody who has it switches one kind off over one channel, and nothing else.
fn unsubscribe_token(
    vault: &Vault,
    account: AccountId,
    kind: NotificationKind,
    channel: Channel,
) -> String {
    let mut said = account.as_bytes().to_vec();
    said.extend([kind.code(), channel.code()]);
    let proof = vault.keyed_hash(b"unsubscribe", &said);
    said.extend(&proof[..16]);
    URL_SAFE_NO_PAD.encode(said)
}

/// Returns what a token of [`AddressBook::unsubscribe_url`] switches off.
pub(crate) fn unsubscribed(
    vault: &Vault,
    token: &str,
) -> Option<(AccountId, NotificationKind, Channel)> {
    let said = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (account, rest) = said.split_first_chunk::<16>()?;
    let account = AccountId::from_bytes(*account);
    let (kind, channel) = (*rest.first()?, *rest.get(1)?);
    let kind = NotificationKind::from_code(kind)?;
    let channel = Channel::from_code(channel)?;
    let right = unsubscribe_token(vault, account, kind, channel);
    is_same(&right, token).then_some((account, kind, channel))
}

/// Returns the token by which anybody who has it comes to the page that mends one connection.
fn mend_token(
    vault: &Vault,
    account: AccountId,
    connection: ConnectionId,
    until: Timestamp,
) -> String {
    let mut said = [account.as_bytes().as_slice(), connection.as_bytes()].concat();
    said.extend(until.as_millis().to_be_bytes());
    let proof = vault.keyed_hash(b"mend", &said);
    said.extend(&proof[..16]);
    URL_SAFE_NO_PAD.encode(said)
}

/// Returns what a token of [`AddressBook::mend_url`] is for, and until when.
pub(crate) fn mending(vault: &Vault, token: &str) -> Option<(AccountId, ConnectionId, Timestamp)> {
    let said = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (account, rest) = said.split_first_chunk::<16>()?;
    let (connection, rest) = rest.split_first_chunk::<16>()?;
    let (until, _) = rest.split_first_chunk::<8>()?;
    let account = AccountId::from_bytes(*account);
    let connection = ConnectionId::from_bytes(*connection);
    let until = Timestamp::from_millis(i64::from_be_bytes(*until));
    let right = mend_token(vault, account, connection, until);
    is_same(&right, token).then_some((account, connection, until))
}

/// Compares whole texts: the proof is a keyed hash of what it proves, and the time gives nothing to guess with.
fn is_same(right: &str, given: &str) -> bool {
    let pairs = right.bytes().zip(given.bytes());
    let differs = pairs.fold(right.len() ^ given.len(), |differs, (a, b)| {
        differs | usize::from(a ^ b)
    });
    differs == 0
}

fn context(account: AccountId) -> Vec<u8> {
    [b"contact ".as_slice(), account.as_bytes()].concat()
}
