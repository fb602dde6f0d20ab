//! The `[telemetry]` section: where traces go.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use wellspring_telemetry::OtlpOptions;

/// The section as written; headers may hold secrets, so that it has no debug form.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    otlp_endpoint: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    sample_ratio: Option<f64>,
    service_name: Option<String>,
    propagate: Option<bool>,
}

/// How traces are made, where they are.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    pub(crate) otlp: OtlpOptions,
    pub(crate) sample_ratio: f64,
    pub(crate) propagate: bool,
}

impl Section {
    /// Returns how traces are made; nothing where no endpoint is given.
    pub(super) fn traces(self) -> Result<Option<Traces>> {
        let sample_ratio = self.sample_ratio.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&sample_ratio) {
            bail!("`telemetry.sample_ratio` must be between 0 and 1");
        }
        let Some(endpoint) = self.otlp_endpoint else {
            let lonely = [
                ("headers", self.headers.is_some()),
                ("sample_ratio", self.sample_ratio.is_some()),
                ("service_name", self.service_name.is_some()),
                ("propagate", self.propagate.is_some()),
            ];
            if let Some((key, _)) = lonely.iter().find(|(_, given)| *given) {
                bail!("`telemetry.{key}` needs `telemetry.otlp_endpoint`");
            }
            return Ok(None);
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            bail!("`telemetry.otlp_endpoint` must begin with http:// or https://");
        }
        if endpoint.trim_end_matches('/').ends_with("/v1/traces") {
            bail!("`telemetry.otlp_endpoint` is the base: leave `/v1/traces` out");
        }
        let service_name = self.service_name.unwrap_or_else(|| "wellspring".to_owned());
        if service_name.is_empty() {
            bail!("`telemetry.service_name` must not be empty");
        }
        let mut headers: Vec<(String, SecretString)> = self
            .headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        if let Some(more) = super::secret(HEADERS, None)? {
            headers.extend(pairs(more.expose_secret())?);
        }
        Ok(Some(Traces {
            otlp: OtlpOptions {
                endpoint,
                headers,
                service_name,
                version: env!("CARGO_PKG_VERSION"),
            },
            sample_ratio,
            propagate: self.propagate.unwrap_or(false),
        }))
    }
}

/// Reads `name=value,name=value`.
fn pairs(text: &str) -> Result<Vec<(String, SecretString)>> {
    let mut pairs = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            bail!("{HEADERS} must be like `name=value,name=value`");
        };
        pairs.push((name.trim().to_owned(), value.trim().to_owned().into()));
    }
    Ok(pairs)
}

const HEADERS: &str = "WELLSPRING_OTLP_HEADERS";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Traces>> {
        toml::from_str::<Section>(text)?.traces()
    }

    #[test]
    fn nothing_is_traced_without_an_endpoint_and_what_is_wrong_is_named() {
        assert!(read("").unwrap().is_none());
        let traces = read("otlp_endpoint = \"http://127.0.0.1:4318\"\nheaders = { key = \"v\" }")
            .unwrap()
            .unwrap();
        assert!(traces.sample_ratio >= 1.0 && !traces.propagate);
        assert_eq!(traces.otlp.service_name, "wellspring");
        assert_eq!(traces.otlp.headers[0].0, "key");
        for (text, key) in [
            (
                "otlp_endpoint = \"collector:4318\"",
                "telemetry.otlp_endpoint",
            ),
            (
                "otlp_endpoint = \"http://c/v1/traces\"",
                "telemetry.otlp_endpoint",
            ),
            (
                "otlp_endpoint = \"http://c\"\nsample_ratio = 1.5",
                "telemetry.sample_ratio",
            ),
            (
                "otlp_endpoint = \"http://c\"\nservice_name = \"\"",
                "telemetry.service_name",
            ),
            ("propagate = true", "telemetry.propagate"),
            ("endpoint = \"http://c\"", "unknown field `endpoint`"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn headers_are_read_from_pairs() {
        let read = pairs("authorization=Bearer a=b, x-team = 7,").unwrap();
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        assert_eq!(read, [("authorization", "Bearer a=b"), ("x-team", "7")]);
        assert!(pairs("alone").is_err());
    }
}
