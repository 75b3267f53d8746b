//! What the model measures in an image, as a part of its graph.
//!
//! From pixels to one row of numbers, by convolution, pooling, arithmetic and
//! means alone. Nothing here is learnt. Energies are given as logarithms, so
//! that a linear model can compare them.
//!
//! Statistics follow the literature on blind quality assessment: local
//! luminance normalised by its deviation (Mittal, Moorthy, Bovik 2012), joint
//! bins of gradient and Laplacian (Xue et al. 2014), blur by blurring again
//! (Crete et al. 2007), the dark channel (He, Sun, Tang 2009), JPEG blocks by
//! the phase of their edges.

mod filters;
mod light;

use self::filters::{GAUSS, bands, bank, cosines, laplacian, neighbours, sobel};
use crate::graph::{Filters, Graph, Value};

/// Width and height of the image that the graph sees.
pub(crate) const SIDE: usize = 500;

/// Cells along each side of the maps that the graph answers for evidence.
pub(crate) const GRID: usize = 10;

/// Luminance of sRGB values by ITU-R BT.601, which JPEG uses too.
pub(crate) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// One step of an 8-bit value.
pub(crate) const STEP: f32 = 1.0 / 255.0;

/// The measured part of the graph.
pub(crate) struct Measured {
    /// Every feature, `[1, n]`.
    pub features: Value,
    /// Name and width of each family of features, in order.
    pub families: Vec<(String, usize)>,
    /// Local maps, `[1, 5, GRID, GRID]`, each value the mean of its cell:
    /// detail, grain, clipped bright, clipped dark, flat.
    pub maps: Value,
}

/// Adds everything measured in `pixels`, `[1, 3, SIDE, SIDE]` in `0..=1`.
pub(crate) fn measure(graph: &mut Graph, pixels: &Value) -> Measured {
    let mut measuring = Measuring {
        graph,
        row: Vec::new(),
        families: Vec::new(),
    };
    let luma = measuring.mix(pixels, &[LUMA.to_vec()]);
    let mut scales = vec![luma];
    for at in 1..4 {
        let half = measuring.graph.average_pool(&scales[at - 1], 2, 2);
        scales.push(half);
    }
    for (at, scale) in scales.iter().enumerate() {
        measuring.filters(at, scale);
        measuring.normalised(at, scale);
        measuring.structure(at, scale);
    }
    for (at, stride) in [(0, 4), (1, 4), (2, 2)] {
        measuring.cosines(at, &scales[at], stride);
    }
    measuring.blocks(&scales[0]);
    measuring.reblur(&scales[0], "reblur0");
    measuring.reblur(&scales[1], "reblur1");
    measuring.tones(pixels, &scales);
    measuring.colours(pixels);
    let maps = measuring.maps(pixels, &scales[0]);
    let Measuring {
        graph,
        row,
        families,
    } = measuring;
    let features = graph.concat(&row, 1);
    Measured {
        features,
        families,
        maps,
    }
}

/// The state while features are added one family after the other.
struct Measuring<'a> {
    graph: &'a mut Graph,
    row: Vec<Value>,
    families: Vec<(String, usize)>,
}

impl Measuring<'_> {
    /// Takes `value`, of any shape, into the row.
    fn keep(&mut self, family: &str, value: &Value) {
        let n = value.shape.iter().product();
        let flat = match value.shape.as_slice() {
            [1, _] => value.clone(),
            _ => self.graph.reshape(value, &[1, n]),
        };
        self.row.push(flat);
        match self.families.last_mut() {
            Some((name, width)) if name == family => *width += n,
            _ => self.families.push((family.to_owned(), n)),
        }
    }

    /// Mixes channels; each row of `weights` makes one.
    fn mix(&mut self, x: &Value, weights: &[Vec<f32>]) -> Value {
        let filters = Filters {
            shape: [weights.len(), x.dim(1), 1, 1],
            data: weights.concat(),
        };
        self.graph.conv(x, &filters, 1, 1)
    }

    fn mean(&mut self, x: &Value) -> Value {
        self.graph.over_space("ReduceMean", x)
    }

    /// Size, peakedness and sparsity of each channel of `x`, whose values are
    /// compared with `floor`.
    fn moments(&mut self, family: &str, x: &Value, floor: f32) -> Value {
        let size = self.graph.unary("Abs", x);
        let square = self.graph.binary("Mul", x, x);
        let lifted = self.graph.with("Add", &size, floor * 0.1);
        let root = self.graph.unary("Sqrt", &lifted);
        let mean_size = self.mean(&size);
        let log_size = self.graph.log_above(&mean_size, floor * 0.1);
        let mean_square = self.mean(&square);
        let log_square = self.graph.log_above(&mean_square, floor * floor * 0.01);
        let half_square = self.graph.with("Mul", &log_square, 0.5);
        let peaked = self.graph.binary("Sub", &half_square, &log_size);
        let mean_root = self.mean(&root);
        let log_root = self.graph.unary("Log", &mean_root);
        let twice = self.graph.with("Mul", &log_root, 2.0);
        let sparse = self.graph.binary("Sub", &log_size, &twice);
        self.keep(family, &log_size);
        self.keep(family, &peaked);
        self.keep(family, &sparse);
        size
    }

    /// Extremes and spread of `x ≥ 0` over a grid of cells, as logarithms.
    fn grid(&mut self, family: &str, x: &Value, floor: f32) {
        let cell = x.dim(2) / GRID;
        let cells = self.graph.average_pool(x, cell, cell);
        let logs = self.graph.log_above(&cells, floor * 0.1);
        self.extremes(family, &logs);
    }

    /// Mean, deviation, least and greatest of a small map.
    fn extremes(&mut self, family: &str, x: &Value) {
        let (mean, deviation) = self.centred(x);
        self.keep(family, &mean);
        self.keep(family, &deviation);
        for op in ["ReduceMax", "ReduceMin"] {
            let extreme = self.graph.over_space(op, x);
            self.keep(family, &extreme);
        }
    }

    /// Mean and deviation of each channel.
    fn centred(&mut self, x: &Value) -> (Value, Value) {
        let mean = self.mean(x);
        let kept = self.graph.reshape(&mean, &[x.dim(0), x.dim(1), 1, 1]);
        let rest = self.graph.binary("Sub", x, &kept);
        let square = self.graph.binary("Mul", &rest, &rest);
        let variance = self.mean(&square);
        let lifted = self.graph.with("Add", &variance, 1e-8);
        let deviation = self.graph.unary("Sqrt", &lifted);
        (mean, deviation)
    }

    /// How much each of `n` centres, evenly spaced over `low..=high`, is met in
    /// `x` of one channel; memberships are triangles and sum to 1 everywhere.
    fn members(&mut self, x: &Value, low: f32, high: f32, n: usize) -> Value {
        let width = (high - low) / (n - 1) as f32;
        let centres: Vec<f32> = (0..n).map(|at| low / width + at as f32).collect();
        let centres = self.graph.weight(&[1, n, 1, 1], &centres);
        let inside = self.graph.clip(x, low, high);
        let scaled = self.graph.with("Mul", &inside, 1.0 / width);
        let apart = self.graph.binary("Sub", &scaled, &centres);
        let distance = self.graph.unary("Abs", &apart);
        let against = self.graph.with("Mul", &distance, -1.0);
        let nearness = self.graph.with("Add", &against, 1.0);
        self.graph.unary("Relu", &nearness)
    }

    /// The soft histogram of `x`, of one channel, as roots of shares.
    fn histogram(&mut self, family: &str, x: &Value, low: f32, high: f32, n: usize) {
        let members = self.members(x, low, high, n);
        let shares = self.mean(&members);
        let lifted = self.graph.with("Add", &shares, 1e-4);
        let roots = self.graph.unary("Sqrt", &lifted);
        self.keep(family, &roots);
    }

    /// Derivatives and second differences, with their extremes over the grid.
    fn filters(&mut self, at: usize, luma: &Value) {
        let stride = if at == 0 { 2 } else { 1 };
        let answers = self.graph.conv(luma, &bank(), stride, 1);
        let family = format!("filter{at}");
        let size = self.moments(&family, &answers, STEP);
        let family = format!("filter-grid{at}");
        let chosen = self.graph.slice(&size, 1, 0, 8);
        self.grid(&family, &chosen, STEP);
    }

    /// Luminance normalised by the local deviation, and that deviation.
    fn normalised(&mut self, at: usize, luma: &Value) {
        let blurred = self.blur(luma);
        let square = self.graph.binary("Mul", luma, luma);
        let blurred_square = self.blur(&square);
        let mean_square = self.graph.binary("Mul", &blurred, &blurred);
        let variance = self.graph.binary("Sub", &blurred_square, &mean_square);
        let variance = self.graph.unary("Relu", &variance);
        let lifted = self.graph.with("Add", &variance, 1e-8);
        let deviation = self.graph.unary("Sqrt", &lifted);
        let centre = self.graph.trim(luma, GAUSS.len() / 2);
        let rest = self.graph.binary("Sub", &centre, &blurred);
        let divisor = self.graph.with("Add", &deviation, STEP);
        let normal = self.graph.binary("Div", &rest, &divisor);

        let stride = if at == 0 { 2 } else { 1 };
        let shifted = self.graph.conv(&normal, &neighbours(), stride, 1);
        let family = format!("normal{at}");
        let own = self.graph.slice(&shifted, 1, 0, 1);
        self.moments(&family, &own, 0.1);
        let square = self.graph.binary("Mul", &own, &own);
        let fourth = self.graph.binary("Mul", &square, &square);
        let third = self.graph.binary("Mul", &square, &own);
        for power in [fourth, third] {
            let mean = self.mean(&power);
            self.keep(&family, &mean);
        }
        self.histogram(&family, &own, -2.0, 2.0, 13);

        let family = format!("product{at}");
        let near = self.graph.slice(&shifted, 1, 1, 4);
        let far = self.graph.slice(&shifted, 1, 4, 6);
        let right = self.graph.slice(&shifted, 1, 1, 2);
        let down = self.graph.slice(&shifted, 1, 2, 3);
        let near = self.graph.binary("Mul", &own, &near);
        let across = self.graph.binary("Mul", &right, &down);
        let far = self.graph.binary("Mul", &own, &far);
        let products = self.graph.concat(&[near, across, far], 1);
        self.moments(&family, &products, 0.1);
        let mean = self.mean(&products);
        self.keep(&family, &mean);
        let positive = self.graph.unary("Relu", &products);
        let square = self.graph.binary("Mul", &positive, &positive);
        let mean = self.mean(&square);
        let log = self.graph.log_above(&mean, 1e-4);
        self.keep(&family, &log);

        let family = format!("normal-filter{at}");
        let answers = self.graph.conv(&normal, &bank(), stride, 1);
        self.moments(&family, &answers, 0.1);

        let family = format!("deviation{at}");
        let sparse = self.subsample(&deviation, stride);
        let log = self.graph.log_above(&sparse, STEP * 0.5);
        let (mean, spread) = self.centred(&log);
        self.keep(&family, &mean);
        self.keep(&family, &spread);
        self.histogram(&family, &log, -6.2, -0.7, 12);
        self.moments(&family, &sparse, STEP);
        self.grid(&family, &sparse, STEP);
    }

    /// Every second pixel, or all.
    fn subsample(&mut self, x: &Value, stride: usize) -> Value {
        if stride == 1 {
            return x.clone();
        }
        let pick = Filters::stack(1, 1, &[vec![1.0]]);
        self.graph.conv(x, &pick, stride, 1)
    }

    /// Blurs one channel by [`GAUSS`], which costs a margin of 3 on each side.
    fn blur(&mut self, x: &Value) -> Value {
        let n = GAUSS.len();
        let down = Filters::stack(n, 1, &[GAUSS.to_vec()]);
        let across = Filters::stack(1, n, &[GAUSS.to_vec()]);
        let rows = self.graph.conv(x, &down, 1, 1);
        self.graph.conv(&rows, &across, 1, 1)
    }

    /// Gradient and Laplacian: their histograms, their joint bins, coherence.
    fn structure(&mut self, at: usize, luma: &Value) {
        let stride = if at == 0 { 2 } else { 1 };
        let [across, down] = sobel();
        let sharp = Filters::stack(3, 3, &[across, down, laplacian()]);
        let answers = self.graph.conv(luma, &sharp, stride, 1);
        let across = self.graph.slice(&answers, 1, 0, 1);
        let down = self.graph.slice(&answers, 1, 1, 2);
        let curve = self.graph.slice(&answers, 1, 2, 3);
        let across_square = self.graph.binary("Mul", &across, &across);
        let down_square = self.graph.binary("Mul", &down, &down);
        let square = self.graph.binary("Add", &across_square, &down_square);
        let lifted = self.graph.with("Add", &square, 1e-8);
        let slope = self.graph.unary("Sqrt", &lifted);
        let curve = self.graph.unary("Abs", &curve);
        let log_slope = self.graph.log_above(&slope, STEP * 0.25);
        let log_curve = self.graph.log_above(&curve, STEP * 0.25);

        let family = format!("slope{at}");
        self.histogram(&family, &log_slope, -6.5, -0.5, 13);
        self.histogram(&family, &log_curve, -6.5, -0.5, 13);
        self.moments(&family, &slope, STEP);
        self.grid(&family, &slope, STEP);

        // Both relative to their own means, as in Xue et al., so that contrast
        // does not move them from bin to bin.
        let family = format!("joint{at}");
        let relative = [&slope, &curve].map(|x| {
            let mean = self.graph.reduce_keeping("ReduceMean", x, &[2, 3]);
            let mean = self.graph.with("Add", &mean, STEP * 0.1);
            let relative = self.graph.binary("Div", x, &mean);
            self.graph.log_above(&relative, 0.05)
        });
        let n = slope.dim(2) * slope.dim(3);
        let [slopes, curves] = relative.map(|x| {
            let members = self.members(&x, -2.5, 1.5, 6);
            self.graph.reshape(&members, &[6, n])
        });
        let curves = self.graph.transpose(&curves);
        let joint = self.graph.matmul(&slopes, &curves);
        let shares = self.graph.with("Mul", &joint, 1.0 / n as f32);
        let lifted = self.graph.with("Add", &shares, 1e-4);
        let roots = self.graph.unary("Sqrt", &lifted);
        self.keep(&family, &roots);

        let family = format!("coherence{at}");
        let mixed = self.graph.binary("Mul", &across, &down);
        let tensor = self.graph.concat(&[across_square, down_square, mixed], 1);
        let local = self.graph.average_pool(&tensor, 7, 3);
        let xx = self.graph.slice(&local, 1, 0, 1);
        let yy = self.graph.slice(&local, 1, 1, 2);
        let xy = self.graph.slice(&local, 1, 2, 3);
        let sum = self.graph.binary("Add", &xx, &yy);
        let apart = self.graph.binary("Sub", &xx, &yy);
        let apart = self.graph.binary("Mul", &apart, &apart);
        let xy = self.graph.binary("Mul", &xy, &xy);
        let xy = self.graph.with("Mul", &xy, 4.0);
        let length = self.graph.binary("Add", &apart, &xy);
        let length = self.graph.with("Add", &length, 1e-12);
        let length = self.graph.unary("Sqrt", &length);
        let lifted = self.graph.with("Add", &sum, 1e-4);
        let coherence = self.graph.binary("Div", &length, &lifted);
        self.histogram(&family, &coherence, 0.0, 1.0, 5);
        // The whole image's direction: motion blur keeps gradients of one.
        let global = self.mean(&local);
        let floor = self.graph.with("Add", &global, 1e-6);
        let log = self.graph.unary("Abs", &floor);
        let log = self.graph.unary("Log", &log);
        self.keep(&family, &log);
        let mean_length = self.mean(&length);
        let log = self.graph.log_above(&mean_length, 1e-6);
        self.keep(&family, &log);
    }

    /// Energies of the 63 cosines of 8 × 8 blocks, and how many are nil.
    fn cosines(&mut self, at: usize, luma: &Value, stride: usize) {
        let answers = self.graph.conv(luma, &cosines(), stride, 1);
        let family = format!("cosine{at}");
        let size = self.graph.unary("Abs", &answers);
        let mean = self.mean(&size);
        let log = self.graph.log_above(&mean, STEP * 0.1);
        self.keep(&family, &log);
        let square = self.graph.binary("Mul", &answers, &answers);
        let mean_square = self.mean(&square);
        let log_square = self.graph.log_above(&mean_square, STEP * STEP * 0.01);
        let half = self.graph.with("Mul", &log_square, 0.5);
        let peaked = self.graph.binary("Sub", &half, &log);
        // By bands of one frequency, since single ones are noisy.
        let band = self.graph.weight(&[63, 14], &bands());
        let peaked = self.graph.matmul(&peaked, &band);
        self.keep(&format!("cosine-peak{at}"), &peaked);
        // A coefficient below one step is nil in what a JPEG decoder gives.
        let scaled = self.graph.with("Mul", &size, -1.0 / STEP);
        let against = self.graph.with("Add", &scaled, 1.0);
        let nil = self.graph.unary("Relu", &against);
        let share = self.mean(&nil);
        let by_band = self.graph.matmul(&share, &band);
        self.keep(&format!("cosine-nil{at}"), &by_band);
    }

    /// Edges between the 8 × 8 blocks of a JPEG that was not scaled since.
    fn blocks(&mut self, luma: &Value) {
        for (axis, other) in [(3, 2), (2, 3)] {
            let (height, width) = if axis == 3 { (1, 4) } else { (4, 1) };
            // How much larger a step is than its neighbours' mean.
            let step = Filters::stack(
                height,
                width,
                &[vec![0.5, -1.5, 1.5, -0.5], vec![0.0, -1.0, 1.0, 0.0]],
            );
            let steps = self.graph.conv(luma, &step, 1, 1);
            let size = self.graph.unary("Abs", &steps);
            let n = size.dim(axis) / 8;
            let whole = self.graph.slice(&size, axis, 0, n * 8);
            let profile = self.graph.reduce_keeping("ReduceMean", &whole, &[other]);
            let by_phase = self.graph.reshape(&profile, &[2, n, 8, 1]);
            let phases = self.graph.reduce_keeping("ReduceMean", &by_phase, &[1]);
            let logs = self.graph.log_above(&phases, STEP * 0.05);
            let mean = self.graph.reduce_keeping("ReduceMean", &logs, &[2]);
            let above = self.graph.binary("Sub", &logs, &mean);
            let family = if axis == 3 { "blocks-x" } else { "blocks-y" };
            self.keep(family, &above);
            let greatest = self.graph.reduce_keeping("ReduceMax", &above, &[2]);
            self.keep(family, &greatest);
        }
    }

    /// How much of the detail survives another blur.
    fn reblur(&mut self, luma: &Value, family: &str) {
        for (height, width) in [(1, 9), (9, 1)] {
            let long = vec![1.0 / 9.0; 9];
            let blurred = self
                .graph
                .conv(luma, &Filters::stack(height, width, &[long]), 1, 1);
            let (h, w) = if width == 9 { (1, 2) } else { (2, 1) };
            let step = Filters::stack(h, w, &[vec![-1.0, 1.0]]);
            let inner = match width {
                9 => self.graph.slice(luma, 3, 4, luma.dim(3) - 4),
                _ => self.graph.slice(luma, 2, 4, luma.dim(2) - 4),
            };
            let before = self.graph.conv(&inner, &step, 1, 1);
            let before = self.graph.unary("Abs", &before);
            let after = self.graph.conv(&blurred, &step, 1, 1);
            let after = self.graph.unary("Abs", &after);
            let lost = self.graph.binary("Sub", &before, &after);
            let lost = self.graph.unary("Relu", &lost);
            let [before, after, lost] = [before, after, lost].map(|x| {
                let mean = self.mean(&x);
                self.graph.with("Add", &mean, STEP * 0.05)
            });
            for part in [lost, after] {
                let share = self.graph.binary("Div", &part, &before);
                self.keep(family, &share);
                let log = self.graph.unary("Log", &share);
                self.keep(family, &log);
            }
        }
    }
}
