//! What is counted of one arm.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::score::Watched;
use super::{Answer, Outcome};
use crate::blame::Blame;
use crate::policy::Action;

/// Two bits of a duration below its highest decide its bin: bins are a fifth wide or less.
const SUB_BITS: u32 = 2;
/// Durations from 2⁴⁰ µs, twelve days, on share the last bin.
const OCTAVES: u32 = 40;
const N_LATENCY_BINS: usize = (OCTAVES << SUB_BITS) as usize;

pub(super) const N_ACTIONS: usize = Action::ALL.len();

/// What is counted of one arm's calls: bounded, whatever comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Calls that count: answered, or the guest's own failures.
    pub(super) n_calls: u64,
    pub(super) n_faults: u64,
    pub(super) n_missed: u64,
    /// Calls that the host or the caller failed.
    pub(super) n_of_others: u64,
    pub(super) n_answers: u64,
    latencies: Vec<u64>,
    pub(super) actions: [u64; N_ACTIONS],
    /// By label, by bin.
    pub(super) scores: Vec<Vec<u64>>,
}

/// A call as the tests see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) took_us: u64,
    /// Its place in [`Action::ALL`].
    pub(super) action: Option<u8>,
    /// By watched label.
    pub(super) bins: Vec<Option<u8>>,
}

/// What kind of call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Answered,
    Fault,
    Missed,
    /// The host or the caller failed it: it counts for nothing.
    OfOthers,
}

impl Kind {
    pub(super) fn of(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Answered(_) => Self::Answered,
            Outcome::Failed {
                blame: Blame::Host | Blame::Caller,
                ..
            } => Self::OfOthers,
            Outcome::Failed {
                missed_deadline: true,
                ..
            } => Self::Missed,
            Outcome::Failed { .. } => Self::Fault,
        }
    }
}

impl Seen {
    pub(super) fn of(answer: &Answer<'_>, watched: &[Watched]) -> Self {
        let bin = |watched: &Watched| {
            let said = answer
                .probabilities
                .iter()
                .find(|(label, _)| *label == watched.label);
            said.map(|(_, probability)| watched.bins.of_probability(*probability))
        };
        Self {
            took_us: micros(answer.took),
            action: answer.action.map(place),
            bins: watched.iter().map(bin).collect(),
        }
    }
}

impl Seen {
    pub(super) fn fits(&self, watched: &[Watched]) -> bool {
        let within = |(bin, watched): (&Option<u8>, &Watched)| {
            bin.is_none_or(|bin| usize::from(bin) < watched.bins.n_bins())
        };
        self.bins.len() == watched.len()
            && self.bins.iter().zip(watched).all(within)
            && self
                .action
                .is_none_or(|action| usize::from(action) < N_ACTIONS)
    }
}

impl Tally {
    pub(super) fn new(watched: &[Watched]) -> Self {
        let bins = |watched: &Watched| vec![0; watched.bins.n_bins()];
        Self {
            n_calls: 0,
            n_faults: 0,
            n_missed: 0,
            n_of_others: 0,
            n_answers: 0,
            latencies: vec![0; N_LATENCY_BINS],
            actions: [0; N_ACTIONS],
            scores: watched.iter().map(bins).collect(),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, seen: Option<&Seen>) {
        match kind {
            Kind::OfOthers => {
                self.n_of_others += 1;
                return;
            }
            Kind::Fault => self.n_faults += 1,
            Kind::Missed => self.n_missed += 1,
            Kind::Answered => self.n_answers += 1,
        }
        self.n_calls += 1;
        let Some(seen) = seen else { return };
        self.latencies[latency_bin(seen.took_us)] += 1;
        if let Some(action) = seen.action {
            self.actions[usize::from(action)] += 1;
        }
        for (counts, bin) in self.scores.iter_mut().zip(&seen.bins) {
            if let Some(bin) = bin {
                counts[usize::from(*bin)] += 1;
            }
        }
    }

    /// Whether the state fits what is watched.
    pub(super) fn fits(&self, watched: &[Watched]) -> bool {
        let n_bins = watched.iter().map(|watched| watched.bins.n_bins());
        // Counts that sum up to more could not have been counted.
        let counts = [self.n_calls, self.n_of_others, self.n_faults, self.n_missed];
        let counts = counts.iter().chain(&self.latencies).chain(&self.actions);
        let mut counts = counts.chain(self.scores.iter().flatten());
        self.latencies.len() == N_LATENCY_BINS
            && self.scores.iter().map(Vec::len).eq(n_bins)
            && self.n_faults <= self.n_calls
            && self.n_missed <= self.n_calls
            && counts.all(|count| *count < 1 << 50)
    }

    /// Forgets half of everything, so that what is old weighs less and less.
    pub(super) fn halve(&mut self) {
        let counts = [
            &mut self.n_calls,
            &mut self.n_faults,
            &mut self.n_missed,
            &mut self.n_of_others,
            &mut self.n_answers,
        ];
        let counts = counts
            .into_iter()
            .chain(&mut self.latencies)
            .chain(&mut self.actions);
        counts
            .chain(self.scores.iter_mut().flatten())
            .for_each(|count| *count /= 2);
    }

    /// A latency in microseconds that at least `fraction` of answers stay within, and how
    /// many answers take longer; none without answers.
    pub(super) fn quantile(&self, fraction: f64) -> Option<(u64, u64)> {
        let n: u64 = self.latencies.iter().sum();
        let mut below = 0;
        for (bin, count) in self.latencies.iter().enumerate() {
            below += count;
            if below > 0 && below as f64 >= fraction * n as f64 {
                return Some((latency_edge(bin), n - below));
            }
        }
        None
    }

    /// Answers of which the latency was kept.
    pub(super) fn n_latencies(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// Items with a verdict, and those with this one or a stricter one.
    pub(super) fn at_least(&self, action: usize) -> (u64, u64) {
        (
            self.actions.iter().sum(),
            self.actions[action..].iter().sum(),
        )
    }
}

/// The place of an action in [`Action::ALL`].
fn place(action: Action) -> u8 {
    let place = Action::ALL.iter().position(|other| *other == action);
    u8::try_from(place.expect("ALL holds every action")).expect("there are five")
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn latency_bin(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2();
    if octave >= OCTAVES {
        return N_LATENCY_BINS - 1;
    }
    let below_highest = (micros << (u64::BITS - 1 - octave)) << 1 >> (u64::BITS - SUB_BITS);
    let bin = u64::from(octave << SUB_BITS) + below_highest;
    usize::try_from(bin).expect("fewer than 2^32 bins")
}

/// The greatest whole latency that falls into a bin, in microseconds.
fn latency_edge(bin: usize) -> u64 {
    let (octave, sub) = (bin >> SUB_BITS, (bin as u64) & ((1 << SUB_BITS) - 1));
    let quarters = ((1_u128 << SUB_BITS) + u128::from(sub) + 1) << octave;
    u64::try_from((quarters - 1) >> SUB_BITS).unwrap_or(u64::MAX)
}

/// What a revision was like while it was live, for the one that comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub(super) watched: Vec<Watched>,
    pub(super) tally: Tally,
}

impl Baseline {
    /// Calls after which the older ones weigh half.
    const MAX_CALLS: u64 = 200_000;

    /// Nothing known yet.
    #[must_use]
    pub fn new(watched: Vec<Watched>) -> Self {
        Self {
            tally: Tally::new(&watched),
            watched,
        }
    }

    /// Counts a call of the live revision.
    pub fn record(&mut self, outcome: &Outcome<'_>) {
        let seen = match outcome {
            Outcome::Answered(answer) => Some(Seen::of(answer, &self.watched)),
            Outcome::Failed { .. } => None,
        };
        self.tally.add(Kind::of(outcome), seen.as_ref());
        if self.tally.n_calls >= Self::MAX_CALLS {
            self.tally.halve();
        }
    }

    /// Calls that it rests on.
    #[must_use]
    pub const fn n_calls(&self) -> u64 {
        self.tally.n_calls
    }

    /// The bins that it counts probabilities by.
    #[must_use]
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_bins_a_quarter_wide_or_less() {
        let mut before = 0;
        for micros in (0..100_000)
            .chain((17..60).map(|octave| 3 << octave))
            .chain([u64::MAX])
        {
            let bin = latency_bin(micros);
            assert!(bin >= before, "{micros}");
            before = bin;
            if bin + 1 < N_LATENCY_BINS {
                let edge = latency_edge(bin);
                assert!(edge >= micros.max(1), "{micros} is past its edge {edge}");
                assert!(
                    edge as f64 <= micros.max(4) as f64 * 1.25,
                    "{micros} in {edge}"
                );
            }
        }
        assert_eq!(before, N_LATENCY_BINS - 1);
    }

    #[test]
    fn a_quantile_comes_with_how_many_take_longer() {
        let mut tally = Tally::new(&[]);
        assert_eq!(tally.quantile(0.5), None);
        for took_us in 1..=1_000 {
            let seen = Seen {
                took_us,
                action: None,
                bins: Vec::new(),
            };
            tally.add(Kind::Answered, Some(&seen));
        }
        let (edge, longer) = tally.quantile(0.5).unwrap();
        assert!((500..=640).contains(&edge), "{edge}");
        assert_eq!(longer, 1_000 - edge);
        tally.halve();
        assert_eq!(tally.n_calls, 500);
    }
}
