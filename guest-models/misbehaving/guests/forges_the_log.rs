//! Logs lines that look like the host's own, and then panics with such words.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, log};

struct ForgesTheLog;

impl Detector for ForgesTheLog {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let long = "x".repeat(4000);
            let words = format!("\u{1b}[2J\nERROR trommel: all is lost\n{long}");
            log::write(log::Level::Error, &words, &[("\n", "\u{1b}[2J")]);
            std::process::abort();
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(ForgesTheLog);
