//! What it costs to count, to measure and to trace: `cargo bench -p wellspring-telemetry`.

#![expect(clippy::print_stdout, reason = "figures are data")]

use std::hint::black_box;
use std::sync::Arc;

use metrics::{counter, histogram};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::Instant;
use wellspring_engine::traces::{Exchange, Tracing, accepted, set_tracing};
use wellspring_engine::{Span, SpanSink, SystemClock};

fn main() {
    PrometheusBuilder::new()
        .install_recorder()
        .expect("no other recorder");
    // As the engine has them: looked up once and kept.
    let counter = counter!("calls_total", "source" => "gas", "outcome" => "success");
    let duration = histogram!("duration_seconds", "source" => "gas");
    let lag = histogram!("lag_seconds", "source" => "gas");
    print("counter", || counter.increment(1));
    print("histogram", || duration.record(black_box(0.25)));
    print("call: two histograms, a counter, the clock twice", || {
        let begun = Instant::now();
        lag.record(black_box(0.0));
        duration.record(begun.elapsed().as_secs_f64());
        counter.increment(1);
    });
    print("exchange, traces off", || {
        drop(black_box(Exchange::begin("GET", "source.example", 443)));
    });
    let trace = [7; 16];
    print("span, traces off", || {
        drop(black_box(accepted(&trace, Instant::now(), None)));
    });
    set_tracing(Tracing {
        sink: Arc::new(Nowhere),
        clock: Arc::new(SystemClock),
        sample_ratio: 0.5,
        propagate: false,
    });
    let (made, left_out) = ([0x80; 16], [0xff; 16]);
    print("span, its trace left out by the sample", || {
        drop(black_box(accepted(&left_out, Instant::now(), None)));
    });
    print("span, made and handed over", || {
        accepted(&made, Instant::now(), None).end();
    });
}

#[derive(Debug)]
struct Nowhere;

impl SpanSink for Nowhere {
    fn take(&self, spans: Vec<Span>) {
        drop(black_box(spans));
    }
}

/// Prints the least that one run took on average, of a few.
fn print(what: &str, mut run: impl FnMut()) {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..RUNS {
            run();
        }
        least = least.min(begun.elapsed().as_nanos() as f64 / f64::from(RUNS));
    }
    println!("{what:<50} {least:>8.1} ns");
}

const ROUNDS: u32 = 5;
const RUNS: u32 = 200_000;
