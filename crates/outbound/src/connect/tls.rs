use std::fmt::Display;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::SendError;

/// The TLS configuration, built when the first encrypted connection is opened.
pub(crate) struct Tls {
    roots: Option<Arc<RootCertStore>>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// Trusts `roots`, or those of the system if there are none.
    pub(crate) fn new(roots: Option<Arc<RootCertStore>>) -> Self {
        Self {
            roots,
            config: OnceCell::new(),
        }
    }

    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, SendError> {
        self.config
            .get_or_try_init(|| async {
                let roots = self.roots.clone();
                // The roots of the system are read from files.
                spawn_blocking(move || build(roots))
                    .await
                    .unwrap_or_else(|error| Err(fault(error)))
            })
            .await
            .cloned()
    }
}

fn build(roots: Option<Arc<RootCertStore>>) -> Result<Arc<ClientConfig>, SendError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(fault)?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_native_roots().map_err(fault)?,
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}

fn fault(error: impl Display) -> SendError {
    SendError::Tls {
        detail: error.to_string(),
    }
}
