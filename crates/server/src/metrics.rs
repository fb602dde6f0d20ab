//! Metrics in Prometheus' text format, base units, no ids as labels.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{
    Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use wellspring_core::{Phase, Timestamp};
use wellspring_engine::{Counters, LaneView, Snapshot};

use crate::body::bytes;
use crate::problem::Problem;
use crate::router::App;

/// Starts gathering metrics, for the whole process.
///
/// # Errors
///
/// When they are being gathered already.
pub fn gather_metrics() -> Result<PrometheusHandle, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .set_buckets_for_metric(full("wellspring_commit_duration_seconds"), &QUICK)?
        .set_buckets_for_metric(full("wellspring_commit_steps"), &STEPS)?
        .install_recorder()?;
    for metric in METRICS {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            MetricKind::Counter => describe_counter!(name, unit, help),
            MetricKind::Gauge => describe_gauge!(name, unit, help),
            MetricKind::Histogram => describe_histogram!(name, unit, help),
        }
    }
    Ok(handle)
}

/// One metric, as it is described to whoever scrapes it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, which ends in its unit and, for a counter, in `_total`.
    pub name: &'static str,
    /// What it does.
    pub kind: MetricKind,
    /// In what it counts.
    pub unit: Unit,
    /// What it tells.
    pub help: &'static str,
}

/// What a metric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by how large they are.
    Histogram,
}

/// Keeps the recorder's memory bounded where nobody scrapes, until `stop` ends.
pub async fn keep_metrics(handle: PrometheusHandle, stop: impl Future<Output = ()>) {
    let mut every = tokio::time::interval(UPKEEP);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _tick = every.tick() => handle.run_upkeep(),
        }
    }
}

/// Tells Prometheus what happened.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 404, description = "Metrics are served elsewhere"),
    ),
)]
pub(crate) async fn show(app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    let Some(exposition) = &app.exposition else {
        return Err(Problem::not_found("Metrics are served elsewhere"));
    };
    let now = app.clock.now();
    Ok(response(exposition.render(&app.engine.snapshot(), now)))
}

pub(crate) fn response(text: String) -> Response {
    bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into(),
    )
}

/// Measures the requests of one route.
#[derive(Debug)]
pub(crate) struct Meter {
    route: &'static str,
    method: &'static str,
    /// A dozen at most; looked up without making labels.
    by_status: RwLock<Vec<(StatusCode, Histogram)>>,
}

impl Meter {
    pub(crate) const fn new(route: &'static str, method: &'static str) -> Self {
        Self {
            route,
            method,
            by_status: RwLock::new(Vec::new()),
        }
    }

    pub(crate) fn record(&self, status: StatusCode, duration: Duration) {
        let seconds = duration.as_secs_f64();
        {
            let known = self
                .by_status
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((_, histogram)) = known.iter().find(|(have, _)| *have == status) {
                histogram.record(seconds);
                return;
            }
        }
        let fresh = histogram!(
            "http_server_request_duration_seconds",
            "route" => self.route,
            "method" => self.method,
            "status" => status.as_str().to_owned(),
        );
        fresh.record(seconds);
        let mut known = self
            .by_status
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|(have, _)| *have == status) {
            known.push((status, fresh));
        }
    }
}

/// What is shown of the engine besides what it records itself.
#[derive(Debug)]
pub(crate) struct Exposition {
    handle: PrometheusHandle,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    /// What the engine counted before it began anew.
    before: [u64; COUNTERS.len()],
    last: [u64; COUNTERS.len()],
    /// Sources that have gauges; a source that is gone shows zero.
    sources: BTreeSet<String>,
}

impl Exposition {
    pub(crate) fn new(handle: PrometheusHandle, version: &'static str, started: Timestamp) -> Self {
        gauge!("wellspring_build_info", "version" => version).set(1.0);
        gauge!("process_start_time_seconds").set(started.as_millis() as f64 / 1_000.0);
        Self {
            handle,
            shown: Mutex::default(),
        }
    }

    pub(crate) fn render(&self, snapshot: &Snapshot, now: Timestamp) -> String {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(snapshot, now);
        self.handle.render()
    }
}

impl Shown {
    /// Sets what is read off rather than counted; a gauge more is a line here and one in [`METRICS`].
    fn set(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let totals = self.totals(&snapshot.counters);
        for (name, total) in COUNTERS.into_iter().zip(totals) {
            counter!(name).absolute(total);
        }
        let yes = |yes: bool| if yes { 1.0 } else { 0.0 };
        gauge!("wellspring_ready").set(yes(snapshot.ready));
        gauge!("wellspring_store_down").set(yes(snapshot.store_down));
        gauge!("wellspring_collections_unfinished").set(snapshot.backlog as f64);
        gauge!("wellspring_calls_in_flight").set(snapshot.in_flight);
        gauge!("wellspring_timers").set(snapshot.timers as f64);
        gauge!("wellspring_shards_owned").set(snapshot.shards as f64);
        let dispatch = &snapshot.dispatch;
        let subscriptions = |state| gauge!("wellspring_subscriptions", "state" => state);
        subscriptions("live").set(dispatch.live as f64);
        subscriptions("failing").set(dispatch.failing as f64);
        subscriptions("catching_up").set(dispatch.catching_up as f64);
        gauge!("wellspring_subscription_deliveries_open").set(dispatch.open_rows as f64);
        gauge!("wellspring_subscription_sends_in_flight").set(dispatch.in_flight as f64);
        let mut gone = std::mem::take(&mut self.sources);
        for lane in &snapshot.lanes {
            gone.remove(lane.source.as_str());
            SourceGauges {
                in_flight: lane.in_flight.into(),
                queued: lane.queued as f64,
                oldest: lane
                    .oldest
                    .map_or(0.0, |oldest| now.since(oldest).as_secs_f64()),
                breaker_open: yes(matches!(lane.breaker, Phase::Open { .. })),
                paused: yes(lane.paused_until.is_some_and(|until| until > now)),
                budget_left: budget_left(lane),
                incident: yes(lane.incident.is_some()),
            }
            .set(lane.source.as_str());
            self.sources.insert(lane.source.as_str().to_owned());
        }
        for source in gone {
            SourceGauges::default().set(&source);
        }
    }

    /// The engine counts from zero when it begins anew; the totals do not.
    fn totals(&mut self, counters: &Counters) -> [u64; COUNTERS.len()] {
        let present = values(counters);
        let anew = present.iter().zip(self.last).any(|(now, last)| *now < last);
        if anew {
            for (before, last) in self.before.iter_mut().zip(self.last) {
                *before += last;
            }
        }
        self.last = present;
        let mut totals = self.before;
        for (total, now) in totals.iter_mut().zip(present) {
            *total += now;
        }
        totals
    }
}

/// What is shown of one source.
#[derive(Debug, Default)]
struct SourceGauges {
    in_flight: f64,
    queued: f64,
    oldest: f64,
    breaker_open: f64,
    paused: f64,
    budget_left: f64,
    incident: f64,
}

impl SourceGauges {
    fn set(&self, source: &str) {
        let of = |name: &'static str| gauge!(name, "source" => source.to_owned());
        of("wellspring_source_calls_in_flight").set(self.in_flight);
        of("wellspring_source_queued").set(self.queued);
        of("wellspring_source_oldest_due_age_seconds").set(self.oldest);
        of("wellspring_source_breaker_open").set(self.breaker_open);
        of("wellspring_source_paused").set(self.paused);
        of("wellspring_source_budget_left_ratio").set(self.budget_left);
        of("wellspring_source_incident_open").set(self.incident);
    }
}

/// Returns what the window that is nearest to its end has left, 1 where there is no limit.
fn budget_left(lane: &LaneView) -> f64 {
    let limits = lane.limits.iter().flat_map(|limit| &limit.standings);
    lane.budget
        .iter()
        .chain(limits)
        .map(|one| f64::from(one.left) / f64::from(one.window.calls.max(1)))
        .fold(1.0, f64::min)
}

const fn values(counters: &Counters) -> [u64; COUNTERS.len()] {
    let Counters {
        accepted,
        refused,
        fetches,
        fetches_failed,
        deliveries,
        deliveries_failed,
        delivered,
        failed,
        probes,
        stale_results,
        commits,
        steps,
        commits_failed,
        loads,
        attempts,
        attempts_failed,
        documents,
        questions,
        lookups,
        log_reads,
        sends,
        sends_failed,
        sends_exhausted,
    } = *counters;
    [
        accepted,
        refused,
        fetches,
        fetches_failed,
        deliveries,
        deliveries_failed,
        delivered,
        failed,
        probes,
        stale_results,
        commits,
        steps,
        commits_failed,
        loads,
        attempts,
        attempts_failed,
        documents,
        questions,
        lookups,
        log_reads,
        sends,
        sends_failed,
        sends_exhausted,
    ]
}

/// In the order of [`values`].
const COUNTERS: [&str; 23] = [
    "wellspring_collections_accepted_total",
    "wellspring_requests_refused_total",
    "wellspring_fetches_total",
    "wellspring_fetches_failed_total",
    "wellspring_deliveries_total",
    "wellspring_deliveries_failed_total",
    "wellspring_collections_delivered_total",
    "wellspring_collections_failed_total",
    "wellspring_breaker_probes_total",
    "wellspring_stale_results_total",
    "wellspring_commits_total",
    "wellspring_steps_total",
    "wellspring_commits_failed_total",
    "wellspring_loads_total",
    "wellspring_connection_attempts_total",
    "wellspring_connection_attempts_failed_total",
    "wellspring_documents_total",
    "wellspring_questions_total",
    "wellspring_subscription_lookups_total",
    "wellspring_subscription_log_reads_total",
    "wellspring_subscription_sends_total",
    "wellspring_subscription_sends_failed_total",
    "wellspring_subscription_sends_exhausted_total",
];

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    counter(
        "wellspring_collections_accepted_total",
        Unit::Count,
        "Collections accepted",
    ),
    counter(
        "wellspring_requests_refused_total",
        Unit::Count,
        "Requests answered 503, because a queue was full or the database away",
    ),
    counter(
        "wellspring_fetches_total",
        Unit::Count,
        "Calls to sources for collections that began",
    ),
    counter(
        "wellspring_fetches_failed_total",
        Unit::Count,
        "Calls to sources for collections that failed",
    ),
    counter(
        "wellspring_deliveries_total",
        Unit::Count,
        "Calls to callbacks that began",
    ),
    counter(
        "wellspring_deliveries_failed_total",
        Unit::Count,
        "Calls to callbacks that failed",
    ),
    counter(
        "wellspring_collections_delivered_total",
        Unit::Count,
        "Collections whose callback took the data",
    ),
    counter(
        "wellspring_collections_failed_total",
        Unit::Count,
        "Collections that were given up",
    ),
    counter(
        "wellspring_breaker_probes_total",
        Unit::Count,
        "Calls that were a circuit breaker's probe",
    ),
    counter(
        "wellspring_stale_results_total",
        Unit::Count,
        "Results that came for a step that was no longer the latest, and were dropped",
    ),
    counter(
        "wellspring_commits_total",
        Unit::Count,
        "Commits that were durable",
    ),
    counter(
        "wellspring_steps_total",
        Unit::Count,
        "Steps in durable commits",
    ),
    counter(
        "wellspring_commits_failed_total",
        Unit::Count,
        "Commits that failed, or whose outcome was unknown at first",
    ),
    counter(
        "wellspring_loads_total",
        Unit::Count,
        "Rows read because they were not in memory",
    ),
    counter(
        "wellspring_connection_attempts_total",
        Unit::Count,
        "Attempts on connections that began",
    ),
    counter(
        "wellspring_connection_attempts_failed_total",
        Unit::Count,
        "Attempts on connections that failed",
    ),
    counter(
        "wellspring_documents_total",
        Unit::Count,
        "Documents that came in",
    ),
    counter(
        "wellspring_questions_total",
        Unit::Count,
        "Questions that were posed to people",
    ),
    counter(
        "wellspring_subscription_lookups_total",
        Unit::Count,
        "Changes that were looked up among the subscriptions of their tenant",
    ),
    counter(
        "wellspring_subscription_log_reads_total",
        Unit::Count,
        "Reads of the log for subscriptions that retry or catch up",
    ),
    counter(
        "wellspring_subscription_sends_total",
        Unit::Count,
        "Messages sent to subscriptions",
    ),
    counter(
        "wellspring_subscription_sends_failed_total",
        Unit::Count,
        "Messages to subscriptions that were not taken",
    ),
    counter(
        "wellspring_subscription_sends_exhausted_total",
        Unit::Count,
        "Deliveries to subscriptions that were given up",
    ),
    counter(
        "wellspring_source_attempts_total",
        Unit::Count,
        "Calls to sources that ended, by what they were for and how they ended: success, partial, question, called_off or an error class",
    ),
    histogram(
        "wellspring_source_attempt_duration_seconds",
        Unit::Seconds,
        "How long calls to sources took",
    ),
    histogram(
        "wellspring_fetch_lag_seconds",
        Unit::Seconds,
        "How late calls to sources began",
    ),
    counter(
        "wellspring_delivery_attempts_total",
        Unit::Count,
        "Messages to callbacks, webhooks and receivers of documents, by how they ended: success, gone, called_off or an error class",
    ),
    histogram(
        "wellspring_delivery_attempt_duration_seconds",
        Unit::Seconds,
        "How long messages to callbacks, webhooks and receivers of documents took",
    ),
    counter(
        "wellspring_notices_total",
        Unit::Count,
        "Messages to people by channel and what came of sending them: sent, retried, failed or unknown",
    ),
    counter(
        "wellspring_trace_spans_total",
        Unit::Count,
        "Spans of traces that were exported, refused by the collector, or dropped because it was away",
    ),
    histogram(
        "wellspring_collection_duration_seconds",
        Unit::Seconds,
        "From accepting a collection to a callback that took it",
    ),
    histogram(
        "wellspring_commit_duration_seconds",
        Unit::Seconds,
        "How long commits took",
    ),
    histogram(
        "wellspring_commit_steps",
        Unit::Count,
        "Steps in one commit",
    ),
    gauge(
        "wellspring_ready",
        Unit::Count,
        "1 while commands are taken",
    ),
    gauge(
        "wellspring_store_down",
        Unit::Count,
        "1 while the database takes no commits",
    ),
    gauge(
        "wellspring_collections_unfinished",
        Unit::Count,
        "Unfinished collections of this node",
    ),
    gauge(
        "wellspring_calls_in_flight",
        Unit::Count,
        "Calls to sources and callbacks in flight",
    ),
    gauge(
        "wellspring_timers",
        Unit::Count,
        "Wake-ups that are not due yet",
    ),
    gauge(
        "wellspring_shards_owned",
        Unit::Count,
        "Shards that this node works on",
    ),
    gauge(
        "wellspring_source_calls_in_flight",
        Unit::Count,
        "Calls to a source in flight",
    ),
    gauge(
        "wellspring_source_queued",
        Unit::Count,
        "What waits for a slot of a source",
    ),
    gauge(
        "wellspring_source_oldest_due_age_seconds",
        Unit::Seconds,
        "How long the oldest of what waits for a slot of a source has been waiting",
    ),
    gauge(
        "wellspring_source_breaker_open",
        Unit::Count,
        "1 while a source is found down",
    ),
    gauge(
        "wellspring_source_paused",
        Unit::Count,
        "1 while a source has asked for no calls",
    ),
    gauge(
        "wellspring_source_budget_left_ratio",
        Unit::Count,
        "The part of a source's budget that is left, of the window that has least; 1 without a limit",
    ),
    gauge(
        "wellspring_source_incident_open",
        Unit::Count,
        "1 while a source has an incident: maintenance, or an outage that any node has met",
    ),
    gauge(
        "wellspring_subscriptions",
        Unit::Count,
        "Subscriptions by how they stand: live, failing, and of those live the ones that are catching_up",
    ),
    gauge(
        "wellspring_subscription_deliveries_open",
        Unit::Count,
        "Messages to subscriptions that were not taken at the first try and are still open",
    ),
    gauge(
        "wellspring_subscription_sends_in_flight",
        Unit::Count,
        "Messages to subscriptions in flight",
    ),
    gauge(
        "wellspring_sqlite_log_bytes",
        Unit::Bytes,
        "Size of the write-ahead log of SQLite",
    ),
    gauge(
        "wellspring_sqlite_longest_commit_seconds",
        Unit::Seconds,
        "The longest commit of SQLite so far",
    ),
    gauge(
        "wellspring_build_info",
        Unit::Count,
        "Always 1; the version is a label",
    ),
    gauge(
        "process_start_time_seconds",
        Unit::Seconds,
        "When the process began, in Unix time",
    ),
    histogram(
        "http_server_request_duration_seconds",
        Unit::Seconds,
        "How long requests to the API took",
    ),
];

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        unit,
        help,
    }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        kind: MetricKind::Gauge,
        ..counter(name, unit, help)
    }
}

const fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        kind: MetricKind::Histogram,
        ..counter(name, unit, help)
    }
}

/// The buckets of OpenTelemetry's HTTP metrics, in seconds, and a few for what waits.
const BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 60.0, 600.0,
    3_600.0, 86_400.0,
];
/// For what takes a disk a moment.
const QUICK: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const STEPS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
pub(crate) const PATH: &str = "/metrics";
const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_when_the_engine_begins_anew() {
        let counted = |accepted| Counters {
            accepted,
            ..Counters::default()
        };
        let mut shown = Shown::default();
        let totals: Vec<u64> = [3, 5, 1, 2]
            .map(|accepted| shown.totals(&counted(accepted))[0])
            .into();
        assert_eq!(totals, [3, 5, 6, 7]);
    }
}
