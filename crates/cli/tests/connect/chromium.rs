//! A real browser, driven over its debugging protocol on a pipe: no port, no library.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A headless Chromium with one page.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    /// What the page complained about: uncaught errors and refusals by its policy.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

/// How the page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    width: u32,
    height: u32,
    scheme: &'static str,
}

pub(crate) const PHONE: Look = Look {
    name: "phone",
    width: 320,
    height: 640,
    scheme: "light",
};
pub(crate) const PHONE_AT_NIGHT: Look = Look {
    name: "phone-dark",
    scheme: "dark",
    ..PHONE
};
pub(crate) const DESK: Look = Look {
    name: "desk",
    width: 1_024,
    height: 768,
    scheme: "light",
};

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        // The browser speaks on descriptors 3 and 4, which only a shell gives without unsafe code.
        let mut child = Command::new("/bin/sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#])
            .arg(program())
            .args(FLAGS)
            .args([&data, "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut browser = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            session: None,
            number: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let blank = json!({"url": "about:blank"});
        let target = browser.call("Target.createTarget", blank).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.look(PHONE).await;
        browser
    }

    /// Ends it and waits until it has let go of its profile.
    pub(crate) async fn end(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
            .await;
    }

    /// Evaluates an expression in the page.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let answer = self.evaluated(expression).await;
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits, in the page itself, until a condition holds.
    pub(crate) async fn until(&mut self, condition: &str) {
        let wait = waiting(condition);
        // A page that goes elsewhere takes its promises with it.
        for _ in 0..10 {
            let answer = self.evaluated(&wait).await;
            if answer.get("exceptionDetails").is_none() && answer.get("error").is_none() {
                assert_eq!(
                    answer["result"]["value"], true,
                    "it never came to be so: {condition}"
                );
                return;
            }
        }
        panic!("the page went on and on: {condition}");
    }

    /// Waits for the screen with this heading, and checks that the focus is on it.
    pub(crate) async fn screen(&mut self, heading: &str) {
        let text = json!(heading);
        self.until(&format!(
            "document.querySelector('h1')?.textContent.includes({text})"
        ))
        .await;
        let width = self
            .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            .await;
        assert_eq!(width, 0, "`{heading}` is wider than the screen");
    }

    /// Moves the focus with Tab alone until it is on what `is` says of the element `e`.
    pub(crate) async fn tab_to(&mut self, is: &str) {
        let look = format!("(() => {{ const e = document.activeElement; return !!({is}); }})()");
        for _ in 0..MOST_TABS {
            if self.eval(&look).await == true {
                let seen = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
                assert_eq!(
                    self.eval(seen).await,
                    true,
                    "the focus on {is} cannot be seen"
                );
                return;
            }
            self.key("Tab").await;
        }
        panic!("Tab does not lead to {is}");
    }

    /// Moves to the control of this label with Tab and types.
    pub(crate) async fn fill(&mut self, label: &str, text: &str) {
        let label = json!(label);
        self.tab_to(&format!(
            "[...(e.labels ?? [])].some((one) => one.textContent.startsWith({label}))"
        ))
        .await;
        self.insert(text).await;
    }

    /// Moves to the button or link with these words and presses Enter.
    pub(crate) async fn press(&mut self, words: &str) {
        let words = json!(words);
        self.tab_to(&format!(
            "/^(A|BUTTON)$/.test(e.tagName) && e.textContent.startsWith({words})"
        ))
        .await;
        self.key("Enter").await;
    }

    pub(crate) async fn key(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            " " => (32, Some(" ")),
            "ArrowDown" => (40, None),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "windowsVirtualKeyCode": code, "code": key});
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    pub(crate) async fn look(&mut self, look: Look) {
        let metrics = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 500});
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let features = json!([
            {"name": "prefers-color-scheme", "value": look.scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        let media = json!({"features": features});
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Keeps a picture of the page in `target/screenshots`.
    pub(crate) async fn picture(&mut self, name: &str) {
        for look in [DESK, PHONE_AT_NIGHT, PHONE] {
            self.look(look).await;
            let whole = json!({"captureBeyondViewport": true});
            let shot = self.call("Page.captureScreenshot", whole).await;
            let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
            let folder = screenshots();
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}-{}.png", look.name)), png).unwrap();
        }
    }

    /// Checks what a screen reader is told: everything that can be used has a name.
    pub(crate) async fn is_named(&mut self) {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        for node in tree["nodes"].as_array().unwrap() {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            let used = [
                "button",
                "link",
                "textbox",
                "combobox",
                "listbox",
                "radio",
                "image",
                "searchbox",
            ];
            if node["ignored"] == false && used.contains(&role) {
                let name = node["name"]["value"].as_str().unwrap_or_default();
                assert!(!name.is_empty(), "a {role} without a name: {node}");
            }
        }
    }

    /// Returns the addresses of the frames in the page.
    pub(crate) async fn frames(&mut self) -> Vec<String> {
        let tree = self.call("Page.getFrameTree", json!({})).await;
        let frames = tree["frameTree"]["childFrames"].as_array().cloned();
        let frames = frames.unwrap_or_default();
        let url = |frame: &Value| frame["frame"]["url"].as_str().unwrap().to_owned();
        frames.iter().map(url).collect()
    }

    /// Types where the focus is.
    pub(crate) async fn insert(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// As [`Self::until`] in the one frame of the page.
    pub(crate) async fn framed_until(&mut self, condition: &str) {
        let tree = self.call("Page.getFrameTree", json!({})).await;
        let frame = tree["frameTree"]["childFrames"][0]["frame"]["id"].clone();
        let world = json!({"frameId": frame});
        let world = self.call("Page.createIsolatedWorld", world).await;
        let context = world["executionContextId"].clone();
        let wait = waiting(condition);
        let asked = json!({"expression": wait, "awaitPromise": true, "returnByValue": true, "contextId": context});
        let answer = self.call("Runtime.evaluate", asked).await;
        assert_eq!(
            answer["result"]["value"], true,
            "it never came to be so: {condition}"
        );
    }

    async fn evaluated(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        self.ask("Runtime.evaluate", asked).await
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer
    }

    /// Sends a command and returns its result, or an object with `error`.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).await.unwrap();
        let read = async {
            loop {
                let mut message = Vec::new();
                let read = self.output.read_until(0, &mut message).await.unwrap();
                assert!(read > 0, "the browser ended");
                message.pop();
                let mut message: Value = serde_json::from_slice(&message).unwrap();
                if message["id"] == self.number {
                    let error = message.get("error").cloned();
                    return error
                        .map_or_else(|| message["result"].take(), |error| json!({"error": error}));
                }
                self.complaints.extend(complaint(&message));
            }
        };
        let answered = tokio::time::timeout(Duration::from_millis(2 * PATIENCE_MS), read);
        answered.await.expect("the browser does not answer")
    }
}

/// Returns a promise that looks again and again.
fn waiting(condition: &str) -> String {
    format!(
        "new Promise((done) => {{ const end = Date.now() + {PATIENCE_MS}; const look = () => {{ \
         if ({condition}) done(true); else if (Date.now() > end) done(document.body.innerText); \
         else setTimeout(look, 20); }}; look(); }})"
    )
}

/// Returns what an event says that went wrong; answers of the server that the page handles are none.
fn complaint(event: &Value) -> Option<String> {
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(event["params"].to_string()),
        "Log.entryAdded" if event["params"]["entry"]["source"] == "security" => {
            Some(event["params"]["entry"]["text"].to_string())
        }
        _ => None,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "`./test` tells the tests where the browser is"
)]
fn program() -> PathBuf {
    let told = std::env::var("WELLSPRING_TEST_CHROMIUM");
    told.expect("WELLSPRING_TEST_CHROMIUM names a Chromium for tests: run `./test`, which finds or installs one")
        .into()
}

fn screenshots() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_wellspring"));
    let target = program.ancestors().nth(2).unwrap();
    target.join("screenshots")
}

/// Whoever is root has no sandbox to put the browser into; it only sees this test's own pages.
const FLAGS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--proxy-server=direct://",
];
const PATIENCE_MS: u64 = 30_000;
const MOST_TABS: usize = 60;
