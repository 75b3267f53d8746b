//! Spans that wait for the collector: a bounded queue, and the thread that empties it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use trommel::server::SpanCounts;

use super::client::Failure;

/// Spans that wait at most: some megabytes.
const MAX_WAITING: usize = 8192;

/// Spans that are sent at once.
const MAX_BATCH: usize = 1024;

/// How long the first span of a batch waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

#[expect(
    clippy::disallowed_methods,
    reason = "a batch waits for so long, whatever becomes of its spans"
)]
fn now() -> Instant {
    Instant::now()
}

/// Where ended spans go. A copy is the same queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: SyncSender<Message>,
    counts: Arc<SpanCounts>,
    is_ending: AtomicBool,
    has_ended: Mutex<bool>,
    ended: Condvar,
}

#[derive(Debug)]
enum Message {
    Span(Box<SpanData>),
    /// Wakes the thread: there will be no more.
    End,
}

impl Queue {
    /// Begins to send to `endpoint`, which is its name in the log.
    pub(super) fn start(
        exporter: SpanExporter,
        endpoint: String,
        failure: Failure,
        counts: Arc<SpanCounts>,
    ) -> anyhow::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let shared = Arc::new(Shared {
            sender,
            counts,
            is_ending: AtomicBool::new(false),
            has_ended: Mutex::new(false),
            ended: Condvar::new(),
        });
        let sending = Sending {
            shared: shared.clone(),
            receiver,
            exporter,
            endpoint,
            failure,
            is_away: false,
        };
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || sending.run())
            .context("no thread to send traces")?;
        Ok(Self(shared))
    }

    /// Sends what waits, and takes no more. Whether that was done within `time`. Blocking.
    pub(super) fn end(&self, time: Duration) -> bool {
        self.0.is_ending.store(true, Ordering::Release);
        // A full queue wakes the thread by itself.
        let _ = self.0.sender.try_send(Message::End);
        let has_ended = self.0.has_ended.lock();
        let has_ended = has_ended.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .ended
            .wait_timeout_while(has_ended, time, |ended| !*ended);
        let (has_ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *has_ended
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let queued = self.0.sender.try_send(Message::Span(Box::new(span)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queued {
            self.0.counts.add_unqueued(1);
        }
    }

    /// What waits is on its way.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// [`Queue::end`] is how it ends.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The thread's own.
struct Sending {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    exporter: SpanExporter,
    endpoint: String,
    failure: Failure,
    /// Whether the collector took nothing the last time: it is told once.
    is_away: bool,
}

impl Sending {
    fn run(mut self) {
        loop {
            let is_ending = self.shared.is_ending.load(Ordering::Acquire);
            let batch = match is_ending {
                true => self.rest(),
                false => self.batch(),
            };
            if !batch.is_empty() {
                self.send(batch);
            } else if is_ending {
                break;
            }
        }
        let has_ended = self.shared.has_ended.lock();
        *has_ended.unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.ended.notify_all();
    }

    /// What comes until a batch is full, its first span has waited, or all ends.
    fn batch(&self) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let Ok(Message::Span(first)) = self.receiver.recv() else {
            return batch;
        };
        let by = now() + PATIENCE;
        batch.push(*first);
        while batch.len() < MAX_BATCH && !self.shared.is_ending.load(Ordering::Acquire) {
            let left = by.saturating_duration_since(now());
            match self.receiver.recv_timeout(left) {
                Ok(Message::Span(span)) => batch.push(*span),
                Ok(Message::End)
                | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        batch
    }

    /// What is there.
    fn rest(&self) -> Vec<SpanData> {
        let waiting = self.receiver.try_iter();
        let spans = waiting.filter_map(|message| match message {
            Message::Span(span) => Some(*span),
            Message::End => None,
        });
        spans.take(MAX_BATCH).collect()
    }

    fn send(&mut self, batch: Vec<SpanData>) {
        let n_spans = batch.len() as u64;
        // The client blocks, so that it is done when it is first asked.
        let sent = self.exporter.export(batch).now_or_never();
        let counts = &self.shared.counts;
        let endpoint = &self.endpoint;
        let failed = match sent {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(self.failure.take().unwrap_or_else(|| error.to_string())),
            None => Some("the exporter waits for something".to_owned()),
        };
        let was_away = std::mem::replace(&mut self.is_away, failed.is_some());
        match failed {
            None => {
                counts.add_exported(n_spans);
                if was_away {
                    tracing::warn!(endpoint, "the collector takes spans again");
                }
            }
            Some(why) => {
                counts.add_untaken(n_spans);
                if !was_away {
                    tracing::warn!(
                        endpoint,
                        why,
                        "the collector takes no spans; they are dropped and counted until it does"
                    );
                }
            }
        }
    }
}
