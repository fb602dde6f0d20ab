//! The OpenAPI document as a page for people: no script, nothing from elsewhere.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::body::bytes;
use crate::problem::Problem;
use crate::router::App;

/// Describes this API as a page.
#[utoipa::path(
    get, path = "/docs", tag = "operation", operation_id = "docs",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub(crate) async fn show(app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    let mut response = bytes(StatusCode::OK, "text/html; charset=utf-8", app.docs.clone());
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Returns the page of a document.
pub(crate) fn render(document: &Value) -> String {
    let mut page = Page::default();
    let title = escape(text(&document["info"]["title"]));
    page.put(format_args!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><header><h1>{title} <small>{}</small></h1>",
        escape(text(&document["info"]["version"])),
    ));
    page.paragraphs(text(&document["info"]["description"]));
    page.put(format_args!(
        "<p>Send an API key as <code>Authorization: Bearer KEY</code>, or as the password of Basic. \
         Errors are <code>application/problem+json</code> with a stable <code>code</code>. \
         The machine-readable form of this page is <a href=\"openapi.json\">openapi.json</a>.</p></header><main>",
    ));
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(&tag["name"]);
        page.put(format_args!(
            "<section id=\"{0}\"><h2>{0}</h2>",
            escape(name)
        ));
        page.paragraphs(text(&tag["description"]));
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                if operation["tags"][0] == name {
                    page.operation(path, method, operation);
                }
            }
        }
        page.put(format_args!("</section>"));
    }
    page.put(format_args!("<section id=\"schemas\"><h2>schemas</h2>"));
    for (name, schema) in members(&document["components"]["schemas"]) {
        page.put(format_args!(
            "<article id=\"schema-{0}\"><h3>{0}</h3>",
            escape(name)
        ));
        page.paragraphs(text(&schema["description"]));
        page.fields(schema);
        page.put(format_args!("</article>"));
    }
    page.put(format_args!("</section></main></body></html>\n"));
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn put(&mut self, piece: std::fmt::Arguments<'_>) {
        self.0
            .write_fmt(piece)
            .expect("writing to a string does not fail");
    }

    fn paragraphs(&mut self, text: &str) {
        for paragraph in text.split("\n\n").filter(|text| !text.is_empty()) {
            self.put(format_args!("<p>{}</p>", inline(paragraph)));
        }
    }

    fn operation(&mut self, path: &str, method: &str, operation: &Value) {
        let open = if operation["security"].is_array() {
            ""
        } else {
            " <small>open</small>"
        };
        self.put(format_args!(
            "<article><h3><b class=\"{0}\">{0}</b> <code>{1}</code>{open}</h3><p><strong>{2}</strong></p>",
            escape(method),
            escape(path),
            inline(text(&operation["summary"])),
        ));
        self.paragraphs(text(&operation["description"]));
        let parameters = operation["parameters"].as_array();
        if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
            self.put(format_args!("<h4>Parameters</h4><dl>"));
            for parameter in parameters {
                let needed = needed(parameter["required"] == true);
                self.put(format_args!(
                    "<dt><code>{}</code> <small>{}{needed}</small></dt><dd>{}</dd>",
                    escape(text(&parameter["name"])),
                    escape(text(&parameter["in"])),
                    inline(text(&parameter["description"])),
                ));
            }
            self.put(format_args!("</dl>"));
        }
        for (media_type, content) in members(&operation["requestBody"]["content"]) {
            self.put(format_args!(
                "<h4>Body <small>{}</small></h4>",
                escape(media_type)
            ));
            self.content(content);
        }
        self.put(format_args!("<h4>Responses</h4><dl>"));
        for (status, response) in members(&operation["responses"]) {
            let schemas = members(&response["content"]);
            let schemas: String = schemas
                .map(|(_, content)| kind(&content["schema"]))
                .collect();
            self.put(format_args!(
                "<dt><code>{}</code> <small>{schemas}</small></dt><dd>{}</dd>",
                escape(status),
                inline(text(&response["description"])),
            ));
        }
        self.put(format_args!("</dl></article>"));
    }

    fn content(&mut self, content: &Value) {
        self.fields(&content["schema"]);
        if !content["example"].is_null() {
            let example = serde_json::to_string_pretty(&content["example"]).unwrap_or_default();
            self.put(format_args!("<pre>{}</pre>", escape(&example)));
        }
    }

    fn fields(&mut self, schema: &Value) {
        if schema["enum"].is_array() {
            self.put(format_args!("<p>{}</p>", kind(schema)));
        }
        if !schema["properties"].is_object() {
            return;
        }
        self.put(format_args!("<dl>"));
        for (name, property) in members(&schema["properties"]) {
            let mut required = schema["required"].as_array().into_iter().flatten();
            let needed = needed(required.any(|one| *one == *name));
            self.put(format_args!(
                "<dt><code>{}</code> <small>{}{needed}</small></dt><dd>{}</dd>",
                escape(name),
                kind(property),
                inline(text(&property["description"])),
            ));
        }
        self.put(format_args!("</dl>"));
    }
}

/// Says in a word or two what a schema is.
fn kind(schema: &Value) -> String {
    if let Some(name) = text(&schema["$ref"]).rsplit('/').next()
        && !name.is_empty()
    {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for any in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[any].as_array() {
            let parts: Vec<String> = parts.iter().map(kind).collect();
            return parts.join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| escape(text(value))).collect();
        return values.join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("array of {}", kind(&schema["items"])),
        Value::String(name) => escape(name),
        Value::Array(names) => {
            let names: Vec<String> = names.iter().map(|name| escape(text(name))).collect();
            names.join(" or ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

const fn needed(required: bool) -> &'static str {
    if required { ", required" } else { "" }
}

/// Escapes text and sets what stands between backticks as code.
fn inline(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (at, piece) in text.split('`').enumerate() {
        if at % 2 == 1 {
            html.push_str("<code>");
            html.push_str(&escape(piece));
            html.push_str("</code>");
        } else {
            html.push_str(&escape(piece));
        }
    }
    html
}

pub(crate) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:52rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}\
h3{font-size:1.05rem;margin:0}h4{margin:1rem 0 .25rem}\
small{font-weight:400;opacity:.75}\
article{border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:1rem 0}\
b{text-transform:uppercase;font-size:.85rem;padding:.1rem .4rem;border-radius:.25rem;background:var(--soft)}\
b.get{color:#0a7}b.post{color:#36c}b.patch{color:#a60}b.delete{color:#c33}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{background:var(--soft);padding:.75rem;border-radius:.5rem;overflow-x:auto}\
dl{margin:0;display:grid;gap:.1rem}dt{margin-top:.4rem}dd{margin:0 0 0 1rem}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_piece_without_script_and_escapes_what_it_shows() {
        let mut document = crate::openapi::document("http://localhost", "1.2.3");
        document["info"]["title"] = "<script>alert('x')</script>".into();
        let page = render(&document);

        for foreign in [
            "<script", "<link", "<img", "src=", "url(", "@import", "onload",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("name=\"viewport\""));
        for piece in [
            "/collect/{requestId}/retry",
            "Idempotency-Key",
            "schema-ProblemBody",
            "1.2.3",
        ] {
            assert!(page.contains(piece), "{piece}");
        }
    }
}
