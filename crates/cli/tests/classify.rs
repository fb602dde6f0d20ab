//! `wellspring connector classify` on recorded responses.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[test]
fn a_recorded_response_is_told_its_rule_and_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let sources = folder.path().join("sources");
    std::fs::create_dir(&sources).unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../connectors/testdata/responses/plaid/item_locked.yaml");
    let recorded = recorded.to_str().unwrap();

    let text = said(&classify(folder.path(), &[recorded], ""));
    for wanted in ["plaid: ITEM_LOCKED", "item_error", "notice/locked_out"] {
        assert!(text.contains(wanted), "{text}");
    }

    let value = said(&classify(
        folder.path(),
        &["--json", "-"],
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\n\r\nDown for maintenance",
    ));
    let value: Value = serde_json::from_str(&value).unwrap();
    assert_eq!(value["rule"], "maintenance");
    assert_eq!(value["class"], "bank_maintenance");
    assert_eq!(value["action"], "default");
    assert_eq!(value["retries"]["base_s"], 300);

    std::fs::write(
        sources.join("shop.yaml"),
        "name: shop\nconnector: http_json\nurl: http://127.0.0.1:9/\nerrors: plaid\nrules:\n  \
         - { name: ours, match: { error_code: ITEM_LOCKED }, class: item_error, action: unsupported }\n",
    )
    .unwrap();
    let text = said(&classify(
        folder.path(),
        &["--source", "shop", recorded],
        "",
    ));
    assert!(
        text.contains("ours") && text.contains("unsupported"),
        "{text}"
    );

    for (args, input, wanted) in [
        (["-"], "status: 200\nbody: '[]'", "no failure"),
        (["-"], "nonsense: 1", "nonsense"),
        (["none.yaml"], "", "none.yaml"),
    ] {
        let output = classify(folder.path(), &args, input);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(wanted), "{error}");
    }
}

fn classify(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wellspring"))
        .args(["connector", "classify"])
        .args(args)
        .env("WELLSPRING_SOURCES_DIR", folder.join("sources"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // It may have ended before it was told everything.
    drop(
        child
            .stdin
            .take()
            .expect("is piped")
            .write_all(input.as_bytes()),
    );
    child.wait_with_output().expect("ends")
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).expect("is text")
}
