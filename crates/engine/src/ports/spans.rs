//! Where the spans of traces go.

use std::fmt;

use wellspring_core::{AnyId, TraceParent};

/// Takes spans that have ended; it must neither block nor fail.
pub trait SpanSink: fmt::Debug + Send + Sync {
    /// Takes spans of one trace, each parent before its children.
    fn take(&self, spans: Vec<Span>);
}

/// One span of a trace, ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace: the bytes of the id of what is traced, a fetch or a collection.
    pub trace: AnyId,
    /// Its own id within the trace.
    pub id: u64,
    /// The span that it is a part of; none for the root.
    pub parent: Option<u64>,
    /// What was done.
    pub name: &'static str,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began, in nanoseconds of Unix time.
    pub begin: u64,
    /// When it ended, in nanoseconds of Unix time.
    pub end: u64,
    /// What is known of it: ids, names, classes and counts, never what was fetched, nor secrets.
    pub facts: Vec<(&'static str, Fact)>,
    /// Spans of other traces that it belongs with.
    pub links: Vec<TraceParent>,
    /// What went wrong, as a stable word; none where nothing did.
    pub error: Option<String>,
}

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// None: it stays within.
    Internal,
    /// It takes a call.
    Server,
    /// It makes a call.
    Client,
}

/// One thing known of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A word or an id.
    Text(String),
    /// A count.
    Number(i64),
    /// Whether it is so.
    Flag(bool),
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Fact {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Fact {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
