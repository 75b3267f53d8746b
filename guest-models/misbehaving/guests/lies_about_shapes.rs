//! Runs its model with an input of the wrong shape.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, Model, Tensor};

struct LiesAboutShapes;

impl Detector for LiesAboutShapes {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let model = Model::open("spam")?;
        let shape: &[u32] = if is_provoked(item)? {
            &[1, 3, 1]
        } else {
            &[1, 3]
        };
        let ids = Tensor::new(shape, &[1_i64, 2, 3])?;
        let values = Tensor::new(&[1, 3], &[1.0_f32, 1.0, 1.0])?;
        model.run(&[("ids", &ids), ("values", &values)], ["score"])?;
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(LiesAboutShapes);
