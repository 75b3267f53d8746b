//! What a guard bears, and how sure it must be.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a guard bears, and how sure it must be. `docs/rollout.md` tells what the defaults
/// were measured to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSettings {
    /// The chance, at most, that a revision which is no worse than it may be is ever
    /// aborted, however long and however often it is looked at. Shared evenly by the
    /// five bounds. More than 0, at most 0.5.
    pub false_abort: f64,
    /// Faults of the guest that are borne, as a fraction of calls; more than 0.
    pub fault_rate: f64,
    /// Calls that the guest lets run past their deadline, likewise; more than 0.
    pub deadline_rate: f64,
    /// Faults, and likewise missed deadlines, that nothing excuses: where the other arm
    /// fails as often, a revision may pass the two rates above, but never this one.
    pub ceiling: f64,
    /// How many times the odds of the other arm's faults and missed deadlines are borne;
    /// at least 1.
    pub failure_odds: f64,
    /// How many times the other arm's latency is borne; at least 1.
    pub slowdown: f64,
    /// How many times the odds of each verdict are borne, in both directions: stricter
    /// and milder. At least 1.
    pub verdict_odds: f64,
    /// The population stability index of a label's probabilities beside the other arm's
    /// that is borne. 0.1 is called a slight shift and 0.25 a great one; more than 0.
    pub score_psi: f64,
    /// How many times the odds of the baseline's verdicts and scores are borne, where no
    /// other arm runs beside: traffic itself moves from one hour to the next, so this is
    /// wide, and finds what is grossly wrong. At least 1.
    pub baseline_odds: f64,
    /// How many times the baseline's latency is borne, likewise; at least 1.
    pub baseline_slowdown: f64,
    /// Calls after which a fresh live revision is settled.
    pub bake_calls: u64,
    /// How long a fresh live revision must have answered to be settled, in milliseconds.
    pub bake_ms: u64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            false_abort: 0.005,
            fault_rate: 0.005,
            deadline_rate: 0.005,
            ceiling: 0.2,
            failure_odds: 1.5,
            slowdown: 1.5,
            verdict_odds: 1.5,
            score_psi: 0.25,
            baseline_odds: 20.0,
            baseline_slowdown: 5.0,
            bake_calls: 2_000,
            bake_ms: 1_800_000,
        }
    }
}

/// A setting that cannot be meant.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("guard setting `{key}` is {value}; give {wanted}")]
pub struct GuardSettingsError {
    /// Which.
    pub key: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub wanted: &'static str,
}

/// How many bounds share [`GuardSettings::false_abort`].
pub(super) const N_BOUNDS: u32 = 5;

impl GuardSettings {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), GuardSettingsError> {
        let rate = |value: f64| value > 0.0 && value <= 0.5;
        let odds = |value: f64| (1.0..=100.0).contains(&value);
        let (a_rate, an_odds) = ("more than 0 and at most 0.5", "from 1 to 100");
        let checks = [
            (
                "false_abort",
                self.false_abort,
                rate(self.false_abort),
                a_rate,
            ),
            ("fault_rate", self.fault_rate, rate(self.fault_rate), a_rate),
            (
                "deadline_rate",
                self.deadline_rate,
                rate(self.deadline_rate),
                a_rate,
            ),
            ("ceiling", self.ceiling, rate(self.ceiling), a_rate),
            (
                "failure_odds",
                self.failure_odds,
                odds(self.failure_odds),
                an_odds,
            ),
            ("slowdown", self.slowdown, odds(self.slowdown), an_odds),
            (
                "verdict_odds",
                self.verdict_odds,
                odds(self.verdict_odds),
                an_odds,
            ),
            (
                "baseline_odds",
                self.baseline_odds,
                odds(self.baseline_odds),
                an_odds,
            ),
            (
                "baseline_slowdown",
                self.baseline_slowdown,
                odds(self.baseline_slowdown),
                an_odds,
            ),
            (
                "score_psi",
                self.score_psi,
                self.score_psi > 0.0,
                "more than 0",
            ),
        ];
        let wrong = checks.into_iter().find(|(_, _, fits, _)| !fits);
        wrong.map_or(Ok(()), |(key, value, _, wanted)| {
            Err(GuardSettingsError { key, value, wanted })
        })
    }

    /// How long a fresh live revision must have answered to be settled.
    #[must_use]
    pub const fn bake(&self) -> Duration {
        Duration::from_millis(self.bake_ms)
    }

    /// What one bound may spend of the chance of a false abort.
    pub(super) fn per_bound(&self) -> f64 {
        self.false_abort / f64::from(N_BOUNDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_meant_and_nonsense_cannot() {
        assert_eq!(GuardSettings::default().check(), Ok(()));
        for (text, said) in [
            ("false_abort = 0.0", "`false_abort` is 0; give more than 0"),
            ("slowdown = 0.9", "`slowdown` is 0.9; give from 1 to 100"),
            ("score_psi = nan", "`score_psi` is NaN; give more than 0"),
        ] {
            let settings: GuardSettings = toml::from_str(text).unwrap();
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(toml::from_str::<GuardSettings>("slow_down = 2").is_err());
    }
}
