//! What callers hold of a notifier: what tenants have people told.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use wellspring_core::notification::{Channel, Contact, NotificationKind, Preferences};
use wellspring_core::{AccountId, NotificationId, TenantId};

use super::NotifierParts;
use super::compose::{self, Draft, write_up};
use crate::{
    AddressBook, Notice, NoticeAddress, NoticeOrder, NoticeWords, Notification, RequestMark,
    StoreError, random_seed,
};

/// A message that a tenant has a person told.
#[derive(Debug, Clone)]
pub struct NoticeRequest {
    /// Whose person it is.
    pub tenant: TenantId,
    /// Which person.
    pub account: AccountId,
    /// What it is about.
    pub kind: NotificationKind,
    /// What the templates are filled with.
    pub event: Map<String, Value>,
    /// Over which channels it may go; all if it is empty.
    pub over: Vec<Channel>,
    /// The request, where its sender named it.
    pub request: Option<RequestMark>,
}

/// A message that was written, now or before under the same request.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The message.
    pub notification: Notification,
    /// The ways that it goes.
    pub notices: Vec<Notice>,
    /// Whether it was there before.
    pub is_again: bool,
}

/// Has people told something; cheap to clone.
#[derive(Debug, Clone)]
pub struct NotifierHandle {
    pub(super) parts: NotifierParts,
    pub(super) wake: Arc<Notify>,
    pub(super) wrote: Arc<watch::Sender<u64>>,
}

impl NotifierHandle {
    /// Writes a message of the tenant's to a person, and returns it with the ways that it goes:
    /// those that are asked for, configured and wanted by the person.
    ///
    /// # Errors
    ///
    /// When the database does not answer; it may have been written.
    pub async fn notify(&self, asked: NoticeRequest) -> Result<Told, StoreError> {
        let now = self.parts.clock.now();
        let mut rng = ChaCha8Rng::seed_from_u64(random_seed());
        let account = asked.account;
        let draft = Draft {
            id: NotificationId::mint_in(now, account.shard(), &mut rng),
            tenant: asked.tenant,
            account,
            kind: asked.kind,
            event: asked.event,
            mends: 0,
        };
        let people = self.parts.people(vec![account]).await?;
        let nobody = (Preferences::default(), Contact::default());
        let (preferences, contact) = people.get(&account).unwrap_or(&nobody);
        let over = &asked.over;
        let (notification, notices) = write_up(now, draft, preferences, contact, |channel| {
            (over.is_empty() || over.contains(&channel)) && self.has(channel)
        });
        let notification = Notification {
            request: asked.request,
            ..notification
        };
        let adding = self
            .parts
            .store
            .add_notification(notification.clone(), notices.clone());
        if let Some(before) = adding.await? {
            let notices = self.parts.store.notices(before.id).await?;
            return Ok(Told {
                notification: before,
                notices,
                is_again: true,
            });
        }
        self.wrote.send_modify(|number| *number += 1);
        self.wake.notify_one();
        Ok(Told {
            notification,
            notices,
            is_again: false,
        })
    }

    /// Returns whether a channel is configured; the list in the application always is.
    pub fn has(&self, channel: Channel) -> bool {
        self.parts.has(channel)
    }

    /// Returns the key that browsers subscribe to Web Push with, where that is configured.
    pub fn push_key(&self) -> Option<String> {
        self.parts.transport.push_key()
    }

    /// Returns what a message says in the application, in the language of its person.
    pub fn words(&self, one: &Notification, contact: &Contact) -> NoticeWords {
        self.parts.transport.words(&NoticeOrder {
            id: one.id,
            tenant: one.tenant,
            account: one.account,
            kind: one.kind,
            channel: Channel::InApp,
            to: NoticeAddress::InApp,
            language: compose::language(contact),
            events: vec![compose::event(one, contact)],
            at: one.at,
            unsubscribe_url: None,
        })
    }

    /// Returns the book of addresses.
    pub fn addresses(&self) -> &dyn AddressBook {
        self.parts.addresses.as_ref()
    }

    /// Returns a number that changes whenever this node has written about messages.
    pub fn wrote(&self) -> watch::Receiver<u64> {
        self.wrote.subscribe()
    }
}
