//! Connections: accepted within a bound, each with a bound on how long it keeps the server
//! waiting, and ended in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Server;
use super::pace::{Pace, Paced, in_time};

/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 32 << 10;

/// After the system gave no connection, as when it has no more handles.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn serve(
    server: &Server,
    listener: TcpListener,
    router: Router,
) -> io::Result<()> {
    let options = &server.0.options;
    let places = Arc::new(Semaphore::new(options.max_connections));
    let open = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    // hyper's own bound makes no difference between a head and the wait for one.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES);
    let mut draining = std::pin::pin!(server.draining());
    loop {
        let accepting = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut draining => break,
            accepted = accepting => accepted,
        };
        let place = place.expect("the semaphore is never closed");
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is one small write; it must not wait for another.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        let pace = Pace::default();
        let stream = Paced::new(stream, pace.clone());
        let answered = pace.clone();
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |request| {
            answered.next();
            let (answering, answered) = (router.call(request), answered.clone());
            async move {
                let answer = answering.await;
                answered.next();
                answer
            }
        });
        let connection = open.watch(builder.serve_connection(TokioIo::new(stream), service));
        let connection = in_time(connection, pace, options.head_time, options.idle_time);
        tokio::spawn(async move {
            let _place = place;
            match connection.await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
                None => tracing::debug!("a connection kept waiting for too long"),
            }
        });
    }
    drop(listener);
    if timeout(options.drain_time, open.shutdown()).await.is_err() {
        tracing::warn!(time = ?options.drain_time, "requests were still in flight at the end");
    }
    Ok(())
}
