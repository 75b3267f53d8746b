//! The GPU as it is now: open, or lost and to be opened again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::GpuOptions;
use super::live::{Flights, Live};

/// Between the first attempt to open a GPU that did no work since it was opened last, and
/// the next; twice as long after each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// See the module.
#[derive(Debug)]
pub(super) struct Recovery {
    state: Mutex<State>,
    /// Of whichever adapter is open.
    flights: Arc<Flights>,
}

#[derive(Debug)]
struct State {
    live: Option<Arc<Live>>,
    backoff: Backoff,
}

impl Recovery {
    pub(super) fn new(live: Live, flights: Arc<Flights>) -> Self {
        Self {
            state: Mutex::new(State {
                live: Some(Arc::new(live)),
                backoff: Backoff::default(),
            }),
            flights,
        }
    }

    /// What is open, lost or not; none while the GPU is away.
    pub(super) fn peek(&self) -> Option<Arc<Live>> {
        self.lock().live.clone()
    }

    /// The GPU, opened anew when it was lost; none while it does not come back. On the
    /// scheduler's thread: it may take a second.
    pub(super) fn live(&self, options: &GpuOptions, now: Instant) -> Option<Arc<Live>> {
        let mut state = self.lock();
        if let Some(live) = &state.live {
            if !live.is_lost() {
                return Some(live.clone());
            }
            if live.has_answered() {
                state.backoff = Backoff::default();
            }
            state.live = None;
        }
        if !state.backoff.may_try(now) {
            return None;
        }
        let is_first = state.backoff.n_in_vain == 0;
        state.backoff.tried(now);
        match Live::open(options, &self.flights) {
            Ok(live) => {
                tracing::warn!(adapter = %live.summary.name, "the GPU was lost and is open again");
                state.live = Some(Arc::new(live));
            }
            Err(error) if is_first => tracing::error!(
                %error,
                "the GPU was lost and does not come back; the CPU goes on, and it is tried again"
            ),
            Err(error) => tracing::debug!(%error, "the GPU is still away"),
        }
        state.live.clone()
    }

    /// Ends the threads of what is open.
    pub(super) fn close(&self) {
        let live = self.lock().live.take();
        if let Some(live) = live {
            live.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a GPU that was lost is opened: at once after it has worked, and rarer each time
/// that it has not.
#[derive(Debug, Default)]
struct Backoff {
    n_in_vain: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    fn may_try(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    fn tried(&mut self, now: Instant) {
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.n_in_vain));
        self.not_before = now.checked_add(wait.min(LONGEST_WAIT));
        self.n_in_vain = self.n_in_vain.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_stays_away_is_tried_at_once_and_then_ever_more_rarely() {
        let start = crate::device::cpu::now();
        let mut backoff = Backoff::default();
        let mut attempts = Vec::new();
        for second in 0..400 {
            let now = start + Duration::from_secs(second);
            if backoff.may_try(now) {
                backoff.tried(now);
                attempts.push(second);
            }
        }
        assert_eq!(attempts, [0, 1, 3, 7, 15, 31, 63, 127, 191, 255, 319, 383]);
    }
}
