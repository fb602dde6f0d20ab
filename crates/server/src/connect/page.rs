//! The page itself: one piece of HTML with its own style and script and nobody else's.

use std::sync::LazyLock;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::body::bytes;
use crate::docs::escape;

/// What is shown first, and to whom.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: &'static str,
    /// What stands under the text.
    action: String,
    /// Whether the page goes on from here.
    live: bool,
    /// Who may frame it.
    origins: Vec<String>,
}

impl Page {
    pub(super) fn connect(origins: Vec<String>) -> Self {
        Self::open(
            origins,
            "Connect an account",
            "You choose what to connect, log in there, and answer what it asks. It takes a few minutes.",
        )
    }

    pub(super) fn repair(origins: Vec<String>) -> Self {
        Self::open(
            origins,
            "Repair a connection",
            "You log in again, and answer what is asked. It takes a few minutes.",
        )
    }

    pub(super) fn spent(origins: Vec<String>, return_url: Option<String>) -> Self {
        Self::closed(
            StatusCode::GONE,
            "This link was used already",
            origins,
            return_url,
        )
    }

    pub(super) fn expired(origins: Vec<String>, return_url: Option<String>) -> Self {
        Self::closed(
            StatusCode::GONE,
            "The time of this link is over",
            origins,
            return_url,
        )
    }

    pub(super) fn unknown() -> Self {
        let title = "There is no such link";
        Self::closed(StatusCode::NOT_FOUND, title, Vec::new(), None)
    }

    fn open(origins: Vec<String>, title: &'static str, text: &'static str) -> Self {
        Self {
            status: StatusCode::OK,
            title,
            text,
            action: START.to_owned(),
            live: true,
            origins,
        }
    }

    fn closed(
        status: StatusCode,
        title: &'static str,
        origins: Vec<String>,
        return_url: Option<String>,
    ) -> Self {
        let back = |url: String| {
            let url = escape(&url);
            format!(
                "<div class=\"actions\"><a class=\"button primary\" href=\"{url}\" target=\"_top\">Back to the application</a></div>"
            )
        };
        Self {
            status,
            title,
            text: "Please go back to the application and start again.",
            action: return_url.map(back).unwrap_or_default(),
            live: false,
            origins,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let script = if self.live { SCRIPT_TAG.as_str() } else { "" };
        let html = HTML
            .replace("{{title}}", self.title)
            .replace("{{text}}", self.text)
            .replace("{{action}}", &self.action)
            .replace("{{style}}", STYLE)
            .replace("{{script}}", script);
        let mut response = bytes(self.status, "text/html; charset=utf-8", html.into());
        let headers = response.headers_mut();
        for (name, value) in FIXED {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let framed = policy(&self.origins);
        // Browsers that know no `frame-ancestors` know this, which has no way to name origins.
        if framed.is_none() {
            headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        }
        headers.insert(
            CONTENT_SECURITY_POLICY,
            framed.unwrap_or_else(|| NOBODY.clone()),
        );
        response
    }
}

/// Returns the policy for a page that these may frame; nothing where nobody may.
fn policy(origins: &[String]) -> Option<HeaderValue> {
    let mut named = origins.iter().map(String::as_str);
    // The settings take origins only; what would end the directive must not come through in any case.
    let plain =
        |origin: &str| origin.contains("://") && !origin.contains([';', ',', '\'', ' ', '\t', '*']);
    if origins.is_empty() || !named.clone().all(plain) {
        return None;
    }
    let first = named.next()?.to_owned();
    let ancestors = named.fold(first, |all, origin| format!("{all} {origin}"));
    HeaderValue::try_from(format!("{}{ancestors}", POLICY.as_str())).ok()
}

fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
         connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors ",
        digest(SCRIPT.as_str()),
        digest(STYLE),
    )
});
static NOBODY: LazyLock<HeaderValue> = LazyLock::new(|| {
    HeaderValue::try_from(format!("{}'none'", POLICY.as_str()))
        .expect("base64 and the words of the policy are visible ASCII")
});
/// One closure around all pieces, so that nothing else reaches what they hold.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let pieces = SCRIPTS.concat();
    format!("(() => {{\n\"use strict\";\n{pieces}}})();\n")
});
static SCRIPT_TAG: LazyLock<String> =
    LazyLock::new(|| format!("<script>{}</script>", SCRIPT.as_str()));

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 6] = [
    include_str!("server.js"),
    include_str!("screen.js"),
    include_str!("form.js"),
    include_str!("question.js"),
    include_str!("fetch.js"),
    include_str!("start.js"),
];
const START: &str = "<div class=\"actions\"><button type=\"button\" class=\"primary\" id=\"start\" hidden>Start</button></div>\
    <noscript><p>This page works with script only. Please allow it in your browser and open the link again.</p></noscript>";
const FIXED: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_other_origin_and_its_policy_fits_it() {
        let response = Page::connect(Vec::new()).into_response();
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()[X_FRAME_OPTIONS], "DENY");
        for text in [HTML, STYLE, SCRIPT.as_str()] {
            for foreign in [
                "http://",
                "https://",
                "//cdn",
                "@import",
                "url(",
                "innerHTML",
                "eval(",
            ] {
                assert!(!text.contains(foreign), "{foreign}");
            }
        }
        // Either would end the element early, and the hash would not fit.
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }

    #[test]
    fn only_plain_origins_come_into_the_policy() {
        let policy_of = |origins: &[&str]| {
            let origins: Vec<String> = origins.iter().map(|text| (*text).to_owned()).collect();
            policy(&origins).map(|value| value.to_str().unwrap().to_owned())
        };
        let two = policy_of(&["https://a.example", "https://b.example:8443"]).unwrap();
        assert!(two.ends_with("frame-ancestors https://a.example https://b.example:8443"));
        for bad in [
            "*",
            "https://a.example; script-src *",
            "https://a\n",
            "'self'",
            "data:",
        ] {
            assert_eq!(policy_of(&["https://a.example", bad]), None, "{bad}");
        }
    }
}
