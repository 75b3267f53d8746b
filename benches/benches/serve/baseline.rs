//! What the server is compared with, each a process of its own: a bare axum handler that
//! reads the same items, and the engine alone.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use trommel::engine::Limits;
use trommel::item::Item;
use trommel_benches::per_iteration;
use trommel_tests::guests::component;
use trommel_tests::sandbox::{Sandbox, deadline};

/// Calls that one figure of the engine is the mean of.
const CALLS: u32 = 20_000;

/// Serves until it is killed.
pub(crate) fn serve() -> io::Result<Infallible> {
    // As `trommel serve` sets its own up.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .global_queue_interval(8)
        .event_interval(8)
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        writeln!(io::stderr(), "listening on http://{address} (listen)")?;
        let router = Router::new().route("/v1/check", post(check));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(router.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    })
}

async fn check(body: Bytes) -> Response {
    match Item::from_json(&body) {
        Ok(item) => {
            let answer = serde_json::json!({ "id": item.id }).to_string();
            let mut response = Response::new(Body::from(answer));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Prints the nanoseconds that a call of a detector takes which does nothing, through the
/// whole engine: what the bench `call_overhead` measures.
#[expect(clippy::print_stdout, reason = "whoever started this reads it")]
pub(crate) fn call_overhead(is_quick: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let sandbox = Sandbox::new(component("noop"), Limits::DEFAULT).map_err(io::Error::other)?;
    let item = Arc::new(Item::from_text("item", "a text that nobody reads"));
    let calls = |n: u32| {
        runtime.block_on(async {
            for _ in 0..n {
                let exhibit = Arc::new(sandbox.engine.exhibit_unopened(&item));
                let by = deadline(Duration::from_secs(1));
                let call = sandbox.engine.detect(&sandbox.detector, &exhibit, by).await;
                assert!(call.outcome.is_ok());
            }
        });
    };
    let n = if is_quick { 200 } else { CALLS };
    calls(n / 10);
    println!("{}", per_iteration(n, calls).as_nanos());
    Ok(())
}
