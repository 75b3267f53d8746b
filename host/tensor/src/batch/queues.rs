//! All that waits for a device's threads, and what a free one does next.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cut::{Cut, Queue, Turn, Waiting, cut};
use super::lane::{Crowd, Decision, Lane, LaneId};
use super::{Batching, Caller, FULL_LANES, Style, trial};
use crate::workers::{Feed, Fifo, Job, Next, QueueFull};

/// How many turns are looked at for one that need not wait.
const MAX_LOOKS: usize = 8;

/// How often all who wait are looked at for some who have gone, at most.
const SWEEP: Duration = Duration::from_millis(1);

/// Runs in their lanes, and other work first in, first out; a device does one of each in
/// turn.
#[derive(Default)]
pub(crate) struct Queues {
    style: Style,
    /// Whether the device does nothing; none where a free thread is all that it takes.
    is_idle: Option<Box<dyn Fn() -> bool + Send>>,
    /// What had been begun and is to be done once more.
    again: VecDeque<Box<dyn Job>>,
    others: Fifo,
    /// Whether it is the turn of other work.
    others_turn: bool,
    runs: Queue<LaneId, Caller>,
    /// The lanes in which somebody waits.
    lanes: HashMap<LaneId, Arc<Lane>>,
    swept: Option<Instant>,
}

impl Default for Style {
    /// Of a queue that is closed.
    fn default() -> Self {
        Self {
            batching: Batching::Off,
            pads: false,
            answers_at_once: false,
            n_threads: 1,
            batch_operations: 0,
            batch_bytes: 0,
            trial_operations: 0,
            light_operations: 0,
            patience: Duration::ZERO,
            max_waiting: 0,
        }
    }
}

impl Queues {
    pub(crate) fn new(style: Style, is_idle: Option<Box<dyn Fn() -> bool + Send>>) -> Self {
        Self {
            style,
            is_idle,
            ..Self::default()
        }
    }

    /// Queues work that is no run, unless as much waits as may.
    pub(crate) fn push_other(&mut self, job: Box<dyn Job>) -> Result<(), QueueFull> {
        self.others.push(job, self.style.max_waiting)
    }

    /// Queues work that was admitted before.
    pub(crate) fn push_again(&mut self, job: Box<dyn Job>) {
        self.again.push_back(job);
    }

    /// Lets a run wait in its lane, unless that is full, or all are. Whether or not it does,
    /// those who were swept out to make room are to be answered that they expired.
    pub(crate) fn push_run(
        &mut self,
        lane: &Arc<Lane>,
        waiting: Waiting<Caller>,
    ) -> (Vec<Waiting<Caller>>, Result<(), QueueFull>) {
        let mut swept = Vec::new();
        let now = waiting.since;
        if self.is_full(lane.id) && self.swept.is_none_or(|at| now >= at + SWEEP) {
            self.swept = Some(now);
            swept = self.runs.sweep(now);
            self.lanes.retain(|lane, _| self.runs.len_of(*lane) > 0);
        }
        if self.is_full(lane.id) {
            let n_waiting = self.runs.len();
            return (swept, Err(QueueFull { n_waiting }));
        }
        self.lanes.entry(lane.id).or_insert_with(|| lane.clone());
        self.runs.push(lane.id, waiting);
        (swept, Ok(()))
    }

    fn is_full(&self, lane: LaneId) -> bool {
        let most = self.style.max_waiting;
        self.runs.len_of(lane) >= most || self.runs.len() >= most.saturating_mul(FULL_LANES)
    }

    /// What is done for the first whose turn it is and who need not wait, or when somebody
    /// need not wait any more. Not asked when nobody waits.
    fn next_run(&mut self, now: Instant) -> Next {
        let mut until: Option<Instant> = None;
        let is_idle = self.is_idle.as_ref().is_some_and(|is_idle| is_idle());
        let mut chosen: Option<(Turn<LaneId>, Decision)> = None;
        for turn in self.runs.turns().take(MAX_LOOKS) {
            let crowd = Crowd {
                n_callers: self.runs.len_of(turn.lane),
                n_rows: self.runs.rows_of(turn.lane),
                // Looked for among all who wait, and only where somebody is waited for.
                oldest: match is_idle {
                    true => self.runs.oldest_of(turn.lane).unwrap_or(now),
                    false => now,
                },
                is_idle,
            };
            match self.lanes[&turn.lane].decide(&self.style, crowd, now) {
                Decision::Wait(at) => until = Some(until.map_or(at, |until| until.min(at))),
                decision => {
                    chosen = Some((turn, decision));
                    break;
                }
            }
        }
        let Some((turn, decision)) = chosen else {
            return Next::Wait(until.unwrap_or(now));
        };
        let lane = self.lanes[&turn.lane].clone();
        match decision {
            Decision::Try(size) => {
                // It takes the device as a batch does.
                self.runs.pass(turn);
                Next::Run(Box::new(Tried {
                    lane,
                    size,
                    style: self.style.clone(),
                }))
            }
            Decision::Cut(budget) => {
                let cut = cut(&mut self.runs, turn, &budget, now);
                if self.runs.len_of(lane.id) == 0 {
                    self.lanes.remove(&lane.id);
                }
                let pads = self.style.pads;
                Next::Run(Box::new(Batch {
                    lane,
                    cut,
                    pads,
                    now,
                }))
            }
            Decision::Wait(until) => Next::Wait(until),
        }
    }
}

impl Feed for Queues {
    fn is_empty(&self) -> bool {
        self.runs.len() == 0 && self.others.is_empty() && self.again.is_empty()
    }

    fn next(&mut self, now: Instant) -> Next {
        if let Some(job) = self.again.pop_front() {
            return Next::Run(job);
        }
        let is_others_turn = std::mem::replace(&mut self.others_turn, false);
        if (is_others_turn || self.runs.len() == 0)
            && let Some(job) = self.others.pop()
        {
            return Next::Run(job);
        }
        match self.next_run(now) {
            Next::Run(job) => {
                self.others_turn = true;
                Next::Run(job)
            }
            wait @ Next::Wait(_) => self.others.pop().map_or(wait, Next::Run),
        }
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("style", &self.style)
            .field("n_waiting", &self.runs.len())
            .finish_non_exhaustive()
    }
}

/// Callers who were cut off a lane.
struct Batch {
    lane: Arc<Lane>,
    cut: Cut<Caller>,
    pads: bool,
    now: Instant,
}

impl Job for Batch {
    fn is_wanted(&self) -> bool {
        true
    }

    fn run(self: Box<Self>) {
        let Self {
            lane,
            cut,
            pads,
            now,
        } = *self;
        cut.expired.into_iter().for_each(|one| one.expire(now));
        drop(cut.given_up);
        let waited = cut
            .batch
            .iter()
            .map(|one| now.saturating_duration_since(one.since));
        let mut waited: Vec<Duration> = waited.collect();
        let mut callers: Vec<Caller> = cut.batch.into_iter().map(|one| one.caller).collect();
        while !callers.is_empty() {
            // Some may have expired, and what is left be no size that was found good.
            let n_taken = match pads {
                true => callers.len(),
                false => lane.most_of(callers.len()),
            };
            let batch: Vec<Caller> = callers.drain(..n_taken).collect();
            let waited: Duration = waited.drain(..n_taken).sum();
            let n_rows = batch.iter().map(|caller| caller.n_rows).sum();
            lane.runner.counts().add(batch.len(), n_rows, waited);
            lane.runner.clone().execute(&lane, batch);
        }
    }
}

/// A size that is to be tried.
struct Tried {
    lane: Arc<Lane>,
    size: usize,
    style: Style,
}

impl Job for Tried {
    fn is_wanted(&self) -> bool {
        true
    }

    fn run(self: Box<Self>) {
        trial::run(&self.lane, &self.style, self.size, None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::lane::tests::{lane, style};
    use super::super::{Answer, Answered};
    use super::*;
    use crate::device::cpu::now;
    use crate::{Account, TensorError};

    /// One row of `account`'s, with where its answer comes.
    fn waiting(
        account: &Account,
        since: Instant,
        deadline: Option<Instant>,
    ) -> (Waiting<Caller>, oneshot::Receiver<Answered>) {
        let (asker, answered) = oneshot::channel();
        let one = Waiting {
            holder: account.holder(),
            n_rows: 1,
            n_bytes: 10,
            n_operations: 100,
            deadline,
            since,
            caller: Caller {
                binding: crate::graph::Binding::default(),
                n_rows: 1,
                account: account.clone(),
                working: account.charge(10, 0).expect("it may hold as much"),
                answer: Answer::Asker(asker),
            },
        };
        (one, answered)
    }

    fn ample(name: &str) -> Account {
        Account::new(name, u64::MAX, u64::MAX)
    }

    #[test]
    fn a_trial_is_a_turn_of_whom_it_is_for() {
        let (flooded, other) = (Arc::new(lane(0)), Arc::new(lane(0)));
        let (flood, newcomer) = (ample("flood"), ample("newcomer"));
        let style = Style {
            max_waiting: 100,
            ..style()
        };
        let (mut queues, now) = (Queues::new(style, None), now());
        let mut answers = Vec::new();
        for _ in 0..64 {
            let (one, answer) = waiting(&flood, now, None);
            assert!(queues.push_run(&flooded, one).1.is_ok());
            answers.push(answer);
        }
        let (one, answer) = waiting(&newcomer, now, None);
        assert!(queues.push_run(&other, one).1.is_ok());
        answers.push(answer);
        // The flood's lane is tried, and it is good.
        assert!(matches!(queues.next_run(now), Next::Run(_)));
        assert_eq!(queues.runs.len(), 65, "nobody is cut for a trial");
        flooded.learn(super::super::ladder::Finding::Good, now);
        let next = queues.runs.turns().next().expect("all wait");
        assert_eq!((next.holder, next.lane), (newcomer.holder(), other.id));
    }

    #[test]
    fn who_expired_is_told_so_even_where_one_more_finds_no_place() {
        let (late, full) = (Arc::new(lane(0)), Arc::new(lane(0)));
        let account = ample("a test");
        let style = Style {
            max_waiting: 2,
            ..style()
        };
        let (mut queues, start) = (Queues::new(style, None), now());
        let deadline = start + Duration::from_millis(1);
        let (one, mut expired) = waiting(&account, start, Some(deadline));
        assert!(queues.push_run(&late, one).1.is_ok());
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (one, answer) = waiting(&account, start, None);
            assert!(queues.push_run(&full, one).1.is_ok());
            answers.push(answer);
        }
        let later = start + Duration::from_millis(3);
        let (one, _answer) = waiting(&account, later, None);
        let (swept, pushed) = queues.push_run(&full, one);
        assert_eq!(pushed, Err(QueueFull { n_waiting: 2 }));
        assert_eq!(swept.len(), 1);
        swept.into_iter().for_each(|one| one.expire(later));
        let error = expired.try_recv().expect("it was answered").unwrap_err();
        let late = Duration::from_millis(2);
        assert_eq!(error, TensorError::Expired { late });
        assert_eq!(account.bytes(), 20, "and holds nothing any more");
    }
}
