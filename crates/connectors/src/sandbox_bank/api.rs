//! The bank's HTTP interface.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use wellspring_outbound::Response;
use zeroize::Zeroizing;

use super::refusal::refusal;
use crate::failure::BODY_NOT_JSON;
use crate::http::{Call, Http};
use crate::{Failed, Secrets};

/// The bank, to somebody who is logged in.
pub(super) struct Api<'h> {
    http: &'h Http,
    bearer: HeaderValue,
}

/// What a login, or an answer in its course, came to.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) session: Zeroizing<String>,
    /// What is to be answered first.
    #[serde(default)]
    pub(super) challenge: Option<Value>,
}

/// Whose account it is.
#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) id: String,
}

/// A page of the list of documents.
#[derive(Deserialize)]
pub(super) struct DocumentPage {
    /// Read one by one, so that one that is odd is no harm to the others.
    pub(super) documents: Vec<Box<RawValue>>,
    pub(super) next_page: Option<u64>,
}

/// A page of the movements of money.
#[derive(Deserialize)]
pub(super) struct TransactionPage {
    pub(super) transactions: Vec<Box<RawValue>>,
    pub(super) cursor: Option<String>,
    pub(super) has_more: bool,
}

/// Logs in.
pub(super) async fn login(http: &Http, user: &str, password: &str) -> Result<Entry, Failed> {
    let login = Login {
        username: user,
        password,
    };
    enter(http, "login", "/login", &login).await
}

/// Answers a question in the course of a login.
pub(super) async fn answer(http: &Http, session: &str, answers: &Secrets) -> Result<Entry, Failed> {
    let answer = Answer { session, answers };
    enter(http, "answer", "/challenge", &answer).await
}

async fn enter(
    http: &Http,
    operation: &'static str,
    path: &str,
    body: &impl Serialize,
) -> Result<Entry, Failed> {
    // So large that it does not grow, which would leave copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(BODY));
    serde_json::to_writer(&mut *json, body).map_err(|_unshown| odd(operation))?;
    let call = Call {
        operation,
        method: Method::POST,
        target: http.below(path)?,
        headers: HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )]),
        // Overwritten once it is sent, for it holds secrets.
        body: Bytes::from_owner(json),
    };
    let response = accepted(http, operation, http.send(call).await?)?;
    read(http, operation, &response)
}

impl<'h> Api<'h> {
    /// Goes on as `session`, if that can be one.
    pub(super) fn new(http: &'h Http, session: &str) -> Option<Self> {
        let bearer = Zeroizing::new(format!("Bearer {session}"));
        let mut bearer = HeaderValue::from_str(&bearer).ok()?;
        bearer.set_sensitive(true);
        Some(Self { http, bearer })
    }

    pub(super) async fn account(&self) -> Result<Account, Failed> {
        let response = self.call("account", Method::GET, "/account").await?;
        read(self.http, "account", &response)
    }

    pub(super) async fn documents(
        &self,
        since: Option<Date>,
        page: u64,
    ) -> Result<DocumentPage, Failed> {
        let since = since.map_or_else(String::new, |since| since.to_string());
        let path = format!("/documents?since={since}&page={page}");
        let response = self.call("documents", Method::GET, &path).await?;
        read(self.http, "documents", &response)
    }

    /// Fetches the bytes of a document, which are as many as were announced and have the
    /// announced digest, if there is one.
    ///
    /// The id must be one that can stand in an address as it is.
    pub(super) async fn document(
        &self,
        id: &str,
        size: u64,
        sha256: Option<&str>,
    ) -> Result<Bytes, Failed> {
        let path = format!("/documents/{id}");
        let response = self.call("document", Method::GET, &path).await?;
        let unusable = |code, lack| self.http.unusable("document", &response, code, lack);
        let length = u64::try_from(response.body.len()).unwrap_or(u64::MAX);
        if length != size {
            let lack = "with a document that is not complete";
            return Err(unusable("document_truncated", lack));
        }
        if let Some(sha256) = sha256 {
            let digest = Sha256::digest(&response.body);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            if !digest.eq_ignore_ascii_case(sha256) {
                let lack = "with another document than was announced";
                return Err(unusable("document_changed", lack));
            }
        }
        Ok(response.body)
    }

    pub(super) async fn transactions(
        &self,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<TransactionPage, Failed> {
        let after: String =
            form_urlencoded::byte_serialize(after.unwrap_or_default().as_bytes()).collect();
        let limit = limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
        let path = format!("/transactions?after={after}{limit}");
        let response = self.call("transactions", Method::GET, &path).await?;
        read(self.http, "transactions", &response)
    }

    pub(super) async fn log_out(&self) -> Result<(), Failed> {
        self.call("session", Method::DELETE, "/session").await?;
        Ok(())
    }

    async fn call(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Response, Failed> {
        let call = Call {
            operation,
            method,
            target: self.http.below(path)?,
            headers: HeaderMap::from_iter([(AUTHORIZATION, self.bearer.clone())]),
            body: Bytes::new(),
        };
        accepted(self.http, operation, self.http.send(call).await?)
    }
}

/// Returns the failure of an answer to which the bank gave a good status, but no good content.
pub(super) fn odd(operation: &'static str) -> Failed {
    Failed::new(
        wellspring_core::ErrorClass::InstitutionError,
        "body_unexpected",
        format!("the source answered oddly when asked for {operation}"),
    )
}

fn accepted(http: &Http, operation: &str, response: Response) -> Result<Response, Failed> {
    if response.status.is_success() {
        Ok(response)
    } else {
        Err(refusal(http, operation, &response))
    }
}

fn read<T: DeserializeOwned>(
    http: &Http,
    operation: &str,
    response: &Response,
) -> Result<T, Failed> {
    // What the parser says of it may repeat it.
    serde_json::from_slice(&response.body).map_err(|error| match error.classify() {
        Category::Data => http.unusable(operation, response, "body_unexpected", "with other JSON"),
        Category::Io | Category::Syntax | Category::Eof => {
            http.unusable(operation, response, BODY_NOT_JSON, "without JSON")
        }
    })
}

#[derive(Serialize)]
struct Login<'c> {
    username: &'c str,
    password: &'c str,
}

#[derive(Serialize)]
struct Answer<'c> {
    session: &'c str,
    answers: &'c Secrets,
}

const BODY: usize = 16 * 1024;
