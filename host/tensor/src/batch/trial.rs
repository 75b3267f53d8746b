//! Finds out whether rows score the same together as alone, before a caller's rows are
//! joined: drawn rows go the way that every caller's go, and their answers are compared.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::ladder::Finding;
use super::lane::Lane;
use super::{Answer, Answered, Batching, Caller, Style, draw};
use crate::device::cpu::{CpuStorage, now};
use crate::graph::Binding;
use crate::{Dtype, Tensor, TensorError};

/// Rows that are run alone too: the first and the last of a batch, so many of each. Where
/// a row stands is what an answer could depend on.
const N_AT_AN_END: usize = 4;

/// Rows that a trial draws at least, as many batches as they fill. A sum that begins
/// elsewhere in another place of a batch often comes out the same for one row or two.
const MIN_DRAWN: usize = 32;

/// How often each is timed; the least counts, since a busy machine only adds to it.
const N_TIMED: usize = 3;

/// What a batch may take of its rows' time alone to be worth it.
const WORTH_IT: f64 = 0.95;

/// How far apart close rows may be, of the larger of 1 and the number itself.
const CLOSE: f64 = 1e-5;

/// Which answer of a trial it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Of what is run first, so that all plans are made.
    Warm,
    /// Of a row in the batch.
    Together(usize),
    /// Of the same row alone.
    Alone(usize),
}

/// Rows on their way, and what came of them.
#[derive(Debug)]
pub(crate) struct Trial {
    lane: Arc<Lane>,
    size: usize,
    answers: Mutex<Answers>,
    /// Dropped with the trial, for whoever waits for its end.
    _ended: Option<mpsc::SyncSender<()>>,
}

#[derive(Debug, Default)]
struct Answers {
    together: Vec<(usize, Answered)>,
    alone: Vec<(usize, Answered)>,
    /// When the last answer of each kind came.
    warm_at: Option<Instant>,
    together_at: Option<Instant>,
    alone_at: Option<Instant>,
    /// Whether the batch is not worth it, where that was timed on the thread.
    is_slow: Option<bool>,
    /// Whether there is nothing to try it with.
    is_undrawn: bool,
}

/// Tries batches of `size` rows of `lane`; what it finds, the lane learns when the last
/// answer is there. On a device's thread.
pub(super) fn run(
    lane: &Arc<Lane>,
    style: &Style,
    size: usize,
    ended: Option<mpsc::SyncSender<()>>,
) {
    let trial = Arc::new(Trial {
        lane: lane.clone(),
        size,
        answers: Mutex::default(),
        _ended: ended,
    });
    let Some(row) = &lane.row else { return };
    let (account, range) = (draw::account(), lane.range());
    let graph = lane.runner.graph();
    let n_batches = n_batches(size);
    let drawn = 0..n_batches * size;
    let drawn = drawn.map(|index| draw::row(graph, &row.shapes, index, range, &account));
    let Some(drawn) = drawn.collect::<Option<Vec<Binding>>>() else {
        trial.lock().is_undrawn = true;
        return;
    };
    let caller = |index: usize, answer: Answer| Caller {
        binding: drawn[index].clone(),
        n_rows: 1,
        account: account.clone(),
        working: account.charge(0, 0).expect("nothing passes no limit"),
        answer,
    };
    let to = |place: Place| Answer::Trial(trial.clone(), place);
    let execute = |callers: Vec<Caller>| lane.runner.clone().execute(lane, callers);
    let all = |batch: usize, place: fn(usize) -> Place| -> Vec<Caller> {
        let rows = batch * size..(batch + 1) * size;
        rows.map(|row| caller(row, to(place(row)))).collect()
    };
    if !style.answers_at_once {
        execute(vec![caller(0, to(Place::Warm))]);
        execute(all(0, |_| Place::Warm));
    }
    for batch in 0..n_batches {
        execute(all(batch, Place::Together));
    }
    for row in sampled(size) {
        execute(vec![caller(row, to(Place::Alone(row)))]);
    }
    if style.batching == Batching::WhereEqual {
        trial.lock().is_slow = Some(false);
    } else if style.answers_at_once {
        let time = |rows: Vec<usize>| {
            let callers = rows.into_iter().map(|row| caller(row, Answer::Nobody));
            let callers = callers.collect();
            let start = now();
            execute(callers);
            start.elapsed()
        };
        let mut least = [Duration::MAX; 2];
        for _ in 0..N_TIMED {
            least[0] = least[0].min(time((0..size).collect()));
            for row in sampled(size).take_while(|row| *row < size) {
                least[1] = least[1].min(time(vec![row]));
            }
        }
        trial.lock().is_slow = Some(is_slow(size, least[0], least[1]));
    }
}

/// Batches that a trial of `size` runs to compare them.
fn n_batches(size: usize) -> usize {
    (MIN_DRAWN / size).max(1)
}

/// Rows that a trial of `size` draws.
pub(super) fn n_drawn(size: usize) -> u64 {
    (n_batches(size) * size) as u64
}

/// Rows that a trial of `size` computes, those of several times as often, at most.
pub(super) fn n_computed(style: &Style, size: usize) -> u64 {
    let again = match style.answers_at_once {
        true => 2 * N_TIMED * size,
        // The plans that are made first.
        false => size + 1,
    };
    2 * n_drawn(size) + again as u64
}

/// Whether a batch of `size` that takes `together` is not worth it beside rows that take
/// `alone` each.
fn is_slow(size: usize, together: Duration, alone: Duration) -> bool {
    together.as_secs_f64() > WORTH_IT * alone.as_secs_f64() * size as f64
}

/// The rows that are run alone too, of all batches.
fn sampled(size: usize) -> impl Iterator<Item = usize> {
    (0..n_batches(size) * size).filter(move |row| {
        let place = row % size;
        place < N_AT_AN_END || place + N_AT_AN_END >= size
    })
}

impl Trial {
    fn lock(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one answer.
    pub(super) fn take(&self, place: Place, answered: Answered) {
        let mut answers = self.lock();
        let at = Some(now());
        match place {
            Place::Warm => answers.warm_at = at,
            Place::Together(row) => {
                answers.together.push((row, answered));
                answers.together_at = at;
            }
            Place::Alone(row) => {
                answers.alone.push((row, answered));
                answers.alone_at = at;
            }
        }
    }

    fn finding(&self, answers: &Answers) -> Finding {
        if answers.is_undrawn {
            return Finding::Refused("no rows can be drawn for it".to_owned());
        }
        let is_exact = self.lane.runner.graph().rows_are_exact();
        let n_sampled = sampled(self.size).count();
        if answers.together.len() != n_batches(self.size) * self.size
            || answers.alone.len() != n_sampled
        {
            return Finding::Unanswered;
        }
        for (row, alone) in &answers.alone {
            let together = answers.together.iter().find(|(known, _)| known == row);
            let pair = (alone, together.map(|(_, answered)| answered));
            let (alone, together) = match pair {
                (Ok(Some(alone)), Some(Ok(Some(together)))) => (alone, together),
                (Err(TensorError::RunFailed { .. }), _)
                | (_, Some(Err(TensorError::RunFailed { .. }))) => return Finding::Unfit,
                _ => return Finding::Unanswered,
            };
            for (output, (alone, together)) in alone.iter().zip(together).enumerate() {
                if let Err(why) = agree(alone, together, is_exact) {
                    return Finding::Refused(format!(
                        "output {output} of row {row} of {} {why}",
                        self.size
                    ));
                }
            }
        }
        match answers.is_slow.unwrap_or_else(|| self.was_slow(answers)) {
            true => Finding::Slow,
            false => Finding::Good,
        }
    }

    /// Of a device that answers later, one submission after the other: from the last answer
    /// of what came before to the last of its own.
    fn was_slow(&self, answers: &Answers) -> bool {
        let (Some(warm), Some(together), Some(alone)) =
            (answers.warm_at, answers.together_at, answers.alone_at)
        else {
            return false;
        };
        let n_sampled = sampled(self.size).count() as u32;
        let each = alone.saturating_duration_since(together) / n_sampled;
        let batch = together.saturating_duration_since(warm) / n_batches(self.size) as u32;
        is_slow(self.size, batch, each)
    }
}

impl Drop for Trial {
    /// With the last answer, or with the last caller that will not be answered.
    fn drop(&mut self) {
        let answers = std::mem::take(&mut *self.lock());
        let finding = self.finding(&answers);
        tracing::debug!(
            model = %self.lane.runner.graph().digest(), size = self.size, ?finding,
            "a batch was tried"
        );
        if let Some(why) = self.lane.learn(finding, now())
            && self.lane.runner.counts().is_first_refusal()
        {
            tracing::warn!(
                model = %self.lane.runner.graph().digest(), why,
                "rows of this model run alone"
            );
        }
    }
}

/// Whether a row's output is the same alone and together.
fn agree(alone: &Tensor, together: &Tensor, is_exact: bool) -> Result<(), &'static str> {
    if (alone.dtype(), alone.shape()) != (together.dtype(), together.shape()) {
        return Err("has another shape in a batch");
    }
    let left = CpuStorage::bytes(alone.storage());
    let right = CpuStorage::bytes(together.storage());
    let (Some(left), Some(right)) = (left, right) else {
        return Err("is too large to be compared");
    };
    let is_same = match (is_exact, alone.dtype()) {
        (false, Dtype::F32) => is_close(left, right),
        _ => left == right,
    };
    is_same.then_some(()).ok_or("differs from the row alone")
}

fn is_close(left: &[u8], right: &[u8]) -> bool {
    let floats = |bytes: &[u8]| -> Vec<f64> {
        let (words, _) = bytes.as_chunks();
        let floats = words.iter().map(|word| f32::from_le_bytes(*word));
        floats.map(f64::from).collect()
    };
    let pairs = floats(left).into_iter().zip(floats(right));
    pairs.into_iter().all(|(left, right)| {
        // Both infinite, or both not a number, is the same.
        left.to_bits() == right.to_bits() || (left - right).abs() <= CLOSE * left.abs().max(1.0)
    })
}
