//! Writes evidence that lies outside its part.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct PointsOutside;

impl Detector for PointsOutside {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let signal = findings.signal("spam", 1.0);
            findings.span(signal, 0, 0, 1_000_000);
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(PointsOutside);
