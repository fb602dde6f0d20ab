//! A real mail server in a process of its own.

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use wellspring_delivery::{EmailOptions, Security};

/// The server; it ends when dropped.
pub(crate) struct MailServer {
    security: Security,
    port: u16,
    lines: BufReader<ChildStdout>,
    folder: TempDir,
    _child: Child,
}

/// A message as the server got it.
pub(crate) struct Taken {
    pub(crate) about: Value,
    pub(crate) text: String,
}

impl MailServer {
    pub(crate) async fn start(security: Security) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        let name = match security {
            Security::Starttls => "starttls",
            Security::Tls => "tls",
            Security::Plain => "plain",
        };
        let mut child = Command::new(python())
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/it/notices/server.py"
            ))
            .arg(name)
            .args([certificate, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut server = Self {
            security,
            port: 0,
            lines: BufReader::new(child.stdout.take().unwrap()),
            folder,
            _child: child,
        };
        let listening = server.line().await;
        server.port = u16::try_from(listening["port"].as_u64().unwrap()).unwrap();
        server
    }

    pub(crate) fn options(&self) -> EmailOptions {
        let signs_in = self.security != Security::Plain;
        EmailOptions {
            host: "localhost".to_owned(),
            port: Some(self.port),
            security: self.security,
            username: signs_in.then(|| "wellspring".to_owned()),
            password: signs_in.then(|| SecretString::from("correct horse")),
            certificates: signs_in.then(|| self.certificate()),
            from: "Haushaltsbuch <notices@example.com>".to_owned(),
            reply_to: None,
        }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) async fn next(&mut self) -> Taken {
        let about = self.line().await;
        let data = STANDARD.decode(about["data"].as_str().unwrap()).unwrap();
        Taken {
            text: String::from_utf8(data).unwrap(),
            about,
        }
    }

    async fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Taken {
    /// Returns the values of a header, unfolded.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.to_owned()).collect()
    }

    /// Returns the decoded body of the part of this media type.
    pub(crate) fn part(&self, media_type: &str) -> String {
        let start = self
            .text
            .find(&format!("Content-Type: {media_type}"))
            .unwrap();
        let (head, rest) = self.text[start..].split_once("\r\n\r\n").unwrap();
        let body = rest.split("\r\n--").next().unwrap();
        if head.contains("base64") {
            let joined: String = body.split_whitespace().collect();
            return String::from_utf8(STANDARD.decode(joined).unwrap()).unwrap();
        }
        assert!(
            head.contains("quoted-printable") || head.contains("7bit"),
            "{head}"
        );
        quoted_printable(body)
    }
}

fn quoted_printable(text: &str) -> String {
    let mut bytes = Vec::new();
    let joined = text.replace("=\r\n", "");
    let mut rest = joined.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests have no configuration to read it from"
)]
fn python() -> String {
    let told = std::env::var("WELLSPRING_TEST_SMTP");
    told.expect("WELLSPRING_TEST_SMTP names a Python with aiosmtpd: run `./test`, which finds or installs one")
}
