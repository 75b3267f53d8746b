//! What a manifest asks for, and what it is granted.

use std::time::Duration;

use toml::Spanned;

use super::raw::RawLimits;
use super::{ManifestError, Reader};
use crate::engine::Limits;

/// Bytes that the host holds for a call beside its tensors.
const HOST_BYTES_BESIDE_TENSORS: u64 = 16 << 20;

/// Operations in one of `gigaops-per-second`.
const GIGA: u64 = 1_000_000_000;

/// More than any host grants, and far from where sums overflow.
pub(super) const BOUNDLESS: Limits = Limits {
    memory_bytes: 1 << 40,
    tensor_bytes: 1 << 50,
    host_bytes: 1 << 50,
    weight_bytes: 1 << 50,
    runs: u64::MAX,
    operations_per_second: u64::MAX,
    deadline: Duration::from_secs(1 << 32),
    ..Limits::MAX
};

impl Reader<'_> {
    pub(super) fn limits(&self, raw: &RawLimits, max: &Limits) -> Result<Limits, ManifestError> {
        let mut limits = Limits::DEFAULT.at_most(max);
        let mib = |asked: &Option<Spanned<u64>>, max: u64, what: &str| {
            let asked = self.asked(asked, max >> 20, what, "MiB")?;
            Ok(asked.map(|mib| mib << 20))
        };
        if let Some(bytes) = mib(&raw.memory_mib, max.memory_bytes as u64, "memory")? {
            limits.memory_bytes =
                usize::try_from(bytes).expect("at most what the host's own bound holds");
        }
        if let Some(bytes) = mib(&raw.tensor_mib, max.tensor_bytes, "tensors")? {
            limits.tensor_bytes = bytes;
            // Room for findings and log lines beside the tensors.
            limits.host_bytes = (bytes + HOST_BYTES_BESIDE_TENSORS).min(max.host_bytes);
        }
        if let Some(bytes) = mib(&raw.weights_mib, max.weight_bytes, "weights")? {
            limits.weight_bytes = bytes;
        }
        if let Some(runs) = self.asked(&raw.runs, max.runs, "model runs", "at once")? {
            limits.runs = runs;
        }
        let max_giga = max.operations_per_second / GIGA;
        if let Some(giga) = self.asked(&raw.gigaops_per_second, max_giga, "models", "gigaops/s")? {
            limits.operations_per_second = giga * GIGA;
        }
        let max_ms = u64::try_from(max.deadline.as_millis()).unwrap_or(u64::MAX);
        if let Some(ms) = self.asked(&raw.deadline_ms, max_ms, "time", "ms")? {
            limits.deadline = Duration::from_millis(ms);
        }
        Ok(limits)
    }

    fn asked(
        &self,
        asked: &Option<Spanned<u64>>,
        max: u64,
        what: &str,
        unit: &str,
    ) -> Result<Option<u64>, ManifestError> {
        let Some(asked) = asked else {
            return Ok(None);
        };
        match *asked.get_ref() {
            0 => self.refuse(
                asked.span().start,
                format!("0 {unit} of {what} is none at all; ask for some, or leave the line out"),
            ),
            n if n > max => self.refuse(
                asked.span().start,
                format!(
                    "asks for {n} {unit} of {what}, this host grants at most {max}; ask for less"
                ),
            ),
            n => Ok(Some(n)),
        }
    }
}
