//! `wellspring sandbox`: the pretend sources alone.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use wellspring_engine::random_seed;
use wellspring_sandbox::Sandbox;

/// Runs until a signal.
#[expect(
    clippy::print_stderr,
    reason = "tells the person at the terminal where to look"
)]
pub(crate) async fn run(listen: SocketAddr, seed: Option<u64>) -> Result<()> {
    let sandbox = Sandbox::bind(listen, seed.unwrap_or_else(random_seed))
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = sandbox.local_addr();
    eprintln!(
        "Sandbox on http://{address}: GET /providers/gas, GET /providers/internet, GET /control"
    );
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    sandbox
        .run(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(())
}
