//! Accounts.

use wellspring_core::{Account, Actor, Timestamp};
use wellspring_engine::StoreError;

use super::inconsistent;

/// Returns since when and by whom an account is being erased, as it is stored.
pub(crate) fn erasing_columns(account: &Account) -> (Option<i64>, Option<Vec<u8>>) {
    account
        .erasing
        .map(|(at, actor)| (at.as_millis(), actor.to_bytes()))
        .unzip()
}

/// Adds to an account the columns of [`erasing_columns`].
pub(crate) fn account(
    account: Account,
    (at, by): (Option<i64>, Option<Vec<u8>>),
) -> Result<Account, StoreError> {
    let erasing = match at {
        None => None,
        Some(at) => {
            let actor = Actor::from_bytes(&by.unwrap_or_default())
                .ok_or_else(|| inconsistent("accounts", "erasing_by", &account.id))?;
            Some((Timestamp::from_millis(at), actor))
        }
    };
    Ok(Account { erasing, ..account })
}
