//! Writes evidence that ends inside a character of UTF-8.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct SplitsACharacter;

impl Detector for SplitsACharacter {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let text = item.text(0)?;
            let wide = text.find('é').expect("the test's item holds one");
            let signal = findings.signal("spam", 1.0);
            findings.span(signal, 0, 0, wide + 1);
            return Ok(());
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(SplitsACharacter);
