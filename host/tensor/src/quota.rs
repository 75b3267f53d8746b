//! How much work one holder may give devices: runs at once, and operations a second.

use std::time::{Duration, Instant};

/// A holder's share of the devices that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkQuota {
    /// Runs that wait or are computed at once.
    pub runs: u64,
    /// Operations a second, as [`Graph::n_operations`](crate::Graph::n_operations) counts
    /// them, on average over some seconds: a run begins when the runs before it are paid
    /// for, whatever its own size.
    pub operations_per_second: u64,
}

impl WorkQuota {
    /// No bound.
    pub const UNBOUNDED: Self = Self {
        runs: u64::MAX,
        operations_per_second: u64::MAX,
    };
}

/// Operations that may be taken now: a second's worth at most, paid in as time goes by, and
/// below nothing after a run that took more.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u64,
    /// In operations.
    credit: f64,
    paid_at: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            credit: per_second as f64,
            paid_at: None,
        }
    }

    /// Takes `operations`, or tells how long it is until something may be taken.
    pub(crate) fn take(&mut self, operations: u64, now: Instant) -> Result<(), Duration> {
        let rate = self.per_second as f64;
        if let Some(paid_at) = self.paid_at {
            let elapsed = now.saturating_duration_since(paid_at);
            self.credit = (self.credit + elapsed.as_secs_f64() * rate).min(rate);
        }
        self.paid_at = Some(now);
        if self.credit <= 0.0 {
            let wait = (1.0 - self.credit) / rate.max(1.0);
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        self.credit -= operations as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::now;

    #[test]
    fn a_run_larger_than_a_second_is_paid_for_before_the_next() {
        let start = now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut budget = Budget::new(100);
        assert_eq!(budget.take(350, at(0)), Ok(()));
        let wait = budget.take(1, at(1000)).unwrap_err();
        assert!((1.4..1.6).contains(&wait.as_secs_f64()), "{wait:?}");
        budget.take(1, at(2499)).unwrap_err();
        assert_eq!(budget.take(1, at(2520)), Ok(()));
    }

    #[test]
    fn small_runs_pass_at_the_rate_and_no_faster_after_a_pause() {
        let start = now();
        let mut budget = Budget::new(100);
        let mut taken = |from: u64, to: u64| {
            (from..to)
                .filter(|&milli| budget.take(1, start + Duration::from_millis(milli)).is_ok())
                .count()
        };
        // A second's worth at once, and then the rate.
        assert!((298..=302).contains(&taken(0, 2000)));
        assert!((98..=102).contains(&taken(2000, 3000)));
        // However long the pause was.
        assert!((198..=202).contains(&taken(100_000, 101_000)));
    }

    #[test]
    fn nothing_is_ever_taken_at_a_rate_of_nothing() {
        let mut budget = Budget::new(0);
        budget.take(1, now()).unwrap_err();
    }
}
