//! The `[notifications]` section: how people are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use secrecy::SecretString;
use serde::Deserialize;
use wellspring_core::parse_duration;
use wellspring_delivery::{
    EmailOptions, NoticeOptions, PushOptions, Security, SmsBody, SmsOptions,
};

/// The section as written; secrets stand in the environment, or in files that it names.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    language: Option<String>,
    templates: Option<PathBuf>,
    email: Option<EmailSection>,
    push: Option<PushSection>,
    sms: Option<SmsSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailSection {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    security: SecuritySection,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    certificates: Option<PathBuf>,
    from: String,
    reply_to: Option<String>,
}

#[derive(Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecuritySection {
    #[default]
    Starttls,
    Tls,
    Plain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushSection {
    private_key: Option<String>,
    private_key_file: Option<PathBuf>,
    contact: String,
    ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsSection {
    preset: Option<Preset>,
    from: Option<String>,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    url: Option<String>,
    method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    form: Option<BTreeMap<String, String>>,
    body: Option<String>,
    media_type: Option<String>,
    basic: Option<bool>,
    receipt: Option<String>,
    error: Option<String>,
    gone: Option<BTreeSet<String>>,
    stopped: Option<BTreeSet<String>>,
    refused: Option<BTreeSet<u16>>,
    failed: Option<BTreeSet<u16>>,
    inbound_secret: Option<String>,
    inbound_secret_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    Twilio,
}

impl Section {
    /// Returns with what the gateway signs the SMS that it takes in.
    ///
    /// Twilio signs with the account's token, which is the password unless that is an API key's.
    pub(super) fn inbound_secret(&self) -> Result<Option<SecretString>> {
        let Some(sms) = &self.sms else {
            return Ok(None);
        };
        let given = secret(
            "notifications.sms.inbound_secret",
            "WELLSPRING_SMS_INBOUND_SECRET",
            sms.inbound_secret.clone(),
            sms.inbound_secret_file.clone(),
        )?;
        let of_account = sms
            .username
            .as_deref()
            .is_some_and(|name| name.starts_with("AC"));
        match (given, sms.preset) {
            (None, Some(Preset::Twilio)) if of_account => sms.password(),
            (given, _) => Ok(given),
        }
    }

    /// Returns the channels that are configured.
    pub(super) fn options(self) -> Result<NoticeOptions> {
        let defaults = NoticeOptions::default();
        Ok(NoticeOptions {
            templates: self.templates,
            language: self.language.unwrap_or(defaults.language),
            email: self.email.map(EmailSection::options).transpose()?,
            push: self.push.map(PushSection::options).transpose()?,
            sms: self.sms.map(SmsSection::options).transpose()?,
            deadline: defaults.deadline,
            client: defaults.client,
        })
    }
}

impl EmailSection {
    fn options(self) -> Result<EmailOptions> {
        let key = "notifications.email.password";
        let password = secret(
            key,
            "WELLSPRING_SMTP_PASSWORD",
            self.password,
            self.password_file,
        )?;
        Ok(EmailOptions {
            host: self.host,
            port: self.port,
            security: match self.security {
                SecuritySection::Starttls => Security::Starttls,
                SecuritySection::Tls => Security::Tls,
                SecuritySection::Plain => Security::Plain,
            },
            username: self.username,
            password,
            certificates: self.certificates,
            from: self.from,
            reply_to: self.reply_to,
        })
    }
}

impl PushSection {
    fn options(self) -> Result<PushOptions> {
        let key = "notifications.push.private_key";
        let variable = "WELLSPRING_VAPID_PRIVATE_KEY";
        let Some(private_key) = secret(key, variable, self.private_key, self.private_key_file)?
        else {
            bail!("`{key}` is missing: set it, `private_key_file`, or {variable}");
        };
        let ttl = self.ttl.as_deref().unwrap_or(DEFAULT_TTL);
        let ttl =
            parse_duration(ttl).map_err(|why| anyhow::anyhow!("`notifications.push.ttl`: {why}"));
        Ok(PushOptions {
            private_key,
            contact: self.contact,
            ttl: ttl?,
        })
    }
}

impl SmsSection {
    fn password(&self) -> Result<Option<SecretString>> {
        secret(
            "notifications.sms.password",
            "WELLSPRING_SMS_PASSWORD",
            self.password.clone(),
            self.password_file.clone(),
        )
    }

    fn options(self) -> Result<SmsOptions> {
        let password = self.password()?;
        let mut options = match self.preset {
            Some(Preset::Twilio) => {
                let (Some(username), Some(password), Some(from)) =
                    (self.username, password, self.from)
                else {
                    bail!(
                        "`notifications.sms`: the preset `twilio` needs `username` (the account's SID), `from` and a password"
                    );
                };
                SmsOptions::twilio(username, password, from)
            }
            None => {
                if self.url.is_none() {
                    bail!("`notifications.sms.url` is missing (or set `preset = \"twilio\"`)");
                }
                SmsOptions {
                    username: self.username,
                    password,
                    from: self.from,
                    ..SmsOptions::default()
                }
            }
        };
        options.body = match (self.form, self.body) {
            (Some(_), Some(_)) => {
                bail!("`notifications.sms` takes `form` or `body`, not both")
            }
            (Some(form), None) => SmsBody::Form(form),
            (None, Some(template)) => SmsBody::Text {
                template,
                media_type: self.media_type.unwrap_or_else(|| JSON.to_owned()),
            },
            (None, None) => options.body,
        };
        Ok(SmsOptions {
            method: self.method.unwrap_or(options.method),
            url: self.url.unwrap_or(options.url),
            headers: self.headers.unwrap_or(options.headers),
            basic: self.basic.unwrap_or(options.basic),
            receipt: self.receipt.or(options.receipt),
            error: self.error.or(options.error),
            gone: self.gone.unwrap_or(options.gone),
            stopped: self.stopped.unwrap_or(options.stopped),
            refused: self.refused.unwrap_or(options.refused),
            failed: self.failed.unwrap_or(options.failed),
            ..options
        })
    }
}

/// The environment wins over the file, a value over the file that it may be in.
fn secret(
    key: &str,
    variable: &str,
    value: Option<String>,
    path: Option<PathBuf>,
) -> Result<Option<SecretString>> {
    if let Some(value) = super::secret(variable, None)? {
        return Ok(Some(value));
    }
    match (value, path) {
        (Some(_), Some(_)) => bail!("`{key}` and `{key}_file` are both given"),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("`{key}_file`: cannot read {}", path.display()))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned().into()))
        }
        (None, None) => Ok(None),
    }
}

/// How long a push service keeps a message for a browser that is away.
const DEFAULT_TTL: &str = "24h";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn options(text: &str) -> Result<NoticeOptions> {
        toml::from_str::<Section>(text)?.options()
    }

    #[test]
    fn every_channel_is_read_and_a_password_may_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3cret\n").unwrap();
        let text = format!(
            r#"
            language = "de"
            [email]
            host = "smtp.example.com"
            security = "tls"
            username = "me"
            password_file = {file:?}
            from = "Example <notices@example.com>"
            [push]
            private_key = "key"
            contact = "mailto:ops@example.com"
            [sms]
            preset = "twilio"
            username = "AC1"
            password = "token"
            from = "+15005550006"
            "#
        );
        let section: Section = toml::from_str(&text).unwrap();
        let inbound = section.inbound_secret().unwrap().unwrap();
        assert_eq!(inbound.expose_secret(), "token", "what Twilio signs with");
        let other = text.replace("\"AC1\"", "\"SK1\"");
        let section: Section = toml::from_str(&other).unwrap();
        assert!(section.inbound_secret().unwrap().is_none());
        let other = format!("{other}\ninbound_secret = \"other\"");
        let section: Section = toml::from_str(&other).unwrap();
        let inbound = section.inbound_secret().unwrap().unwrap();
        assert_eq!(inbound.expose_secret(), "other");
        let options = options(&text).unwrap();
        let email = options.email.unwrap();
        assert_eq!(options.language, "de");
        assert_eq!(email.security, Security::Tls);
        assert_eq!(email.password.unwrap().expose_secret(), "s3cret");
        assert_eq!(options.push.unwrap().ttl.as_secs(), 86_400);
        assert!(
            options
                .sms
                .unwrap()
                .url
                .contains("{{ username|urlencode }}")
        );
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (text, named) in [
            ("[email]\nhost = 'h'\nfrom = 'f'\nport = 'x'", "port"),
            ("[email]\nhost = 'h'\nfrom = 'f'\ntls = true", "tls"),
            ("[push]\ncontact = 'mailto:a@b.c'", "private_key"),
            (
                "[push]\nprivate_key = 'k'\ncontact = 'm'\nttl = 'soon'",
                "ttl",
            ),
            ("[sms]\nfrom = 'me'", "notifications.sms.url"),
            ("[sms]\npreset = 'twilio'\nfrom = 'me'", "username"),
            (
                "[sms]\nurl = 'u'\nform = { a = 'b' }\nbody = 'c'",
                "not both",
            ),
        ] {
            let error = options(text).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(named), "{text}: {error:#}");
        }
    }
}
