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

/// A run on its way to a thread.
pub(super) trait Job: Send {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Runs it. Must not panic.
    fn run(self: Box<Self>);
}

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
    jobs: VecDeque<Box<dyn Job>>,
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

    /// Queues a job. `Overloaded` when the queue is full of wanted ones.
    pub(super) fn push(&self, job: Box<dyn Job>) -> Result<(), TensorError> {
        let mut state = self.queue.lock();
        if state.jobs.len() >= self.max_waiting {
            // Given up while they waited for a slow run: they hold no place.
            state.jobs.retain(|job| job.is_wanted());
        }
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
            job.run();
        }
    }

    fn next(&self) -> Option<Box<dyn Job>> {
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Weak;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Waits to be let go, then says that it ran.
    struct Held {
        wanted: bool,
        go: Receiver<()>,
        ran: Sender<()>,
    }

    impl Job for Held {
        fn is_wanted(&self) -> bool {
            self.wanted
        }

        fn run(self: Box<Self>) {
            let _ = self.go.recv();
            let _ = self.ran.send(());
        }
    }

    fn workers(max_waiting: usize) -> Workers {
        let n_threads = NonZeroUsize::MIN;
        Workers::start(&CpuOptions {
            n_threads,
            max_waiting,
        })
        .expect("a thread")
    }

    fn held(wanted: bool) -> (Box<Held>, Sender<()>, Receiver<()>) {
        let ((go, waits), (ran, done)) = (channel(), channel());
        let job = Held {
            wanted,
            go: waits,
            ran,
        };
        (Box::new(job), go, done)
    }

    #[test]
    fn threads_end_when_their_workers_are_dropped() {
        let workers = workers(1);
        let queue: Weak<Queue> = Arc::downgrade(&workers.queue);
        drop(workers);
        while queue.upgrade().is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_that_nobody_waits_for_gives_its_place_to_one_that_is_wanted() {
        let workers = workers(1);
        let (busy, go, busy_ran) = held(true);
        workers.push(busy).expect("the queue is empty");
        // Until the one thread has taken it.
        while !workers.queue.lock().jobs.is_empty() {
            thread::yield_now();
        }
        let (given_up, _keep, _) = held(false);
        workers.push(given_up).expect("one may wait");
        let (wanted, go_wanted, wanted_ran) = held(true);
        workers
            .push(wanted)
            .expect("the given-up one holds no place");
        let (one_more, _keep_too, _) = held(true);
        workers
            .push(one_more)
            .expect_err("the place is taken by a wanted one");
        go.send(()).expect("it waits");
        busy_ran.recv().expect("it runs");
        go_wanted.send(()).expect("it waits");
        wanted_ran.recv().expect("it runs");
    }
}
