use std::time::Duration;

use secrecy::SecretString;
use wellspring_core::notification::Channel;
use wellspring_delivery::{
    EmailError, EmailOptions, NoticeError, NoticeOptions, Notices, Security,
};
use wellspring_engine::{NoticeAddress, NoticeOrder, NoticeResult, Transport};

use super::mail_server::MailServer;
use super::support::{closed_port, impatient, notices, order};

#[tokio::test]
async fn mail_arrives_encrypted_with_its_headers_and_both_parts() {
    for security in [Security::Starttls, Security::Tls] {
        let mut server = MailServer::start(security).await;
        let notices = with(server.options());

        let sent = notices.send(to("joerg@example.net")).await;

        let receipt = Some("2.0.0 queued as 7A1B".to_owned());
        assert_eq!(sent, NoticeResult::Sent { receipt });
        let mail = server.next().await;
        assert_eq!(mail.about["tls"], true);
        assert_eq!(mail.about["user"], "wellspring");
        assert_eq!(mail.about["hello"], "example.com");
        assert_eq!(mail.about["mail_from"], "notices@example.com");
        assert_eq!(mail.about["rcpt_to"][0], "joerg@example.net");
        for (name, value) in [
            ("From", "Haushaltsbuch <notices@example.com>"),
            ("To", "joerg@example.net"),
            ("Date", "Wed, 18 Nov 2026 11:06:40 +0000"),
            (
                "Message-ID",
                "<ntf_abababababababababababababababab_email@example.com>",
            ),
            ("Auto-Submitted", "auto-generated"),
            ("List-Unsubscribe", "<https://app.example/u/abc>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("MIME-Version", "1.0"),
        ] {
            assert_eq!(mail.header(name), [value], "{name}");
        }
        assert_eq!(mail.header("Subject").len(), 1);
        assert!(mail.header("Content-Type")[0].starts_with("multipart/alternative"));
        let text = mail.part("text/plain");
        assert!(text.contains("Hello Jörg Müller,"), "{text}");
        assert!(text.contains("Städtische <Bank>"), "{text}");
        assert!(
            text.contains("https://app.example/connections/1?a=b&c=d"),
            "{text}"
        );
        let html = mail.part("text/html");
        assert!(html.contains("Städtische &lt;Bank&gt;"), "{html}");
        assert!(!html.contains("<Bank>"), "{html}");
    }
}

#[tokio::test]
async fn repeats_share_their_message_id_and_no_fact_adds_a_header() {
    let mut server = MailServer::start(Security::Plain).await;
    let notices = with(server.options());
    let mut order = to("joerg@example.net");
    let source = "Bank\r\nBcc: everybody@example.org\r\n\r\nBody".into();
    order.events[0].insert("source".to_owned(), source);
    order.unsubscribe_url = Some("https://a.example/>\r\nBcc: x@example.org".to_owned());

    for _ in 0..2 {
        notices.send(order.clone()).await;
    }

    let (first, second) = (server.next().await, server.next().await);
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(first.header("Subject").len(), 1);
    assert!(first.header("Bcc").is_empty() && first.header("List-Unsubscribe").is_empty());
    assert_eq!(first.about["rcpt_to"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_decides_whether_the_mail_is_tried_again() {
    let server = MailServer::start(Security::Plain).await;
    let notices = with(server.options());
    for (name, expected) in [
        (
            "busy",
            failed("the mail server refused the recipient: 451 4.7.1"),
        ),
        (
            "full",
            failed("the mail server refused the message: 452 4.3.1"),
        ),
        (
            "nobody",
            refused("the mail server refused the recipient: 550 5.1.1", true),
        ),
        (
            "unwanted",
            refused("the mail server refused the recipient: 550 5.7.1", false),
        ),
        (
            "spam",
            refused("the mail server refused the message: 554 5.6.0", false),
        ),
        (
            "no address",
            refused("the address is no e-mail address", true),
        ),
        (
            "broken-early",
            failed("the connection to the mail server broke over the recipient"),
        ),
        (
            "broken",
            unknown("the connection broke before the mail server confirmed the message"),
        ),
    ] {
        let sent = notices.send(to(&format!("{name}@example.net"))).await;
        assert_eq!(sent, expected, "{name}");
    }
}

#[tokio::test]
async fn silence_is_a_failure_before_the_message_has_left_and_unknown_after() {
    let server = MailServer::start(Security::Plain).await;
    let notices = notices(NoticeOptions {
        email: Some(server.options()),
        ..impatient()
    });

    let early = notices.send(to("silent-early@example.net")).await;
    let late = notices.send(to("silent@example.net")).await;

    assert_eq!(early, failed("the mail server did not answer in time"));
    let reason = "the mail server did not confirm the message in time";
    assert_eq!(late, unknown(reason));
}

#[tokio::test]
async fn nothing_is_sent_without_the_encryption_that_is_asked_for() {
    let plain = MailServer::start(Security::Plain).await;
    let wants = EmailOptions {
        security: Security::Starttls,
        ..plain.options()
    };
    let sent = with(wants).send(to("a@example.net")).await;
    assert_eq!(sent, failed("the mail server offers no STARTTLS"));

    let server = MailServer::start(Security::Starttls).await;
    let strange = EmailOptions {
        certificates: None,
        ..server.options()
    };
    let sent = with(strange).send(to("a@example.net")).await;
    assert_eq!(
        sent,
        failed("the connection to the mail server broke over STARTTLS")
    );

    let wrong = EmailOptions {
        password: Some(SecretString::from("wrong")),
        ..server.options()
    };
    let sent = with(wrong.clone()).send(to("a@example.net")).await;
    let reason = "the mail server refused the password: 535 5.7.8";
    assert_eq!(sent, failed(reason));
    let patience = Duration::from_secs(10);
    assert_eq!(wrong.greet(patience).await, Err(reason.to_owned()));
    assert_eq!(server.options().greet(patience).await, Ok(()));

    let nowhere = EmailOptions {
        port: Some(closed_port()),
        ..server.options()
    };
    let sent = with(nowhere).send(to("a@example.net")).await;
    assert_eq!(sent, failed("the mail server cannot be reached"));
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let server = MailServer::start(Security::Plain).await;
    let bad = |options: EmailOptions| {
        let options = NoticeOptions {
            email: Some(options),
            ..NoticeOptions::default()
        };
        super::support::try_notices(options).unwrap_err()
    };
    let abroad = EmailOptions {
        host: "mail.example.com".to_owned(),
        ..server.options()
    };
    assert!(matches!(bad(abroad), NoticeError::Email(EmailError::Plain)));
    let half = EmailOptions {
        username: Some("u".to_owned()),
        ..server.options()
    };
    assert!(matches!(
        bad(half),
        NoticeError::Email(EmailError::Credentials)
    ));
    let nobody = EmailOptions {
        from: "nobody".to_owned(),
        ..server.options()
    };
    assert!(matches!(
        bad(nobody),
        NoticeError::Email(EmailError::Mailbox(_))
    ));
}

fn with(options: EmailOptions) -> Notices {
    notices(NoticeOptions {
        email: Some(options),
        ..NoticeOptions::default()
    })
}

fn to(address: &str) -> NoticeOrder {
    order(Channel::Email, NoticeAddress::Email(address.to_owned()))
}

fn failed(reason: &str) -> NoticeResult {
    NoticeResult::Failed {
        reason: reason.to_owned(),
        retry_at: None,
    }
}

fn refused(reason: &str, address_gone: bool) -> NoticeResult {
    NoticeResult::Refused {
        reason: reason.to_owned(),
        address_gone,
    }
}

fn unknown(reason: &str) -> NoticeResult {
    NoticeResult::Unknown {
        reason: reason.to_owned(),
    }
}
