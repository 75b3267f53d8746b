//! Opens a model that its manifest does not name.

use misbehaving::{behave, is_provoked};
use trommel_sdk::{Detector, Failure, Findings, Item, Model};

struct OpensAnotherModel;

impl Detector for OpensAnotherModel {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        if is_provoked(item)? {
            Model::open("../ham")?;
        }
        behave(findings);
        Ok(())
    }
}

trommel_sdk::export!(OpensAnotherModel);
