use hyper::{Response, StatusCode};
use serde::Serialize;

use super::script::Script;
use crate::answer::{JSON, json_answer};
use crate::serve::Body;

/// Somebody's account.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Account {
    pub(super) id: &'static str,
    pub(super) holder: &'static str,
    pub(super) number: &'static str,
}

impl Account {
    /// Nearly every password leads here.
    pub(super) const USUAL: Self = Self {
        id: "4711",
        holder: "Sam Sample",
        number: "DE00 1000 0000 0000 0047 11",
    };
    /// What a person gets to who connects the wrong one.
    pub(super) const OTHER: Self = Self {
        id: "4712",
        holder: "Kim Other",
        number: "DE00 1000 0000 0000 0047 12",
    };
}

pub(super) fn answer(script: &Script) -> Response<Body> {
    json_answer(StatusCode::OK, JSON, script.account)
}
