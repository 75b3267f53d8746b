//! What a session has run, as operators look at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::ladder::{SIZES, size_for};

/// What a session has run since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Batches that a device computed; a run alone is a batch of one caller.
    pub n_batches: u64,
    /// Runs that were asked for and begun.
    pub n_runs: u64,
    /// Their rows; padding is nobody's.
    pub n_rows: u64,
    /// Time that the runs waited to be begun, all together.
    pub waited: Duration,
    /// Batches by their rows: of at most 1, 2, 4, 8, 16, 32 and 64, and of more.
    pub by_size: [u64; 8],
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    n_batches: AtomicU64,
    n_runs: AtomicU64,
    n_rows: AtomicU64,
    waited_micros: AtomicU64,
    by_size: [AtomicU64; 8],
    /// Whether it was told that rows run alone.
    has_told: AtomicBool,
}

impl Counts {
    /// Counts a batch that is begun.
    pub(crate) fn add(&self, n_callers: usize, n_rows: usize, waited: Duration) {
        let size = SIZES.iter().position(|size| *size == size_for(n_rows));
        self.n_batches.fetch_add(1, Ordering::Relaxed);
        self.n_runs.fetch_add(n_callers as u64, Ordering::Relaxed);
        self.n_rows.fetch_add(n_rows as u64, Ordering::Relaxed);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
        self.by_size[size.unwrap_or(SIZES.len())].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody was told yet that rows run alone; asked, somebody is. Once per model:
    /// shapes come from plugins, and a line for each is no help.
    pub(super) fn is_first_refusal(&self) -> bool {
        !self.has_told.swap(true, Ordering::Relaxed)
    }

    /// As it stands.
    pub(crate) fn read(&self) -> BatchCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BatchCounts {
            n_batches: read(&self.n_batches),
            n_runs: read(&self.n_runs),
            n_rows: read(&self.n_rows),
            waited: Duration::from_micros(read(&self.waited_micros)),
            by_size: std::array::from_fn(|size| read(&self.by_size[size])),
        }
    }
}
