//! Who holds how much: bytes, tensors and runs, bounded and given back by `Drop`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::batch::cut::Holder;
use crate::quota::Budget;
use crate::{TensorError, WorkQuota};

/// What one holder keeps on devices, against its limits. A charge counts on the
/// account and on every account above it (a call's on its plugin's).
#[derive(Debug, Clone)]
pub struct Account(Arc<Ledger>);

#[derive(Debug)]
struct Ledger {
    name: String,
    max_bytes: u64,
    max_tensors: u64,
    bytes: AtomicU64,
    tensors: AtomicU64,
    max_runs: u64,
    runs: AtomicU64,
    /// None where the rate of operations has no bound.
    budget: Option<Mutex<Budget>>,
    parent: Option<Account>,
}

impl Account {
    /// An account of its own, whose work has no bound. `name` is used in messages.
    pub fn new(name: impl Into<String>, max_bytes: u64, max_tensors: u64) -> Self {
        let work = WorkQuota::UNBOUNDED;
        Self::open(name.into(), max_bytes, max_tensors, work, None)
    }

    /// An account of its own whose work is bounded too.
    pub fn with_work(
        name: impl Into<String>,
        max_bytes: u64,
        max_tensors: u64,
        work: WorkQuota,
    ) -> Self {
        Self::open(name.into(), max_bytes, max_tensors, work, None)
    }

    /// An account below this one, bounded by both.
    pub fn child(&self, name: impl Into<String>, max_bytes: u64, max_tensors: u64) -> Self {
        let work = WorkQuota::UNBOUNDED;
        Self::open(
            name.into(),
            max_bytes,
            max_tensors,
            work,
            Some(self.clone()),
        )
    }

    fn open(
        name: String,
        max_bytes: u64,
        max_tensors: u64,
        work: WorkQuota,
        parent: Option<Self>,
    ) -> Self {
        let rate = work.operations_per_second;
        Self(Arc::new(Ledger {
            name,
            max_bytes,
            max_tensors,
            bytes: AtomicU64::new(0),
            tensors: AtomicU64::new(0),
            max_runs: work.runs,
            runs: AtomicU64::new(0),
            budget: (rate < u64::MAX).then(|| Mutex::new(Budget::new(rate))),
            parent,
        }))
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Tensors held now.
    pub fn tensors(&self) -> u64 {
        self.0.tensors.load(Ordering::Relaxed)
    }

    /// Takes `bytes` and `tensors` until the charge is dropped, here and above,
    /// or nothing anywhere when a limit would be passed.
    pub fn charge(&self, bytes: u64, tensors: u64) -> Result<Charge, TensorError> {
        let parent = match &self.0.parent {
            Some(parent) => Some(Box::new(parent.charge(bytes, tensors)?)),
            None => None,
        };
        let ledger = &self.0;
        let refused = |unit, wanted, limit| TensorError::QuotaExceeded {
            account: ledger.name.clone(),
            wanted,
            limit,
            unit,
        };
        take(&ledger.bytes, bytes, ledger.max_bytes)
            .map_err(|wanted| refused("tensor bytes", wanted, ledger.max_bytes))?;
        if let Err(wanted) = take(&ledger.tensors, tensors, ledger.max_tensors) {
            ledger.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(refused("tensors", wanted, ledger.max_tensors));
        }
        Ok(Charge {
            account: self.clone(),
            bytes,
            tensors,
            parent,
        })
    }
}

impl Account {
    /// Who is charged in the end: the account above all others. The same as long as any
    /// account below it lives.
    pub(crate) fn holder(&self) -> Holder {
        let mut top = self;
        while let Some(parent) = &top.0.parent {
            top = parent;
        }
        Holder(Arc::as_ptr(&top.0).addr())
    }
}

impl Account {
    /// Begins a run of `operations`, here and above: a place among the runs at once until
    /// the answer is dropped. What the operations cost is not given back.
    ///
    /// `Throttled` when an account here or above has as many runs as it may, or has not
    /// paid for those before; then nothing is taken of the places.
    pub fn begin_run(&self, operations: u64, now: Instant) -> Result<RunPlace, TensorError> {
        let ledger = &self.0;
        let above = match &ledger.parent {
            Some(parent) => Some(Box::new(parent.begin_run(operations, now)?)),
            None => None,
        };
        take(&ledger.runs, 1, ledger.max_runs).map_err(|_| TensorError::Throttled {
            account: ledger.name.clone(),
            why: format!("has {} runs at once already", ledger.max_runs),
        })?;
        // From here on, an error gives the place back.
        let place = RunPlace {
            account: self.clone(),
            _above: above,
        };
        if let Some(budget) = &ledger.budget {
            let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = budget.take(operations, now);
            taken.map_err(|wait| TensorError::Throttled {
                account: ledger.name.clone(),
                why: format!("has used up its operations a second, for {wait:.1?}"),
            })?;
        }
        Ok(place)
    }
}

/// A run's place among those that its account may have at once.
#[derive(Debug)]
#[must_use = "a run holds its place as long as this is kept"]
pub struct RunPlace {
    account: Account,
    _above: Option<Box<RunPlace>>,
}

impl Drop for RunPlace {
    fn drop(&mut self) {
        self.account.0.runs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds `amount` unless that passes `max`; then answers what it would have been.
fn take(held: &AtomicU64, amount: u64, max: u64) -> Result<(), u64> {
    held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        held.checked_add(amount).filter(|&sum| sum <= max)
    })
    .map(|_| ())
    .map_err(|held| held.saturating_add(amount))
}

/// What an account holds through this value; given back when it is dropped.
#[derive(Debug)]
#[must_use = "a charge lasts as long as it is kept"]
pub struct Charge {
    account: Account,
    bytes: u64,
    tensors: u64,
    parent: Option<Box<Charge>>,
}

impl Charge {
    /// Takes `bytes` more, here and above, or nothing anywhere.
    pub fn grow(&mut self, bytes: u64) -> Result<(), TensorError> {
        let mut more = self.account.charge(bytes, 0)?;
        self.merge(&mut more);
        Ok(())
    }

    fn merge(&mut self, more: &mut Self) {
        self.bytes += std::mem::take(&mut more.bytes);
        if let (Some(parent), Some(more)) = (&mut self.parent, &mut more.parent) {
            parent.merge(more);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account
            .0
            .bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
        self.account
            .0
            .tensors
            .fetch_sub(self.tensors, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_charge_is_given_back_everywhere() {
        let plugin = Account::new("plugin", 100, 10);
        let call = plugin.child("call", 50, 5);
        let charge = call.charge(40, 2).unwrap();
        assert_eq!((plugin.bytes(), call.bytes(), call.tensors()), (40, 40, 2));
        drop(charge);
        assert_eq!((plugin.bytes(), call.bytes(), plugin.tensors()), (0, 0, 0));
    }

    #[test]
    fn a_refused_charge_takes_nothing_anywhere() {
        let plugin = Account::new("plugin", 100, 10);
        let call = plugin.child("call", 50, 1);
        let error = call.charge(51, 1).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("call would hold 51 tensor bytes"),
            "{error}"
        );
        let _one = call.charge(1, 1).unwrap();
        let error = call.charge(1, 1).unwrap_err();
        assert!(error.to_string().contains("2 tensors"), "{error}");
        assert_eq!((plugin.bytes(), call.bytes(), plugin.tensors()), (1, 1, 1));
    }

    #[test]
    fn a_grown_charge_is_given_back_whole() {
        let plugin = Account::new("plugin", 100, 10);
        let call = plugin.child("call", 50, 5);
        let mut charge = call.charge(10, 0).unwrap();
        charge.grow(30).unwrap();
        charge.grow(30).unwrap_err();
        assert_eq!((plugin.bytes(), call.bytes()), (40, 40));
        drop(charge);
        assert_eq!((plugin.bytes(), call.bytes()), (0, 0));
    }

    #[test]
    fn runs_at_once_are_bounded_over_all_calls_of_a_plugin() {
        let now = crate::device::cpu::now();
        let work = WorkQuota {
            runs: 2,
            ..WorkQuota::UNBOUNDED
        };
        let plugin = Account::with_work("plugin", 100, 10, work);
        let (one, two) = (plugin.child("one", 50, 5), plugin.child("two", 50, 5));
        let first = one.begin_run(1, now).unwrap();
        let _second = two.begin_run(1, now).unwrap();
        let error = two.begin_run(1, now).unwrap_err();
        assert!(error.to_string().contains("plugin has 2 runs"), "{error}");
        drop(first);
        let _third = two.begin_run(1, now).unwrap();
    }

    #[test]
    fn operations_are_paid_for_by_all_calls_of_a_plugin_together() {
        let now = crate::device::cpu::now();
        let work = WorkQuota {
            operations_per_second: 1000,
            ..WorkQuota::UNBOUNDED
        };
        let plugin = Account::with_work("plugin", 100, 10, work);
        drop(plugin.child("one", 50, 5).begin_run(1500, now).unwrap());
        let two = plugin.child("two", 50, 5);
        let error = two.begin_run(1, now).unwrap_err();
        assert!(error.to_string().contains("operations a second"), "{error}");
        let later = now + std::time::Duration::from_millis(600);
        drop(two.begin_run(1, later).unwrap());
    }

    #[test]
    fn two_calls_share_the_bound_of_their_plugin() {
        let plugin = Account::new("plugin", 60, 10);
        let _one = plugin.child("one", 50, 5).charge(40, 1).unwrap();
        let error = plugin.child("two", 50, 5).charge(40, 1).unwrap_err();
        assert!(
            error.to_string().starts_with("plugin would hold 80"),
            "{error}"
        );
    }
}
