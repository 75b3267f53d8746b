//! What reading one file may take of memory: in proportion to the file, so that a few
//! bytes never ask for gigabytes. What decoding makes of the bytes is counted against
//! it before it is decoded, and what is computed of constants before it is computed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What any file may take: room for tables that a model computes, such as masks.
const BASE_BYTES: u64 = 256 << 20;

/// What each byte of a file may become: a quantized weight is four bytes once it is
/// a number, and is transposed and reshaped then.
const GROWTH: u64 = 16;

/// Bytes that one file may still take; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    total: u64,
    left: Arc<AtomicU64>,
}

/// More would be taken than the file may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exceeded {
    total: u64,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.total;
        write!(f, "reading a file of this size may take {total} bytes")
    }
}

impl Allowance {
    pub(super) fn of(file: &[u8]) -> Self {
        let total = BASE_BYTES.saturating_add(GROWTH.saturating_mul(file.len() as u64));
        Self {
            total,
            left: Arc::new(AtomicU64::new(total)),
        }
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), Exceeded> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(Exceeded { total: self.total }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_for_all() {
        let allowance = Allowance::of(&[0; 10]);
        let other = allowance.clone();
        assert!(other.take(BASE_BYTES).is_ok());
        assert!(allowance.take(10 * GROWTH).is_ok());
        let error = other.take(1).unwrap_err().to_string();
        assert!(error.contains("268435616 bytes"), "{error}");
    }
}
