//! HTTP in front of a host: an edge, beside the command line.
//!
//! [`Server`] turns requests into items and judgements into answers. Whatever a client
//! sends is bounded before it is read whole: connections, time for heads and bodies, bytes
//! of one body and of all, items that wait. What is too much is refused at once, and says
//! when to come again. It runs on the caller's runtime, installs no logger and handles no
//! signal.

mod admin;
mod admission;
mod answer;
mod body;
mod check;
mod connections;
mod form;
mod lineup_file;
mod metrics;
mod options;
mod pace;
mod traces;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

use crate::Host;
use crate::record::Recorder;
pub use admin::{AdminToken, WeakToken};
use admission::Admission;
use answer::json;
use body::BodyRoom;
use lineup_file::Followed;
pub use lineup_file::LineupFile;
use metrics::Metrics;
pub use options::ServerOptions;
pub use traces::SpanCounts;

/// A host behind HTTP.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use trommel::server::{Server, ServerOptions};
///
/// let host = Arc::new(trommel::Host::builder().bundled_detectors().build()?);
/// let server = Server::new(host, ServerOptions::default());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// server.serve(listener).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: Arc<Host>,
    options: ServerOptions,
    admission: Admission,
    room: BodyRoom,
    metrics: Metrics,
    /// One package at a time.
    uploads: Semaphore,
    recorder: Option<Arc<Recorder>>,
    lineup_file: Option<Followed>,
    is_draining: AtomicBool,
    drained: Notify,
}

/// What a server has beside its host; nothing, unless it is given.
#[derive(Debug, Default)]
pub struct Beside {
    /// Records the verdicts that are answered.
    pub recorder: Option<Recorder>,
    /// What became of the spans of whoever sends them away, to be shown among the metrics.
    pub spans: Option<Arc<SpanCounts>>,
    /// Where the lineup comes from, by [`Server::follow_lineup`]; operators steer by it alone
    /// then.
    pub lineup: Option<LineupFile>,
}

impl Server {
    /// A server that is ready at once: verify the host first ([`Host::verify`]).
    pub fn new(host: Arc<Host>, options: ServerOptions) -> Self {
        Self::with(host, options, Beside::default())
    }

    /// The same, and the verdicts that it answers are recorded.
    pub fn recording(host: Arc<Host>, options: ServerOptions, recorder: Recorder) -> Self {
        let beside = Beside {
            recorder: Some(recorder),
            ..Beside::default()
        };
        Self::with(host, options, beside)
    }

    /// The same, with whatever stands beside it.
    pub fn with(host: Arc<Host>, options: ServerOptions, beside: Beside) -> Self {
        let recorder = beside.recorder.map(Arc::new);
        Self(Arc::new(Shared {
            admission: Admission::new(options.max_judging, options.max_waiting),
            room: BodyRoom::new(options.max_body_bytes, options.max_all_body_bytes),
            metrics: Metrics::new(recorder.clone(), beside.spans, beside.lineup.is_some()),
            recorder,
            lineup_file: beside.lineup.map(Followed::new),
            uploads: Semaphore::new(1),
            host,
            options,
            is_draining: AtomicBool::new(false),
            drained: Notify::new(),
        }))
    }

    /// What the public listener answers, for a server of your own; its bounds on
    /// connections and heads are yours then.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/check", post(check::check))
            .route("/v2/health/live", get(live))
            .route("/v2/health/ready", get(is_ready))
            .route("/metrics", get(metrics::metrics))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::wrong_method)
            .with_state(self.clone())
    }

    /// Answers on `listener` until [`Server::drain`], and then until what is in flight has
    /// ended, [`ServerOptions::drain_time`] at most. Needs a tokio runtime with time and
    /// I/O enabled.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        connections::serve(self, listener, self.router()).await
    }

    /// The same for the admin surface, on a listener of its own: everything there wants
    /// `token`.
    pub async fn serve_admin(&self, listener: TcpListener, token: AdminToken) -> io::Result<()> {
        connections::serve(self, listener, admin::router(self, token)).await
    }

    /// Begins to end: the server is no longer ready, takes no connection more, and answers
    /// what it has begun.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Release);
        self.0.drained.notify_waiters();
    }

    fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Acquire)
    }

    /// Waits for [`Server::drain`].
    async fn draining(&self) {
        let told = self.0.drained.notified();
        // Registered before the look, so that none is missed in between.
        let mut told = std::pin::pin!(told);
        told.as_mut().enable();
        if !self.is_draining() {
            told.await;
        }
    }
}

/// The process answers.
async fn live() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

/// New items are taken.
async fn is_ready(State(server): State<Server>) -> Response {
    let ready = !server.is_draining();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &serde_json::json!({ "ready": ready }))
}
