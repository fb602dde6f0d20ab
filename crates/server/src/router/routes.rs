//! How handlers become endpoints: who may call them, and that they are measured.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use tokio::time::Instant;

use super::App;
use crate::Caller;
use crate::auth::{self, Audience};
use crate::metrics::Meter;
use crate::problem::Problem;

/// A router and what is on it.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) router: Router<Arc<App>>,
    pub(super) list: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// Adds an endpoint for callers with an API key.
    pub(super) fn keyed<H, F, E>(self, method: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<App>, Caller, Request) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Response, E>> + Send,
        E: Into<Problem> + Send,
    {
        self.for_callers(Audience::Keys, method, path, handler)
    }

    /// Adds an endpoint for clients of one account as well.
    pub(super) fn for_clients<H, F, E>(
        self,
        method: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self
    where
        H: Fn(Arc<App>, Caller, Request) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Response, E>> + Send,
        E: Into<Problem> + Send,
    {
        self.for_callers(Audience::Clients, method, path, handler)
    }

    /// Adds an endpoint that the connect page uses, too.
    pub(super) fn for_pages<H, F, E>(
        self,
        method: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self
    where
        H: Fn(Arc<App>, Caller, Request) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Response, E>> + Send,
        E: Into<Problem> + Send,
    {
        self.for_callers(Audience::Pages, method, path, handler)
    }

    /// Adds an endpoint for those of the audience.
    fn for_callers<H, F, E>(
        self,
        audience: Audience,
        method: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self
    where
        H: Fn(Arc<App>, Caller, Request) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Response, E>> + Send,
        E: Into<Problem> + Send,
    {
        self.open(
            method,
            path,
            move |app: Arc<App>, request: Request| async move {
                let caller = auth::caller(&app, request.headers(), audience).await?;
                handler(app, caller, request).await.map_err(Into::into)
            },
        )
    }

    /// Adds an endpoint for everybody.
    pub(super) fn open<H, F>(mut self, method: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<App>, Request) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Response, Problem>> + Send,
    {
        let name = method_name(method);
        let meter = Arc::new(Meter::new(path, name));
        let endpoint = move |State(app): State<Arc<App>>, request: Request| {
            let meter = Arc::clone(&meter);
            async move {
                let started = Instant::now();
                let response = handler(app, request)
                    .await
                    .unwrap_or_else(IntoResponse::into_response);
                meter.record(response.status(), started.elapsed());
                response
            }
        };
        self.router = self.router.route(path, on(method, endpoint));
        self.list.push((name, path));
        self
    }
}

const fn method_name(method: MethodFilter) -> &'static str {
    match method {
        MethodFilter::GET => "GET",
        MethodFilter::POST => "POST",
        MethodFilter::PUT => "PUT",
        MethodFilter::PATCH => "PATCH",
        MethodFilter::DELETE => "DELETE",
        _ => "other",
    }
}
