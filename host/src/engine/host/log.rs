//! `log`: bounded structured lines.

use super::super::LogLine;
use super::super::bindings::trommel::detector::log::{Host, Level};
use super::super::call::CallState;
use super::super::findings::level;

impl Host for CallState {
    fn write(
        &mut self,
        level_: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let fields_bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.carry(message.len() + fields_bytes)?;
        let line = LogLine {
            level: level(level_),
            message,
            fields,
        };
        let n_bytes = line.n_bytes();
        // Past either bound the line is dropped: a flood is no fault.
        if self.log.admits(n_bytes, self.limits().log_bytes) && self.hold(n_bytes).is_ok() {
            self.log.push(line);
        } else {
            self.log.n_dropped += 1;
        }
        Ok(())
    }
}
