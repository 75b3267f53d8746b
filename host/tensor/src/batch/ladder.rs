//! How many rows run together: what was found out about each size of a batch, smallest
//! first. Pure; who tries a size is told by it, and tells it what came out.

use std::time::{Duration, Instant};

/// The sizes of batches. A plan is made for each that is used, so they are few.
pub(crate) const SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Rows of the largest batch.
pub(crate) const MAX_ROWS: usize = SIZES[SIZES.len() - 1];

/// Ranges that whole numbers are drawn from for a trial, `0..n`: an input may be an index
/// into a table of any length, and 0 is within every one.
pub(crate) const RANGES: [u64; 3] = [64, 2, 1];

/// Trials that a size is given when a device does not answer.
const MAX_UNANSWERED: u32 = 3;

/// How long after a size seemed to gain nothing for the second time it is tried once more,
/// since a machine that was busy may have held up the batch and not the rows; four times as
/// long after each further time.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest of these.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// The least size that holds `n_rows`, or as many when none does.
pub(crate) fn size_for(n_rows: usize) -> usize {
    let size = SIZES.iter().find(|size| **size >= n_rows);
    size.copied().unwrap_or(n_rows)
}

/// What a trial of a size found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Each row is what it is alone, and the batch is worth it.
    Good,
    /// Each row is what it is alone, and alone they are as fast.
    Slow,
    /// A row differs, or cannot be compared.
    Refused(String),
    /// The model cannot compute on the numbers that were drawn.
    Unfit,
    /// The device did not answer.
    Unanswered,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    /// Sizes that are good: the first so many of [`SIZES`], beyond the size of one row.
    n_good: usize,
    state: State,
    /// Of [`RANGES`].
    range: usize,
    n_unanswered: u32,
    n_slow: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The next size is being tried.
    Trying,
    /// The next size seemed to gain nothing; it is tried again then.
    Resting(Instant),
    /// Rows run alone, and why.
    Refused(String),
}

impl Ladder {
    /// The largest size that is good.
    pub(crate) fn largest(&self) -> usize {
        SIZES[self.n_good]
    }

    /// The largest good size of at most `n_rows`, and one at least.
    pub(crate) fn most_of(&self, n_rows: usize) -> usize {
        let good = SIZES[..=self.n_good].iter().rev();
        let mut fitting = good.filter(|size| **size <= n_rows);
        fitting.next().copied().unwrap_or(1)
    }

    /// The size to be tried at `now`, when one of at most `most` rows is: the next.
    pub(crate) fn to_try(&self, most: usize, now: Instant) -> Option<usize> {
        let next = *SIZES.get(self.n_good + 1)?;
        let is_open = match &self.state {
            State::Open => true,
            State::Resting(until) => now >= *until,
            State::Trying | State::Refused(_) => false,
        };
        (is_open && next <= most).then_some(next)
    }

    /// Notes that the next size is being tried.
    pub(crate) fn begin(&mut self) {
        self.state = State::Trying;
    }

    /// Notes that the trial that began is not made, so that another may.
    pub(crate) fn give_up(&mut self) {
        if self.state == State::Trying {
            self.state = State::Open;
        }
    }

    /// Where the numbers of a trial are drawn from.
    pub(crate) fn range(&self) -> u64 {
        RANGES[self.range]
    }

    /// Learns at `now` what the trial that began found.
    pub(crate) fn learn(&mut self, finding: Finding, now: Instant) {
        let refused = |why: &str| State::Refused(why.to_owned());
        self.state = match finding {
            Finding::Good => {
                self.n_good += 1;
                (self.n_unanswered, self.n_slow) = (0, 0);
                State::Open
            }
            Finding::Slow => {
                self.n_slow += 1;
                match self.n_slow {
                    1 => State::Open,
                    n => {
                        let rest = FIRST_REST.saturating_mul(4_u32.saturating_pow(n - 2));
                        State::Resting(now + rest.min(LONGEST_REST))
                    }
                }
            }
            Finding::Refused(why) => State::Refused(why),
            Finding::Unfit if self.range + 1 < RANGES.len() => {
                self.range += 1;
                State::Open
            }
            Finding::Unfit => refused("it computes on none of the numbers that were drawn for it"),
            Finding::Unanswered => {
                self.n_unanswered += 1;
                match self.n_unanswered < MAX_UNANSWERED {
                    true => State::Open,
                    false => refused("the device did not answer when it was tried"),
                }
            }
        };
        if matches!(self.state, State::Refused(_)) {
            self.n_good = 0;
        }
    }

    /// Why rows run alone for good.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match &self.state {
            State::Refused(why) => Some(why),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_size_is_used_once_it_and_all_below_were_found_good() {
        let (mut ladder, now) = (Ladder::default(), now());
        assert_eq!((ladder.largest(), ladder.most_of(64)), (1, 1));
        assert_eq!(ladder.to_try(1, now), None);
        for size in [2, 4, 8] {
            assert_eq!(ladder.to_try(64, now), Some(size));
            ladder.begin();
            assert_eq!(ladder.to_try(64, now), None, "one trial at a time");
            ladder.learn(Finding::Good, now);
        }
        assert_eq!(ladder.largest(), 8);
        let most: Vec<usize> = [0, 1, 3, 7, 8, 64].map(|n| ladder.most_of(n)).to_vec();
        assert_eq!(most, [1, 1, 2, 4, 8, 8]);
        assert_eq!(ladder.to_try(15, now), None, "nobody would fill it");
    }

    #[test]
    fn what_gains_nothing_is_tried_ever_more_rarely_and_what_differs_never_again() {
        let (mut ladder, now) = (Ladder::default(), now());
        ladder.learn(Finding::Good, now);
        ladder.learn(Finding::Slow, now);
        assert_eq!(
            (ladder.largest(), ladder.to_try(64, now)),
            (2, Some(4)),
            "once more"
        );
        ladder.learn(Finding::Slow, now);
        assert_eq!((ladder.largest(), ladder.to_try(64, now)), (2, None));
        for seconds in [1, 4, 16, 64, 256, 600, 600] {
            let later = |millis| now + Duration::from_millis(millis);
            assert_eq!(ladder.to_try(64, later(1000 * seconds - 1)), None);
            assert_eq!(ladder.to_try(64, later(1000 * seconds)), Some(4));
            ladder.learn(Finding::Slow, now);
        }
        let mut ladder = Ladder::default();
        ladder.learn(Finding::Good, now);
        ladder.learn(Finding::Refused("it differs".to_owned()), now);
        assert_eq!((ladder.largest(), ladder.to_try(64, now)), (1, None));
        assert_eq!(ladder.refusal(), Some("it differs"));
    }

    #[test]
    fn numbers_are_drawn_from_smaller_ranges_until_they_fit() {
        let (mut ladder, now) = (Ladder::default(), now());
        for range in RANGES {
            assert_eq!((ladder.range(), ladder.to_try(2, now)), (range, Some(2)));
            ladder.begin();
            ladder.learn(Finding::Unfit, now);
        }
        assert!(ladder.refusal().is_some());
    }

    #[test]
    fn a_trial_that_is_not_made_says_nothing() {
        let (mut ladder, now) = (Ladder::default(), now());
        for _ in 0..2 * MAX_UNANSWERED {
            assert_eq!(ladder.to_try(2, now), Some(2));
            ladder.begin();
            ladder.give_up();
        }
        assert_eq!(ladder.refusal(), None);
        ladder.learn(Finding::Refused("it differs".to_owned()), now);
        ladder.give_up();
        assert_eq!(ladder.refusal(), Some("it differs"));
    }

    #[test]
    fn a_device_that_does_not_answer_is_tried_again_a_few_times() {
        let (mut ladder, now) = (Ladder::default(), now());
        for _ in 0..MAX_UNANSWERED {
            assert_eq!(ladder.to_try(2, now), Some(2));
            ladder.learn(Finding::Unanswered, now);
        }
        assert_eq!(ladder.to_try(2, now), None);
    }
}
