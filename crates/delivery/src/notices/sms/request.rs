//! The request to the gateway, made of templates.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use minijinja::{Environment, UndefinedBehavior, Value, context};
use secrecy::{ExposeSecret, SecretString};
use wellspring_engine::NoticeOrder;
use wellspring_outbound::{AddressPolicy, Request, Target};

use super::{SmsBody, SmsError, SmsOptions};
use crate::notices::template::message_id;

/// The request's templates.
pub(super) struct Form {
    options: SmsOptions,
    method: Method,
    env: Environment<'static>,
}

impl Form {
    pub(super) fn new(options: SmsOptions) -> Result<Self, SmsError> {
        let Ok(method) = options.method.parse::<Method>() else {
            return Err(SmsError::Method(options.method));
        };
        if options.basic && (options.username.is_none() || options.password.is_none()) {
            return Err(SmsError::Credentials);
        }
        let mut env = Environment::new();
        // A request without its number or text is better not made.
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_name| minijinja::AutoEscape::None);
        let form = Self {
            options,
            method,
            env,
        };
        form.make("ntf_0_sms", "+4915112345678", "Text", Duration::ZERO)?;
        Ok(form)
    }

    pub(super) const fn options(&self) -> &SmsOptions {
        &self.options
    }

    pub(super) fn request(
        &self,
        order: &NoticeOrder,
        to: &str,
        text: &str,
        deadline: Duration,
    ) -> Result<Request, SmsError> {
        self.make(&message_id(order.id, order.channel), to, text, deadline)
    }

    fn make(
        &self,
        id: &str,
        to: &str,
        text: &str,
        deadline: Duration,
    ) -> Result<Request, SmsError> {
        let password = self.options.password.as_ref();
        let context = context! {
            id, to, text,
            from => &self.options.from,
            username => &self.options.username,
            password => password.map(SecretString::expose_secret),
        };
        let url = self.render("url", &self.options.url, &context)?;
        let target = Target::parse(&url, &AddressPolicy::unrestricted());
        let target = target.map_err(|_invalid| SmsError::Request(String::from("url")))?;
        let mut headers = self.headers(&context)?;
        let (media_type, body) = self.body(&context)?;
        headers.entry(CONTENT_TYPE).or_insert(media_type);
        Ok(Request {
            method: self.method.clone(),
            target,
            headers,
            body,
            deadline,
            max_body: MAX_ANSWER,
        })
    }

    fn headers(&self, context: &Value) -> Result<HeaderMap, SmsError> {
        let mut headers = HeaderMap::new();
        for (name, template) in &self.options.headers {
            let Ok(header) = name.parse::<HeaderName>() else {
                return Err(SmsError::Header(name.clone()));
            };
            let value = self.render(name, template, context)?;
            headers.insert(header, secret(name, &value)?);
        }
        if self.options.basic
            && let (Some(name), Some(password)) = (&self.options.username, &self.options.password)
        {
            let pair = format!("{name}:{}", password.expose_secret());
            let value = format!("Basic {}", STANDARD.encode(pair));
            headers.insert(AUTHORIZATION, secret("authorization", &value)?);
        }
        Ok(headers)
    }

    fn body(&self, context: &Value) -> Result<(HeaderValue, Bytes), SmsError> {
        match &self.options.body {
            SmsBody::Form(fields) => {
                let mut form = Serializer::new(String::new());
                for (name, template) in fields {
                    form.append_pair(name, &self.render(name, template, context)?);
                }
                let media_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok((media_type, Bytes::from(form.finish())))
            }
            SmsBody::Text {
                template,
                media_type,
            } => {
                let body = self.render("body", template, context)?;
                Ok((secret("media_type", media_type)?, Bytes::from(body)))
            }
        }
    }

    fn render(&self, part: &str, template: &str, context: &Value) -> Result<String, SmsError> {
        let rendered = self.env.render_str(template, context);
        rendered.map_err(|source| SmsError::Template {
            part: part.to_owned(),
            source,
        })
    }
}

/// Shows no template, since one may hold what signs in.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn secret(part: &str, value: &str) -> Result<HeaderValue, SmsError> {
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return Err(SmsError::Request(part.to_owned()));
    };
    value.set_sensitive(true);
    Ok(value)
}

const MAX_ANSWER: usize = 16 * 1024;
