//! `settings`: resolved for the call.

use super::super::bindings::trommel::detector::settings::Host;
use super::super::call::CallState;

impl Host for CallState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.carry(key.len())?;
        Ok(self.detector.settings.get(&key).cloned())
    }
}
