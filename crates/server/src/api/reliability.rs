//! `/api/reliability`: how connections fare and what can be done about it, in the words of the
//! reliability API that applications know; called with a client's token, or with an API key and
//! `?account=`.

use http::Uri;
use wellspring_core::{AccountId, Connection, ConnectionId};

use super::accounts;
use crate::Caller;
use crate::path::Place;
use crate::problem::{Fault, Problem};
use crate::query::Parameters;
use crate::router::{App, within};

pub(crate) mod connections;
mod gate;
pub(crate) mod metrics;
pub(crate) mod notifications;
pub(crate) mod reconnect;
pub(crate) mod service;
pub(crate) mod start;
pub(crate) mod sync_status;

/// The query of a request, `account` taken out of it.
struct Asked {
    parameters: Parameters,
    account: Option<AccountId>,
}

impl Asked {
    /// Reads the query; `known` are its parameters beside `account`.
    fn read(uri: &Uri, known: &[&str]) -> Self {
        let known = [&["account"], known].concat();
        let mut parameters = Parameters::read(uri, &known, &[]);
        let account = match parameters.value("account").map(str::parse) {
            Some(Ok(account)) => Some(account),
            Some(Err(_)) => {
                parameters.fault("account", "is not the id of an account");
                None
            }
            None => None,
        };
        Self {
            parameters,
            account,
        }
    }

    /// Returns the account that is meant: a token's own, or the one that is named with a key.
    async fn account(mut self, app: &App, caller: &Caller) -> Result<AccountId, Problem> {
        let account = self.account.or(caller.account);
        if account.is_none() && self.parameters.value("account").is_none() {
            let detail = "is needed with an API key: whose connections are meant";
            self.parameters.fault("account", detail);
        }
        self.parameters.checked()?;
        let account = account.filter(|account| caller.reaches(*account));
        let account = account.ok_or_else(Problem::nothing)?;
        let found = accounts::present(app, caller.tenant, account).await?;
        found.map(|_| account).ok_or_else(Problem::nothing)
    }

    /// Returns the connection that the path names; with a key its account need not be named.
    async fn connection(
        self,
        app: &App,
        caller: &Caller,
        place: &Place,
    ) -> Result<Connection, Problem> {
        self.parameters.checked()?;
        let id = place.id::<ConnectionId>(0)?;
        let found = within(app.backend.connection(caller.tenant, id)).await?;
        let found = found.filter(|connection| caller.reaches(connection.account));
        let found = found.filter(|connection| {
            let named = self.account;
            named.is_none_or(|account| account == connection.account)
        });
        let connection = found.ok_or_else(Problem::nothing)?;
        let account = accounts::present(app, caller.tenant, connection.account).await?;
        account.map(|_| connection).ok_or_else(Problem::nothing)
    }
}

impl Parameters {
    /// Refuses the request if there was any fault, as one that is understood and cannot be done.
    fn checked(self) -> Result<(), Problem> {
        let faults: Vec<Fault> = self.into_faults();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid_query(faults))
        }
    }
}
