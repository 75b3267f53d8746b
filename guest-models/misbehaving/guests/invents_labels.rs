//! Writes a label that its manifest does not declare.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct InventsLabels;

impl Detector for InventsLabels {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            findings.signal("treason", 9.0);
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(InventsLabels);
