//! How light and colours are spread over the image, and the maps shown as evidence.

use super::filters::{colour_bank, grain, laplacian, sobel};
use super::{GRID, LUMA, Measuring, SIDE, STEP};
use crate::graph::{Filters, Value};

impl Measuring<'_> {
    /// Luminance: its histogram, its spread, clipped shares, dark and bright
    /// channels.
    pub(super) fn tones(&mut self, pixels: &Value, scales: &[Value]) {
        let half = &scales[1];
        self.histogram("tone", half, 0.0, 1.0, 16);
        let (mean, deviation) = self.centred(half);
        self.keep("tone", &mean);
        let log = self.graph.log_above(&deviation, 0.01);
        self.keep("tone", &deviation);
        self.keep("tone", &log);
        let cells = self.graph.average_pool(half, 25, 25);
        self.extremes("tone-grid", &cells);

        let sparse = self.subsample_colour(pixels);
        for (family, slope, offset) in [
            ("clipped-bright", 25.0, -24.0),
            ("bright", 8.0, -7.0),
            ("clipped-dark", -25.0, 1.0),
            ("dark", -8.0, 1.0),
        ] {
            let scaled = self.graph.with("Mul", &sparse, slope);
            let moved = self.graph.with("Add", &scaled, offset);
            let share = self.graph.unary("Relu", &moved);
            let mean = self.mean(&share);
            let log = self.graph.log_above(&mean, 1e-3);
            self.keep(family, &mean);
            self.keep(family, &log);
            let cells = self.graph.average_pool(&share, 25, 25);
            let cells = self.graph.reduce_keeping("ReduceMean", &cells, &[1]);
            self.extremes(family, &cells);
        }
        let least = self.graph.reduce_keeping("ReduceMin", &sparse, &[1]);
        let negative = self.graph.unary("Neg", &least);
        let pooled = self.graph.max_pool(&negative, 15, 5);
        let dark = self.graph.unary("Neg", &pooled);
        self.histogram("dark-channel", &dark, 0.0, 0.8, 6);
        let mean = self.mean(&dark);
        self.keep("dark-channel", &mean);
        let most = self.graph.reduce_keeping("ReduceMax", &sparse, &[1]);
        let pooled = self.graph.max_pool(&most, 15, 5);
        self.histogram("bright-channel", &pooled, 0.2, 1.0, 6);
        let mean = self.mean(&pooled);
        self.keep("bright-channel", &mean);
        let span = self.graph.binary("Sub", &most, &least);
        self.histogram("saturation", &span, 0.0, 0.8, 8);
        let (mean, deviation) = self.centred(&span);
        self.keep("saturation", &mean);
        self.keep("saturation", &deviation);
        let lifted = self.graph.with("Add", &most, 0.05);
        let relative = self.graph.binary("Div", &span, &lifted);
        self.histogram("saturation", &relative, 0.0, 1.0, 6);
    }

    fn subsample_colour(&mut self, pixels: &Value) -> Value {
        let data = (0..9).map(|at| if at % 4 == 0 { 1.0 } else { 0.0 });
        let pick = Filters {
            shape: [3, 3, 1, 1],
            data: data.collect(),
        };
        self.graph.conv(pixels, &pick, 2, 1)
    }

    /// Opponent colours at three scales: spread, edges, noise.
    pub(super) fn colours(&mut self, pixels: &Value) {
        let opponents = [vec![1.0, -1.0, 0.0], vec![0.5, 0.5, -1.0]];
        let mut colour = self.mix(pixels, &opponents);
        for at in 0..3 {
            if at > 0 {
                colour = self.graph.average_pool(&colour, 2, 2);
            }
            let family = format!("colour{at}");
            let (mean, deviation) = self.centred(&colour);
            if at == 1 {
                self.keep(&family, &mean);
                let size = self.graph.unary("Abs", &mean);
                self.keep(&family, &size);
                let cells = self.graph.average_pool(&colour, 25, 25);
                self.extremes(&family, &cells);
            }
            let log = self.graph.log_above(&deviation, 0.01);
            self.keep(&family, &log);
            let stride = if at == 0 { 2 } else { 1 };
            let answers = self.graph.conv(&colour, &colour_bank(), stride, 2);
            let size = self.moments(&family, &answers, STEP);
            self.grid(&format!("colour-grid{at}"), &size, STEP);
            let blurred = self.graph.average_pool(&colour, 5, 2);
            let square = self.graph.binary("Mul", &colour, &colour);
            let blurred_square = self.graph.average_pool(&square, 5, 2);
            let square = self.graph.binary("Mul", &blurred, &blurred);
            let variance = self.graph.binary("Sub", &blurred_square, &square);
            let variance = self.graph.unary("Relu", &variance);
            let lifted = self.graph.with("Add", &variance, 1e-7);
            let log = self.graph.unary("Log", &lifted);
            let (mean, deviation) = self.centred(&log);
            self.keep(&family, &mean);
            self.keep(&family, &deviation);
            let extreme = self.graph.over_space("ReduceMin", &log);
            self.keep(&family, &extreme);
        }
    }

    /// What evidence is made of; see [`Measured::maps`].
    pub(super) fn maps(&mut self, pixels: &Value, luma: &Value) -> Value {
        let cell = SIDE / GRID;
        let [across, down] = sobel();
        let bank = Filters::stack(3, 3, &[across, down, laplacian(), grain()]);
        // Leaves 249; one more row and column make whole cells.
        let answers = self.graph.conv(luma, &bank, 2, 1);
        let size = self.graph.unary("Abs", &answers);
        let small = cell / 2;
        let padded = self.edge(&size, GRID * small);
        let cells = self.graph.average_pool(&padded, small, small);
        let detail = self.graph.slice(&cells, 1, 2, 3);
        let grain = self.graph.slice(&cells, 1, 3, 4);
        let sparse = self.mix(pixels, &[LUMA.to_vec()]);
        let shares = [(25.0, -24.0), (-25.0, 1.0)].map(|(slope, offset)| {
            let scaled = self.graph.with("Mul", &sparse, slope);
            let moved = self.graph.with("Add", &scaled, offset);
            let share = self.graph.unary("Relu", &moved);
            self.graph.average_pool(&share, cell, cell)
        });
        let [bright, dark] = shares;
        let slopes = self.graph.slice(&padded, 1, 0, 2);
        let steepest = self.graph.reduce_keeping("ReduceMax", &slopes, &[1]);
        let scaled = self.graph.with("Mul", &steepest, -1.0 / (2.0 * STEP));
        let against = self.graph.with("Add", &scaled, 1.0);
        let nil = self.graph.unary("Relu", &against);
        let flat = self.graph.average_pool(&nil, small, small);
        self.graph.concat(&[detail, grain, bright, dark, flat], 1)
    }

    /// Repeats the last row and column, so that `side` is reached.
    fn edge(&mut self, x: &Value, side: usize) -> Value {
        let mut x = x.clone();
        for axis in [2, 3] {
            let size = x.dim(axis);
            if size < side {
                let last = self.graph.slice(&x, axis, size - (side - size), size);
                x = self.graph.concat(&[x, last], axis);
            }
        }
        x
    }
}
