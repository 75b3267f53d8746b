//! The thread that advances the epoch, once a millisecond.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::LoadError;

/// How often a running guest is interrupted to let others run.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ends its thread when dropped; the thread itself keeps no engine alive.
pub(super) struct Ticker {
    _stop: Sender<()>,
}

impl Ticker {
    pub(super) fn start(engine: &wasmtime::Engine) -> Result<Self, LoadError> {
        let (stop, stopped) = channel();
        let engine = engine.weak();
        thread::Builder::new()
            .name("trommel-epoch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            })
            .map_err(|error| {
                LoadError::Engine(format!("cannot start the epoch thread: {error}"))
            })?;
        Ok(Self { _stop: stop })
    }
}
