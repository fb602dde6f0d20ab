//! Turns what is to be told into rows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use wellspring_core::{AccountId, NotificationId, Timestamp};

use super::NotifierParts;
use super::compose::{self, Draft, write_up};
use super::send::key;
use crate::{Notice, NoticeBatch, StoreError};

impl NotifierParts {
    /// Puts messages into what is written, as their people want them.
    ///
    /// What is over drops a message about it that still waits, and is not told where none of it can
    /// have come: one that was tried may have, whatever the far side said.
    pub(super) async fn write_drafts(
        &self,
        now: Timestamp,
        drafts: Vec<Draft>,
        batch: &mut NoticeBatch,
    ) -> Result<(), StoreError> {
        let accounts: BTreeSet<AccountId> = drafts.iter().map(|draft| draft.account).collect();
        let people = self.people(accounts.into_iter().collect()).await?;
        let mut held = self.held_back(&drafts).await?;
        let nobody = Default::default();
        for draft in drafts {
            let (preferences, contact) = people.get(&draft.account).unwrap_or(&nobody);
            let mends = draft.mends;
            let over = |channel| self.has(channel);
            let (notification, mut notices) = write_up(now, draft, preferences, contact, over);
            let mut dropped = Vec::new();
            if mends > 0 {
                held.retain(|(notice, event)| {
                    let of_it = compose::mends(&notification, notice, event);
                    if of_it {
                        dropped.push(notice.clone());
                    }
                    !of_it
                });
                notices.retain(|notice| {
                    let same = dropped.iter().filter(|one| {
                        let way = (one.channel, one.slot) == (notice.channel, notice.slot);
                        way && one.attempts == 0
                    });
                    same.count() < mends
                });
            }
            let waiting = notices.iter().filter(|notice| notice.gathers);
            held.extend(waiting.map(|notice| (notice.clone(), notification.event.clone())));
            batch.notifications.push(notification);
            batch.notices.extend(notices);
            for mut notice in dropped {
                compose::drop(&mut notice, now);
                // It may be in the same batch.
                batch.notices.retain(|one| key(one) != key(&notice));
                batch.notices.push(notice);
            }
        }
        Ok(())
    }

    /// Returns what is held back for those who are told that something is over.
    async fn held_back(
        &self,
        drafts: &[Draft],
    ) -> Result<Vec<(Notice, Map<String, Value>)>, StoreError> {
        let mended: BTreeSet<AccountId> = drafts
            .iter()
            .filter(|draft| draft.mends > 0)
            .map(|draft| draft.account)
            .collect();
        if mended.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.store.held_notices(mended.into_iter().collect());
        let held = held.await?;
        let ids: BTreeSet<NotificationId> = held.iter().map(|notice| notice.notification).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let texts = self.store.notifications_of(ids.into_iter().collect());
        let texts: BTreeMap<NotificationId, _> = texts
            .await?
            .into_iter()
            .map(|one| (one.id, one.event))
            .collect();
        let with_event = held.into_iter().filter_map(|notice| {
            let event = texts.get(&notice.notification)?.clone();
            Some((notice, event))
        });
        Ok(with_event.collect())
    }
}
