//! Metrics in Prometheus' text format, base units, no ids as labels.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{Histogram, counter, gauge, histogram};
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use wellspring_core::{Phase, Timestamp};
use wellspring_engine::{Counters, Snapshot};

use crate::body::bytes;
use crate::problem::Problem;
use crate::router::App;

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
    Ok(response(exposition.render(&app.engine.snapshot())))
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

    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(snapshot);
        self.handle.render()
    }
}

impl Shown {
    fn set(&mut self, snapshot: &Snapshot) {
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
        let mut gone = std::mem::take(&mut self.sources);
        for lane in &snapshot.lanes {
            let source = lane.source.as_str().to_owned();
            gone.remove(&source);
            let open = matches!(lane.breaker, Phase::Open { .. });
            set_source(
                &source,
                lane.in_flight.into(),
                lane.queued as f64,
                yes(open),
            );
            self.sources.insert(source);
        }
        for source in gone {
            set_source(&source, 0.0, 0.0, 0.0);
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

fn set_source(source: &str, in_flight: f64, queued: f64, breaker_open: f64) {
    let label = || source.to_owned();
    gauge!("wellspring_source_calls_in_flight", "source" => label()).set(in_flight);
    gauge!("wellspring_source_queued", "source" => label()).set(queued);
    gauge!("wellspring_source_breaker_open", "source" => label()).set(breaker_open);
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
