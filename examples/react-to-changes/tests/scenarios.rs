//! The program against a real server and the sandbox bank, once for each way a connection can go.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KEY: &str = "loopback-example-key-not-a-secret";

#[test]
fn it_does_what_each_scenario_asks_for() {
    let program = Path::new(env!("CARGO_BIN_EXE_react-to-changes"));
    let wellspring = program.with_file_name("wellspring");
    assert!(
        wellspring.exists(),
        "build the workspace first: {}",
        wellspring.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let (bank, api, hook) = (free(), free(), free());
    std::fs::create_dir_all(folder.path().join("sources")).unwrap();
    let yaml = format!(
        "name: sandbox-bank\nconnector: sandbox_bank\nurl: http://{bank}/bank\nslow_plan: [1s]\n\
         retry: {{ interval: 50ms, rate: 1.5, max_delay: 1s, max_retries: 1 }}\n"
    );
    std::fs::write(folder.path().join("sources/bank.yaml"), yaml).unwrap();
    let _sandbox = Ended(start(Command::new(&wellspring).args([
        "sandbox",
        "--listen",
        &bank.to_string(),
    ])));
    let mut serve = Command::new(&wellspring);
    serve
        .args(["serve", "--log", "warn", "--outbound-allow", "127.0.0.0/8"])
        .args(["--listen", &api.to_string()])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--sources")
        .arg(folder.path().join("sources"))
        .env("WELLSPRING_BOOTSTRAP_API_KEY", KEY);
    let _server = Ended(start(&mut serve));
    answers(bank);
    answers(api);
    let file = folder.path().join("statement.pdf");
    std::fs::write(&file, "%PDF-1.4 by hand").unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(program)
            .args(["--api", &format!("http://{api}"), "--key", KEY])
            .args(["--listen", &hook.to_string(), "--give-up-after", "50"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    };

    let happy = run(&["--password", "statements"]);
    assert!(
        happy.contains("UPDATED /state/uploading") && happy.contains("3 documents"),
        "{happy}"
    );

    let asked = run(&["--password", "mfaquestion", "--answer", "*=Smith"]);
    assert!(
        asked.contains("CREATED /interactions/") && asked.contains("  question:"),
        "{asked}"
    );
    assert!(
        asked.contains("the question is taken away: \"answered\""),
        "{asked}"
    );
    assert!(
        asked.contains("done: the documents were fetched"),
        "{asked}"
    );

    let retried = run(&["--password", "down"]);
    assert!(retried.contains("failed 1 times"), "{retried}");
    assert!(
        retried.contains("done: an upload by hand is wanted"),
        "{retried}"
    );

    let upload = file.display().to_string();
    let failed = run(&["--password", "down", "--patience", "9", "--upload", &upload]);
    assert!(failed.contains("UPDATED /state/error"), "{failed}");
    assert!(
        failed.contains("done: the document was uploaded by hand"),
        "{failed}"
    );
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn answers(address: SocketAddr) {
    for _ in 0..600 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{address} does not answer");
}
