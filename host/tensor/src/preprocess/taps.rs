//! The weights of separable resampling: for one side of an image, which source samples
//! make each output sample. Pure.

use super::Filter;
use super::mapping::Stretch;

impl Filter {
    /// How far from its middle it reaches, in pixels of the coarser grid.
    fn reach(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Triangle | Self::Hamming => 1.0,
            Self::CatmullRom | Self::Mitchell => 2.0,
            Self::Lanczos3 => 3.0,
        }
    }

    /// Its weight at a distance `x` from the middle, before normalisation.
    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        if x > self.reach() {
            return 0.0;
        }
        match self {
            Self::Nearest | Self::Box => 1.0,
            Self::Triangle => 1.0 - x,
            Self::Hamming => sinc(x) * (0.54 + 0.46 * (x * std::f64::consts::PI).cos()),
            Self::CatmullRom => cubic(x, 0.0, 0.5),
            Self::Mitchell => cubic(x, 1.0 / 3.0, 1.0 / 3.0),
            Self::Lanczos3 => sinc(x) * sinc(x / 3.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The two-parameter family of Mitchell and Netravali, 1988.
fn cubic(x: f64, b: f64, c: f64) -> f64 {
    let sixth = if x < 1.0 {
        (12.0 - 9.0 * b - 6.0 * c) * x.powi(3)
            + (-18.0 + 12.0 * b + 6.0 * c) * x.powi(2)
            + (6.0 - 2.0 * b)
    } else {
        (-b - 6.0 * c) * x.powi(3)
            + (6.0 * b + 30.0 * c) * x.powi(2)
            + (-12.0 * b - 48.0 * c) * x
            + (8.0 * b + 24.0 * c)
    };
    sixth / 6.0
}

/// For each output sample of one side: which source samples, with which weights.
/// The weights of one output sample sum to 1.
pub(crate) struct Taps {
    /// First source sample of each output sample.
    firsts: Vec<usize>,
    /// Where the weights of each output sample begin; one more at the end.
    bounds: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "coordinates lie within an image's side, far below 2^32"
    )]
    pub(crate) fn new(filter: Filter, source: Stretch, n_source: usize, n_out: usize) -> Self {
        let scale = source.length / n_out as f64;
        // Made smaller, each output sample looks at all that it stands for.
        let blur = match filter {
            Filter::Nearest => 1.0,
            _ => scale.max(1.0),
        };
        let mut taps = Self {
            firsts: Vec::with_capacity(n_out),
            bounds: vec![0],
            weights: Vec::new(),
        };
        for out in 0..n_out {
            let middle = source.start + (out as f64 + 0.5) * scale;
            let nearest = (middle as usize).min(n_source - 1);
            let reach = filter.reach() * blur;
            let first = ((middle - reach + 0.5).max(0.0) as usize).min(nearest);
            let end = ((middle + reach + 0.5) as usize).clamp(nearest + 1, n_source);
            match filter {
                Filter::Nearest => taps.push(nearest, &[1.0]),
                _ => {
                    let weight = |at| filter.weight((at as f64 + 0.5 - middle) / blur);
                    taps.push(first, &(first..end).map(weight).collect::<Vec<_>>());
                }
            }
        }
        taps
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights are near 1")]
    fn push(&mut self, first: usize, weights: &[f64]) {
        let sum: f64 = weights.iter().sum();
        self.firsts.push(first);
        self.weights
            .extend(weights.iter().map(|weight| (weight / sum) as f32));
        self.bounds.push(self.weights.len());
    }

    /// The source samples that an output sample looks at. Never empty; later samples
    /// begin and end no earlier.
    pub(crate) fn source(&self, out: usize) -> std::ops::Range<usize> {
        let (first, weights) = self.of(out);
        first..first + weights.len()
    }

    /// As shaders read it: for each output sample its first source sample, the one after
    /// its last, and where its weights begin, counted in words; then all weights. The
    /// first word stands at `at`.
    pub(crate) fn words(&self, at: usize) -> Vec<u32> {
        let n_heads = 3 * self.firsts.len();
        let word = |count: usize| u32::try_from(count).expect("sides of images are far shorter");
        let heads = (0..self.firsts.len()).flat_map(|out| {
            let source = self.source(out);
            let weights = at + n_heads + self.bounds[out];
            [source.start, source.end, weights].map(word)
        });
        let weights = self.weights.iter().map(|weight| weight.to_bits());
        heads.chain(weights).collect()
    }

    pub(crate) fn of(&self, out: usize) -> (usize, &[f32]) {
        let weights = &self.weights[self.bounds[out]..self.bounds[out + 1]];
        (self.firsts[out], weights)
    }

    /// The source samples that any output sample looks at.
    pub(crate) fn span(&self) -> std::ops::Range<usize> {
        let end = |(first, out): (&usize, usize)| first + self.of(out).1.len();
        let start = self.firsts.iter().copied().min().unwrap_or(0);
        let ends = self.firsts.iter().zip(0..).map(end);
        start..ends.max().unwrap_or(0)
    }
}
