//! Looks at every image of the item and says how bright the brightest is. It serves
//! tests that want images decoded and no model.

use trommel_sdk::{Colors, Detector, Failure, Findings, Item, Preprocess};

struct Looks;

impl Detector for Looks {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let mut brightest: Option<f32> = None;
        for part in item.images() {
            let how = Preprocess::new().stretch(1, 1).colors(Colors::Gray);
            let brightness = item.image(part)?.to_tensor(&how)?.read::<f32>()?[0];
            brightest = Some(brightest.map_or(brightness, |so_far| so_far.max(brightness)));
        }
        if let Some(score) = brightest {
            findings.signal("spam", score);
        }
        Ok(())
    }
}

trommel_sdk::export!(Looks);
