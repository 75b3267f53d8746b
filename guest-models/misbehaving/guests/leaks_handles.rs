//! Makes tensors and never lets go of one.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, Tensor};

struct LeaksHandles;

impl Detector for LeaksHandles {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            loop {
                std::mem::forget(Tensor::new(&[1], &[0_u8])?);
            }
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(LeaksHandles);
