//! Writes a note of ten megabytes.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct WritesABook;

impl Detector for WritesABook {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let signal = findings.signal("spam", 1.0);
            findings.note(signal, &"n".repeat(10_000_000));
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(WritesABook);
