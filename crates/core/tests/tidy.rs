//! House rules that no compiler knows.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_source_file_has_more_than_800_lines() {
    for file in sources() {
        let lines = fs::read_to_string(&file).expect("reads").lines().count();
        assert!(
            lines <= 800,
            "{} has {lines} lines: it has more than one reason to change",
            file.display()
        );
    }
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_silenced() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
    ];
    for file in sources() {
        let text = fs::read_to_string(&file).expect("reads");
        for word in words {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}

#[test]
fn every_crate_but_the_binary_has_a_readme_that_is_its_documentation() {
    for folder in entries(&root().join("crates")) {
        let library = folder.join("src/lib.rs");
        if library.exists() {
            assert!(folder.join("README.md").exists(), "{}", folder.display());
            let text = fs::read_to_string(&library).expect("reads");
            assert!(
                text.contains("include_str!(\"../README.md\")"),
                "{}",
                library.display()
            );
        }
    }
}

#[test]
fn the_architecture_fits_two_hundred_lines() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("reads");
    assert!(text.lines().count() < 200);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .collect();
    entries.sort();
    entries
}

/// Returns every Rust file of the workspace's crates.
fn sources() -> Vec<PathBuf> {
    let mut left = vec![root().join("crates")];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                entries(&path)
                    .into_iter()
                    .filter(|path| !path.ends_with("target")),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    assert!(found.len() > 50, "the files are found");
    found
}
