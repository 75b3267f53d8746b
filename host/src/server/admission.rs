//! Who is judged now, who waits, and who is told to come again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::answer::Problem;

/// Bounded places for items that are judged, and a bounded queue before them: first come,
/// first served.
#[derive(Debug)]
pub(super) struct Admission {
    shares: Semaphore,
    all_shares: u32,
    n_waiting: AtomicUsize,
    max_waiting: usize,
}

impl Admission {
    pub(super) fn new(shares: u32, max_waiting: usize) -> Self {
        let shares = shares.max(1);
        Self {
            shares: Semaphore::new(shares as usize),
            all_shares: shares,
            n_waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    /// Items that wait now.
    pub(super) fn n_waiting(&self) -> usize {
        self.n_waiting.load(Ordering::Relaxed)
    }

    /// Shares in use now.
    pub(super) fn n_judging(&self) -> usize {
        self.all_shares as usize - self.shares.available_permits()
    }

    /// Refuses what would find the queue full, before its body is read.
    pub(super) fn look(&self) -> Result<(), Problem> {
        match self.n_waiting() < self.max_waiting {
            true => Ok(()),
            false => Err(self.full()),
        }
    }

    /// `weight` shares, or at most all, until the answer is dropped. 503 when the queue is
    /// full, or by `by`.
    pub(super) async fn enter(
        &self,
        weight: u32,
        by: Instant,
    ) -> Result<SemaphorePermit<'_>, Problem> {
        let weight = weight.clamp(1, self.all_shares);
        if let Ok(place) = self.shares.try_acquire_many(weight) {
            return Ok(place);
        }
        let _waiting = self.wait()?;
        let place = timeout_at(by.into(), self.shares.acquire_many(weight)).await;
        let late = || Problem::overloaded("the item's time passed while it waited to be judged");
        let place = place.map_err(|_| late())?;
        Ok(place.expect("the semaphore is never closed"))
    }

    fn wait(&self) -> Result<Waiting<'_>, Problem> {
        let one_more = |n_waiting| (n_waiting < self.max_waiting).then_some(n_waiting + 1);
        let order = Ordering::Relaxed;
        match self.n_waiting.fetch_update(order, order, one_more) {
            Ok(_) => Ok(Waiting(&self.n_waiting)),
            Err(_) => Err(self.full()),
        }
    }

    fn full(&self) -> Problem {
        Problem::overloaded(&format!("{} items wait already", self.max_waiting))
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::engine::now;

    fn soon() -> Instant {
        now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn an_item_waits_while_the_queue_has_room_and_is_refused_when_not() {
        let admission = Admission::new(2, 1);
        let heavy = admission.enter(2, soon()).await.unwrap();
        let later = now() + Duration::from_secs(60);
        let waits = admission.enter(1, later);
        let mut waits = std::pin::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!((admission.n_waiting(), admission.n_judging()), (1, 2));
        let refused = admission.enter(1, later).await.unwrap_err();
        assert!(refused.error.contains("1 items wait"), "{}", refused.error);
        admission.look().unwrap_err();
        drop(heavy);
        let _place = waits.await.unwrap();
        assert_eq!((admission.n_waiting(), admission.n_judging()), (0, 1));
    }

    #[tokio::test]
    async fn an_item_that_waits_too_long_leaves_the_queue() {
        let admission = Admission::new(1, 1);
        let _place = admission.enter(1, soon()).await.unwrap();
        let late = admission.enter(1, soon()).await.unwrap_err();
        assert!(late.error.contains("time passed"), "{}", late.error);
        assert_eq!(admission.n_waiting(), 0);
    }

    #[tokio::test]
    async fn no_item_needs_more_than_there_is() {
        let admission = Admission::new(4, 0);
        let _place = admission.enter(16, soon()).await.unwrap();
        assert_eq!(admission.n_judging(), 4);
    }
}
