//! Small patterns that pictures are made of, learnt from patches without labels.
//!
//! After Ye, Kumar, Kang, Doermann 2012 (CORNIA): patches are normalised and
//! whitened, clustered, and a picture is described by how strongly each cluster
//! is met in it.

use ndarray::Array2;

use super::{
    chance::Chance,
    features::{LUMA, STEP},
    solve::eigen,
};
use crate::graph::{Filters, Graph, Value};

/// Side of a patch.
const PATCH: usize = 7;
const TAPS: usize = PATCH * PATCH;

/// Added to a patch's deviation before it is divided by it.
const FLOOR: f32 = 4.0 * STEP;

/// Patches taken from each picture for each book.
const PATCHES: usize = 60;

const ROUNDS: usize = 12;

/// One book: at which of the halved scales, how many patterns, and the step
/// between the places where they are sought.
#[derive(Debug, Clone, Copy)]
struct Layout {
    scale: usize,
    n: usize,
    stride: usize,
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        scale: 0,
        n: 128,
        stride: 2,
    },
    Layout {
        scale: 1,
        n: 128,
        stride: 2,
    },
    Layout {
        scale: 2,
        n: 64,
        stride: 1,
    },
];

/// The learnt filters of every book.
pub(crate) struct Codebook(Vec<Filters>);

impl Codebook {
    /// Learns from pictures as the graph sees them, `[3, side, side]` each.
    pub(crate) fn learn(pictures: &[Vec<f32>], side: usize) -> Self {
        let mut patches = vec![Vec::new(); LAYOUTS.len()];
        for (at, picture) in pictures.iter().enumerate() {
            let mut chance = Chance::new(0x0C0D_EB00 + at as u64);
            let mut luma = luma(picture);
            let mut side = side;
            for (layout, patches) in LAYOUTS.iter().zip(&mut patches) {
                if layout.scale > 0 {
                    (luma, side) = halved(&luma, side);
                }
                for _ in 0..PATCHES {
                    let left = chance.below(side - PATCH);
                    let top = chance.below(side - PATCH);
                    patches.push(normalised(&luma, side, left, top));
                }
            }
        }
        let books = LAYOUTS.iter().zip(&patches);
        Self(
            books
                .map(|(layout, patches)| learn(patches, layout.n))
                .collect(),
        )
    }

    /// Adds how strongly each pattern is met; `[1, n]`.
    pub(crate) fn measure(&self, graph: &mut Graph, pixels: &Value) -> Value {
        let weight = Filters {
            shape: [1, 3, 1, 1],
            data: LUMA.to_vec(),
        };
        let mut luma = graph.conv(pixels, &weight, 1, 1);
        let mut row = Vec::new();
        for (layout, filters) in LAYOUTS.iter().zip(&self.0) {
            if layout.scale > 0 {
                luma = graph.average_pool(&luma, 2, 2);
            }
            row.extend(measure(graph, &luma, filters, layout.stride));
        }
        graph.concat(&row, 1)
    }
}

fn measure(graph: &mut Graph, luma: &Value, filters: &Filters, stride: usize) -> Vec<Value> {
    let mean = graph.average_pool(luma, PATCH, stride);
    let square = graph.binary("Mul", luma, luma);
    let mean_square = graph.average_pool(&square, PATCH, stride);
    let square = graph.binary("Mul", &mean, &mean);
    let variance = graph.binary("Sub", &mean_square, &square);
    let variance = graph.unary("Relu", &variance);
    let lifted = graph.with("Add", &variance, 1e-8);
    let deviation = graph.unary("Sqrt", &lifted);
    let divisor = graph.with("Add", &deviation, FLOOR);
    let met = graph.conv(luma, filters, stride, 1);
    let met = graph.binary("Div", &met, &divisor);
    let region = met.dim(2) / 5;
    let size = graph.unary("Abs", &met);
    let size = graph.over_space("ReduceMean", &size);
    let mut row = vec![size];
    let against = graph.unary("Neg", &met);
    for met in [&met, &against] {
        let most = graph.max_pool(met, region, region);
        row.push(graph.over_space("ReduceMax", &most));
        row.push(graph.over_space("ReduceMean", &most));
    }
    row
}

fn luma(picture: &[f32]) -> Vec<f32> {
    let n = picture.len() / 3;
    let pixel = |at: usize| (0..3).map(|c| LUMA[c] * picture[c * n + at]).sum();
    (0..n).map(pixel).collect()
}

fn halved(plane: &[f32], side: usize) -> (Vec<f32>, usize) {
    let half = side / 2;
    let value = |at: usize| {
        let (x, y) = (2 * (at % half), 2 * (at / half));
        let at = |x: usize, y: usize| plane[y * side + x];
        (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4.0
    };
    ((0..half * half).map(value).collect(), half)
}

fn normalised(plane: &[f32], side: usize, left: usize, top: usize) -> Vec<f32> {
    let tap = |at: usize| plane[(top + at / PATCH) * side + left + at % PATCH];
    let mut patch: Vec<f32> = (0..TAPS).map(tap).collect();
    let mean = patch.iter().sum::<f32>() / TAPS as f32;
    patch.iter_mut().for_each(|x| *x -= mean);
    let square = patch.iter().map(|x| x * x).sum::<f32>() / TAPS as f32;
    let divisor = square.sqrt() + FLOOR;
    patch.iter_mut().for_each(|x| *x /= divisor);
    patch
}

/// Filters whose answers to a centred patch are those of `n` clusters to the
/// whitened one.
fn learn(patches: &[Vec<f32>], n: usize) -> Filters {
    let whitener = whitener(patches);
    let unit = |patch: &Vec<f32>| {
        let patch = Array2::from_shape_fn((TAPS, 1), |(at, _)| f64::from(patch[at]));
        let white = whitener.dot(&patch);
        let length = white.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-6;
        white.iter().map(|x| (x / length) as f32).collect()
    };
    let points: Vec<Vec<f32>> = patches.iter().map(unit).collect();
    let centres = cluster(&points, n);
    let mut data = Vec::with_capacity(n * TAPS);
    for centre in centres {
        let centre = Array2::from_shape_fn((TAPS, 1), |(at, _)| f64::from(centre[at]));
        let filter = whitener.dot(&centre);
        // The graph meets patches with their mean; a filter without one undoes it.
        let mean = filter.sum() / TAPS as f64;
        data.extend(filter.iter().map(|x| (x - mean) as f32));
    }
    Filters {
        shape: [n, 1, PATCH, PATCH],
        data,
    }
}

/// Makes directions alike, those that are hardly met excepted.
fn whitener(patches: &[Vec<f32>]) -> Array2<f64> {
    let mut spread = Array2::<f64>::zeros((TAPS, TAPS));
    for patch in patches {
        for (a, &x) in patch.iter().enumerate() {
            for (b, &y) in patch.iter().enumerate() {
                spread[(a, b)] += f64::from(x * y) / patches.len() as f64;
            }
        }
    }
    let (values, vectors) = eigen(spread);
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = |value: f64| 1.0 / (value.max(0.0) + 0.001 * most + 0.01).sqrt();
    let mut scaled = vectors.clone();
    for (mut column, value) in scaled.columns_mut().into_iter().zip(values) {
        column *= scale(value);
    }
    scaled.dot(&vectors.t())
}

/// Spherical k-means; an empty cluster keeps its centre.
fn cluster(points: &[Vec<f32>], n: usize) -> Vec<Vec<f32>> {
    let mut chance = Chance::new(0xB00C);
    let mut centres: Vec<Vec<f32>> = (0..n)
        .map(|_| points[chance.below(points.len())].clone())
        .collect();
    for _ in 0..ROUNDS {
        let mut sums = vec![vec![0.0_f32; TAPS]; n];
        for point in points {
            let nearness =
                |centre: &Vec<f32>| -> f32 { centre.iter().zip(point).map(|(a, b)| a * b).sum() };
            let mut best = (0, f32::NEG_INFINITY);
            for (at, centre) in centres.iter().enumerate() {
                let near = nearness(centre);
                if near > best.1 {
                    best = (at, near);
                }
            }
            for (sum, x) in sums[best.0].iter_mut().zip(point) {
                *sum += x;
            }
        }
        for (centre, sum) in centres.iter_mut().zip(sums) {
            let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            if length > 0.0 {
                *centre = sum.iter().map(|x| x / length).collect();
            }
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_stand_where_points_do() {
        let point = |at: usize| {
            let mut point = vec![0.0; TAPS];
            point[at % 3] = 1.0;
            point
        };
        let points: Vec<Vec<f32>> = (0..90).map(point).collect();
        for centre in cluster(&points, 8) {
            let largest = centre.iter().copied().fold(0.0, f32::max);
            assert!((largest - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn filters_do_not_answer_to_brightness() {
        let mut chance = Chance::new(4);
        let patches: Vec<Vec<f32>> = (0..400)
            .map(|_| (0..TAPS).map(|_| chance.normal()).collect())
            .collect();
        for filter in learn(&patches, 5).data.chunks(TAPS) {
            assert!(filter.iter().sum::<f32>().abs() < 1e-4);
        }
    }
}
