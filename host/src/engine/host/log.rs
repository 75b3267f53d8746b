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
        let line = LogLine {
            level: level(level_),
            message,
            fields,
        };
        let max_bytes = self.limits().log_bytes;
        self.log.write(line, max_bytes);
        Ok(())
    }
}
