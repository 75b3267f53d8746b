//! Asks for a tensor of ten gigabytes, of which it brings the first byte.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Dtype, Failure, Findings, Item, Tensor};

struct WantsAHugeTensor;

impl Detector for WantsAHugeTensor {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            Tensor::from_bytes(Dtype::U8, &[10, 1_000_000_000], &[0])?;
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(WantsAHugeTensor);
