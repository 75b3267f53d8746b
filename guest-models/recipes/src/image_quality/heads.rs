//! From features to scores: fitted here, and written into the same graph.

use anyhow::Result;
use ndarray::Array2;

use super::{
    degrade::Kind,
    linear::{KernelRidge, Ridge, Scaler},
    samples::{Sample, Set},
};
use crate::graph::{Graph, Value};

/// The labels, in the order of the graph's scores.
pub(crate) const LABELS: [&str; 8] = [
    "low-quality",
    "blur",
    "noise",
    "compression",
    "exposure",
    "low-resolution",
    "blank",
    "screenshot",
];

/// What the ridge regresses: the reasons, exposure once for each direction.
const N_TARGETS: usize = 8;

/// Penalty of the reasons' ridge, and of the kernel's.
const PENALTY: f64 = 0.005;
const KERNEL_PENALTY: f64 = 0.25;

/// Standard deviations from the mean at which a feature is cut: the reasons must
/// tell strong degradations from stronger ones, opinions hardly differ there.
const REACH: f64 = 4.5;
const KERNEL_REACH: f64 = 3.5;

/// What over-exposure is ahead of under-exposure: a dark photo that gets more light
/// looks less under-exposed before it looks over-exposed.
const OVER_AHEAD: f64 = 0.1;

/// Width of the kernel: `exp(-WIDTH · mean weighted square distance)`.
const WIDTH: f64 = 0.6;

/// What an undistorted photo's opinion is taken for, near the best of live-itw.
const PRISTINE_OPINION: f64 = 80.0;

/// Opinions below it are of low quality.
pub(crate) const LOW: f32 = 40.0;

/// The five degradations' and two kinds' regression on the base features.
pub(crate) struct Reasons(Ridge);

impl Reasons {
    /// Whether a sample's reasons are known: of an unspoilt photo of middling
    /// opinion nobody said what is wrong with it.
    pub(crate) fn known(sample: &Sample) -> bool {
        let unclear = sample
            .opinion
            .is_some_and(|opinion| opinion < super::samples::GOOD_MOS);
        !unclear
    }

    pub(crate) fn fit(samples: &[(&Sample, &[f32])]) -> Result<Self> {
        let rows: Vec<&[f32]> = samples.iter().map(|(_, row)| *row).collect();
        let targets = Array2::from_shape_fn((rows.len(), N_TARGETS), |(at, target)| {
            strength(samples[at].0, target)
        });
        Ok(Self(Ridge::fit(&rows, &targets, PENALTY, REACH)?))
    }

    /// Scores of [`LABELS`] but the first.
    pub(crate) fn scores(&self, row: &[f32]) -> [f64; 7] {
        let all = self.0.predict(row);
        [
            all[0],
            all[1],
            all[2],
            (all[3] + OVER_AHEAD).max(all[4]),
            all[5],
            all[6],
            all[7],
        ]
    }

    /// Adds the scores to the graph, `[1, 7]`.
    pub(crate) fn write(&self, graph: &mut Graph, features: &Value) -> Value {
        let x = scaled(graph, features, &self.0.scaler, None);
        let n = features.dim(1);
        let weight: Vec<f32> = self.0.weight.iter().map(|&x| x as f32).collect();
        let weight = graph.weight(&[n, N_TARGETS], &weight);
        let bias: Vec<f32> = self.0.bias.iter().map(|&x| x as f32).collect();
        let bias = graph.weight(&[1, N_TARGETS], &bias);
        let all = graph.matmul(&x, &weight);
        let all = graph.binary("Add", &all, &bias);
        let first = graph.slice(&all, 1, 0, 3);
        let over = graph.slice(&all, 1, 3, 4);
        let under = graph.slice(&all, 1, 4, 5);
        let over = graph.with("Add", &over, OVER_AHEAD as f32);
        let exposure = graph.binary("Max", &over, &under);
        let last = graph.slice(&all, 1, 5, 8);
        graph.concat(&[first, exposure, last], 1)
    }
}

/// How much of a target a sample has.
fn strength(sample: &Sample, target: usize) -> f64 {
    let spoilt = |kinds: &[Kind]| match sample.spoilt {
        Some((kind, strength)) if kinds.contains(&kind) => f64::from(strength),
        _ => 0.0,
    };
    let is = |set: Set| f64::from(u8::from(sample.set == set));
    match target {
        0 => spoilt(&[Kind::Blur, Kind::Motion]),
        1 => spoilt(&[Kind::Noise, Kind::Shot]),
        2 => spoilt(&[Kind::Jpeg]),
        3 => spoilt(&[Kind::Over]),
        4 => spoilt(&[Kind::Under]),
        5 => spoilt(&[Kind::Rescale]),
        6 => is(Set::Blank),
        _ => is(Set::Screenshot),
    }
}

/// The opinion's regression on all features.
pub(crate) struct Quality(KernelRidge);

impl Quality {
    /// `families`: name and width of each family of features, in order.
    pub(crate) fn fit(samples: &[(&Sample, &[f32])], families: &[(String, usize)]) -> Result<Self> {
        let rows: Vec<&[f32]> = samples.iter().map(|(_, row)| *row).collect();
        let opinion = |sample: &Sample| sample.opinion.map_or(PRISTINE_OPINION, f64::from);
        let targets: Vec<f64> = samples.iter().map(|(sample, _)| opinion(sample)).collect();
        let emphasis = emphasis(families);
        let fitted = KernelRidge::fit(&rows, &targets, &emphasis, KERNEL_PENALTY, KERNEL_REACH)?;
        Ok(Self(fitted))
    }

    /// How far the opinion lies below [`LOW`], in tens.
    pub(crate) fn score(&self, row: &[f32]) -> f64 {
        (f64::from(LOW) - self.0.predict(row)) / 10.0
    }

    /// Adds the score to the graph, `[1, 1]`.
    pub(crate) fn write(&self, graph: &mut Graph, features: &Value) -> Value {
        let fitted = &self.0;
        let x = scaled(graph, features, &fitted.scaler, Some(&fitted.emphasis));
        let (n, width) = fitted.support.dim();
        let support: Vec<f32> = fitted.support.iter().map(|&x| x as f32).collect();
        let support = graph.weight(&[n, width], &support);
        let apart = graph.binary("Sub", &support, &x);
        let square = graph.binary("Mul", &apart, &apart);
        let mean = graph.reduce_keeping("ReduceMean", &square, &[1]);
        let against = graph.with("Mul", &mean, -(width as f32));
        let kernel = graph.unary("Exp", &against);
        let kernel = graph.transpose(&kernel);
        let weight: Vec<f32> = fitted.weight.iter().map(|x| (-x / 10.0) as f32).collect();
        let weight = graph.weight(&[n, 1], &weight);
        let sum = graph.matmul(&kernel, &weight);
        graph.with("Add", &sum, ((f64::from(LOW) - fitted.bias) / 10.0) as f32)
    }
}

/// What families weigh beside each other: few numbers on saturation say much,
/// many on colour edges say little. Chosen by cross-validation.
fn emphasis(families: &[(String, usize)]) -> Vec<f64> {
    let weight = |family: &str| match family.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "saturation" => 2.5,
        "tone" | "colour-grid" => 0.5,
        "colour" => 0.25,
        _ => 1.0,
    };
    let each = families
        .iter()
        .flat_map(|(family, width)| std::iter::repeat_n(weight(family), *width));
    let weights: Vec<f64> = each.collect();
    let sum: f64 = weights.iter().map(|weight| weight * weight).sum();
    let width = (WIDTH / sum).sqrt();
    weights.iter().map(|weight| weight * width).collect()
}

fn scaled(graph: &mut Graph, x: &Value, scaler: &Scaler, emphasis: Option<&[f64]>) -> Value {
    let n = x.dim(1);
    let mean: Vec<f32> = scaler.mean.iter().map(|&x| x as f32).collect();
    let mean = graph.weight(&[1, n], &mean);
    let rest = graph.binary("Sub", x, &mean);
    let inverse: Vec<f32> = scaler.deviation.iter().map(|&x| (1.0 / x) as f32).collect();
    let inverse = graph.weight(&[1, n], &inverse);
    let scaled = graph.binary("Mul", &rest, &inverse);
    let inside = graph.clip(&scaled, -scaler.reach as f32, scaler.reach as f32);
    let Some(emphasis) = emphasis else {
        return inside;
    };
    let emphasis: Vec<f32> = emphasis.iter().map(|&x| x as f32).collect();
    let emphasis = graph.weight(&[1, n], &emphasis);
    graph.binary("Mul", &inside, &emphasis)
}
