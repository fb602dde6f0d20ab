//! One exchange with a mail server, and what its end means.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use wellspring_engine::NoticeResult;

use super::{EmailError, EmailOptions, Security};
use crate::notices::outcome;

/// A mail server and how to talk to it.
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    deadline: Duration,
}

impl Server {
    pub(super) fn new(
        options: EmailOptions,
        domain: &str,
        deadline: Duration,
    ) -> Result<Self, EmailError> {
        let (usual, tls) = match options.security {
            Security::Starttls => (SUBMISSION_PORT, Some(encryption(&options)?)),
            Security::Tls => (SUBMISSIONS_PORT, Some(encryption(&options)?)),
            Security::Plain if is_loopback(&options.host) => (SMTP_PORT, None),
            Security::Plain => return Err(EmailError::Plain),
        };
        let credentials = match (options.username, options.password) {
            (Some(name), Some(password)) => {
                let password = password.expose_secret().to_owned();
                Some(Credentials::new(name, password))
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(EmailError::Credentials),
        };
        Ok(Self {
            host: options.host,
            port: options.port.unwrap_or(usual),
            security: options.security,
            tls,
            credentials,
            hello: ClientId::Domain(domain.to_owned()),
            deadline,
        })
    }

    /// Hands one message over.
    pub(super) async fn send(&self, from: Address, to: Address, message: &[u8]) -> NoticeResult {
        let left = AtomicBool::new(false);
        let exchange = self.exchange(from, to, message, &left);
        match timeout(self.deadline, exchange).await {
            Ok(Ok(receipt)) => NoticeResult::Sent { receipt },
            Ok(Err(result)) => result,
            Err(_) if left.load(Ordering::Relaxed) => {
                outcome::unknown("the mail server did not confirm the message in time")
            }
            Err(_) => outcome::failed("the mail server did not answer in time"),
        }
    }

    /// Connects, greets, signs in and leaves.
    pub(super) async fn greet(&self) -> Result<(), String> {
        let connected = timeout(self.deadline, self.connect()).await;
        let connected = connected.unwrap_or_else(|_elapsed| Err(String::from("no answer in time")));
        leave(connected?).await;
        Ok(())
    }

    async fn exchange(
        &self,
        from: Address,
        to: Address,
        message: &[u8],
        left: &AtomicBool,
    ) -> Result<Option<String>, NoticeResult> {
        let mut server = self.connect().await.map_err(outcome::failed)?;
        let mut parameters = Vec::new();
        if !(from.as_ref() as &str).is_ascii() || !(to.as_ref() as &str).is_ascii() {
            if !server
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                let reason = "the mail server takes no address beyond ASCII";
                return Err(outcome::refused(reason, false));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        // The far side's dislike of the sender concerns every message, so it is for the operator to mend.
        let mail = server.command(Mail::new(Some(from), parameters)).await;
        mail.map_err(|error| outcome::failed(told("the sender", &error)))?;
        let recipient = server.command(Rcpt::new(to, Vec::new())).await;
        recipient.map_err(|error| answered("the recipient", &error))?;
        let data = server.command(Data).await;
        data.map_err(|error| answered("the message", &error))?;
        left.store(true, Ordering::Relaxed);
        let taken = match server.message(message).await {
            Ok(taken) => taken,
            Err(error) if error.status().is_some() => {
                return Err(answered("the message", &error));
            }
            Err(_) => {
                let reason = "the connection broke before the mail server confirmed the message";
                return Err(outcome::unknown(reason));
            }
        };
        leave(server).await;
        Ok(receipt(&taken))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let from_start = match self.security {
            Security::Tls => self.tls.clone(),
            Security::Starttls | Security::Plain => None,
        };
        let address = (self.host.as_str(), self.port);
        let patience = Some(self.deadline);
        let connected =
            AsyncSmtpConnection::connect_tokio1(address, patience, &self.hello, from_start, None);
        let mut server = connected.await.map_err(|error| unreachable(&error))?;
        if self.security == Security::Starttls
            && let Some(tls) = self.tls.clone()
        {
            if !server.can_starttls() {
                return Err(String::from("the mail server offers no STARTTLS"));
            }
            let encrypted = server.starttls(tls, &self.hello).await;
            encrypted.map_err(|error| told("STARTTLS", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let signed_in = server.auth(DEFAULT_MECHANISMS, credentials).await;
            signed_in.map_err(|error| told("the password", &error))?;
        }
        Ok(server)
    }
}

/// Shows where it is, and nothing that signs in.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

fn encryption(options: &EmailOptions) -> Result<TlsParameters, EmailError> {
    let mut builder = TlsParameters::builder(options.host.clone());
    if let Some(path) = &options.certificates {
        let told =
            |detail: String| EmailError::Certificates(format!("{}: {detail}", path.display()));
        let pem = std::fs::read(path).map_err(|error| told(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| told(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    let built = builder.build();
    built.map_err(|error| EmailError::Certificates(error.to_string()))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Says goodbye; whatever becomes of that changes nothing.
async fn leave(mut server: AsyncSmtpConnection) {
    drop(timeout(GOODBYE, server.quit()).await);
}

/// What a refusal of the recipient or the message means: 4xx may change, 5xx will not.
fn answered(what: &str, error: &Error) -> NoticeResult {
    let reason = told(what, error);
    if !error.is_permanent() {
        return outcome::failed(reason);
    }
    let gone = enhanced(error).is_some_and(|code| GONE.contains(&code.as_str()));
    outcome::refused(reason, gone)
}

/// Says what went wrong in codes alone, since the texts of mail servers repeat addresses.
fn told(what: &str, error: &Error) -> String {
    match (error.status(), enhanced(error)) {
        (Some(status), Some(code)) => format!("the mail server refused {what}: {status} {code}"),
        (Some(status), None) => format!("the mail server refused {what}: {status}"),
        (None, _) if error.is_tls() => format!("TLS with the mail server failed over {what}"),
        (None, _) if error.is_timeout() => format!("the mail server was silent over {what}"),
        (None, _) if error.is_client() => format!("the mail server cannot do {what} as configured"),
        (None, _) => format!("the connection to the mail server broke over {what}"),
    }
}

/// Says why there is no connection.
fn unreachable(error: &Error) -> String {
    if error.status().is_some() || error.is_tls() || error.is_timeout() {
        told("the connection", error)
    } else {
        String::from("the mail server cannot be reached")
    }
}

/// Returns the enhanced status code at the beginning of an answer (RFC 3463), such as `5.1.1`.
fn enhanced(error: &Error) -> Option<String> {
    error.status()?;
    let text = error.source()?.to_string();
    let code = text.split_whitespace().next()?;
    let parts: Vec<&str> = code.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.parse::<u16>().is_ok();
    (parts.len() == 3 && parts.iter().all(is_number)).then(|| code.to_owned())
}

/// Returns what the server calls the message, if it said so in a line that can be kept.
fn receipt(answer: &Response) -> Option<String> {
    let line = answer.first_line()?.trim();
    let is_plain = line.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !line.contains('@');
    (is_plain && !line.is_empty() && line.len() <= 200).then(|| line.to_owned())
}

/// No such mailbox, mailbox moved, domain takes no mail.
const GONE: [&str; 3] = ["5.1.1", "5.1.6", "5.1.10"];
const SMTP_PORT: u16 = 25;
const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;
const GOODBYE: Duration = Duration::from_secs(1);
