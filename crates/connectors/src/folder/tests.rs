use std::fs::File;
use std::time::Duration;

use super::*;

#[test]
fn every_yaml_file_that_is_not_hidden_is_a_source() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.yaml", &source("gas", ""));
    write(dir.path(), "a.yml", &source("internet", "concurrency: 7"));
    for ignored in [".gas.yaml", "README.md", "gas.yaml~", ".yaml"] {
        write(dir.path(), ignored, "not: [a source");
    }
    fs::create_dir(dir.path().join("c.yaml")).unwrap();

    let sources = SourceFolder::new(dir.path()).load().unwrap();

    let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["gas", "internet"]);
    let gas: SourceName = "gas".parse().unwrap();
    assert_eq!(sources.get(&gas).unwrap().concurrency, 32);
    let numbers: Vec<_> = sources
        .table()
        .iter()
        .map(|source| source.concurrency)
        .collect();
    assert_eq!((numbers.len(), numbers.contains(&7)), (2, true));
}

#[test]
fn a_missing_folder_has_no_sources() {
    let dir = tempfile::tempdir().unwrap();
    let folder = SourceFolder::new(dir.path().join("none"));

    assert!(folder.load().unwrap().is_empty());
    assert_eq!(folder.changed(&Fingerprint::default()), None);
}

#[test]
fn the_errors_of_all_files_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "1.yaml", &source("gas", ""));
    write(dir.path(), "2.yaml", &source("gas", ""));
    write(
        dir.path(),
        "3.yaml",
        &source("internet", "timeout: 0s\nconcurrency: 0"),
    );
    write(dir.path(), "4.yaml", &source("water", "colour: blue"));
    fs::write(dir.path().join("5.yaml"), b"name: \xff").unwrap();

    let errors = SourceFolder::new(dir.path()).load().unwrap_err();

    let told: Vec<_> = errors
        .iter()
        .map(|error| {
            assert_eq!(error.file.parent(), Some(dir.path()));
            (
                error.file.file_name().unwrap().to_str().unwrap(),
                error.line,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("2.yaml", None),
            ("3.yaml", Some(4)),
            ("3.yaml", Some(5)),
            ("4.yaml", Some(4)),
            ("5.yaml", None),
        ]
    );
    let text = errors.to_string();
    let prefix = dir.path().display();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        format!("{prefix}/2.yaml: `name` gas is taken by 1.yaml")
    );
    assert_eq!(
        lines[1],
        format!("{prefix}/3.yaml:4: `timeout` must be more than 0")
    );
    assert!(lines[3].starts_with(&format!("{prefix}/4.yaml:4: `colour` is not a key")));
    assert_eq!(lines[4], format!("{prefix}/5.yaml: is not UTF-8 text"));
}

#[test]
fn a_folder_that_is_a_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "sources", "");
    let folder = SourceFolder::new(dir.path().join("sources"));

    let errors = folder.load().unwrap_err().to_string();
    assert!(errors.contains("sources: cannot be read: "), "{errors}");
    let seen = folder.changed(&Fingerprint::default()).unwrap();
    assert_eq!(folder.changed(&seen), None);
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_an_error_and_one_to_a_file_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let folder = SourceFolder::new(dir.path());
    std::os::unix::fs::symlink("gas.txt", dir.path().join("gas.yaml")).unwrap();

    let errors = folder.load().unwrap_err().to_string();
    assert!(errors.contains("gas.yaml: cannot be read: "), "{errors}");
    let seen = folder.changed(&Fingerprint::default()).unwrap();

    write(dir.path(), "gas.txt", &source("gas", ""));
    assert!(folder.changed(&seen).is_some());
    assert_eq!(folder.load().unwrap().len(), 1);
}

#[test]
fn a_change_of_name_size_or_time_is_seen_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = SourceFolder::new(dir.path());
    let path = dir.path().join("gas.yaml");
    let mut seen = Fingerprint::default();
    let steps: [&dyn Fn(); 5] = [
        &|| write(dir.path(), "gas.yaml", &source("gas", "")),
        &|| write(dir.path(), "gas.yaml", &source("gas", "timeout: 5s")),
        &|| {
            let file = File::options().write(true).open(&path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified + Duration::from_secs(2))
                .unwrap();
        },
        &|| fs::rename(&path, dir.path().join("renamed.yaml")).unwrap(),
        &|| fs::remove_file(dir.path().join("renamed.yaml")).unwrap(),
    ];
    for (index, step) in steps.into_iter().enumerate() {
        assert_eq!(folder.changed(&seen), None, "before step {index}");
        step();
        seen = folder.changed(&seen).expect("the step is seen");
    }
    write(dir.path(), "notes.txt", "no source");
    assert_eq!(seen, Fingerprint::default());
    assert_eq!(folder.changed(&seen), None);
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

fn source(name: &str, more: &str) -> String {
    format!("name: {name}\nconnector: http_json\nurl: http://127.0.0.1:4010/\n{more}\n")
}
