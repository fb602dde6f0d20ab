//! Messages to people: by e-mail, Web Push, SMS and webhook.

mod email;
mod outcome;
mod push;
mod sms;
mod template;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use wellspring_core::notification::Channel;
use wellspring_engine::{Clock, NoticeAddress, NoticeOrder, NoticeResult, NoticeWords, Transport};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions};

use crate::Secrets;
use email::Email;
pub use email::{EmailError, EmailOptions, Security};
use push::Push;
pub use push::{PushError, PushOptions};
use sms::Sms;
pub use sms::{SmsBody, SmsError, SmsOptions};
pub use template::{Letter, TemplateError, Templates, Words};
use webhook::Webhook;

/// Sends messages to people over the channels that are configured.
#[derive(Debug)]
pub struct Notices {
    templates: Templates,
    email: Option<Email>,
    push: Option<Push>,
    sms: Option<Sms>,
    webhook: Webhook,
}

/// Which channels there are, and what their messages look like.
#[derive(Debug, Clone)]
pub struct NoticeOptions {
    /// The operator's templates.
    pub templates: Option<PathBuf>,
    /// The language of people whose own has no templates.
    pub language: String,
    /// The mail server, if there is one.
    pub email: Option<EmailOptions>,
    /// The identity towards push services, if there is one.
    pub push: Option<PushOptions>,
    /// The gateway of SMS, if there is one.
    pub sms: Option<SmsOptions>,
    /// The limit for one whole message; half a minute at most.
    pub deadline: Duration,
    /// How connections to push services, gateways and webhooks are made.
    pub client: ClientOptions,
}

/// What [`Notices`] are made of.
#[derive(Debug, Clone)]
pub struct NoticeParts {
    /// Where push services and webhooks may be, whose addresses others give.
    pub policy: AddressPolicy,
    /// The secrets of tenants, which sign webhooks.
    pub secrets: Arc<dyn Secrets>,
    /// The clock of the messages.
    pub clock: Arc<dyn Clock>,
}

/// Says why the channels cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// The templates are wrong.
    #[error(transparent)]
    Templates(#[from] TemplateError),
    /// The mail server's options are wrong.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// The identity towards push services is wrong.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The gateway's options are wrong.
    #[error(transparent)]
    Sms(#[from] SmsError),
    /// The options make no client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Default for NoticeOptions {
    fn default() -> Self {
        Self {
            templates: None,
            language: String::from("en"),
            email: None,
            push: None,
            sms: None,
            deadline: MAX_DEADLINE,
            client: ClientOptions::default(),
        }
    }
}

impl Notices {
    /// Makes the channels ready; nothing is connected to.
    ///
    /// # Errors
    ///
    /// When anything is not as it must be, templates included.
    pub fn new(options: NoticeOptions, parts: NoticeParts) -> Result<Self, NoticeError> {
        let deadline = options.deadline.min(MAX_DEADLINE);
        let guarded = Client::new(parts.policy.clone(), options.client.clone())?;
        // The operator names the gateway, so it may be anywhere.
        let free = Client::new(AddressPolicy::unrestricted(), options.client)?;
        let email = options.email.map(|options| Email::new(options, deadline));
        let push = options.push.map(|options| {
            let (client, policy) = (guarded.clone(), parts.policy.clone());
            Push::new(&options, client, policy, Arc::clone(&parts.clock), deadline)
        });
        let sms = options.sms.map(|options| {
            let clock = Arc::clone(&parts.clock);
            Sms::new(options, free, clock, deadline)
        });
        Ok(Self {
            templates: Templates::load(options.templates.as_deref(), &options.language)?,
            email: email.transpose()?,
            push: push.transpose()?,
            sms: sms.transpose()?,
            webhook: Webhook {
                client: guarded,
                policy: parts.policy,
                deadline,
                secrets: parts.secrets,
                clock: parts.clock,
            },
        })
    }

    /// Returns the key that browsers subscribe with, base64url without padding; `None` without Web Push.
    pub fn push_key(&self) -> Option<&str> {
        self.push.as_ref().map(Push::public_key)
    }

    async fn dispatch(&self, order: &NoticeOrder) -> NoticeResult {
        match (order.channel, &order.to) {
            (Channel::Email, NoticeAddress::Email(to)) => match &self.email {
                Some(email) => email.send(order, to, self.templates.letter(order)).await,
                None => outcome::not_configured(),
            },
            (Channel::Push, NoticeAddress::Push { .. }) => match &self.push {
                Some(push) => push.send(order, &self.templates.words(order)).await,
                None => outcome::not_configured(),
            },
            (Channel::Sms, NoticeAddress::Sms(to)) => match &self.sms {
                Some(sms) => sms.send(order, to, &self.templates.words(order)).await,
                None => outcome::not_configured(),
            },
            (Channel::Webhook, NoticeAddress::Webhook(url)) => {
                let words = self.templates.words(order);
                self.webhook.send(order, url, &words).await
            }
            (
                Channel::Email | Channel::InApp | Channel::Push | Channel::Sms | Channel::Webhook,
                NoticeAddress::Email(_)
                | NoticeAddress::Push { .. }
                | NoticeAddress::Sms(_)
                | NoticeAddress::Webhook(_)
                | NoticeAddress::InApp,
            ) => outcome::refused("the address is none of this channel", false),
        }
    }
}

impl Transport for Notices {
    fn send(&self, order: NoticeOrder) -> BoxFuture<'_, NoticeResult> {
        Box::pin(async move { self.dispatch(&order).await })
    }

    fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email.is_some(),
            // What is read inside the application is stored, not sent.
            Channel::InApp => false,
            Channel::Push => self.push.is_some(),
            Channel::Sms => self.sms.is_some(),
            Channel::Webhook => true,
        }
    }

    fn push_key(&self) -> Option<String> {
        Self::push_key(self).map(str::to_owned)
    }

    fn words(&self, order: &NoticeOrder) -> NoticeWords {
        let Words { subject, text, .. } = self.templates.words(order);
        NoticeWords { subject, text }
    }
}

const MAX_DEADLINE: Duration = Duration::from_secs(30);
