//! The same work for many, on all cores. The result does not depend on how many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, thread};

/// Applies `each` to all, in order of result.
pub(crate) fn map<T: Sync, R: Send>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else {
                return done;
            };
            done.push((at, each(one)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(payload) => panic::resume_unwind(payload),
        });
        joined.flatten().collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_stand_in_the_order_of_the_work() {
        let all: Vec<usize> = (0..1_000).collect();
        assert_eq!(
            super::map(&all, |at| at + 1),
            (1..1_001).collect::<Vec<_>>()
        );
    }
}
