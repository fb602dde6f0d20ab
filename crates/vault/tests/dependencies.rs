//! The vault knows nobody: its dependency tree is checked.

use std::process::Command;

#[test]
fn none_of_our_crates_and_no_database_is_in_the_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-e", "normal", "--prefix", "none"])
        .args(["-p", "wellspring-vault", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    for name in names {
        let foreign = ["rusqlite", "tokio-postgres", "sqlx", "tokio"].contains(&name);
        let ours = name.starts_with("wellspring") && name != "wellspring-vault";
        assert!(!foreign && !ours, "{name} is in the tree");
    }
}
