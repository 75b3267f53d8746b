//! A bounded queue and the threads that empty it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::CpuOptions;
use crate::TensorError;

/// How often a thread looks for a next job before it sleeps; some tens of
/// microseconds on an idle core.
const N_LOOKS: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs in the order given. Jobs left when this is dropped are
/// dropped unrun.
pub(super) struct Workers {
    queue: Arc<Queue>,
    max_waiting: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    pub(super) fn start(options: &CpuOptions) -> Result<Self, TensorError> {
        let workers = Self {
            queue: Arc::default(),
            max_waiting: options.max_waiting,
        };
        for index in 0..options.n_threads.get() {
            let queue = workers.queue.clone();
            thread::Builder::new()
                .name(format!("trommel-cpu-{index}"))
                .spawn(move || queue.work())
                .map_err(|error| TensorError::Internal {
                    device: "cpu".to_owned(),
                    what: format!("cannot start a thread: {error}"),
                })?;
        }
        Ok(workers)
    }

    /// Queues a job. It must not panic. `Overloaded` when the queue is full.
    pub(super) fn push(&self, job: Job) -> Result<(), TensorError> {
        let mut state = self.queue.lock();
        if state.jobs.len() >= self.max_waiting {
            return Err(TensorError::Overloaded {
                device: "cpu".to_owned(),
                n_waiting: state.jobs.len(),
            });
        }
        state.jobs.push_back(job);
        drop(state);
        self.queue.changed.notify_one();
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.jobs);
        drop(state);
        self.queue.changed.notify_all();
        drop(left);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        // Under load the next job is some microseconds away. Giving the core to
        // whoever makes it, and looking again, costs less than to sleep and be
        // woken: two system calls and a switch for each run.
        for _ in 0..N_LOOKS {
            if state.closed || !state.jobs.is_empty() {
                break;
            }
            drop(state);
            thread::yield_now();
            state = self.lock();
        }
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}
