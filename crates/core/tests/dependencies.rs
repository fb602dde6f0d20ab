//! The core stays pure: its dependency list is an allow-list.

use std::process::Command;

#[test]
fn nothing_but_the_allow_list_is_a_direct_dependency() {
    let direct = tree(&["--depth", "1"]);
    let allowed = [
        "croner",
        "jiff",
        "rand_core",
        "regex",
        "serde",
        "thiserror",
        "uuid",
    ];
    assert_eq!(direct, allowed);
}

#[test]
fn nothing_that_does_io_is_anywhere_in_the_tree() {
    let all = tree(&[]);
    for banned in [
        "tokio",
        "hyper",
        "rusqlite",
        "mio",
        "socket2",
        "getrandom",
        "rand",
        "async-trait",
    ] {
        assert!(
            !all.iter().any(|name| name == banned),
            "{banned} is in the tree: {all:?}"
        );
    }
}

/// Returns the names in `cargo tree` below the crate itself, sorted.
fn tree(more: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-p",
            "wellspring-core",
            "--format",
            "{p}",
        ])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let mut names: Vec<String> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}
