//! Spoils pictures on purpose, so that it is known what is wrong with them.
//!
//! Every kind has a strength in `0..=1` that rises evenly as the eye sees it:
//! by equal factors of blur, noise and scale, by equal stops of exposure. The
//! same seed gives the same picture.

use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;

use super::{chance::Chance, photo::Photo};

/// What is done to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A round blur, as of a lens out of focus.
    Blur,
    /// A blur along a line, as of a moving hand.
    Motion,
    /// Noise of one strength everywhere.
    Noise,
    /// Noise that grows with the light, as of few photons.
    Shot,
    /// Stored as JPEG.
    Jpeg,
    /// More light than the sensor holds.
    Over,
    /// Too little light.
    Under,
    /// Made small and large again.
    Rescale,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Blur,
        Self::Motion,
        Self::Noise,
        Self::Shot,
        Self::Jpeg,
        Self::Over,
        Self::Under,
        Self::Rescale,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blur => "blur",
            Self::Motion => "motion",
            Self::Noise => "noise",
            Self::Shot => "shot",
            Self::Jpeg => "jpeg",
            Self::Over => "over",
            Self::Under => "under",
            Self::Rescale => "rescale",
        }
    }

    /// The label that explains it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Blur | Self::Motion => "blur",
            Self::Noise | Self::Shot => "noise",
            Self::Jpeg => "compression",
            Self::Over | Self::Under => "exposure",
            Self::Rescale => "low-resolution",
        }
    }

    /// The physical amount at a strength: standard deviation or length of a
    /// blur in pixels, standard deviation of noise in steps of 255, JPEG
    /// quality, stops of light, factor of scale.
    pub(crate) fn amount(self, strength: f32) -> f32 {
        let rising = |low: f32, high: f32| low * (high / low).powf(strength);
        match self {
            Self::Blur => rising(0.5, 6.0),
            Self::Motion => rising(2.0, 30.0),
            Self::Noise | Self::Shot => rising(2.0, 50.0),
            Self::Jpeg => rising(80.0, 4.0).round(),
            Self::Over | Self::Under => 4.0 * strength,
            Self::Rescale => rising(1.1, 8.0),
        }
    }

    /// The picture, spoilt; always of the same size and of 8 bits.
    pub(crate) fn apply(self, photo: &Photo, strength: f32, seed: u64) -> Result<Photo> {
        let amount = self.amount(strength);
        let mut chance = Chance::new(seed);
        let spoilt = match self {
            Self::Blur => blurred(photo, amount),
            Self::Motion => moved(photo, amount, chance.uniform() * std::f32::consts::PI),
            Self::Noise => noisy(photo, amount, |_| 1.0, &mut chance),
            Self::Shot => noisy(photo, amount, |x| (2.0 * x).sqrt(), &mut chance),
            Self::Jpeg => compressed(photo, amount as u8)?,
            Self::Over => exposed(photo, amount),
            Self::Under => exposed(photo, -amount),
            Self::Rescale => rescaled(photo, amount),
        };
        Ok(spoilt.quantised())
    }
}

/// Convolved with a bell of `deviation` pixels; edges repeat.
pub(crate) fn blurred(photo: &Photo, deviation: f32) -> Photo {
    let reach = (3.0 * deviation).ceil() as i32;
    let bell = |x: i32| (-0.5 * (x as f32 / deviation).powi(2)).exp();
    let bell: Vec<f32> = (-reach..=reach).map(bell).collect();
    let sum: f32 = bell.iter().sum();
    let across: Vec<(i32, i32, f32)> = (-reach..=reach)
        .zip(&bell)
        .map(|(x, weight)| (x, 0, weight / sum))
        .collect();
    let down: Vec<(i32, i32, f32)> = across.iter().map(|&(x, _, w)| (0, x, w)).collect();
    let once = spread(photo, &across);
    spread(&once, &down)
}

/// Averaged along a line of `length` pixels at `angle` radians.
fn moved(photo: &Photo, length: f32, angle: f32) -> Photo {
    let n = (2.0 * length).ceil().max(2.0) as usize;
    let mut taps: Vec<(i32, i32, f32)> = Vec::new();
    for at in 0..n {
        let along = (at as f32 / (n - 1) as f32 - 0.5) * length;
        let (x, y) = (along * angle.cos(), along * angle.sin());
        let (left, top) = (x.floor(), y.floor());
        for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            let weight = (1.0 - (x - left - dx).abs()) * (1.0 - (y - top - dy).abs());
            if weight > 0.0 {
                let (x, y) = ((left + dx) as i32, (top + dy) as i32);
                let weight = weight / n as f32;
                match taps.iter_mut().find(|tap| (tap.0, tap.1) == (x, y)) {
                    Some(tap) => tap.2 += weight,
                    None => taps.push((x, y, weight)),
                }
            }
        }
    }
    spread(photo, &taps)
}

/// Each pixel the weighted sum of those at the taps' offsets; edges repeat.
fn spread(photo: &Photo, taps: &[(i32, i32, f32)]) -> Photo {
    let (width, height) = (photo.width, photo.height);
    photo.each_plane(width, height, |plane| {
        let mut all = vec![0.0_f32; plane.len()];
        for &(dx, dy, weight) in taps {
            for (y, out) in all.chunks_mut(width).enumerate() {
                let from = (y as i32 + dy).clamp(0, height as i32 - 1) as usize;
                let row = &plane[from * width..][..width];
                add_shifted(out, row, dx, weight);
            }
        }
        all
    })
}

fn add_shifted(out: &mut [f32], row: &[f32], shift: i32, weight: f32) {
    let width = row.len();
    let by = (shift.unsigned_abs() as usize).min(width);
    let (inner_out, inner_row, outer, edge) = if shift >= 0 {
        (0..width - by, by..width, width - by..width, row[width - 1])
    } else {
        (by..width, 0..width - by, 0..by, row[0])
    };
    for (out, x) in out[inner_out].iter_mut().zip(&row[inner_row]) {
        *out += weight * x;
    }
    for out in &mut out[outer] {
        *out += weight * edge;
    }
}

fn noisy(photo: &Photo, deviation: f32, shape: impl Fn(f32) -> f32, chance: &mut Chance) -> Photo {
    let mut photo = photo.clone();
    for x in &mut photo.planes {
        *x += chance.normal() * deviation / 255.0 * shape(*x);
    }
    photo
}

fn compressed(photo: &Photo, quality: u8) -> Result<Photo> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100)).encode(
        &photo.to_rgb8(),
        photo.width as u32,
        photo.height as u32,
        image::ExtendedColorType::Rgb8,
    )?;
    Photo::decode(&file)
}

/// As if `stops` more light had come in, in linear light.
fn exposed(photo: &Photo, stops: f32) -> Photo {
    let gain = stops.exp2();
    let mut photo = photo.clone();
    for x in &mut photo.planes {
        *x = to_srgb((to_linear(*x) * gain).min(1.0));
    }
    photo
}

fn to_linear(x: f32) -> f32 {
    match x <= 0.040_45 {
        true => x / 12.92,
        false => ((x + 0.055) / 1.055).powf(2.4),
    }
}

fn to_srgb(x: f32) -> f32 {
    match x <= 0.003_130_8 {
        true => x * 12.92,
        false => 1.055 * x.powf(1.0 / 2.4) - 0.055,
    }
}

/// Made smaller by `factor`, rounded to 8 bits, made large again.
fn rescaled(photo: &Photo, factor: f32) -> Photo {
    let small = |size: usize| ((size as f32 / factor).round() as usize).max(1);
    let small = photo.resized(small(photo.width), small(photo.height));
    small.quantised().resized(photo.width, photo.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves of several lengths in three colours.
    fn scene() -> Photo {
        let (width, height) = (96, 64);
        let value = |at: usize| {
            let (x, y) = ((at % width) as f32, (at / width % height) as f32);
            0.5 + 0.2 * (x * 0.9).sin() + 0.2 * (y * 0.4 + x * 0.1).cos()
        };
        let photo = Photo {
            width,
            height,
            planes: (0..3 * width * height).map(value).collect(),
        };
        photo.quantised()
    }

    fn distance(a: &Photo, b: &Photo) -> f64 {
        let pairs = a.planes.iter().zip(&b.planes);
        let sum: f64 = pairs.map(|(a, b)| f64::from((a - b).powi(2))).sum();
        (sum / a.planes.len() as f64).sqrt()
    }

    #[test]
    fn more_strength_means_further_from_the_original() {
        let photo = scene();
        for kind in Kind::ALL {
            let distances: Vec<f64> = [0.2, 0.5, 0.8]
                .iter()
                .map(|&strength| distance(&photo, &kind.apply(&photo, strength, 1).unwrap()))
                .collect();
            assert!(
                distances[0] > 0.0 && distances.windows(2).all(|pair| pair[0] < pair[1]),
                "{kind:?}: {distances:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_picture_and_another_another() {
        let photo = scene();
        let once = Kind::Noise.apply(&photo, 0.5, 7).unwrap();
        assert_eq!(once, Kind::Noise.apply(&photo, 0.5, 7).unwrap());
        assert_ne!(once, Kind::Noise.apply(&photo, 0.5, 8).unwrap());
    }

    #[test]
    fn noise_is_as_strong_as_it_says() {
        let grey = Photo {
            width: 100,
            height: 100,
            planes: vec![0.5; 30_000],
        };
        let noisy = Kind::Noise.apply(&grey, 0.5, 3).unwrap();
        let found = distance(&grey, &noisy) * 255.0;
        assert!((found - 10.0).abs() < 0.5, "{found}");
    }

    #[test]
    fn a_blur_keeps_what_is_flat() {
        let flat = Photo {
            width: 20,
            height: 10,
            planes: vec![0.25; 600],
        };
        for blurred in [blurred(&flat, 3.0), moved(&flat, 9.0, 0.7)] {
            assert!(blurred.planes.iter().all(|x| (x - 0.25).abs() < 1e-5));
        }
    }

    #[test]
    fn light_comes_back_through_both_curves() {
        for x in [0.0, 0.01, 0.2, 0.7, 1.0] {
            assert!((to_srgb(to_linear(x)) - x).abs() < 1e-5);
        }
    }
}
