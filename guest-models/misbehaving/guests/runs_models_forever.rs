//! Runs its model again and again, each time within every limit.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, Model, Tensor};

struct RunsModelsForever;

impl Detector for RunsModelsForever {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            let model = Model::open("spam")?;
            let ids = Tensor::new(&[1, 3], &[1_i64, 2, 3])?;
            let values = Tensor::new(&[1, 3], &[1.0_f32, 1.0, 1.0])?;
            loop {
                model.run(&[("ids", &ids), ("values", &values)], ["score"])?;
            }
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(RunsModelsForever);
