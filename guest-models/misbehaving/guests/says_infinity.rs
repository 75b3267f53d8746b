//! Writes a score that is larger than any number.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct SaysInfinity;

impl Detector for SaysInfinity {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            findings.signal("spam", f32::INFINITY);
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(SaysInfinity);
