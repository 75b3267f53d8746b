//! Runs of several callers as one: between a session, which checks and charges each run,
//! and a device, which computes.
//!
//! ```text
//! session ─► lane ─► queues ─► cut ─► runner ─► each caller its own rows
//!             ▲                          │
//!             └── ladder ◄── trial ◄─────┘
//! ```
//!
//! Runs of one graph whose inputs have the same shapes but for their rows share a [`lane`].
//! A free thread of the device asks the [`queues`] what to do; these ask the lane, which is
//! told by its [`ladder`] how many rows are known to score the same together as alone, and
//! [`cut`] takes so many callers, fairly. What the ladder does not know is found out by a
//! [`trial`] on numbers that are drawn ([`draw`]), before a caller's rows are joined.
//!
//! *Invariant*: `cut`, `ladder` and `lane` decide and do nothing else: no clock, no thread,
//! no device. A caller's answer never depends on who ran with it.

mod counts;
pub(crate) mod cut;
pub(crate) mod draw;
pub(crate) mod ladder;
pub(crate) mod lane;
mod queues;
mod threads;
mod trial;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use counts::BatchCounts;
pub(crate) use counts::Counts;
use cut::{Waiting, Wanted};
use ladder::MAX_ROWS;
use lane::{Lane, Row};
pub(crate) use threads::Threads;
use trial::{Place, Trial};

use crate::device::cpu::now;
use crate::graph::{Binding, Sized};
use crate::{Account, Charge, Graph, Run, Tensor, TensorError};

/// Lanes of one session; what would need one more runs alone. Shapes come from plugins, and
/// honest ones come in few.
const MAX_LANES: usize = 64;

/// What a run answers; `None` when this device does not take it and another shall.
pub(crate) type Answered = Result<Option<Vec<Tensor>>, TensorError>;

/// One run that waits or is computed: checked, and charged for what it will hold.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) binding: Binding,
    /// Rows that it brings; 1 where the graph has none.
    pub(crate) n_rows: usize,
    /// Who is charged for the outputs.
    pub(crate) account: Account,
    /// What it holds meanwhile.
    pub(crate) working: Charge,
    pub(crate) answer: Answer,
}

impl Caller {
    /// Answers it, once what it held meanwhile is given back: it may want to hold more now.
    pub(crate) fn give(self, answered: Answered) {
        drop((self.binding, self.working));
        self.answer.give(answered);
    }
}

impl Waiting<Caller> {
    /// Answers one whose deadline has passed.
    fn expire(self, now: Instant) {
        let late = self.deadline.map(|at| now.saturating_duration_since(at));
        let late = late.unwrap_or_default();
        self.caller.give(Err(TensorError::Expired { late }));
    }
}

/// Where a caller's answer goes.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To whoever asked, who may have gone.
    Asker(oneshot::Sender<Answered>),
    /// To a trial.
    Trial(Arc<Trial>, Place),
    /// To nobody: only the time that it takes is wanted.
    Nobody,
}

impl Answer {
    pub(crate) fn give(self, answered: Answered) {
        match self {
            // Whoever asked may have gone.
            Self::Asker(asker) => drop(asker.send(answered)),
            Self::Trial(trial, place) => trial.take(place, answered),
            Self::Nobody => {}
        }
    }
}

impl Wanted for Caller {
    fn is_wanted(&self) -> bool {
        match &self.answer {
            Answer::Asker(asker) => !asker.is_closed(),
            Answer::Trial(..) | Answer::Nobody => true,
        }
    }
}

/// What computes a graph on a device.
pub(crate) trait Runner: Debug + Send + Sync {
    /// What it computes.
    fn graph(&self) -> &Arc<Graph>;

    /// What it has computed.
    fn counts(&self) -> &Counts;

    /// Computes the runs of callers of one lane, together where there are several, and
    /// answers each. On a device's thread; may answer later, from another.
    fn execute(self: Arc<Self>, lane: &Arc<Lane>, callers: Vec<Caller>);
}

/// When rows of several callers run as one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batching {
    /// Never.
    Off,
    /// Where drawn rows scored the same together as alone, and were faster.
    #[default]
    WhereFaster,
    /// Where drawn rows scored the same together as alone, however long they took: what is
    /// faster depends on what else the machine does, and a test must not.
    WhereEqual,
}

/// How a device batches.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) batching: Batching,
    /// Whether a batch is filled up to one of the sizes with rows that nobody asked for, and
    /// takes callers of several rows; otherwise it is of such a size, and of callers of one.
    pub(crate) pads: bool,
    /// Whether a runner answers before it returns.
    pub(crate) answers_at_once: bool,
    pub(crate) n_threads: usize,
    /// Operations of a batch at most, roughly: the next waits as long as they take.
    pub(crate) batch_operations: u64,
    /// Bytes that the callers of a batch hold together at most, and their inputs, which are
    /// copied one after another.
    pub(crate) batch_bytes: u64,
    /// Operations of a trial at most, roughly, all of its runs.
    pub(crate) trial_operations: u64,
    /// Runs of at most so many operations have as many threads again, so that they never wait
    /// for a long one to end; 0 where all wait for the same threads.
    pub(crate) light_operations: u64,
    /// The longest that a device waits for more callers when it could begin.
    pub(crate) patience: Duration,
    /// Callers that may wait in one lane.
    pub(crate) max_waiting: usize,
}

/// Lanes that may be full at once; more callers wait nowhere.
pub(crate) const FULL_LANES: usize = 4;

/// The lanes of one session.
#[derive(Debug)]
pub(crate) struct Lanes {
    runner: Arc<dyn Runner>,
    pads: bool,
    /// For runs that are never joined.
    alone: Arc<Lane>,
    /// By the sizes of a row.
    by_sizes: Mutex<HashMap<Vec<usize>, Arc<Lane>>>,
}

impl Lanes {
    pub(crate) fn new(runner: Arc<dyn Runner>, pads: bool) -> Self {
        Self {
            alone: Arc::new(Lane::new(runner.clone(), None)),
            runner,
            pads,
            by_sizes: Mutex::default(),
        }
    }

    /// Checks and charges a run, and says where it waits. `UnknownName` and `ShapeMismatch`
    /// for what the graph does not take, `QuotaExceeded` for what its account may not hold.
    pub(crate) fn admit(
        &self,
        run: Run,
        asker: oneshot::Sender<Answered>,
        now: Instant,
    ) -> Result<(Arc<Lane>, Waiting<Caller>), TensorError> {
        let graph = self.runner.graph();
        let binding = graph.bind(run.inputs, &run.outputs)?;
        let n_rows = graph.n_rows(&binding);
        let lane = match n_rows {
            Some(n_rows) if self.joins(n_rows) => {
                let one_row = || graph.with_rows(&binding, 1);
                self.lane(binding.sizes_of_a_row(), one_row)?
            }
            _ => self.alone.clone(),
        };
        let (n_bytes, n_operations) = match (&lane.row, n_rows) {
            (Some(row), Some(1)) => (row.n_bytes, row.n_operations),
            _ => (graph.peak_bytes(&binding)?, graph.operations(&binding)),
        };
        let waiting = Waiting {
            holder: run.account.holder(),
            n_rows: n_rows.unwrap_or(1),
            n_bytes,
            n_operations,
            deadline: run.deadline,
            since: now,
            caller: Caller {
                working: run.account.charge(n_bytes, 0)?,
                n_rows: n_rows.unwrap_or(1),
                binding,
                account: run.account,
                answer: Answer::Asker(asker),
            },
        };
        Ok((lane, waiting))
    }

    /// The lane of every run of a graph whose rows are all its inputs leave open, or of
    /// `other` where they leave more.
    pub(crate) fn usual(&self, other: i64) -> Option<Arc<Lane>> {
        // Nothing is drawn here: these sizes are the model's own.
        let one_row = self.runner.graph().one_row(other)?;
        let lane = self.lane(one_row.of_a_row(), || one_row);
        lane.ok().filter(|lane| lane.row.is_some())
    }

    fn joins(&self, n_rows: usize) -> bool {
        match self.pads {
            true => (1..=MAX_ROWS).contains(&n_rows),
            false => n_rows == 1,
        }
    }

    /// The lane of runs whose rows have these sizes, made anew for `one_row` where there is
    /// none yet.
    fn lane(
        &self,
        sizes: Vec<usize>,
        one_row: impl FnOnce() -> Sized,
    ) -> Result<Arc<Lane>, TensorError> {
        let mut lanes = self.by_sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&sizes) {
            return Ok(lane.clone());
        }
        if lanes.len() == MAX_LANES {
            return Ok(self.alone.clone());
        }
        let (graph, one_row) = (self.runner.graph(), one_row());
        let lane = Lane::new(
            self.runner.clone(),
            Some(Row {
                n_bytes: graph.peak_bytes_of(&one_row.sizes)?,
                n_input_bytes: graph.input_bytes(&one_row.shapes),
                n_operations: graph.operations_of(&one_row.sizes),
                shapes: one_row.shapes,
            }),
        );
        let lane = Arc::new(lane);
        lanes.insert(sizes, lane.clone());
        Ok(lane)
    }
}

/// Tries every size that `lane` may be given, one after another, and waits for that: for a
/// model that is being loaded. `queue` puts work on a thread of the device.
fn settle(lane: &Arc<Lane>, style: &Style, queue: impl Fn(Box<dyn FnOnce() + Send>) -> bool) {
    while let Some(size) = lane.begin_trial(style, now()) {
        let (ended, end) = std::sync::mpsc::sync_channel::<()>(0);
        let (on, how) = (lane.clone(), style.clone());
        if !queue(Box::new(move || trial::run(&on, &how, size, Some(ended)))) {
            // Callers find out instead.
            lane.give_up_trial();
            return;
        }
        // It answers nothing: its end is what is waited for.
        let _ = end.recv();
    }
}
