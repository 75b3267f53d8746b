//! How long a connection may keep a server waiting: for the end of a head once its first
//! byte has come, and far longer for the next request of a client that has been answered.
//!
//! A head's bytes are seen where they are read, and its end where the request is answered;
//! in between the body has a bound of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use crate::engine::now;

/// Counts a connection's turns: even while a request is waited for, odd while one is
/// answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Turn>);

#[derive(Debug, Default)]
struct Turn {
    n: AtomicU64,
    /// Who read in vain while a request was answered. hyper does not read again when it has
    /// been, since bytes would wake it; without them nothing would end its waiting.
    reader: AtomicWaker,
}

impl Turns {
    /// A request has come whole but for its body, or has been answered.
    pub(super) fn next(&self) {
        self.0.n.fetch_add(1, Ordering::Relaxed);
        self.0.reader.wake();
    }

    fn now(&self) -> u64 {
        self.0.n.load(Ordering::Relaxed)
    }
}

/// A connection that ends when it keeps the server waiting for too long.
#[derive(Debug)]
pub(super) struct Paced {
    stream: TcpStream,
    turns: Turns,
    head_time: Duration,
    idle_time: Duration,
    /// The turn that is waited in, and until when its first byte must come.
    waiting: (u64, Instant),
    /// The turn of the last head, and until when its end must come.
    head: Option<(u64, Instant)>,
    timer: Pin<Box<Sleep>>,
}

impl Paced {
    /// From its start on, a connection has `head_time` for its first head: whoever opens one
    /// and says nothing has not been answered before.
    pub(super) fn new(
        stream: TcpStream,
        turns: Turns,
        head_time: Duration,
        idle_time: Duration,
    ) -> Self {
        let by = now() + head_time;
        Self {
            stream,
            waiting: (turns.now(), by),
            turns,
            head_time,
            idle_time,
            head: None,
            timer: Box::pin(sleep_until(by.into())),
        }
    }

    /// Bytes have come.
    fn came(&mut self) {
        let turn = self.turns.now();
        let is_of_head = turn.is_multiple_of(2);
        if is_of_head && self.head.is_none_or(|(of, _)| of != turn) {
            // The first head's time began with the connection.
            let by = match turn {
                0 => self.waiting.1,
                _ => now() + self.head_time,
            };
            self.head = Some((turn, by));
        }
    }

    /// Until when bytes must come; none while a request is answered.
    fn by(&mut self) -> Option<Instant> {
        let turn = self.turns.now();
        if !turn.is_multiple_of(2) {
            return None;
        }
        if self.waiting.0 != turn {
            self.waiting = (turn, now() + self.idle_time);
        }
        let head = self.head.filter(|(of, _)| *of == turn);
        Some(head.map_or(self.waiting.1, |(_, by)| by))
    }

    /// Ready when nothing may come any more: a head that began is then an error, and a
    /// connection on which none began ends as if its client had closed it.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(by) = self.by() else {
            // The turn is the connection's own: it cannot end between the look and this.
            self.turns.0.reader.register(context.waker());
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
                break;
            }
            self.timer.as_mut().reset(by.into());
        }
        let turn = self.turns.now();
        match self.head.is_some_and(|(of, _)| of == turn) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > n_before {
                    self.came();
                }
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_late(context),
        }
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
