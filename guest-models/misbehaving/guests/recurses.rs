//! Calls itself without end.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item};

struct Recurses;

impl Detector for Recurses {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            std::hint::black_box(recurse(1));
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(Recurses);

#[expect(unconditional_recursion, reason = "it is there to recurse")]
fn recurse(n: usize) -> usize {
    std::hint::black_box([n; 16])[0].min(recurse(std::hint::black_box(n + 1)))
}
