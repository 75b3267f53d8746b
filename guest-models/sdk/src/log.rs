//! Structured lines for the people who run the host. Do not log content.

pub use crate::bindings::trommel::detector::log::Level;

use crate::bindings::trommel::detector::log;

/// Writes one line: a message and named values. Lines past the call's bound are
/// dropped and counted.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    log::write(level, message, &fields);
}

/// Lets the message of a panic reach the host's log before the trap hides it.
pub(crate) fn send_panics_to_the_log() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        log::write(Level::Error, &panic.to_string(), &[]);
    }));
}
