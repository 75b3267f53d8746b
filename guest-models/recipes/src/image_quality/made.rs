//! Pictures of the project's own making.

use super::{chance::Chance, photo::Photo};

/// How many blank pictures are made.
pub(crate) const N_BLANK: usize = 120;

/// A picture that shows nothing: one colour or a weak gradient, with little
/// noise or none.
pub(crate) fn blank(seed: u64) -> Photo {
    let mut chance = Chance::new(seed);
    let (width, height) = (240 + chance.below(720), 240 + chance.below(720));
    let level = match chance.below(4) {
        0 => chance.between(0.0, 0.06),
        1 => chance.between(0.9, 1.0),
        _ => chance.between(0.05, 0.95),
    };
    let tint = match chance.below(2) {
        0 => 0.0,
        _ => 0.3,
    };
    let colour: Vec<f32> = (0..3)
        .map(|_| level + tint * chance.between(-1.0, 1.0))
        .collect();
    let slant = match chance.below(3) {
        0 => chance.between(0.02, 0.25),
        _ => 0.0,
    };
    let angle = chance.between(0.0, std::f32::consts::TAU);
    let noise = match chance.below(2) {
        0 => 0.0,
        _ => chance.between(0.3, 4.0) / 255.0,
    };
    let mut planes = Vec::with_capacity(3 * width * height);
    for colour in colour {
        for y in 0..height {
            for x in 0..width {
                let along = (x as f32 / width as f32 - 0.5) * angle.cos()
                    + (y as f32 / height as f32 - 0.5) * angle.sin();
                planes.push(colour + slant * along + noise * chance.normal());
            }
        }
    }
    let photo = Photo {
        width,
        height,
        planes,
    };
    photo.quantised()
}
