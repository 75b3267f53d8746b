//! A device's threads and what waits for them: the one part of batching that waits and
//! sends.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::lane::Lane;
use super::queues::Queues;
use super::{Answered, Lanes, Style, settle};
use crate::device::cpu::now;
use crate::workers::{Crew, QueueFull, duty, task};
use crate::{Run, TensorError};

/// Sizes that are tried for a model with other open dimensions than its rows, of each such
/// dimension: the least to which callers pad.
const USUAL_SIZE: i64 = 16;

/// See the module.
pub(crate) struct Threads {
    crew: Crew<Queues>,
    /// For light runs, where the style tells these apart: the system shares the cores between
    /// its threads and those that compute long, which nothing here could interrupt.
    light: Option<Crew<Queues>>,
    style: Style,
    device: &'static str,
}

impl Threads {
    /// Starts the threads of `device`, called `trommel-DEVICE-0` and so on, and
    /// `trommel-light-0` and so on for light runs. Each of the former passes
    /// `gate` before it looks for work; `is_idle` says whether the device does nothing, where
    /// more than a free thread is asked for. Fails when the system gives no thread.
    pub(crate) fn start(
        device: &'static str,
        style: Style,
        gate: impl Fn() + Send + Sync + 'static,
        is_idle: Option<Box<dyn Fn() -> bool + Send>>,
    ) -> io::Result<Self> {
        let n_threads = NonZeroUsize::new(style.n_threads).unwrap_or(NonZeroUsize::MIN);
        let light = (style.light_operations > 0).then(|| {
            let queues = Queues::new(style.clone(), None);
            Crew::start("trommel-light", n_threads, queues, || {})
        });
        let queues = Queues::new(style.clone(), is_idle);
        Ok(Self {
            crew: Crew::start(&format!("trommel-{device}"), n_threads, queues, gate)?,
            light: light.transpose()?,
            style,
            device,
        })
    }

    /// How these threads batch.
    pub(crate) fn style(&self) -> &Style {
        &self.style
    }

    /// Checks a run, charges it and lets it wait; its answer comes through the receiver,
    /// and dropping that gives it up. The receiver fails when the device has gone.
    pub(crate) fn run(
        &self,
        lanes: &Lanes,
        run: Run,
    ) -> Result<oneshot::Receiver<Answered>, TensorError> {
        let (asker, answered) = oneshot::channel();
        let now = now();
        let (lane, waiting) = lanes.admit(run, asker, now)?;
        let is_light = waiting.n_operations <= self.style.light_operations;
        let crew = self.light.as_ref().filter(|_| is_light);
        let pushed = crew
            .unwrap_or(&self.crew)
            .feed(|queues| queues.push_run(&lane, waiting));
        let (swept, pushed) = pushed.ok_or_else(|| self.lost())?;
        swept.into_iter().for_each(|waiting| waiting.expire(now));
        pushed.map_err(|full| self.overloaded(full))?;
        Ok(answered)
    }

    /// Queues work that is no run; as [`crate::Workers::submit`].
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, TensorError> {
        let (job, answered) = task(work);
        match self.crew.feed(|queues| queues.push_other(job)) {
            Some(Ok(())) => Ok(answered),
            Some(Err(full)) => Err(self.overloaded(full)),
            None => Err(self.lost()),
        }
    }

    /// Queues work that had been admitted before and is to be done once more.
    pub(crate) fn submit_again(&self, work: impl FnOnce() + Send + 'static) {
        let job = duty(work);
        self.crew.feed(|queues| queues.push_again(job));
    }

    /// The lane of most runs of a session; none where no runs are joined.
    pub(crate) fn usual(&self, lanes: &Lanes) -> Option<Arc<Lane>> {
        lanes.usual(USUAL_SIZE)
    }

    /// Finds out how many rows of a lane run together. Blocking.
    pub(crate) fn settle(&self, lane: &Arc<Lane>) -> Result<usize, String> {
        settle(lane, &self.style, |work| {
            let job = duty(work);
            let queued = self.crew.feed(|queues| queues.push_other(job));
            matches!(queued, Some(Ok(())))
        });
        lane.found(&self.style)
    }

    /// Ends the threads and waits for what they do. Not from one of them.
    pub(crate) fn join(&self) {
        self.crew.join();
        self.light.iter().for_each(Crew::join);
    }

    fn overloaded(&self, QueueFull { n_waiting }: QueueFull) -> TensorError {
        TensorError::Overloaded {
            device: self.device.to_owned(),
            n_waiting,
        }
    }

    fn lost(&self) -> TensorError {
        TensorError::DeviceLost {
            device: self.device.to_owned(),
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("device", &self.device)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}
