//! Makes a tensor whose bytes do not fit its shape.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Dtype, Failure, Findings, Item, Tensor};

struct LiesAboutBytes;

impl Detector for LiesAboutBytes {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            Tensor::from_bytes(Dtype::F32, &[2, 2], &[0; 15])?;
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(LiesAboutBytes);
