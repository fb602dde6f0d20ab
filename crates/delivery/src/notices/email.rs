//! E-mail over SMTP.

mod smtp;

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use secrecy::SecretString;
use wellspring_engine::{NoticeOrder, NoticeResult};

use super::outcome;
use super::template::{Letter, message_id};
use smtp::Server;

/// The mail server, and who writes.
#[derive(Debug, Clone)]
pub struct EmailOptions {
    /// The server's name or address.
    pub host: String,
    /// The server's port; the usual one of `security` if `None`.
    pub port: Option<u16>,
    /// How the connection is encrypted.
    pub security: Security,
    /// The user name, if the server asks for one.
    pub username: Option<String>,
    /// The password that goes with it.
    pub password: Option<SecretString>,
    /// A file of certificates (PEM) to trust besides those of the system.
    pub certificates: Option<PathBuf>,
    /// Who writes, such as `Example <notices@example.com>`.
    pub from: String,
    /// Who gets what people answer, if not the one who writes.
    pub reply_to: Option<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Encrypted after `STARTTLS`, usually on port 587; never without.
    #[default]
    Starttls,
    /// Encrypted from the start, usually on port 465.
    Tls,
    /// Not at all, for a server on this machine.
    Plain,
}

/// Says what is wrong with the options of e-mail.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The sender, or who gets the answers, is no mailbox.
    #[error("`{0}` is no mailbox such as `Example <notices@example.com>`")]
    Mailbox(String),
    /// Mail would cross a network in the clear.
    #[error("without encryption the mail server must be on this machine (localhost, 127.0.0.1)")]
    Plain,
    /// There is a user name without a password, or the reverse.
    #[error("a user name and a password go together")]
    Credentials,
    /// The certificates cannot be read or used.
    #[error("the certificates of the mail server cannot be used: {0}")]
    Certificates(String),
}

/// Sends e-mails, each over a connection of its own.
#[derive(Debug)]
pub(super) struct Email {
    server: Server,
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

impl EmailOptions {
    /// Greets the mail server, signs in and leaves, within `deadline`.
    ///
    /// # Errors
    ///
    /// Says what went wrong, the options themselves included.
    pub async fn greet(self, deadline: Duration) -> Result<(), String> {
        let email = Email::new(self, deadline).map_err(|error| error.to_string())?;
        email.server.greet().await
    }
}

impl Email {
    pub(super) fn new(options: EmailOptions, deadline: Duration) -> Result<Self, EmailError> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|_invalid| EmailError::Mailbox(text.to_owned()))
        };
        let from = mailbox(&options.from)?;
        Ok(Self {
            reply_to: options.reply_to.as_deref().map(mailbox).transpose()?,
            server: Server::new(options, from.email.domain(), deadline)?,
            from,
        })
    }

    pub(super) async fn send(&self, order: &NoticeOrder, to: &str, letter: Letter) -> NoticeResult {
        let Ok(to) = to.parse::<Address>() else {
            return outcome::refused("the address is no e-mail address", true);
        };
        match self.message(order, to.clone(), letter) {
            Ok(message) => {
                let sender = self.from.email.clone();
                self.server.send(sender, to, &message.formatted()).await
            }
            Err(error) => {
                tracing::error!(detail = %error, "E-mail cannot be written");
                outcome::failed("the e-mail cannot be written")
            }
        }
    }

    fn message(
        &self,
        order: &NoticeOrder,
        to: Address,
        letter: Letter,
    ) -> Result<Message, lettre::error::Error> {
        let millis = u64::try_from(order.at.as_millis()).unwrap_or(0);
        let id = message_id(order.id, order.channel);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .date(UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .subject(letter.subject)
            .raw_header(raw("Auto-Submitted", "auto-generated"));
        if let Some(mailbox) = &self.reply_to {
            builder = builder.reply_to(mailbox.clone());
        }
        if let Some(url) = order.unsubscribe_url.as_deref().filter(|url| is_uri(url)) {
            builder = builder.raw_header(raw("List-Unsubscribe", &format!("<{url}>")));
            // One click is for HTTPS alone (RFC 8058).
            if url.starts_with("https://") {
                builder =
                    builder.raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
            }
        }
        builder.multipart(MultiPart::alternative_plain_html(letter.text, letter.html))
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    let encoded = value.to_owned();
    HeaderValue::dangerous_new_pre_encoded(
        HeaderName::new_from_ascii_str(name),
        value.to_owned(),
        encoded,
    )
}

/// Returns whether the text can stand between the brackets of a header.
fn is_uri(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
    web && url.len() <= MAX_URI && url.bytes().all(plain)
}

/// What fits a line of a message (RFC 5322) beside the header's name.
const MAX_URI: usize = 950;
