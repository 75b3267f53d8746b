//! Pictures in memory: read, brought to the size that the graph sees.
//!
//! Reads files; never changes what a picture shows (`degrade` does).

use std::{fs, path::Path};

use anyhow::{Context, Result};
use trommel_tensor::preprocess::{Geometry, Pixels, Preprocess};

use super::{chance::Chance, features::SIDE};

/// A picture: three planes of sRGB values in `0..=1`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Photo {
    pub width: usize,
    pub height: usize,
    /// `[3, height, width]`.
    pub planes: Vec<f32>,
}

impl Photo {
    /// Reads a file of any format that the host reads.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::decode(&bytes).with_context(|| format!("in {}", path.display()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let rgb = image::load_from_memory(bytes)?.to_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Ok(Self::from_rgb8(width, height, rgb.as_raw()))
    }

    /// `bytes`: interleaved.
    pub(crate) fn from_rgb8(width: usize, height: usize, bytes: &[u8]) -> Self {
        let plane = |channel: usize| {
            let values = bytes.iter().skip(channel).step_by(3);
            values.map(|&value| f32::from(value) / 255.0)
        };
        Self {
            width,
            height,
            planes: (0..3).flat_map(plane).collect(),
        }
    }

    /// Interleaved bytes, each value rounded to the nearest.
    pub(crate) fn to_rgb8(&self) -> Vec<u8> {
        let n = self.width * self.height;
        let byte = |x: f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
        let pixel = |at: usize| [0, 1, 2].map(|channel| byte(self.planes[channel * n + at]));
        (0..n).flat_map(pixel).collect()
    }

    /// Rounded to what 8 bits can say, as every stored picture is.
    pub(crate) fn quantised(mut self) -> Self {
        for x in &mut self.planes {
            *x = (x.clamp(0.0, 1.0) * 255.0).round() / 255.0;
        }
        self
    }

    /// Applies `change` to each plane of `width × height`.
    pub(crate) fn each_plane(
        &self,
        width: usize,
        height: usize,
        change: impl Fn(&[f32]) -> Vec<f32>,
    ) -> Self {
        let planes = self.planes.chunks(self.width * self.height);
        Self {
            width,
            height,
            planes: planes.flat_map(change).collect(),
        }
    }

    /// Resampled with a triangle that widens when it shrinks.
    pub(crate) fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let across = Taps::new(self.width, width);
        let down = Taps::new(self.height, height);
        self.each_plane(width, height, |plane| {
            resample(plane, self.width, &across, &down)
        })
    }

    /// A part of it, at least half as wide and high.
    pub(crate) fn cut_by_chance(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut range = |size: usize| {
            let length = size / 2 + chance.below(size / 2 + 1);
            let start = chance.below(size - length + 1);
            start..start + length
        };
        let (across, down) = (range(self.width), range(self.height));
        self.each_plane(across.len(), down.len(), |plane| {
            let rows = down
                .clone()
                .map(|y| &plane[y * self.width..][across.clone()]);
            rows.flatten().copied().collect()
        })
    }

    /// What the graph sees, f32 `[3, SIDE, SIDE]`, made by the very code that
    /// the host makes it with.
    pub(crate) fn pixels(&self) -> Result<Vec<f32>> {
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let pixels = Pixels::new(width, height, self.to_rgb8())?;
        let mut bytes = vec![0; 4 * 3 * SIDE * SIDE];
        preprocess().apply(&pixels, &mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        Ok(numbers.iter().map(|x| f32::from_le_bytes(*x)).collect())
    }
}

/// How the plugin asks for its pixels: the middle of the picture, scaled to
/// cover the square.
fn preprocess() -> Preprocess {
    let side = SIDE as u32;
    Preprocess {
        geometry: Geometry::Crop(side, side),
        ..Preprocess::default()
    }
}

/// For each target pixel the source pixels it is made of.
struct Taps(Vec<(usize, Vec<f32>)>);

impl Taps {
    fn new(n_from: usize, n_to: usize) -> Self {
        let step = n_from as f32 / n_to as f32;
        let reach = step.max(1.0);
        let taps = |at: usize| {
            let centre = (at as f32 + 0.5) * step;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(n_from);
            let weight = |at: usize| {
                let apart = (at as f32 + 0.5 - centre).abs() / reach;
                (1.0 - apart).max(0.0)
            };
            let weights: Vec<f32> = (first..last).map(weight).collect();
            let sum: f32 = weights.iter().sum();
            (first, weights.iter().map(|weight| weight / sum).collect())
        };
        Self((0..n_to).map(taps).collect())
    }
}

fn resample(plane: &[f32], width: usize, across: &Taps, down: &Taps) -> Vec<f32> {
    let n_across = across.0.len();
    let height = plane.len() / width;
    let mut rows = vec![0.0_f32; height * n_across];
    for (row, out) in plane.chunks(width).zip(rows.chunks_mut(n_across)) {
        for ((first, weights), out) in across.0.iter().zip(out) {
            let from = &row[*first..*first + weights.len()];
            *out = from.iter().zip(weights).map(|(x, weight)| x * weight).sum();
        }
    }
    let mut all = vec![0.0_f32; down.0.len() * n_across];
    for ((first, weights), out) in down.0.iter().zip(all.chunks_mut(n_across)) {
        for (at, weight) in weights.iter().enumerate() {
            let from = &rows[(first + at) * n_across..][..n_across];
            for (out, x) in out.iter_mut().zip(from) {
                *out += weight * x;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Photo {
        let value = |at: usize| (at % width) as f32 / width as f32;
        Photo {
            width,
            height,
            planes: (0..3 * width * height).map(value).collect(),
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_seen_as_it_is() {
        let photo = ramp(SIDE, SIDE);
        let seen = photo.pixels().unwrap();
        let pairs = seen.iter().zip(&photo.planes);
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1.0 / 255.0));
    }

    #[test]
    fn a_wide_picture_is_cut_from_its_middle() {
        let seen = ramp(4 * SIDE, SIDE).pixels().unwrap();
        let middle = seen[SIDE / 2];
        assert!((middle - 0.5).abs() < 0.01, "{middle}");
        let span = seen[SIDE - 1] - seen[0];
        assert!((span - 0.25).abs() < 0.01, "{span}");
    }

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        let bytes: Vec<u8> = (0..=255).chain([7, 8]).collect();
        assert_eq!(Photo::from_rgb8(43, 2, &bytes).to_rgb8(), bytes);
    }
}
