//! Panics in the middle of its work, after it wrote a signal.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct Traps;

impl Detector for Traps {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        behave(findings);
        assert!(!is_provoked(item)?, "a detector's own mistake");
        Ok(())
    }
}

trommel_sdk::export!(Traps);
