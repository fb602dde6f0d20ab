//! A bank that does as a test says.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret;
use serde_json::Value;
use wellspring_core::interaction::{CredentialField, Question};
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{Error, ErrorClass, Failure, RetryPolicy, Sealed, Unclassified};
use wellspring_engine::{ConnectionDefaults, NewDocument, RunInputs, RunOrder, RunResult, Session};
use wellspring_vault::{Vault, context};

/// One thing that the bank does; an attempt ends with the first that ends one.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// It gives a document of this name and these bytes.
    Document(&'static str, Bytes),
    /// It asks, and the attempt ends.
    Ask(Question),
    /// It fails, and the attempt ends.
    Fail(ErrorClass),
    /// It fails in a way that no rule knows, with this code and message.
    Odd(&'static str, &'static str),
    /// It has given all, and the attempt ends.
    Finish,
    /// It says nothing more.
    Hang,
    /// What talks to it panics.
    Panic,
}

/// What the bank does next, and what it was given so far.
#[derive(Debug)]
pub(crate) struct Script {
    vault: Vault,
    acts: Mutex<VecDeque<Act>>,
    given: Mutex<Vec<Given>>,
}

/// What an attempt was given, opened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) credentials: Option<Value>,
    pub(crate) answer: Option<Value>,
}

impl Script {
    pub(crate) fn new(vault: Vault) -> Self {
        Self {
            vault,
            acts: Mutex::default(),
            given: Mutex::default(),
        }
    }

    /// Adds to what the bank does; when it is through its attempts succeed with nothing.
    pub(crate) fn next(&self, acts: Vec<Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    /// Returns what the last attempt was given.
    pub(crate) fn last(&self) -> Given {
        self.given.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) async fn run(
        &self,
        order: RunOrder,
        inputs: RunInputs,
        session: Session,
    ) -> RunResult {
        let id = order.connection.as_bytes();
        let open = |context: Vec<u8>, sealed: Option<Sealed>| {
            let sealed = sealed?;
            let plain = self.vault.open(&context, sealed.as_bytes()).unwrap();
            Some(serde_json::from_slice(plain.expose_secret()).unwrap())
        };
        let given = Given {
            credentials: open(context::credentials(id), inputs.credentials),
            answer: open(context::answer(id), inputs.answer),
        };
        self.given.lock().unwrap().push(given);
        loop {
            let act = self.acts.lock().unwrap().pop_front();
            match act {
                Some(Act::Document(name, bytes)) => {
                    let document = NewDocument {
                        source_id: Some(name.to_owned()),
                        kind: "statement".to_owned(),
                        name: name.to_owned(),
                        media_type: "application/pdf".to_owned(),
                        date: Some("2026-10-31".to_owned()),
                        metadata: [("page".to_owned(), "1".to_owned())].into(),
                    };
                    if session.document(document, bytes).await.is_err() {
                        return RunResult::Asked;
                    }
                }
                Some(Act::Ask(question)) => {
                    session.ask(question, None).await.unwrap();
                    return RunResult::Asked;
                }
                Some(Act::Fail(class)) => {
                    return RunResult::Failed {
                        error: Error {
                            class,
                            code: "as_told".to_owned(),
                            message: "The bank does not want to.".to_owned(),
                        },
                        retry_at: None,
                        action: wellspring_core::Action::Default,
                        unclassified: None,
                    };
                }
                Some(Act::Odd(code, message)) => return odd(&order, code, message),
                Some(Act::Hang) => pending().await,
                Some(Act::Panic) => panic!("on purpose"),
                Some(Act::Finish) | None => {
                    return RunResult::Finished {
                        partial: None,
                        unclassified: None,
                    };
                }
            }
        }
    }
}

fn odd(order: &RunOrder, code: &str, message: &str) -> RunResult {
    let failure = Failure {
        source: &order.source,
        operation: "fetch",
        status: Some(799),
        error_type: None,
        error_code: Some(code),
        error_code_reason: None,
        headers: &[],
        message,
    };
    RunResult::Failed {
        error: Error {
            class: ErrorClass::UnknownError,
            code: "http_799".to_owned(),
            message: "the source answered 799".to_owned(),
        },
        retry_at: None,
        action: wellspring_core::Action::Default,
        unclassified: Some(Box::new(Unclassified::new(&failure, message))),
    }
}

/// What the bank says about connections to it.
pub(crate) fn bank() -> ConnectionDefaults {
    let field = |id: &str, sensitive, optional| CredentialField {
        id: id.to_owned(),
        label: id.to_owned(),
        sensitive,
        optional,
    };
    ConnectionDefaults {
        schedule: Schedule::every(Duration::from_secs(86_400)).unwrap(),
        slow_plan: SlowPlan::default(),
        // What a class repeats inside a fetch takes minutes.
        attempts: ErrorClass::ItemError.policy().map(|plan| RetryPolicy {
            max_retries: 0,
            ..plan
        }),
        credential_fields: Arc::from([
            field("user", false, false),
            field("password", true, false),
            field("branch", false, true),
        ]),
    }
}
