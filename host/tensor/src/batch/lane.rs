//! Runs of one model and one set of shapes: what is known of running their rows together,
//! and what a free thread does with those who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cut::Budget;
use super::ladder::{Finding, Ladder, SIZES};
use super::{Batching, Runner, Style, draw, trial};

/// A lane, told from the others of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneId(u64);

/// How long ago a batch may have ended for the next to be waited for: whoever was
/// answered asks again within this, or not soon.
const LATELY: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) runner: Arc<dyn Runner>,
    /// None where every run stays alone.
    pub(crate) row: Option<Row>,
    known: Mutex<Known>,
}

/// What one row of a lane is.
#[derive(Debug)]
pub(crate) struct Row {
    /// Shapes of all inputs, of one row.
    pub(crate) shapes: Vec<Vec<usize>>,
    /// What a run of it holds at its peak, its inputs left out.
    pub(crate) n_bytes: u64,
    /// Of its inputs.
    pub(crate) n_input_bytes: u64,
    pub(crate) n_operations: u64,
}

#[derive(Debug, Default)]
struct Known {
    ladder: Ladder,
    last: Option<Last>,
}

/// The batch that ended last.
#[derive(Debug)]
struct Last {
    n_callers: usize,
    ended: Instant,
    took: Duration,
}

/// Who waits in a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) n_callers: usize,
    pub(crate) n_rows: usize,
    pub(crate) oldest: Instant,
    /// Whether the device does nothing meanwhile.
    pub(crate) is_idle: bool,
}

/// What a free thread does with a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Cuts a batch of at most this and runs it.
    Cut(Budget),
    /// Finds out about a batch of so many rows.
    Try(usize),
    /// Waits until then for more to come.
    Wait(Instant),
}

impl Row {
    /// What it takes with its inputs.
    pub(crate) fn all_bytes(&self) -> u64 {
        self.n_bytes.saturating_add(self.n_input_bytes)
    }
}

impl Lane {
    pub(crate) fn new(runner: Arc<dyn Runner>, row: Option<Row>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LaneId(NEXT.fetch_add(1, Ordering::Relaxed)),
            runner,
            row,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread that is free at `now` does for `crowd`. A size that it says is to be
    /// tried is being tried from then on.
    pub(crate) fn decide(&self, style: &Style, crowd: Crowd, now: Instant) -> Decision {
        let alone = Budget {
            n_callers: 1,
            n_rows: usize::MAX,
            n_bytes: u64::MAX,
            n_operations: u64::MAX,
        };
        let Some(row) = &self.row else {
            return Decision::Cut(alone);
        };
        let mut known = self.known();
        // Each thread leaves the others their share.
        let share = match style.pads {
            true => crowd.n_rows,
            false => crowd.n_rows.div_ceil(style.n_threads),
        };
        let most = style.most_rows(row);
        let tried = share.min(style.most(row));
        if crowd.n_callers > 1
            && let Some(size) = known.ladder.to_try(tried, now)
        {
            known.ladder.begin();
            return Decision::Try(size);
        }
        let n_rows = match style.pads {
            true => known.ladder.most_of(most),
            false => known.ladder.most_of(share.min(most)),
        };
        if n_rows == 1 {
            return Decision::Cut(alone);
        }
        if let Some(until) = known.patience(style, crowd, n_rows, now) {
            return Decision::Wait(until);
        }
        Decision::Cut(Budget {
            n_callers: usize::MAX,
            n_rows,
            n_bytes: style.batch_bytes,
            n_operations: style.batch_operations,
        })
    }

    /// The largest good batch of at most `n_rows`.
    pub(crate) fn most_of(&self, n_rows: usize) -> usize {
        self.known().ladder.most_of(n_rows)
    }

    /// The next size to be tried, whoever waits; it is being tried from then on.
    pub(crate) fn begin_trial(&self, style: &Style, now: Instant) -> Option<usize> {
        let row = self.row.as_ref()?;
        let most = style.most(row);
        let mut known = self.known();
        let size = known.ladder.to_try(most, now)?;
        known.ladder.begin();
        Some(size)
    }

    /// Where whole numbers of a trial are drawn from: below this.
    pub(crate) fn range(&self) -> u64 {
        self.known().ladder.range()
    }

    /// Notes that the trial that began is not made: it says nothing of the rows.
    pub(crate) fn give_up_trial(&self) {
        self.known().ladder.give_up();
    }

    /// Learns at `now` what a trial found, and tells why rows run alone from now on, if they do.
    pub(crate) fn learn(&self, finding: Finding, now: Instant) -> Option<String> {
        let mut known = self.known();
        known.ladder.learn(finding, now);
        known.ladder.refusal().map(str::to_owned)
    }

    /// Rows of the largest batch, one where two were no faster together; or why rows are
    /// neither joined nor tried.
    pub(crate) fn found(&self, style: &Style) -> Result<usize, String> {
        let known = self.known();
        if let Some(why) = known.ladder.refusal() {
            return Err(why.to_owned());
        }
        let most = self.row.as_ref().map_or(1, |row| style.most(row));
        match most {
            0 | 1 => Err("two at once are more than a batch or a trial may take".to_owned()),
            _ => Ok(known.ladder.largest()),
        }
    }

    /// Notes that a batch has ended.
    pub(crate) fn ended(&self, n_callers: usize, took: Duration, ended: Instant) {
        self.known().last = Some(Last {
            n_callers,
            ended,
            took,
        });
    }
}

impl Known {
    /// Until when more are waited for: only while the device is idle, others came together
    /// a moment ago and there is room for them, and never for long beside what a batch takes.
    fn patience(
        &self,
        style: &Style,
        crowd: Crowd,
        n_rows: usize,
        now: Instant,
    ) -> Option<Instant> {
        let last = self.last.as_ref()?;
        let expected = last.n_callers.min(n_rows);
        let is_busy = now.saturating_duration_since(last.ended) < LATELY;
        if !crowd.is_idle || !is_busy || crowd.n_callers >= expected || crowd.n_rows >= n_rows {
            return None;
        }
        let until = crowd.oldest + style.patience.min(last.took / 2);
        (now < until).then_some(until)
    }
}

impl Style {
    /// Rows of the largest batch of such rows that may be run.
    fn most_rows(&self, row: &Row) -> usize {
        if self.batching == Batching::Off {
            return 1;
        }
        let fits = |size: &&usize| {
            let n = **size as u64;
            n.saturating_mul(row.n_operations.max(1)) <= self.batch_operations
                && n.saturating_mul(row.all_bytes()) <= self.batch_bytes
        };
        SIZES.iter().take_while(fits).last().copied().unwrap_or(1)
    }

    /// Rows of the largest batch of such rows that may be tried and then run.
    fn most(&self, row: &Row) -> usize {
        self.most_rows(row).min(self.most_tried(row))
    }

    /// Rows of the largest batch of such rows that may be tried.
    fn most_tried(&self, row: &Row) -> usize {
        let each = row.n_operations.max(row.n_input_bytes).max(1);
        let fits = |size: &&usize| {
            let n_computed = trial::n_computed(self, **size);
            // They are all there at once, and then their answers.
            let n_held = 2 * trial::n_drawn(**size);
            each.saturating_mul(n_computed) <= self.trial_operations
                && row.all_bytes().saturating_mul(n_held) <= draw::MAX_BYTES
        };
        SIZES.iter().take_while(fits).last().copied().unwrap_or(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Graph;
    use crate::batch::{Caller, Counts};
    use crate::device::cpu::now;

    /// Is never asked to compute.
    #[derive(Debug)]
    struct Idle;

    impl Runner for Idle {
        fn graph(&self) -> &Arc<Graph> {
            unreachable!("a decision looks at no graph")
        }

        fn counts(&self) -> &Counts {
            unreachable!("a decision counts nothing")
        }

        fn execute(self: Arc<Self>, _lane: &Arc<Lane>, _callers: Vec<Caller>) {
            unreachable!("a decision runs nothing")
        }
    }

    /// A lane whose first `n_good` sizes are known to be good.
    pub(in crate::batch) fn lane(n_good: usize) -> Lane {
        let row = Row {
            shapes: vec![vec![1, 4]],
            n_bytes: 10,
            n_input_bytes: 16,
            n_operations: 100,
        };
        let lane = Lane::new(Arc::new(Idle), Some(row));
        for _ in 0..n_good {
            lane.learn(Finding::Good, now());
        }
        lane
    }

    pub(in crate::batch) fn style() -> Style {
        Style {
            batching: Batching::WhereFaster,
            pads: true,
            n_threads: 1,
            batch_operations: 1_600,
            batch_bytes: 10_000,
            trial_operations: 1_000_000,
            patience: Duration::from_micros(500),
            ..Style::default()
        }
    }

    fn crowd(n_callers: usize, oldest: Instant) -> Crowd {
        Crowd {
            n_callers,
            n_rows: n_callers,
            oldest,
            is_idle: true,
        }
    }

    fn n_rows(decision: &Decision) -> usize {
        match decision {
            Decision::Cut(budget) => budget.n_rows.min(budget.n_callers),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_is_tried_with_and_nobody_waits_where_nobody_else_does() {
        let (lane, now) = (lane(0), now());
        assert_eq!(n_rows(&lane.decide(&style(), crowd(1, now), now)), 1);
        assert_eq!(lane.decide(&style(), crowd(2, now), now), Decision::Try(2));
        // And meanwhile all go alone.
        assert_eq!(n_rows(&lane.decide(&style(), crowd(9, now), now)), 1);
    }

    #[test]
    fn no_batch_is_larger_than_was_found_good_or_takes_more_than_it_may() {
        let now = now();
        // 2, 4 and 8 are good.
        assert_eq!(n_rows(&lane(3).decide(&style(), crowd(9, now), now)), 8);
        // 1,600 operations are 16 rows.
        let all = lane(6);
        assert_eq!(n_rows(&all.decide(&style(), crowd(60, now), now)), 16);
        assert_eq!(all.begin_trial(&style(), now), None);
        let shared = Style {
            pads: false,
            n_threads: 3,
            ..style()
        };
        // A third of seven, and no size is between.
        assert_eq!(n_rows(&all.decide(&shared, crowd(7, now), now)), 2);
    }

    #[test]
    fn rows_are_few_where_their_inputs_are_large() {
        let large = |n_input_bytes| Row {
            shapes: vec![vec![1, 4]],
            n_bytes: 10,
            n_input_bytes,
            n_operations: 1,
        };
        assert_eq!(style().most_rows(&large(990)), 8);
        assert_eq!(style().most_rows(&large(u64::MAX)), 1);
        let roomy = Style {
            batch_bytes: u64::MAX,
            trial_operations: u64::MAX,
            ..style()
        };
        assert_eq!(roomy.most_tried(&large(draw::MAX_BYTES / 100)), 32);
        assert_eq!(roomy.most_tried(&large(u64::MAX)), 1);
    }

    #[test]
    fn an_idle_device_waits_a_moment_for_as_many_as_came_together_lately() {
        let (lane, start) = (lane(6), now());
        let at = |micros| start + Duration::from_micros(micros);
        let took = Duration::from_millis(4);
        assert_eq!(n_rows(&lane.decide(&style(), crowd(1, start), start)), 16);
        lane.ended(12, took, start);
        let decide = |n, now| lane.decide(&style(), crowd(n, at(10)), now);
        assert_eq!(decide(3, at(20)), Decision::Wait(at(510)));
        assert_eq!(n_rows(&decide(12, at(20))), 16, "all are there");
        assert_eq!(n_rows(&decide(3, at(510))), 16, "it has waited");
        let busy = Crowd {
            is_idle: false,
            ..crowd(3, at(10))
        };
        assert_eq!(n_rows(&lane.decide(&style(), busy, at(20))), 16);
        // Never long beside what a batch takes, nor for those who came long ago.
        lane.ended(12, Duration::from_micros(60), start);
        assert_eq!(decide(3, at(20)), Decision::Wait(at(40)));
        let later = at(10_000);
        assert_eq!(n_rows(&lane.decide(&style(), crowd(3, later), later)), 16);
    }
}
