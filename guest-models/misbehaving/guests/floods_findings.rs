//! Writes a hundred thousand pieces of evidence.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct FloodsFindings;

impl Detector for FloodsFindings {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let signal = findings.signal("spam", 1.0);
            for _ in 0..100_000 {
                findings.span(signal, 0, 0, 1);
            }
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(FloodsFindings);
