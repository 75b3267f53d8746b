//! Logs a hundred thousand lines, and judges all the same.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, log};

struct FloodsTheLog;

impl Detector for FloodsTheLog {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            for _ in 0..100_000 {
                log::write(log::Level::Info, "the same again", &[]);
            }
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(FloodsTheLog);
