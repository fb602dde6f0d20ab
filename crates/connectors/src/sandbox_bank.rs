//! The bank of the sandbox.

mod api;
mod documents;
mod refusal;
mod transactions;

use futures_util::future::BoxFuture;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use wellspring_core::interaction::{CredentialField, Question};
use wellspring_core::{ErrorClass, Rule};
use zeroize::Zeroizing;

use crate::{Failed, Finished, Native, Session, Stop, Words};
use api::{Api, Entry};

/// Fetches documents and transactions of the bank of the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct SandboxBank;

impl Native for SandboxBank {
    fn credential_fields(&self) -> Vec<CredentialField> {
        let field = |id: &str, label: &str, sensitive| CredentialField {
            id: id.to_owned(),
            label: label.to_owned(),
            sensitive,
            optional: false,
        };
        vec![
            field(USER, "User name", false),
            field(PASSWORD, "Password", true),
        ]
    }

    fn endpoints(&self) -> &'static [&'static str] {
        &[
            LOGIN,
            CHALLENGE,
            SESSION,
            ACCOUNT,
            DOCUMENTS,
            DOCUMENT,
            TRANSACTIONS,
        ]
    }

    fn rules(&self) -> Vec<Rule> {
        serde_saphyr::from_str(RULES).unwrap_or_default()
    }

    fn words(&self, body: &[u8]) -> Words {
        refusal::words(body)
    }

    fn run<'s>(&'s self, session: &'s Session) -> BoxFuture<'s, Result<Finished, Stop>> {
        Box::pin(run(session))
    }
}

/// What came of one of the things that the bank has.
struct Taken {
    /// Whether some of it is all here.
    any: bool,
    /// What failed first.
    failed: Option<Failed>,
}

/// What is left with a question.
#[derive(Serialize, Deserialize)]
struct Resume {
    session: Zeroizing<String>,
    /// Tells whether the credentials are still those that the session was opened with.
    login: String,
}

/// Somebody who is logged in.
struct Inside<'s> {
    api: Api<'s>,
    /// Whether a person had to answer for it.
    is_answered: bool,
}

async fn run(session: &Session) -> Result<Finished, Stop> {
    let Inside { api, is_answered } = enter(session).await?;
    let outcome = take_all(session, &api).await;
    let is_over = match &outcome {
        Ok(_) => true,
        // The next attempt goes on with it, so that the person need not answer again.
        Err(Stop::Failed(failed)) => !is_answered && refusal::is_reachable(failed),
        Err(Stop::Asked | Stop::Ended) => false,
    };
    if is_over && !log_out(session, &api).await {
        session.log("The bank did not take the logout; its session ends by itself");
    }
    outcome
}

async fn log_out(session: &Session, api: &Api<'_>) -> bool {
    session.call(SESSION).await.is_ok() && api.log_out().await.is_ok()
}

/// Goes on with the answer to a question, or logs in.
async fn enter(session: &Session) -> Result<Inside<'_>, Stop> {
    let http = session.http();
    let credentials = session.credentials()?.unwrap_or_default();
    let (Some(user), Some(password)) = (credentials.get(USER), credentials.get(PASSWORD)) else {
        return Err(Failed::new(
            ErrorClass::AuthenticationError,
            "credentials_missing",
            "The user name and the password are needed",
        )
        .into());
    };
    let login = session.fingerprint(&Zeroizing::new(format!("{user}\0{password}")));
    if let (Some(resume), Some(answer)) = (session.resume::<Resume>()?, session.answer()?)
        && resume.login == login
    {
        session.call(CHALLENGE).await?;
        match api::answer(http, &resume.session, &answer).await {
            Ok(entry) => return admit(session, entry, login, true).await,
            Err(failed) if refusal::is_session_gone(&failed) => {
                session.log("The bank has forgotten the session of the question");
            }
            Err(failed) => return Err(failed.into()),
        }
    }
    session.call(LOGIN).await?;
    let entry = api::login(http, user, password).await?;
    admit(session, entry, login, false).await
}

async fn admit(
    session: &Session,
    entry: Entry,
    login: String,
    is_answered: bool,
) -> Result<Inside<'_>, Stop> {
    let Some(challenge) = entry.challenge else {
        let api = Api::new(session.http(), &entry.session).ok_or_else(|| api::odd("login"))?;
        return Ok(Inside { api, is_answered });
    };
    // What the parser says of it may repeat it.
    let Ok(question) = serde_json::from_value::<Question>(challenge) else {
        return Err(Failed::new(
            ErrorClass::InternalError,
            "question_unknown",
            "The bank asks something of a kind that is not known here",
        )
        .into());
    };
    let resume = Resume {
        session: entry.session,
        login,
    };
    Err(session.ask(question, &resume).await)
}

async fn take_all(session: &Session, api: &Api<'_>) -> Result<Finished, Stop> {
    identify(session, api).await?;
    let documents = documents::take(session, api).await?;
    let transactions = transactions::take(session, api).await?;
    let any = documents.any || transactions.any;
    match documents.failed.or(transactions.failed) {
        Some(failed) if !any => Err(failed.into()),
        partial => Ok(Finished { partial }),
    }
}

/// Makes sure that the account is the one that it was, so that no two people's data are mixed.
async fn identify(session: &Session, api: &Api<'_>) -> Result<(), Stop> {
    session.call(ACCOUNT).await?;
    let account = session.fingerprint(&api.account().await?.id);
    match session.cursor(ACCOUNT) {
        Some(known) if known == account => Ok(()),
        Some(_) => Err(Failed::new(
            ErrorClass::AuthenticationError,
            "wrong_account",
            "These credentials are those of another account; connect that one anew",
        )
        .into()),
        None => session.checkpoint(ACCOUNT, account).await,
    }
}

fn start_date(session: &Session) -> Option<Date> {
    session.start_date().and_then(|date| date.parse().ok())
}

/// Says that some entries were left out, if there were any.
fn unreadable(count: u64) -> Option<Failed> {
    (count > 0).then(|| {
        Failed::new(
            ErrorClass::InstitutionError,
            "entries_unreadable",
            format!("The bank sent {count} entries that could not be read; they were left out"),
        )
    })
}

const USER: &str = "username";
const PASSWORD: &str = "password";
/// The endpoint, and the stream whose cursor is the fingerprint of the account.
const ACCOUNT: &str = "account";
/// What it calls, as the bank's own budgets name it.
const LOGIN: &str = "login";
const CHALLENGE: &str = "challenge";
const SESSION: &str = "session";
const DOCUMENTS: &str = "documents";
const DOCUMENT: &str = "document";
const TRANSACTIONS: &str = "transactions";
const RULES: &str = include_str!("sandbox_bank/rules.yaml");

#[cfg(test)]
mod tests {
    use wellspring_core::RuleTable;
    use wellspring_core::connection::Slot;
    use wellspring_vault::context;

    use super::*;

    #[test]
    fn the_shipped_rules_can_be_read() {
        let rules: Vec<Rule> = serde_saphyr::from_str(RULES).unwrap();

        assert_eq!(rules.len(), 13);
        RuleTable::shipped().with_first(rules).unwrap();
    }

    #[test]
    fn the_vault_and_the_core_name_slots_alike() {
        let id = [7; 16];
        let named = |slot: Slot| [b"connection-", slot.as_str().as_bytes(), b" ", &id].concat();

        assert_eq!(context::credentials(&id), named(Slot::Credentials));
        assert_eq!(context::credentials(&id), named(Slot::PreviousCredentials));
        assert_eq!(context::resume(&id), named(Slot::Resume));
        assert_eq!(context::answer(&id), named(Slot::Answer));
    }
}
