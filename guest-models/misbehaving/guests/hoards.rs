//! Grows its memory without end.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct Hoards;

impl Detector for Hoards {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let mut hoard = Vec::new();
        while is_provoked(item)? {
            hoard.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&hoard);
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(Hoards);
