//! What is scraped, and what is made of it in dashboards and rules.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::{Method, Request};
use wellspring_server::{METRICS, MetricKind};

use crate::lab::Lab;

/// Scrapes and checks the form of all that is there; returns the samples by name and labels.
pub(crate) async fn scrape(lab: &Lab) -> BTreeMap<String, f64> {
    let request = Request::builder().method(Method::GET).uri("/metrics");
    let reply = lab.send(request.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(reply.body.into()).unwrap();
    let mut types = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name, kind);
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            helped.insert(name);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            samples.insert(series.to_owned(), value.parse().unwrap());
        }
    }
    let known: BTreeMap<&str, MetricKind> = METRICS
        .iter()
        .map(|metric| (metric.name, metric.kind))
        .collect();
    for (name, kind) in &types {
        let wanted = match known.get(name) {
            Some(MetricKind::Counter) => "counter",
            Some(MetricKind::Gauge) => "gauge",
            Some(MetricKind::Histogram) => "histogram",
            None => panic!("{name} is not in the list of metrics"),
        };
        assert_eq!(*kind, wanted, "{name}");
        assert!(helped.contains(name), "{name} has no HELP");
    }
    for series in samples.keys() {
        for (label, value) in labels(series) {
            assert!(
                LABELS.contains(&label),
                "{label} is a label of no bounded set: {series}"
            );
            let long = value.len() > 24 && label != "route";
            let prefixed = value.split_once('_').is_some_and(|(_, rest)| {
                rest.len() >= 20 && rest.chars().all(|one| one.is_ascii_alphanumeric())
            });
            let many_digits = value.chars().filter(char::is_ascii_digit).count() > 6;
            let looks_like_an_id = long || prefixed || (many_digits && label != "le");
            assert!(!looks_like_an_id, "{label} of {series}");
        }
    }
    samples
}

/// Returns the sum of the samples whose series begins like this.
pub(crate) fn sum(samples: &BTreeMap<String, f64>, series: &str) -> f64 {
    let of = samples.iter().filter(|(name, _)| name.starts_with(series));
    of.map(|(_, value)| value).sum()
}

fn labels(series: &str) -> impl Iterator<Item = (&str, &str)> {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels);
    let pairs = labels.trim_end_matches('}').split("\",");
    pairs.filter_map(|pair| {
        let (label, value) = pair.split_once("=\"")?;
        Some((label, value.trim_end_matches('"')))
    })
}

#[test]
fn names_say_what_they_count_and_in_which_unit() {
    let mut seen = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(seen.insert(name), "{name} is there twice");
        let ours = name.starts_with("wellspring_");
        assert!(
            ours || name.starts_with("http_server_") || name.starts_with("process_"),
            "{name}"
        );
        let counts = metric.kind == MetricKind::Counter;
        assert_eq!(name.ends_with("_total"), counts, "{name}");
        let base = name.trim_end_matches("_total");
        let (seconds, bytes) = (base.ends_with("_seconds"), base.ends_with("_bytes"));
        assert_eq!(metric.unit == metrics::Unit::Seconds, seconds, "{name}");
        assert_eq!(metric.unit == metrics::Unit::Bytes, bytes, "{name}");
        let plain = metric.unit == metrics::Unit::Count;
        assert!(plain || seconds || bytes, "{name} is not in a base unit");
        assert!(
            !metric.help.is_empty() && !metric.help.ends_with('.'),
            "{name}"
        );
    }
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("grafana/wellspring.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "ids of panels");
    let expressions = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned());
    let mut texts: Vec<String> = expressions.collect();
    assert!(texts.len() > 20, "{}", texts.len());
    texts.push(read("prometheus/rules.yml"));
    let mut named = 0;
    for text in &texts {
        let words = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        let series = words
            .filter(|word| word.starts_with("wellspring_") || word.starts_with("http_server_"));
        for name in series {
            named += 1;
            assert!(is_shown(name), "{name} is no metric");
        }
    }
    assert!(named > 40, "{named}");
    let rules = read("prometheus/rules.yml");
    let count = |what: &str| rules.matches(what).count();
    assert_eq!(
        count("- alert:"),
        count("runbook: \"docs/OPERATING.md#at-night (")
    );
}

#[test]
fn the_manual_tells_of_every_metric() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/METRICS.md");
    let manual = std::fs::read_to_string(path).unwrap();
    for metric in METRICS {
        let row = format!("| `{}` |", metric.name);
        assert!(
            manual.contains(&row),
            "{} is not in docs/METRICS.md",
            metric.name
        );
    }
}

/// Returns whether a metric has this series.
fn is_shown(series: &str) -> bool {
    METRICS.iter().any(|metric| match metric.kind {
        MetricKind::Counter | MetricKind::Gauge => metric.name == series,
        MetricKind::Histogram => series
            .strip_prefix(metric.name)
            .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
    })
}

const LABELS: [&str; 11] = [
    "channel", "kind", "le", "method", "outcome", "route", "source", "state", "status", "version",
    "work",
];
