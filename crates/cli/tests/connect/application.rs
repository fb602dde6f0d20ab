//! A tenant's application: a page that frames another, and the one that people come back to.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Query;
use axum::response::Html;
use axum::routing::get;
use tokio::net::TcpListener;
use wellspring_engine::Tasks;

/// Where an application listens; it ends with the tasks.
pub(crate) struct Application {
    address: SocketAddr,
}

impl Application {
    pub(crate) async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(framing)).route(
            "/done",
            get(|| async { Html("<!doctype html><h1>Back</h1>") }),
        );
        let stop = tasks.stop_token().clone();
        tasks.spawn("application", async move {
            let served = axum::serve(listener, router);
            let stopped = async move { stop.cancelled().await };
            served.with_graceful_shutdown(stopped).await.unwrap();
        });
        Self { address }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where people come back to.
    pub(crate) fn done(&self) -> String {
        format!("{}/done", self.origin())
    }

    /// Returns a page that frames `url`.
    pub(crate) fn framing(&self, url: &str) -> String {
        format!("{}/?{url}", self.origin())
    }
}

async fn framing(Query(url): Query<Vec<(String, String)>>) -> Html<String> {
    let url = url.first().map(|(url, _)| url.clone()).unwrap_or_default();
    Html(format!(
        "<!doctype html><script>heard = []; addEventListener('message', (e) => heard.push(e.data));</script>\
         <iframe src=\"{url}\" style=\"width:300px;height:500px\"></iframe>"
    ))
}
