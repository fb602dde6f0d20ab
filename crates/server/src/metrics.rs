//! Metrics in Prometheus' text format, base units, no ids as labels.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{
    Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
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

mod catalog;

pub use catalog::{METRICS, Metric, MetricKind};

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
    before: [u64; COUNTERS],
    last: [u64; COUNTERS],
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
        for (name, total) in self.totals(&snapshot.counters) {
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
    fn totals(&mut self, counters: &Counters) -> [(&'static str, u64); COUNTERS] {
        let mut totals = named(counters);
        let present = totals.map(|(_, now)| now);
        let anew = present.iter().zip(self.last).any(|(now, last)| *now < last);
        if anew {
            for (before, last) in self.before.iter_mut().zip(self.last) {
                *before += last;
            }
        }
        self.last = present;
        for ((_, total), before) in totals.iter_mut().zip(self.before) {
            *total += before;
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

/// What the engine counts, by the names that it is shown under.
const fn named(counters: &Counters) -> [(&'static str, u64); COUNTERS] {
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
        ("wellspring_collections_accepted_total", accepted),
        ("wellspring_requests_refused_total", refused),
        ("wellspring_fetches_total", fetches),
        ("wellspring_fetches_failed_total", fetches_failed),
        ("wellspring_deliveries_total", deliveries),
        ("wellspring_deliveries_failed_total", deliveries_failed),
        ("wellspring_collections_delivered_total", delivered),
        ("wellspring_collections_failed_total", failed),
        ("wellspring_breaker_probes_total", probes),
        ("wellspring_stale_results_total", stale_results),
        ("wellspring_commits_total", commits),
        ("wellspring_steps_total", steps),
        ("wellspring_commits_failed_total", commits_failed),
        ("wellspring_loads_total", loads),
        ("wellspring_connection_attempts_total", attempts),
        (
            "wellspring_connection_attempts_failed_total",
            attempts_failed,
        ),
        ("wellspring_documents_total", documents),
        ("wellspring_questions_total", questions),
        ("wellspring_subscription_lookups_total", lookups),
        ("wellspring_subscription_log_reads_total", log_reads),
        ("wellspring_subscription_sends_total", sends),
        ("wellspring_subscription_sends_failed_total", sends_failed),
        (
            "wellspring_subscription_sends_exhausted_total",
            sends_exhausted,
        ),
    ]
}

const COUNTERS: usize = 23;

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
            .map(|accepted| shown.totals(&counted(accepted))[0].1)
            .into();
        assert_eq!(totals, [3, 5, 6, 7]);
    }
}
