//! Separable resampling in f32: first down the columns, then along the rows.
//!
//! Columns first, because that pass walks whole rows of the source with one weight
//! each, which compilers turn into vector code, and leaves few rows for the other.

use super::mapping::Mapping;
use super::taps::Taps;
use super::{Filter, N_CHANNELS, Pixels};

/// Gives the output's rows one after the other.
pub(super) struct Resampler<'a> {
    pixels: &'a Pixels,
    along_x: Taps,
    along_y: Taps,
    /// Values of the source row from which on any output looks.
    from: usize,
    /// One row of the source's width, resampled down the columns.
    column_sums: Vec<f32>,
    row: Vec<f32>,
}

impl<'a> Resampler<'a> {
    pub(super) fn new(filter: Filter, mapping: &Mapping, pixels: &'a Pixels) -> Self {
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        let along_x = Taps::new(filter, mapping.source_x, width, mapping.inner_width);
        let along_y = Taps::new(filter, mapping.source_y, height, mapping.inner_height);
        let span = along_x.span();
        Self {
            pixels,
            from: span.start * N_CHANNELS,
            column_sums: vec![0.0; span.len() * N_CHANNELS],
            row: vec![0.0; mapping.inner_width * N_CHANNELS],
            along_x,
            along_y,
        }
    }

    /// Row `y` of the output, RGB, each value within `0..=255`.
    pub(super) fn row(&mut self, y: usize) -> &[f32] {
        self.down_columns(y);
        for (x, out) in self
            .row
            .as_chunks_mut::<N_CHANNELS>()
            .0
            .iter_mut()
            .enumerate()
        {
            let (first, weights) = self.along_x.of(x);
            let start = first * N_CHANNELS - self.from;
            let sources = self.column_sums[start..].as_chunks::<N_CHANNELS>().0;
            let mut sum = [0.0; N_CHANNELS];
            for (source, weight) in sources.iter().zip(weights) {
                for (sum, value) in sum.iter_mut().zip(source) {
                    *sum += value * weight;
                }
            }
            // Filters with negative lobes overshoot at edges.
            *out = sum.map(|value| value.clamp(0.0, 255.0));
        }
        &self.row
    }

    fn down_columns(&mut self, y: usize) {
        let row_length = self.pixels.width as usize * N_CHANNELS;
        let (first, weights) = self.along_y.of(y);
        self.column_sums.fill(0.0);
        for (source_y, weight) in (first..).zip(weights) {
            let start = source_y * row_length + self.from;
            let source = &self.pixels.rgb[start..start + self.column_sums.len()];
            for (sum, &value) in self.column_sums.iter_mut().zip(source) {
                *sum += f32::from(value) * weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Geometry, Preprocess};
    use super::*;

    const FILTERS: [Filter; 7] = [
        Filter::Nearest,
        Filter::Box,
        Filter::Triangle,
        Filter::Hamming,
        Filter::CatmullRom,
        Filter::Mitchell,
        Filter::Lanczos3,
    ];

    fn stretch(filter: Filter, pixels: &Pixels, width: u32, height: u32) -> Vec<u8> {
        let preprocess = Preprocess {
            geometry: Geometry::Stretch(width, height),
            filter,
            scale: 1.0,
            layout: super::super::Layout::Nhwc,
            dtype: crate::Dtype::U8,
            ..Preprocess::default()
        };
        let n_bytes = preprocess.n_bytes(pixels.width, pixels.height);
        let mut bytes = vec![0; n_bytes.expect("a size that can be counted")];
        preprocess.apply(pixels, &mut bytes).expect("as many bytes");
        bytes
    }

    fn gray(width: u32, values: &[u8]) -> Pixels {
        let height = u32::try_from(values.len()).expect("short") / width;
        let rgb = values.iter().flat_map(|&value| [value; 3]).collect();
        Pixels::new(width, height, rgb).expect("three bytes a pixel")
    }

    fn channel(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().copied().step_by(3).collect()
    }

    #[test]
    fn a_flat_image_stays_flat_under_every_filter_and_size() {
        let flat = gray(7, &[93; 35]);
        for filter in FILTERS {
            for (width, height) in [(1, 1), (3, 17), (7, 5), (31, 2)] {
                let out = stretch(filter, &flat, width, height);
                assert!(out.iter().all(|&value| value == 93), "{filter:?} {out:?}");
            }
        }
    }

    #[test]
    fn at_its_own_size_an_image_stays_itself() {
        let values: Vec<u8> = (0..35).map(|n| n * 7).collect();
        let image = gray(7, &values);
        // Mitchell's cubic smooths, and does not pass through the pixels.
        for filter in FILTERS
            .into_iter()
            .filter(|&filter| filter != Filter::Mitchell)
        {
            assert_eq!(
                channel(&stretch(filter, &image, 7, 5)),
                values,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn a_box_over_two_pixels_is_their_mean_and_nearest_takes_one() {
        let image = gray(4, &[0, 100, 50, 200]);
        assert_eq!(channel(&stretch(Filter::Box, &image, 2, 1)), [50, 125]);
        assert_eq!(channel(&stretch(Filter::Nearest, &image, 2, 1)), [100, 200]);
        assert_eq!(
            channel(&stretch(Filter::Nearest, &image, 8, 1)),
            [0, 0, 100, 100, 50, 50, 200, 200]
        );
    }

    #[test]
    fn enlarging_with_a_triangle_is_linear_between_pixel_middles() {
        let image = gray(2, &[0, 200]);
        assert_eq!(
            channel(&stretch(Filter::Triangle, &image, 4, 1)),
            [0, 50, 150, 200]
        );
    }

    #[test]
    fn shrinking_by_a_triangle_weighs_by_distance() {
        // Middles at 1 and 3, a reach of 2: ¾, ¾ and ¼ lie inside, and sum to 1¾.
        let image = gray(4, &[80, 0, 0, 160]);
        let out = channel(&stretch(Filter::Triangle, &image, 2, 1));
        assert_eq!(out, [34, 69], "three sevenths of 80 and of 160");
    }
}
