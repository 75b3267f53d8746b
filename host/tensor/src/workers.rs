//! A bounded queue and the threads that empty it: for work that would hold up a
//! caller's executor.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;

use crate::graph::panic_message;

/// How often a thread looks for a next job before it sleeps; some tens of
/// microseconds on an idle core.
const N_LOOKS: usize = 64;

/// Work on its way to a thread.
trait Job: Send {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Does it.
    fn run(self: Box<Self>);
}

/// Threads that do what they are given, in that order. What is left when this is
/// dropped is dropped undone.
pub struct Workers {
    queue: Arc<Queue>,
    max_waiting: usize,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// The queue holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// How much that is.
    pub n_waiting: usize,
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
    /// Starts `n_threads` threads called `name-0`, `name-1`, …; at most
    /// `max_waiting` pieces of work wait for one. Fails when the system gives no
    /// thread.
    pub fn start(name: &str, n_threads: NonZeroUsize, max_waiting: usize) -> io::Result<Self> {
        let mut workers = Self {
            queue: Arc::default(),
            max_waiting,
            threads: Mutex::default(),
        };
        for index in 0..n_threads.get() {
            let queue = workers.queue.clone();
            let thread = thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || queue.work())?;
            let threads = workers.threads.get_mut();
            threads.unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(workers)
    }

    /// Queues `work`; what it gives comes back through the receiver. Dropping the
    /// receiver gives it up, unless it has begun. The receiver fails when the workers
    /// were dropped first, or `work` panicked, which it should not.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, QueueFull> {
        let (answer, answered) = oneshot::channel();
        self.push(Box::new(Task { work, answer }))?;
        Ok(answered)
    }

    /// Ends the threads and waits for what they do; what waits is dropped undone. Not
    /// from one of them.
    pub fn join(&self) {
        self.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // It does not panic; if it did, it has ended too.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        let mut state = self.queue.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.jobs);
        drop(state);
        self.queue.changed.notify_all();
        drop(left);
    }

    /// Queues a job, when the queue is not full of wanted ones.
    fn push(&self, job: Box<dyn Job>) -> Result<(), QueueFull> {
        let mut state = self.queue.lock();
        if state.jobs.len() >= self.max_waiting {
            // Given up while they waited for a slow one: they hold no place.
            state.jobs.retain(|job| job.is_wanted());
        }
        let n_waiting = state.jobs.len();
        if n_waiting >= self.max_waiting || state.closed {
            return Err(QueueFull { n_waiting });
        }
        state.jobs.push_back(job);
        drop(state);
        self.queue.changed.notify_one();
        Ok(())
    }
}

/// A closure whose result somebody waits for.
struct Task<F, T> {
    work: F,
    answer: oneshot::Sender<T>,
}

impl<T: Send, F: FnOnce() -> T + Send> Job for Task<F, T> {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(self: Box<Self>) {
        if self.is_wanted() {
            // The caller may give it up meanwhile.
            let _ = self.answer.send((self.work)());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // It should not; if it does, whoever waits for it learns that it was dropped, and
            // the thread is there for the others.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.run())) {
                let why = panic_message(panic.as_ref());
                tracing::error!(why, "a device's thread was given work that panics");
            }
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
        Workers::start("tested", NonZeroUsize::MIN, max_waiting).expect("a thread")
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

    #[tokio::test]
    async fn a_job_that_panics_leaves_its_thread_to_the_next() {
        let workers = workers(4);
        let failed = workers.submit(|| panic!("on purpose"));
        failed
            .expect("the queue is empty")
            .await
            .expect_err("it panicked");
        let next = workers.submit(|| 7).expect("the queue is empty");
        assert_eq!(next.await, Ok(7));
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
