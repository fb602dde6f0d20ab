//! People are told from outside: once when something is the matter, once when it is over.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use wellspring_sandbox::{Delivery, Receiver, VerifyingKey};

use common::PATIENCE;
use common::bank::Bank;
use common::child::Server;
use common::database::Database;

type Heard = Arc<Mutex<Vec<(String, Value)>>>;

#[tokio::test]
async fn a_person_is_told_once_of_an_issue_and_once_of_its_end_over_a_kill() {
    let bank = Bank::start();
    let mut server = Server::start(bank.world.serve(None)).await.unwrap();
    let secret = bank
        .call(&server, Method::GET, "/v1/callback-secret", Value::Null)
        .await;
    let key: VerifyingKey = secret["secret"].as_str().unwrap().parse().unwrap();
    let (url, heard) = listen(&bank, key);
    let account = bank.account(&server).await;
    let contact = json!({"name": "Ada", "webhook": url, "language": "de"});
    bank.call(
        &server,
        Method::PUT,
        &format!("/v1/accounts/{account}/contact"),
        contact,
    )
    .await;

    let connection = bank.connect(&server, &account, "down").await;
    bank.until_state(&server, &connection, "error").await;
    until(&heard, 1).await;
    server.kill().await.unwrap();
    let (server, _) = server.restart().await.unwrap();
    let credentials = json!({"credentials": {"username": "user", "password": "statements"}});
    let path = format!("{connection}/credentials");
    bank.call(&server, Method::PUT, &path, credentials).await;
    bank.call(
        &server,
        Method::POST,
        &format!("{connection}/fetch"),
        Value::Null,
    )
    .await;
    bank.until_state(&server, &connection, "waiting").await;
    until(&heard, 2).await;

    let heard = heard.lock().unwrap().clone();
    let of = |place: usize, key: &str| heard[place].1["data"]["events"][0][key].clone();
    let types: Vec<_> = heard.iter().map(|(_, message)| &message["type"]).collect();
    assert_eq!(types, ["notification.plaid_connection_issue"; 2]);
    assert_eq!(
        (of(0, "state"), of(1, "state")),
        (json!("opened"), json!("mended"))
    );
    assert_eq!(of(0, "reason"), "failing");
    assert_eq!(heard[1].1["data"]["subject"], "bank ist wieder verbunden");
    assert_ne!(heard[0].0, heard[1].0);
    let listed = bank
        .call(
            &server,
            Method::GET,
            &format!("/v1/accounts/{account}/notifications?unread_only=true"),
            Value::Null,
        )
        .await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    bank.world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_mid_send_repeats_the_mail_under_its_id_and_not_the_sms() {
    let bank = Bank::start();
    let (mail, sms) = (
        Counterpart::mail(&bank).await,
        Counterpart::sms(&bank).await,
    );
    let config = bank.world.folder.path().join("wellspring.toml");
    let text = format!(
        "[notifications.email]\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"plain\"\n\
         from = \"Example <notices@example.com>\"\n\
         [notifications.sms]\npreset = \"twilio\"\nusername = \"AC1\"\npassword = \"token\"\n\
         from = \"+15005550006\"\nurl = \"http://127.0.0.1:{}/Messages.json\"\n",
        mail.port, sms.port
    );
    std::fs::write(&config, text).unwrap();
    let mut start = bank.world.serve(None);
    let named = ["--config".to_owned(), config.display().to_string()];
    start.arguments.extend(named);
    let mut server = Server::start(start).await.unwrap();
    let account = bank.account(&server).await;
    let account = format!("/v1/accounts/{account}");
    let contact = json!({"email": "ada@example.com", "phone": "+4915112345678"});
    let path = format!("{account}/contact");
    bank.call(&server, Method::PUT, &path, contact).await;
    let path = format!("{account}/notifications");
    let say = async |server: &Server, text: &str| {
        let message =
            json!({"type": "security_alert", "channels": ["email", "sms"], "data": {"text": text}});
        let sent = bank.call(server, Method::POST, &path, message).await;
        format!("{path}/{}", sent["id"].as_str().unwrap())
    };

    // Both have taken the whole message and not said so.
    let held = say(&server, "first").await;
    mail.until(1).await;
    sms.until(1).await;
    server.kill().await.unwrap();
    mail.answer.send_replace(true);
    sms.answer.send_replace(true);
    let (server, _) = server.restart().await.unwrap();
    let ways = async |message: &str| {
        let shown = bank.call(&server, Method::GET, message, Value::Null).await;
        let ways = shown["deliveries"].as_array().unwrap().clone();
        let ways = ways.into_iter();
        ways.map(|way| (way["channel"].clone(), way["status"].clone()))
            .collect::<Vec<_>>()
    };
    let until = async |message: &str, wanted: [&str; 2]| {
        let wanted = [
            (json!("email"), json!(wanted[0])),
            (json!("sms"), json!(wanted[1])),
        ];
        let deadline = Instant::now() + PATIENCE;
        while ways(message).await != wanted {
            assert!(Instant::now() < deadline, "{:?}", ways(message).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(&held, ["sent", "unknown"]).await;
    let next = say(&server, "second").await;
    until(&next, ["sent", "sent"]).await;

    let mails = mail.heard();
    let id = |mail: &str| {
        let mut lines = mail.lines();
        lines.find_map(|line| line.strip_prefix("Message-ID: ").map(str::to_owned))
    };
    assert_eq!(mails.len(), 3, "{mails:?}");
    assert!(id(&mails[0]).is_some() && id(&mails[0]) == id(&mails[1]));
    assert_ne!(id(&mails[1]), id(&mails[2]));
    let texts = sms.heard();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].contains("first") && texts[1].contains("second"),
        "{texts:?}"
    );
    bank.world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_person_is_told_once_by_two_nodes_of_which_one_is_killed() {
    let database = Database::create().await;
    let bank = Bank::start();
    let url = Some(database.url.as_str());
    let one = Server::start(bank.world.serve(url)).await.unwrap();
    let mut start = bank.world.serve(url);
    let data = bank.world.folder.path().join("other");
    start.arguments[2] = data.display().to_string();
    let mut two = Server::start(start).await.unwrap();
    let secret = bank
        .call(&one, Method::GET, "/v1/callback-secret", Value::Null)
        .await;
    let key: VerifyingKey = secret["secret"].as_str().unwrap().parse().unwrap();
    let (url, heard) = listen(&bank, key);
    let mut accounts = Vec::new();
    for _ in 0..PEOPLE {
        let account = bank.account_in_time(&one).await;
        let path = format!("{account}/contact");
        let contact = json!({"name": "Ada", "webhook": url});
        let put = async || {
            let put = bank
                .try_call(&one, Method::PUT, &path, contact.clone())
                .await;
            put.unwrap().0
        };
        let deadline = Instant::now() + PATIENCE;
        while put().await != 200 {
            assert!(Instant::now() < deadline, "{path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bank.connect_in_time(&one, &account, "down").await;
        accounts.push(account);
    }
    until(&heard, PEOPLE / 4).await;
    two.kill().await.unwrap();

    let list = async |account: &String| {
        let path = format!("{account}/notifications");
        let listed = bank.call(&one, Method::GET, &path, Value::Null).await;
        listed["data"].as_array().unwrap().clone()
    };
    for account in &accounts {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = list(account).await;
            assert!(listed.len() <= 1, "{account}: {listed:?}");
            let id = listed.first().map(|one| one["id"].clone());
            let arrived = heard
                .lock()
                .unwrap()
                .iter()
                .any(|(_, message)| Some(&message["data"]["notificationId"]) == id.as_ref());
            if arrived {
                break;
            }
            assert!(Instant::now() < deadline, "{account}: {listed:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // What is repeated bears its id, so that the receiver knows it.
    let heard = heard.lock().unwrap().clone();
    let mut ids = BTreeMap::new();
    for (id, message) in heard {
        let account = message["data"]["accountId"].as_str().unwrap().to_owned();
        let ids: &mut BTreeSet<String> = ids.entry(account).or_default();
        ids.insert(id);
    }
    assert_eq!(ids.len(), PEOPLE);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    for account in &accounts {
        assert_eq!(list(account).await.len(), 1, "{account}");
    }
    drop(one);
    bank.world.tasks.stop();
    database.remove().await;
}

/// A mail server or a gateway that takes messages, and answers when it may.
struct Counterpart {
    port: u16,
    answer: watch::Sender<bool>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Counterpart {
    async fn mail(bank: &Bank) -> Self {
        Self::start(bank, "mail server", |line, kept| async move {
            let (read, mut write) = line.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 mail.test\r\n").await?;
            while let Some(line) = lines.next_line().await? {
                let answer = match line.get(..4).unwrap_or_default() {
                    "DATA" => "354 go on\r\n",
                    "QUIT" => "221 bye\r\n",
                    _ => "250 OK\r\n",
                };
                write.write_all(answer.as_bytes()).await?;
                if !answer.starts_with("354") {
                    continue;
                }
                let mut message = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    message.push_str(&line);
                    message.push('\n');
                }
                kept.take(message).await;
                write.write_all(b"250 OK\r\n").await?;
            }
            Ok(())
        })
        .await
    }

    async fn sms(bank: &Bank) -> Self {
        Self::start(bank, "gateway", |line, kept| async move {
            let (read, mut write) = line.into_split();
            let mut read = BufReader::new(read);
            let (mut length, mut header) = (0, String::new());
            while read.read_line(&mut header).await? > 2 {
                let (name, value) = header.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
                header.clear();
            }
            let mut body = vec![0; length];
            read.read_exact(&mut body).await?;
            kept.take(String::from_utf8(body).unwrap()).await;
            let answer = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\
                          Content-Length: 13\r\nConnection: close\r\n\r\n{\"sid\":\"SM1\"}";
            write.write_all(answer.as_bytes()).await
        })
        .await
    }

    async fn start<F>(
        bank: &Bank,
        name: &'static str,
        talk: impl Fn(TcpStream, Kept) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = watch::Sender::new(false);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Kept {
            answer: answer.subscribe(),
            heard: Arc::clone(&heard),
        };
        let tasks = bank.world.tasks.clone();
        let stop = tasks.stop_token().clone();
        bank.world.tasks.spawn(name, async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok((line, _)) = listener.accept() => {
                        let talked = talk(line, kept.clone());
                        // Who hangs up in the middle was killed.
                        tasks.spawn("counterpart", async move { talked.await.unwrap_or_default() });
                    }
                }
            }
        });
        Self {
            port,
            answer,
            heard,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    async fn until(&self, many: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.heard().len() < many {
            assert!(Instant::now() < deadline, "{:?}", self.heard());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Where a counterpart keeps what it takes.
#[derive(Clone)]
struct Kept {
    answer: watch::Receiver<bool>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    /// Keeps a message and waits until it may be answered.
    async fn take(&self, message: String) {
        self.heard.lock().unwrap().push(message);
        let mut answer = self.answer.clone();
        drop(answer.wait_for(|may| *may).await);
    }
}

/// Starts what takes the tenant's notifications; keeps ids and messages.
fn listen(bank: &Bank, key: VerifyingKey) -> (String, Heard) {
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 7).unwrap();
    let receiver = receiver.on_delivery(Arc::new(move |delivery: &Delivery| {
        if delivery.status.is_success() {
            assert!(delivery.is_signed_by(&key));
            let id = delivery.webhook_id.clone().unwrap();
            let message = serde_json::from_slice(&delivery.body).unwrap();
            // What a kill leaves in doubt is sent again under its id.
            let mut kept = kept.lock().unwrap();
            if kept.iter().all(|(known, _)| *known != id) {
                kept.push((id, message));
            }
        }
    }));
    let url = format!("http://{}/notifications", receiver.local_addr());
    let stop = bank.world.tasks.stop_token().clone();
    let serving = receiver.run(async move { stop.cancelled().await });
    bank.world.tasks.spawn("receiver of notifications", serving);
    (url, heard)
}

async fn until(heard: &Heard, many: usize) {
    let deadline = Instant::now() + PATIENCE;
    while heard.lock().unwrap().len() < many {
        assert!(Instant::now() < deadline, "{:?}", heard.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many people two nodes tell.
const PEOPLE: usize = 24;
