//! Judges how good images look, and says why: one graph on pixels in the host,
//! and where a defect lies as evidence.
//!
//! Holds no weights: `model.onnx` lies beside the component. The worst image of
//! an item speaks for it, label by label.

pub mod evidence;

use evidence::{Maps, Rectangle};
use trommel_sdk::{Detector, Failure, Findings, Item, Model, PartId, Preprocess};

/// Width and height of the square that the graph sees.
const SIDE: u32 = 500;

/// The labels, in the order of the graph's scores.
pub const LABELS: [&str; 8] = [
    "low-quality",
    "blur",
    "noise",
    "compression",
    "exposure",
    "low-resolution",
    "blank",
    "screenshot",
];

/// The detector.
struct ImageQuality;

impl Detector for ImageQuality {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let parts = item.images();
        if parts.is_empty() {
            return Ok(());
        }
        let model = Model::open("quality")?;
        let images = parts
            .into_iter()
            .map(|part| Seen::look(item, part, &model))
            .collect::<Result<Vec<_>, _>>()?;
        for (at, label) in LABELS.into_iter().enumerate() {
            let worst = images
                .iter()
                .max_by(|a, b| a.scores[at].total_cmp(&b.scores[at]))
                .expect("there is an image");
            let signal = findings.signal(label, worst.scores[at]);
            if worst.scores[at] < evidence::shown_from(label) {
                continue;
            }
            for place in evidence::regions(label, &worst.maps) {
                let Rectangle {
                    x,
                    y,
                    width,
                    height,
                } = place.within(worst.width, worst.height);
                findings.region(signal, worst.part, x, y, width, height);
            }
        }
        Ok(())
    }
}

trommel_sdk::export!(ImageQuality);

/// What the graph says of one image.
struct Seen {
    part: PartId,
    width: u32,
    height: u32,
    scores: Vec<f32>,
    maps: Maps,
}

impl Seen {
    fn look(item: &Item, part: PartId, model: &Model) -> Result<Self, Failure> {
        let image = item.image(part)?;
        let pixels = image.to_tensor(&Preprocess::new().crop(SIDE, SIDE))?;
        let [scores, maps] = model.run(&[("pixels", &pixels)], ["scores", "maps"])?;
        Ok(Self {
            part,
            width: image.width(),
            height: image.height(),
            scores: scores.read()?,
            maps: Maps(maps.read()?),
        })
    }
}
