//! Every metric there is, as it is described to whoever scrapes it.

use ::metrics::Unit;

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
