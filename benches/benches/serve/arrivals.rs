//! The moments at which requests are due, and a thread that sleeps until each of them.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use mio::Waker;
use trommel_tests::random::Random;

/// Where Linux keeps how late, in nanoseconds, a sleeper of this thread may be woken.
const SLACK: &str = "/proc/self/timerslack_ns";

/// Moments with exponential gaps, the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    rate: f64,
    random: Random,
    next: f64,
}

impl Arrivals {
    /// `rate` a second, more than 0.
    pub(crate) fn new(rate: f64, seed: u64) -> Self {
        Self {
            rate,
            random: Random::new(seed),
            next: 0.0,
        }
    }

    /// The next moment, if it has come by `now`.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.next();
        if due > now {
            return None;
        }
        let uniform = (self.random.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        self.next += -(1.0 - uniform).ln() / self.rate;
        Some(due)
    }

    fn next(&self) -> Duration {
        Duration::from_secs_f64(self.next)
    }
}

/// Wakes whoever sends at each moment. A thread, since polls count in milliseconds, and
/// one that looks all the time would be held up by whoever else is on its core.
#[derive(Debug)]
pub(crate) struct Pacer {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Until `time` after `start`, or until it is dropped.
    #[expect(
        clippy::disallowed_methods,
        reason = "it sleeps to wake others in time"
    )]
    pub(crate) fn start(
        mut arrivals: Arrivals,
        start: Instant,
        time: Duration,
        waker: Waker,
    ) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        // A thread has the slack of the one that makes it. Servers must keep the usual.
        let usual = fs::read_to_string(SLACK)?;
        fs::write(SLACK, "1")?;
        let thread = spawn(move || {
            while !ends.load(Ordering::Relaxed) && start.elapsed() < time {
                let now = start.elapsed();
                while arrivals.take(now).is_some() {}
                sleep(arrivals.next().saturating_sub(start.elapsed()));
                if waker.wake().is_err() {
                    return;
                }
            }
        });
        fs::write(SLACK, usual.trim())?;
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It sleeps no longer than until the next moment; a panic of it was told.
            let _ = thread.join();
        }
    }
}
