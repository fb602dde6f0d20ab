//! The files of templates: shipped with the program, and read from the operator's folder.

use std::path::{Path, PathBuf};

use wellspring_core::notification::{Channel, NotificationKind};

use super::TemplateError;

/// A file of the operator's folder.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) language: Option<String>,
    pub(super) source: String,
    path: PathBuf,
}

impl File {
    pub(super) fn error(&self, source: minijinja::Error) -> TemplateError {
        TemplateError::Template {
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads the folder: the two common files, and a folder for each language.
pub(super) fn read(folder: &Path) -> Result<Vec<File>, TemplateError> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if !path.is_dir() {
            files.push(file(path, None, |name| COMMON.contains(&name))?);
            continue;
        }
        let language = name_of(&path).to_ascii_lowercase();
        if !is_language(&language) {
            return Err(TemplateError::Name { path });
        }
        for path in entries(&path)? {
            files.push(file(path, Some(&language), is_message)?);
        }
    }
    Ok(files)
}

fn file(
    path: PathBuf,
    language: Option<&str>,
    is_known: impl Fn(&str) -> bool,
) -> Result<File, TemplateError> {
    let name = name_of(&path).to_owned();
    if !is_known(&name) {
        return Err(TemplateError::Name { path });
    }
    match std::fs::read_to_string(&path) {
        Ok(source) => Ok(File {
            name: language.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}")),
            language: language.map(str::to_owned),
            source,
            path,
        }),
        Err(source) => Err(TemplateError::Read { path, source }),
    }
}

/// Lists a folder in order, without hidden files and the copies that editors leave.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, TemplateError> {
    let unreadable = |source| TemplateError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = name_of(&path);
        if !name.starts_with('.') && !name.ends_with('~') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

fn is_language(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    name.len() <= 35 && name.split('-').all(is_part)
}

/// Returns whether a name is `frame.txt`, `<what>.txt` or `<what>.<channel>.<part>`.
fn is_message(name: &str) -> bool {
    let is_subject =
        |what: &str| what == "digest" || NotificationKind::ALL.iter().any(|k| k.as_str() == what);
    let mut parts = name.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("frame"), Some("txt"), None, None) => true,
        (Some(what), Some("txt"), None, None) => is_subject(what),
        (Some(what), Some(channel), Some(part), None) => {
            let channel = channel.parse::<Channel>();
            let takes = channel.is_ok_and(|channel| match channel {
                Channel::Email => PARTS.contains(&part),
                Channel::Push | Channel::Webhook => part == "subject" || part == "txt",
                Channel::Sms => part == "txt",
                Channel::InApp => false,
            });
            takes && is_subject(what)
        }
        _ => false,
    }
}

/// The languages that are shipped, the one to fall back to first.
pub(super) const LANGUAGES: [&str; 2] = ["en", "de"];
/// What a message of its own may consist of.
pub(super) const PARTS: [&str; 3] = ["subject", "txt", "html"];
const COMMON: [&str; 2] = ["email.txt", "email.html"];

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../templates/", $name)))),*]
    };
}

pub(super) const SHIPPED: &[(&str, &str)] = shipped![
    "email.txt",
    "email.html",
    "en/frame.txt",
    "en/digest.txt",
    "en/plaid_connection_issue.txt",
    "en/bank_maintenance.txt",
    "en/data_sync_status.txt",
    "en/security_alert.txt",
    "en/compliance_update.txt",
    "en/system_maintenance.txt",
    "en/feature_update.txt",
    "en/account_update.txt",
    "de/frame.txt",
    "de/digest.txt",
    "de/plaid_connection_issue.txt",
    "de/bank_maintenance.txt",
    "de/data_sync_status.txt",
    "de/security_alert.txt",
    "de/compliance_update.txt",
    "de/system_maintenance.txt",
    "de/feature_update.txt",
    "de/account_update.txt",
];
