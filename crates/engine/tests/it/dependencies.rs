//! The engine knows no backend: its dependency tree is checked against a deny-list.

use std::process::Command;

#[test]
fn no_sql_and_no_http_is_anywhere_in_the_tree() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-p",
            "wellspring-engine",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for banned in [
        "rusqlite",
        "tokio-postgres",
        "sqlx",
        "hyper",
        "axum",
        "reqwest",
        "http",
        "rustls",
    ] {
        assert!(!names.contains(&banned), "{banned} is in the tree");
    }
    let mut ours: Vec<&str> = names
        .into_iter()
        .filter(|name| name.starts_with("wellspring"))
        .collect();
    ours.sort_unstable();
    ours.dedup();
    assert_eq!(ours, ["wellspring-core", "wellspring-engine"]);
}
