//! The bank's documents, one by one and by date.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;
use wellspring_engine::NewDocument;

use super::api::{Api, odd};
use super::refusal::concerns_everything;
use super::{DOCUMENT, DOCUMENTS, Taken, start_date, unreadable};
use crate::{Failed, Session, Stop};

/// Fetches the documents that are not here yet.
pub(super) async fn take(session: &Session, api: &Api<'_>) -> Result<Taken, Stop> {
    let mut walk = Walk::begin(session);
    let mut page = 1;
    loop {
        session.call(DOCUMENTS).await?;
        let list = match api.documents(walk.since, page).await {
            Ok(list) => list,
            Err(failed) => return walk.broken_off(session, failed),
        };
        for written in &list.documents {
            match serde_json::from_str::<Line>(written.get()) {
                Ok(line) if line.is_sound() => walk.visit(session, api, &line).await?,
                Ok(_) | Err(_) => walk.unreadable += 1,
            }
        }
        walk.checkpoint(session).await?;
        match list.next_page {
            None => return Ok(walk.finished()),
            Some(next) if next > page => page = next,
            Some(_) => return walk.broken_off(session, odd("documents")),
        }
    }
}

/// How far the list has been walked.
struct Walk {
    since: Option<Date>,
    /// The day from which on documents may be missing.
    reached: Option<Date>,
    kept: Option<Date>,
    /// Whether each kind that was met has failed.
    kinds: BTreeMap<Kind, bool>,
    failed: Option<Failed>,
    unreadable: u64,
}

impl Walk {
    fn begin(session: &Session) -> Self {
        let cursor: Option<Date> = session
            .cursor(STREAM)
            .and_then(|cursor| cursor.parse().ok());
        Self {
            since: cursor.max(start_date(session)),
            reached: cursor,
            kept: cursor,
            kinds: BTreeMap::new(),
            failed: None,
            unreadable: 0,
        }
    }

    async fn visit(&mut self, session: &Session, api: &Api<'_>, line: &Line) -> Result<(), Stop> {
        let has_failed = self.kinds.entry(line.kind).or_default();
        if !session.has_document(&line.id).await? {
            session.call(DOCUMENT).await?;
            match api
                .document(&line.id, line.size, line.sha256.as_deref())
                .await
            {
                Ok(body) => drop(session.document(line.described(), body).await?),
                Err(failed) if concerns_everything(session, &failed) => return Err(failed.into()),
                Err(failed) => {
                    *has_failed = true;
                    // The next time begins with the first one that is missing.
                    if self.failed.is_none() {
                        self.reached = Some(self.reached.map_or(line.date, |r| r.min(line.date)));
                    }
                    self.failed.get_or_insert(failed);
                    return Ok(());
                }
            }
        }
        if self.failed.is_none() {
            self.reached = self.reached.max(Some(line.date));
        }
        Ok(())
    }

    async fn checkpoint(&mut self, session: &Session) -> Result<(), Stop> {
        if let Some(reached) = self.reached
            && self.kept != self.reached
        {
            session.checkpoint(STREAM, reached.to_string()).await?;
            self.kept = self.reached;
        }
        Ok(())
    }

    /// The list itself could not be had.
    fn broken_off(self, session: &Session, failed: Failed) -> Result<Taken, Stop> {
        if concerns_everything(session, &failed) {
            return Err(failed.into());
        }
        Ok(Taken {
            any: false,
            failed: self.failed.or(Some(failed)),
        })
    }

    fn finished(self) -> Taken {
        let all_failed = !self.kinds.is_empty() && self.kinds.values().all(|failed| *failed);
        Taken {
            any: !all_failed,
            failed: self.failed.or_else(|| unreadable(self.unreadable)),
        }
    }
}

/// A line of the list.
#[derive(Deserialize)]
struct Line {
    id: String,
    kind: Kind,
    name: String,
    date: Date,
    media_type: String,
    size: u64,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    pages: Option<u32>,
    #[serde(default)]
    amount_due: Option<String>,
    #[serde(default)]
    currency: Option<String>,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Statement,
    Bill,
    Notice,
    /// One that the bank has come up with since.
    #[serde(other)]
    Document,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Bill => "bill",
            Self::Notice => "notice",
            Self::Document => "document",
        }
    }
}

impl Line {
    /// Returns whether its texts are of the forms that addresses, file names and headers take.
    fn is_sound(&self) -> bool {
        let in_address = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let id = (1..=LONGEST).contains(&self.id.len())
            && self.id.bytes().all(in_address)
            && self.id.bytes().any(|byte| byte != b'.');
        let in_name = |c: char| !c.is_control() && c != '/' && c != '\\';
        let name = (1..=LONGEST).contains(&self.name.len()) && self.name.chars().all(in_name);
        let media_type = (1..=LONGEST).contains(&self.media_type.len())
            && self.media_type.contains('/')
            && self.media_type.bytes().all(|byte| byte.is_ascii_graphic());
        id && name && media_type
    }

    fn described(&self) -> NewDocument {
        let extension = match self.media_type.as_str() {
            "application/pdf" => ".pdf",
            _ => "",
        };
        let pages = self.pages.map(|pages| pages.to_string());
        let metadata = [
            ("pages", pages),
            ("amount_due", self.amount_due.clone()),
            ("currency", self.currency.clone()),
        ];
        NewDocument {
            source_id: Some(self.id.clone()),
            kind: self.kind.as_str().to_owned(),
            name: format!("{}{extension}", self.name),
            media_type: self.media_type.clone(),
            date: Some(self.date.to_string()),
            metadata: metadata
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect(),
        }
    }
}

const STREAM: &str = "documents";
const LONGEST: usize = 200;
