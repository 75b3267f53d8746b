//! How long a connection may keep a server waiting: for the end of a head once its first
//! byte has come, and far longer for the next request of a client that has been answered.
//!
//! A head's bytes are seen where they are read, and its end where the request is answered;
//! in between the body has a bound of its own. Time is looked at after each step of the
//! connection, whatever it was that moved: the connection itself does not read while it
//! answers, and may not begin again by itself.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use crate::engine::now;

/// Where a connection stands, for whoever reads, answers and watches it.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<Stand>);

#[derive(Debug, Default)]
struct Stand {
    /// Even while a request is waited for, odd while one is answered.
    turn: AtomicU64,
    /// One more than the turn in which bytes of a head came last.
    head: AtomicU64,
}

impl Pace {
    /// A request has come whole but for its body, or has been answered.
    pub(super) fn next(&self) {
        self.0.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// The turn, and whether bytes of its head have come.
    fn now(&self) -> (u64, bool) {
        let turn = self.0.turn.load(Ordering::Relaxed);
        (turn, self.0.head.load(Ordering::Relaxed) == turn + 1)
    }

    /// Bytes have come: of a head, or of a body that has its own bound.
    fn came(&self) {
        let turn = self.0.turn.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            self.0.head.store(turn + 1, Ordering::Relaxed);
        }
    }
}

/// Ends `connection`, which reads from a [`Paced`] stream of this `pace`, when it keeps the
/// server waiting for too long; none then, and else what became of it.
///
/// From its start on, a connection has `head_time` for its first head: whoever opens one and
/// says nothing has not been answered before.
pub(super) async fn in_time<C: Future>(
    connection: C,
    pace: Pace,
    head_time: Duration,
    idle_time: Duration,
) -> Option<C::Output> {
    let by = now() + head_time;
    let mut clock = Clock {
        seen: pace.now(),
        pace,
        by: Some(by),
        head_time,
        idle_time,
        timer: Box::pin(sleep_until(by.into())),
    };
    let mut connection = pin!(connection);
    poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        clock.poll_late(context).map(|()| None)
    })
    .await
}

/// Until when the next byte, or the rest of a head, must come.
struct Clock {
    pace: Pace,
    /// Where the connection stood when it was looked at last.
    seen: (u64, bool),
    /// None while a request is answered.
    by: Option<Instant>,
    head_time: Duration,
    idle_time: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Clock {
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let seen = self.pace.now();
        if seen != self.seen {
            self.seen = seen;
            self.by = match seen {
                // The first head's time began with the connection.
                (0, _) => self.by,
                (turn, _) if !turn.is_multiple_of(2) => None,
                (_, true) => Some(now() + self.head_time),
                (_, false) => Some(now() + self.idle_time),
            };
        }
        let Some(by) = self.by else {
            return Poll::Pending;
        };
        // One that is set for sooner is set again when it rings: most requests come long
        // before, and need not touch it.
        if self.timer.deadline() > by.into() {
            self.timer.as_mut().reset(by.into());
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            if now() >= by {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(by.into());
        }
    }
}

/// A stream that tells when bytes have come.
#[derive(Debug)]
pub(super) struct Paced {
    stream: TcpStream,
    pace: Pace,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, pace }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > n_before {
            self.pace.came();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
