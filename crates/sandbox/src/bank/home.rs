use std::fmt::Write;

use hyper::{Response, StatusCode};

use super::consent::html;
use super::script::{Script, USER};
use crate::serve::Body;

/// Tells a person what the passwords do.
pub(super) fn page() -> Response<Body> {
    let mut content = format!(
        "<p>A pretend bank. The user name is <code>{USER}</code>; the password says what happens, \
         each time anew.</p>\n<table>\n<tr><th>Password<th>What happens\n"
    );
    for script in Script::all() {
        let about = script.about.replace('`', "");
        writeln!(
            content,
            "<tr><td><code>{}</code><td>{about}",
            script.password
        )
        .expect("a string takes everything");
    }
    content.push_str("</table>");
    html(StatusCode::OK, "Passwords", &content)
}
