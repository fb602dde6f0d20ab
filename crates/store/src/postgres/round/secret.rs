//! What becomes of secrets: several writes in order, brought down to what they come to.

use std::collections::BTreeMap;

use uuid::Uuid;
use wellspring_core::Stored;
use wellspring_core::connection::{SecretWrite, Slot};

use super::Call;

/// Secrets of different connections.
#[derive(Default)]
pub(super) struct Secrets<'a> {
    put: Puts<'a>,
    moved: Moves,
}

#[derive(Default)]
struct Puts<'a> {
    connection: Vec<Uuid>,
    slot: Vec<i16>,
    sealed: Vec<&'a [u8]>,
}

/// Slots that get what another slot has, or nothing.
#[derive(Default)]
struct Moves {
    connection: Vec<Uuid>,
    slot: Vec<i16>,
    origin: Vec<Option<i16>>,
}

/// What a slot has after some writes.
#[derive(Clone, Copy)]
enum Content<'a> {
    /// What this slot had before all of them.
    Of(Slot),
    Sealed(&'a [u8]),
    Nothing,
}

impl<'a> Secrets<'a> {
    pub(super) fn push(&mut self, connection: Uuid, writes: &'a [SecretWrite]) {
        for (slot, content) in after(writes) {
            let slot = i16::from(slot.code());
            let origin = match content {
                Content::Sealed(sealed) => {
                    self.put.connection.push(connection);
                    self.put.slot.push(slot);
                    self.put.sealed.push(sealed);
                    continue;
                }
                Content::Of(origin) => Some(i16::from(origin.code())),
                Content::Nothing => None,
            };
            if origin != Some(slot) {
                self.moved.connection.push(connection);
                self.moved.slot.push(slot);
                self.moved.origin.push(origin);
            }
        }
    }

    pub(super) fn calls<'b>(&'b self, calls: &mut Vec<Call<'b>>) {
        let Self { put, moved } = self;
        if !moved.slot.is_empty() {
            // One statement reads all origins as they were before it.
            let sql = "WITH u AS (SELECT * FROM unnest($1::uuid[], $2::int2[], $3::int2[]) \
                       AS u (connection, slot, origin)), \
                       gone AS (DELETE FROM secrets s USING u \
                       WHERE s.connection = u.connection AND s.slot = u.slot AND NOT EXISTS \
                       (SELECT 1 FROM secrets o WHERE o.connection = u.connection \
                       AND o.slot = u.origin)) \
                       INSERT INTO secrets (connection, slot, sealed) \
                       SELECT u.connection, u.slot, o.sealed FROM u \
                       JOIN secrets o ON o.connection = u.connection AND o.slot = u.origin \
                       ON CONFLICT (connection, slot) DO UPDATE SET sealed = excluded.sealed";
            let params: Vec<_> = vec![
                &moved.connection as super::Param<'b>,
                &moved.slot,
                &moved.origin,
            ];
            calls.push(Call::any(sql, params));
        }
        if !put.slot.is_empty() {
            let sql = "INSERT INTO secrets (connection, slot, sealed) \
                       SELECT * FROM unnest($1::uuid[], $2::int2[], $3::bytea[]) \
                       ON CONFLICT (connection, slot) DO UPDATE SET sealed = excluded.sealed";
            calls.push(Call::any(
                sql,
                vec![&put.connection, &put.slot, &put.sealed],
            ));
        }
    }
}

/// Returns what each slot that is written to has in the end.
fn after(writes: &[SecretWrite]) -> BTreeMap<Slot, Content<'_>> {
    let mut slots = BTreeMap::new();
    for write in writes {
        match write {
            SecretWrite::Put(slot, sealed) => {
                slots.insert(*slot, Content::Sealed(sealed.as_bytes()));
            }
            SecretWrite::Move(from, to) => {
                let content = slots.get(from).copied().unwrap_or(Content::Of(*from));
                slots.insert(*from, Content::Nothing);
                slots.insert(*to, content);
            }
            SecretWrite::Delete(slot) => {
                slots.insert(*slot, Content::Nothing);
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use wellspring_core::Sealed;

    use super::*;

    #[test]
    fn secrets_that_move_about_come_to_where_they_go() {
        let (now, before) = (Slot::Credentials, Slot::PreviousCredentials);
        let new = Sealed::new(&b"new"[..]);
        // A repair begins, is begun anew, and is abandoned.
        let writes = [
            SecretWrite::Move(now, before),
            SecretWrite::Put(now, new.clone()),
            SecretWrite::Put(Slot::Answer, new),
            SecretWrite::Move(before, Slot::Resume),
            SecretWrite::Move(Slot::Resume, now),
            SecretWrite::Delete(Slot::Answer),
        ];
        let mut secrets = Secrets::default();
        secrets.push(Uuid::nil(), &writes);
        assert!(secrets.put.slot.is_empty());
        let moved: Vec<(i16, Option<i16>)> = secrets
            .moved
            .slot
            .into_iter()
            .zip(secrets.moved.origin)
            .collect();
        let code = |slot: Slot| i16::from(slot.code());
        let gone = [before, Slot::Resume, Slot::Answer].map(|slot| (code(slot), None));
        assert_eq!(moved, gone, "what went away and came back is where it was");
    }
}
