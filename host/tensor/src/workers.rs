//! A bounded queue and the threads that empty it: for work that would hold up a
//! caller's executor.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, thread};

use tokio::sync::oneshot;

use crate::device::cpu::now;
use crate::graph::panic_message;

/// How often a thread looks for a next job before it sleeps; some tens of
/// microseconds on an idle core.
const N_LOOKS: usize = 64;

/// Work on its way to a thread.
pub(crate) trait Job: Send {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Does it.
    fn run(self: Box<Self>);
}

/// What is waiting for threads, and which of it comes next. It only decides: the threads
/// wait and work.
pub(crate) trait Feed: Default + Send + 'static {
    /// Whether nothing waits.
    fn is_empty(&self) -> bool;

    /// What a thread that is free at `now` does. Not asked when nothing waits.
    fn next(&mut self, now: Instant) -> Next;
}

/// What a thread does next.
pub(crate) enum Next {
    /// This.
    Run(Box<dyn Job>),
    /// Nothing before this moment, unless more comes.
    Wait(Instant),
}

/// Threads that do what their feed gives them. What is left when this is dropped is
/// dropped undone.
pub(crate) struct Crew<F: Feed> {
    shared: Arc<Shared<F>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Shared<F> {
    state: Mutex<State<F>>,
    changed: Condvar,
    /// What a thread does before it looks for work: it waits until there is room for it.
    gate: Box<dyn Fn() + Send + Sync>,
}

struct State<F> {
    feed: F,
    closed: bool,
}

impl<F: Feed> Crew<F> {
    /// Starts `n_threads` threads called `name-0`, `name-1`, …, which pass `gate` before
    /// they look for work. Fails when the system gives no thread.
    pub(crate) fn start(
        name: &str,
        n_threads: NonZeroUsize,
        feed: F,
        gate: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let mut crew = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    feed,
                    closed: false,
                }),
                changed: Condvar::new(),
                gate: Box::new(gate),
            }),
            threads: Mutex::default(),
        };
        for index in 0..n_threads.get() {
            let shared = crew.shared.clone();
            let thread = thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || shared.work())?;
            let threads = crew.threads.get_mut();
            threads.unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(crew)
    }

    /// Changes what waits, and wakes a thread for it. None once the threads have been told
    /// to end.
    pub(crate) fn feed<T>(&self, change: impl FnOnce(&mut F) -> T) -> Option<T> {
        let mut state = self.shared.lock();
        if state.closed {
            return None;
        }
        let changed = change(&mut state.feed);
        drop(state);
        self.shared.changed.notify_one();
        Some(changed)
    }

    /// Ends the threads and waits for what they do; what waits is dropped undone. Not
    /// from one of them.
    pub(crate) fn join(&self) {
        self.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // It does not panic; if it did, it has ended too.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.feed);
        drop(state);
        self.shared.changed.notify_all();
        drop(left);
    }
}

impl<F: Feed> Drop for Crew<F> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<F: Feed> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, State<F>> {
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
        (self.gate)();
        let mut state = self.lock();
        // Under load the next job is some microseconds away. Giving the core to
        // whoever makes it, and looking again, costs less than to sleep and be
        // woken: two system calls and a switch for each run.
        for _ in 0..N_LOOKS {
            if state.closed || !state.feed.is_empty() {
                break;
            }
            drop(state);
            thread::yield_now();
            state = self.lock();
        }
        loop {
            if state.closed {
                return None;
            }
            if state.feed.is_empty() {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = now();
            match state.feed.next(now) {
                Next::Run(job) => return Some(job),
                Next::Wait(until) => {
                    let wait = until.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// Threads that do what they are given, in that order. What is left when this is
/// dropped is dropped undone.
pub struct Workers {
    crew: Crew<Fifo>,
    max_waiting: usize,
}

/// The queue holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// How much that is.
    pub n_waiting: usize,
}

impl Workers {
    /// Starts `n_threads` threads called `name-0`, `name-1`, …; at most
    /// `max_waiting` pieces of work wait for one. Fails when the system gives no
    /// thread.
    pub fn start(name: &str, n_threads: NonZeroUsize, max_waiting: usize) -> io::Result<Self> {
        Ok(Self {
            crew: Crew::start(name, n_threads, Fifo::default(), || {})?,
            max_waiting,
        })
    }

    /// Queues `work`; what it gives comes back through the receiver. Dropping the
    /// receiver gives it up, unless it has begun. The receiver fails when the workers
    /// were dropped first, or `work` panicked, which it should not.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, QueueFull> {
        let (job, answered) = task(work);
        self.push(job)?;
        Ok(answered)
    }

    fn push(&self, job: Box<dyn Job>) -> Result<(), QueueFull> {
        let pushed = self.crew.feed(|fifo| fifo.push(job, self.max_waiting));
        pushed.unwrap_or(Err(QueueFull { n_waiting: 0 }))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

/// A closure as a job, and where what it gives comes back.
pub(crate) fn task<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    (Box::new(Task { work, answer }), answered)
}

/// A closure as a job that is done whoever waits.
pub(crate) fn duty(work: impl FnOnce() + Send + 'static) -> Box<dyn Job> {
    Box::new(Duty(work))
}

struct Duty<F>(F);

impl<F: FnOnce() + Send> Job for Duty<F> {
    fn is_wanted(&self) -> bool {
        true
    }

    fn run(self: Box<Self>) {
        (self.0)();
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

/// First in, first out.
#[derive(Default)]
pub(crate) struct Fifo(VecDeque<Box<dyn Job>>);

impl Fifo {
    /// Queues a job, when no more than `max_waiting` wanted ones wait then.
    pub(crate) fn push(&mut self, job: Box<dyn Job>, max_waiting: usize) -> Result<(), QueueFull> {
        if self.0.len() >= max_waiting {
            // Given up while they waited for a slow one: they hold no place.
            self.0.retain(|job| job.is_wanted());
        }
        let n_waiting = self.0.len();
        if n_waiting >= max_waiting {
            return Err(QueueFull { n_waiting });
        }
        self.0.push_back(job);
        Ok(())
    }

    /// The first.
    pub(crate) fn pop(&mut self) -> Option<Box<dyn Job>> {
        self.0.pop_front()
    }
}

impl Feed for Fifo {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn next(&mut self, _now: Instant) -> Next {
        Next::Run(self.pop().expect("not asked when nothing waits"))
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
        let queue: Weak<Shared<Fifo>> = Arc::downgrade(&workers.crew.shared);
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
        while !workers.crew.shared.lock().feed.is_empty() {
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
