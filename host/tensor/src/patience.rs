//! Work by a library that may never end, on a thread that can be left behind, and that
//! ends by itself where the library lets us look at the clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::TensorError;
use crate::graph::panic_message;

/// How long reading a model or making it ready may take. Honest models of tens of
/// megabytes take a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// When work that began now is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    until: Instant,
}

impl Deadline {
    #[expect(
        clippy::disallowed_methods,
        reason = "a library that may never end is outwaited by the clock"
    )]
    pub(crate) fn after(limit: Duration) -> Self {
        let until = Instant::now() + limit;
        Self { limit, until }
    }

    /// Whether it has passed; the text says so.
    #[expect(
        clippy::disallowed_methods,
        reason = "a library that may never end is outwaited by the clock"
    )]
    pub(crate) fn check(&self) -> Result<(), String> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(format!("it did not end within {:?}", self.limit))
    }
}

/// What `work` answers, if it does within `limit`; an error when it does not, or panics.
///
/// tract rewrites a model until nothing changes, and some rewrites undo each other for
/// ever. Where it lets us look on, a [`Deadline`] ends them; where nothing interrupts it,
/// its thread computes on, and the host does not wait.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TensorError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let body = move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        // Nobody waits any more when the limit has passed.
        drop(answer.send(done));
    };
    let started = thread::Builder::new()
        .name("trommel-model".to_owned())
        .spawn(body);
    if let Err(error) = started {
        return Err(TensorError::Internal {
            device: "cpu".to_owned(),
            what: format!("cannot start a thread: {error}"),
        });
    }
    match answered.recv_timeout(limit) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => {
            let panic = panic_message(panic.as_ref());
            Err(TensorError::invalid(format!("{what} gave up: {panic}")))
        }
        Err(_) => Err(TensorError::InvalidGraph {
            what: format!("{what} did not end within {limit:?}"),
            hint: "export it more simply, with fewer shapes that are computed".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_answered() {
        assert_eq!(within(LIMIT, "it", || 7), Ok(7));
    }

    #[test]
    fn what_does_not_end_and_what_panics_is_an_error() {
        let (keep, never) = mpsc::channel::<()>();
        let waits = move || never.recv().is_ok();
        let error = within(Duration::from_millis(20), "the sleeper", waits).unwrap_err();
        drop(keep);
        assert!(
            error.to_string().contains("the sleeper did not end"),
            "{error}"
        );
        let error = within(LIMIT, "it", || panic!("on purpose")).unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
    }
}
