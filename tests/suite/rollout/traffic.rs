//! Traffic to try guards on: what calls of a detector look like, drawn by a seed.

use std::time::Duration;

use trommel::blame::Blame;
use trommel::policy::Action;
use trommel::revision::RevisionId;
use trommel::rollout::guard::{Answer, Bins, Breach, Guard, Observation, Outcome, Watched};
use trommel::rollout::{Arm, Moment};
use trommel::signal::{Label, Probability};
use trommel_tests::random::Random;

pub(super) const LIVE: RevisionId = RevisionId::new([1; 32]);
pub(super) const NEW: RevisionId = RevisionId::new([2; 32]);

/// How a revision differs from one that is as it should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    /// Of its calls trap.
    pub(super) traps: f64,
    /// Of its calls are still computing at the deadline.
    pub(super) misses: f64,
    /// Times as long.
    pub(super) slower: f64,
    /// Of its calls, ten times as long.
    pub(super) hangs: f64,
    /// Every verdict is this one.
    pub(super) always: Option<Action>,
    /// Added to the log-odds of every probability.
    pub(super) shift: f64,
}

pub(super) const GOOD: Habit = Habit {
    traps: 0.001,
    misses: 0.0005,
    slower: 1.0,
    hangs: 0.0,
    always: None,
    shift: 0.0,
};

/// Whether neighbours in time are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Every call is drawn for itself.
    Calm,
    /// Load comes in swells that triple latencies, and spam in waves of hundreds of items
    /// that bring ten times the blocks; both arms meet the same ones.
    Stormy,
}

/// Calls in the order in which they end.
pub(super) struct Traffic {
    random: Random,
    weather: Weather,
    /// Logarithm of what load multiplies latencies by; an autoregressive process.
    load: f64,
    /// Items that are left of a wave of spam.
    wave: u64,
    now: u64,
}

/// A call that has ended.
pub(super) struct Ended {
    took: Duration,
    action: Action,
    probabilities: [(Label, Probability); 2],
    failed: Option<(Blame, bool)>,
}

/// The labels that the traffic's detector gives, by bins of equal width.
pub(super) fn watched() -> Vec<Watched> {
    let tenths = || (1..10).map(|tenths| Probability::new(f64::from(tenths) / 10.0).unwrap());
    let label = |label: &str| Watched {
        label: label.into(),
        bins: Bins::between(tenths()),
    };
    vec![label("spam"), label("scam")]
}

impl Traffic {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        // Neighbouring seeds of a SplitMix are far apart only after it has mixed them.
        let random = Random::new(Random::new(seed).bits());
        Self {
            random,
            weather,
            load: 0.0,
            wave: 0,
            now: 0,
        }
    }

    pub(super) fn chance(&mut self, of: f64) -> bool {
        self.unit() < of
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_micros(self.now)
    }

    /// The next call, of a revision with this habit.
    pub(super) fn call(&mut self, habit: &Habit) -> Ended {
        // About fifty a second.
        self.now += 20_000;
        let (load, spam) = self.pass();
        let mut millis = 8.0 * (0.5 * self.normal() + load).exp() * habit.slower;
        if self.chance(habit.hangs) {
            millis *= 10.0;
        }
        let log_odds = if self.chance(spam) { 3.0 } else { -3.0 } + 1.5 * self.normal();
        let noise = 2.0 * self.normal();
        let probability = |log_odds: f64| {
            Probability::new(1.0 / (1.0 + (-log_odds - habit.shift).exp())).unwrap()
        };
        let action = match probability(log_odds).get() {
            high if high > 0.95 => Action::Block,
            high if high > 0.8 => Action::Review,
            high if high > 0.5 => Action::Tag,
            _ => Action::Allow,
        };
        let failed = match self.unit() {
            low if low < habit.traps => Some((Blame::Guest, false)),
            low if low < habit.traps + habit.misses => Some((Blame::Guest, true)),
            high if high > 0.99 => Some((Blame::Host, true)),
            high if high > 0.98 => Some((Blame::Caller, false)),
            _ => None,
        };
        Ended {
            took: Duration::from_secs_f64(millis / 1000.0),
            action: habit.always.unwrap_or(action),
            probabilities: [
                ("spam".into(), probability(log_odds)),
                ("scam".into(), probability(noise - 4.0)),
            ],
            failed,
        }
    }

    /// The load and the part of spam of this moment.
    fn pass(&mut self) -> (f64, f64) {
        if self.weather == Weather::Calm {
            return (0.0, 0.04);
        }
        self.load = 0.995 * self.load + 0.1 * 0.55 * self.normal();
        if self.wave == 0 && self.chance(0.001) {
            self.wave = 300;
        }
        self.wave = self.wave.saturating_sub(1);
        (self.load, if self.wave > 0 { 0.4 } else { 0.03 })
    }

    fn unit(&mut self) -> f64 {
        (self.random.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

impl Ended {
    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self.failed {
            Some((blame, missed_deadline)) => Outcome::Failed {
                blame,
                missed_deadline,
            },
            None => Outcome::Answered(Answer {
                took: self.took,
                action: Some(self.action),
                probabilities: &self.probabilities,
            }),
        }
    }

    pub(super) fn tell(
        &self,
        guard: &mut Guard,
        revision: RevisionId,
        arm: Arm,
        now: Moment,
    ) -> Option<Breach> {
        guard.observe(
            &Observation {
                revision,
                arm,
                outcome: self.outcome(),
            },
            now,
        )
    }
}
