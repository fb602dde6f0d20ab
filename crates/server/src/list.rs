//! Lists, page by page.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::AnyId;

use crate::body::json;
use crate::problem::Problem;
use crate::query::{BadParameters, Parameters};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// What is on it, newest first.
    data: Vec<T>,
    /// Where the next page begins.
    next_cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// Which page of a list is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What else the query says.
    pub(crate) parameters: Parameters,
    limit: usize,
    before: Option<AnyId>,
}

impl Wanted {
    /// Reads the query; `filters` are its other parameters.
    ///
    /// Faults of filters may be added before [`Self::checked`].
    pub(crate) fn read(uri: &Uri, filters: &[&str]) -> Self {
        let known = [&["limit", "cursor"], filters].concat();
        let mut parameters = Parameters::read(uri, &known, &[]);
        let limit = parameters.limit(DEFAULT, MOST);
        let before = parameters.value("cursor").map(place);
        if before == Some(None) {
            parameters.fault("cursor", "is not a cursor of this list");
        }
        Self {
            parameters,
            limit,
            before: before.flatten(),
        }
    }

    /// Returns the page if nothing is wrong with the query.
    pub(crate) fn checked(self) -> Result<Page, BadParameters> {
        self.parameters.finish()?;
        Ok(Page {
            limit: self.limit,
            before: self.before,
        })
    }
}

/// A page that is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    limit: usize,
    /// What it comes after.
    pub(crate) before: Option<AnyId>,
}

impl Page {
    /// Returns how many rows are to be read: one more tells that there is a next page.
    pub(crate) const fn rows(&self) -> usize {
        self.limit + 1
    }

    /// Cuts the rows to the page and returns where the next one begins.
    pub(crate) fn cut<R>(&self, rows: &mut Vec<R>, id: impl Fn(&R) -> AnyId) -> Option<AnyId> {
        if rows.len() <= self.limit {
            return None;
        }
        rows.truncate(self.limit);
        rows.last().map(id)
    }
}

impl<T: Serialize> List<T> {
    /// Returns the response of a page.
    pub(crate) fn response(data: Vec<T>, next: Option<AnyId>) -> Result<Response, Problem> {
        let list = Self {
            data,
            has_more: next.is_some(),
            next_cursor: next.map(|id| URL_SAFE_NO_PAD.encode(id)),
        };
        json(StatusCode::OK, &list)
    }
}

fn place(text: &str) -> Option<AnyId> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

const DEFAULT: usize = 50;
const MOST: usize = 200;
