use std::collections::BTreeMap;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use serde_saphyr::Spanned;

use super::fault::Faults;

/// Builds what every call sends: the configured headers, and the defaults besides.
pub(super) fn headers(given: BTreeMap<String, Spanned<String>>, faults: &mut Faults) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(given.len() + 2);
    for (name, value) in given {
        let line = value.referenced.line();
        let key = format!("headers.{}", name.escape_debug());
        let name = faults.unless(&key, line, header_name(&name));
        let value = faults.unless(&key, line, header_value(&value.value));
        let (Some(name), Some(value)) = (name, value) else {
            continue;
        };
        if headers.insert(name, value).is_some() {
            faults.add(Some(line), format!("`{key}` is given twice"));
        }
    }
    headers
        .entry(ACCEPT)
        .or_insert_with(|| HeaderValue::from_static("application/json"));
    // Without it any encoding would be welcome, and the body is passed on as it comes.
    headers
        .entry(ACCEPT_ENCODING)
        .or_insert_with(|| HeaderValue::from_static("identity"));
    headers
}

fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let Ok(name) = text.parse::<HeaderName>() else {
        return Err("is not a header name");
    };
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&name) {
        return Err("is set by the client itself");
    }
    Ok(name)
}

fn header_value(text: &str) -> Result<HeaderValue, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    let Ok(mut value) = HeaderValue::from_str(text) else {
        return Err("is not a header value");
    };
    value.set_sensitive(true);
    Ok(value)
}
