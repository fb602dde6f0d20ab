//! The connect page in a real browser, by keyboard alone.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../common/mod.rs"]
mod common;

mod application;
mod chromium;

use serde_json::{Value, json};

use application::Application;
use chromium::Browser;
use common::child::{self, Server};
use common::{World, json as body};

/// A server with the sandbox bank, an application and a browser.
struct Scene {
    world: World,
    server: Server,
    application: Application,
    browser: Browser,
    account: String,
}

impl Scene {
    async fn start() -> Self {
        let world = World::start("{ interval: 30ms, rate: 1.5, max_delay: 200ms, max_retries: 3 }");
        let bank = format!(
            "name: sandbox-bank\nconnector: sandbox_bank\nurl: {}/bank\n",
            world.sandbox_url
        );
        let file = world.folder.path().join("sources/sandbox-bank.yaml");
        std::fs::write(file, bank).unwrap();
        let server = Server::start(world.serve(None)).await.unwrap();
        let application = Application::start(&world.tasks).await;
        let mut scene = Self {
            world,
            server,
            application,
            browser: Browser::start().await,
            account: String::new(),
        };
        let settings = json!({
            "return_urls": [scene.application.done()],
            "frame_origins": [scene.application.origin()],
        });
        scene.call("PATCH", "/v1/settings", settings, 200).await;
        let account = scene.call("POST", "/v1/accounts", json!({}), 201).await;
        scene.account = text(&account["id"]);
        scene
    }

    async fn call(&self, method: &str, path: &str, said: Value, status: u16) -> Value {
        let said = if said.is_null() {
            String::new()
        } else {
            said.to_string()
        };
        let (client, url) = (&self.world.client, self.server.url(path));
        let sent = child::send(client, method.parse().unwrap(), &url, None, said.into());
        let response = sent.await.unwrap();
        assert_eq!(
            response.status,
            status,
            "{method} {path}: {}",
            String::from_utf8_lossy(&response.body)
        );
        if response.body.is_empty() {
            Value::Null
        } else {
            body(&response)
        }
    }

    /// Gives out a link, for the repair of a connection if one is named.
    async fn link(&self, connection: Option<&str>) -> String {
        let said = json!({
            "for": "connect",
            "connection": connection,
            "return_url": self.application.done(),
        });
        let path = format!("/v1/accounts/{}/tokens", self.account);
        text(&self.call("POST", &path, said, 201).await["url"])
    }

    /// Opens a new link and logs in to the bank with a password.
    async fn log_in(&mut self, password: &str) {
        let link = self.link(None).await;
        self.browser.go(&link).await;
        self.browser.screen("Connect an account").await;
        self.browser.press("Start").await;
        self.browser.screen("Log in to sandbox-bank").await;
        self.enter(password, "Connect").await;
    }

    async fn enter(&mut self, password: &str, button: &str) {
        self.browser.fill("User name", "user").await;
        self.browser.fill("Password", password).await;
        self.browser.press(button).await;
    }

    async fn connections(&self) -> Vec<Value> {
        let path = format!("/v1/accounts/{}/connections", self.account);
        let list = self.call("GET", &path, Value::Null, 200).await;
        list["data"].as_array().unwrap().clone()
    }

    async fn end(self) {
        assert_eq!(self.browser.complaints, Vec::<String>::new());
        self.browser.end().await;
        self.world.tasks.stop();
        drop(self.server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_connects_answers_and_is_sent_back() {
    let mut scene = Scene::start().await;
    scene.log_in("").await;
    let browser = &mut scene.browser;
    browser
        .until("document.activeElement.getAttribute('aria-invalid') === 'true'")
        .await;
    let told = "document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent";
    assert_eq!(browser.eval(told).await, "Please fill this in.");
    browser.is_named().await;
    browser.picture("1-login").await;
    scene.browser.fill("Password", "onetimeauth").await;
    scene.browser.press("Connect").await;

    let browser = &mut scene.browser;
    browser.screen("A code for you").await;
    browser.is_named().await;
    browser.tab_to("e.type === 'radio'").await;
    browser.key(" ").await;
    browser.picture("2-delivery").await;
    browser.press("Continue").await;
    browser.screen("Your code").await;
    let clock = "[...document.querySelectorAll('.hint')].some((e) => /Time left to answer: \\d+:\\d\\d/.test(e.textContent))";
    browser.until(clock).await;
    browser.fill("Code", "000000").await;
    browser.press("Continue").await;
    // A wrong answer is asked again, with the reason.
    browser
        .until("document.querySelectorAll('.told').length === 2")
        .await;
    browser.picture("3-code-again").await;
    browser.fill("Code", "123 456").await;
    browser.press("Continue").await;
    browser.screen("sandbox-bank is connected").await;
    browser
        .until("document.body.innerText.includes('3 documents have been fetched')")
        .await;
    browser.picture("4-connected").await;
    browser.press("Continue").await;
    browser.until("location.pathname === '/done'").await;
    let connections = scene.connections().await;
    let search = scene.browser.eval("location.search").await;
    let id = text(&connections[0]["id"]);
    assert_eq!(search, format!("?status=connected&connection={id}"));
    assert_eq!(connections.len(), 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_question_is_answered_by_keyboard() {
    let mut scene = Scene::start().await;
    scene.log_in("everypart").await;
    let browser = &mut scene.browser;
    browser.screen("A long form").await;
    browser.is_named().await;
    browser.picture("5-every-part").await;
    browser.press("Continue").await;
    browser
        .until("document.querySelectorAll('[aria-invalid=true]').length > 3")
        .await;
    browser.picture("6-every-fault").await;
    browser.fill("Your first pet's name", "Rex").await;
    browser.fill("Your favourite colour", "Blue").await;
    browser
        .eval("document.querySelector('input[type=date]').value = '2000-01-02'")
        .await;
    browser.fill("Your postcode", "12345").await;
    browser.press("Continue").await;
    browser.screen("sandbox-bank is connected").await;

    for (password, heading, button) in [
        ("onetimeauthmultiple", "Some questions", "Continue"),
        ("lockedoutfail", "Your account is locked", "OK"),
    ] {
        scene.log_in(password).await;
        let browser = &mut scene.browser;
        browser.screen(heading).await;
        browser.is_named().await;
        browser.picture(&format!("7-{password}")).await;
        browser
            .eval("for (const one of document.querySelectorAll('select')) one.selectedIndex = 1")
            .await;
        if password == "onetimeauthmultiple" {
            browser.tab_to("e.type === 'radio'").await;
            browser.key(" ").await;
        }
        browser.press(button).await;
        browser
            .until(&format!(
                "!document.querySelector('h1').textContent.includes({})",
                json!(heading)
            ))
            .await;
    }

    scene.log_in("captcha").await;
    scene.browser.screen("Are you a person?").await;
    scene
        .browser
        .until("document.querySelector('img').naturalWidth > 20")
        .await;
    scene
        .browser
        .fill("What does the picture show?", "W4TER")
        .await;
    scene.browser.press("Continue").await;
    scene.browser.screen("sandbox-bank is connected").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_keeps_the_connection_and_one_given_up_changes_nothing() {
    let mut scene = Scene::start().await;
    scene.log_in("pass").await;
    scene.browser.screen("sandbox-bank is connected").await;
    let before = scene.connections().await;
    let id = text(&before[0]["id"]);

    let link = scene.link(Some(&id)).await;
    scene.browser.go(&link).await;
    scene.browser.screen("Repair a connection").await;
    scene.browser.press("Start").await;
    scene
        .browser
        .screen("Repair the connection to sandbox-bank")
        .await;
    scene.browser.picture("8-repair").await;
    scene.enter("pinfail", "Log in again").await;
    scene.browser.screen("Your PIN").await;
    scene.browser.press("Cancel").await;
    scene.browser.screen("Nothing was changed").await;
    let after = scene.connections().await;
    for same in ["id", "state", "access", "retries", "last_success_at"] {
        assert_eq!(after[0][same], before[0][same], "{same}");
    }
    assert_eq!(after[0]["outcome"]["kind"], "success");

    let link = scene.link(Some(&id)).await;
    scene.browser.go(&link).await;
    scene.browser.press("Start").await;
    scene
        .browser
        .screen("Repair the connection to sandbox-bank")
        .await;
    scene.enter("wrong", "Log in again").await;
    // The source refuses the login, and the page asks for it again.
    scene
        .browser
        .until("document.querySelector('.alert')?.textContent.includes('did not accept')")
        .await;
    scene.browser.picture("9-refused").await;
    scene.enter("pinfail", "Continue").await;
    scene.browser.screen("Your PIN").await;
    scene.browser.fill("PIN", "1234").await;
    scene.browser.press("Continue").await;
    scene.browser.screen("sandbox-bank is connected").await;
    let mended = scene.connections().await;
    assert_eq!(mended.len(), 1);
    assert_eq!(mended[0]["id"], before[0]["id"]);
    assert_ne!(mended[0]["last_success_at"], before[0]["last_success_at"]);
    let fetches = format!("/v1/accounts/{}/connections/{id}/fetches", scene.account);
    let fetches = scene.call("GET", &fetches, Value::Null, 200).await;
    assert!(fetches["data"].as_array().unwrap().len() >= 3, "{fetches}");

    // What was opened cannot be opened again.
    scene.browser.go(&link).await;
    scene.browser.screen("This link was used already").await;
    scene.browser.picture("9-spent").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_applications_own_origin_frames_the_page_and_hears_of_it() {
    let mut scene = Scene::start().await;
    let link = scene.link(None).await;
    let stranger = Application::start(&scene.world.tasks).await;
    scene.browser.go(&stranger.framing(&link)).await;
    let frames = scene.browser.frames().await;
    assert!(
        !frames.iter().any(|url| url.contains("/connect/")),
        "{frames:?}"
    );
    // The refusal is what is wanted.
    assert!(!scene.browser.complaints.is_empty());
    scene.browser.complaints.clear();

    let framing = scene.application.framing(&link);
    scene.browser.go(&framing).await;
    assert_eq!(scene.browser.frames().await, [link]);
    let inside = "document.querySelector('iframe').focus()";
    scene.browser.eval(inside).await;
    // The focus goes into the frame with Tab, and so do the keys.
    scene.browser.key("Tab").await;
    scene.browser.key("Enter").await;
    for text in ["user", "nodocs"] {
        scene
            .browser
            .framed_until("document.querySelector('h1').textContent.startsWith('Log in')")
            .await;
        scene.browser.key("Tab").await;
        scene.browser.insert(text).await;
    }
    scene.browser.key("Enter").await;
    scene.browser.until("window.heard?.length > 0").await;
    let heard = scene.browser.eval("window.heard").await;
    let id = scene.connections().await[0]["id"].clone();
    assert_eq!(
        heard,
        json!([{"type": "wellspring.connect", "status": "connected", "connection": id}])
    );
    scene.end().await;
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}
