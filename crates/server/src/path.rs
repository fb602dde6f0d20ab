//! The ids that a path names.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::problem::Problem;

/// The parameters of a path, in their order.
#[derive(Debug)]
pub(crate) struct Place(Vec<String>);

impl Place {
    /// Takes them out of a request; what is not text is nothing's name.
    pub(crate) async fn of(parts: &mut Parts) -> Self {
        let found = Path::<Vec<String>>::from_request_parts(parts, &()).await;
        Self(found.map_or_else(|_no_text| Vec::new(), |Path(names)| names))
    }

    /// Returns the parameter at `place` if it is an id of this kind; else there is nothing there.
    pub(crate) fn id<T: FromStr>(&self, place: usize) -> Result<T, Problem> {
        let id = self.0.get(place).and_then(|text| text.parse().ok());
        id.ok_or_else(Problem::nothing)
    }
}
