//! Writes a score that is no number.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct SaysNan;

impl Detector for SaysNan {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            findings.signal("spam", f32::NAN);
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(SaysNan);
