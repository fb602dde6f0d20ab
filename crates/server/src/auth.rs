//! Who a request comes from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::problem::Problem;
use crate::{Access, Caller};

/// Returns who sent the API key in the headers.
///
/// It comes as a Bearer token or as the password of Basic (RFC 7617); the user name is ignored.
pub(crate) fn caller(access: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthorized());
    };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    let Some((scheme, rest)) = parts else {
        return Err(Problem::unauthorized());
    };
    let rest = rest.trim_matches(' ');
    let caller = if scheme.eq_ignore_ascii_case("bearer") {
        access.authenticate(rest)
    } else if scheme.eq_ignore_ascii_case("basic") {
        password(rest).and_then(|key| access.authenticate(&key))
    } else {
        None
    };
    caller.ok_or_else(Problem::unauthorized)
}

fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    text.split_once(':').map(|(_user, key)| key.to_owned())
}
