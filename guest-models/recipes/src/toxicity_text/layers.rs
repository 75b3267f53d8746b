//! The layers of the encoder, forwards and backwards, on rows of numbers.
//!
//! Pure arithmetic in a fixed order: the same numbers give the same bits. It knows neither
//! texts nor labels. A backward function takes what its forward one saw and the gradient of
//! what it gave; it adds to the gradients of the weights and answers that of its input.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul, s};

pub(super) fn view(x: &[f32], cols: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((x.len() / cols, cols), x).expect("rows are whole")
}

pub(super) fn view_mut(x: &mut [f32], cols: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((x.len() / cols, cols), x).expect("rows are whole")
}

/// A weight of `rows × cols`, where it lies among all weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub at: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Slot {
    pub(super) fn range(self) -> Range<usize> {
        self.at..self.at + self.rows * self.cols
    }

    pub(super) fn of(self, all: &[f32]) -> &[f32] {
        &all[self.range()]
    }

    pub(super) fn of_mut(self, all: &mut [f32]) -> &mut [f32] {
        &mut all[self.range()]
    }
}

/// `x · weight + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dense {
    pub weight: Slot,
    pub bias: Slot,
}

impl Dense {
    pub(super) fn forward(self, weights: &[f32], x: &[f32]) -> Vec<f32> {
        let bias = self.bias.of(weights);
        let n_rows = x.len() / self.weight.rows;
        let mut y = bias.repeat(n_rows);
        let weight = view(self.weight.of(weights), self.weight.cols);
        general_mat_mul(
            1.0,
            &view(x, self.weight.rows),
            &weight,
            1.0,
            &mut view_mut(&mut y, self.weight.cols),
        );
        y
    }

    pub(super) fn backward(
        self,
        weights: &[f32],
        grads: &mut [f32],
        x: &[f32],
        dy: &[f32],
    ) -> Vec<f32> {
        let (rows, cols) = (self.weight.rows, self.weight.cols);
        let (x, dy) = (view(x, rows), view(dy, cols));
        general_mat_mul(
            1.0,
            &x.t(),
            &dy,
            1.0,
            &mut view_mut(self.weight.of_mut(grads), cols),
        );
        for (grad, sum) in self.bias.of_mut(grads).iter_mut().zip(dy.sum_axis(Axis(0))) {
            *grad += sum;
        }
        let mut dx = vec![0.0; x.len()];
        let weight = view(self.weight.of(weights), cols);
        general_mat_mul(1.0, &dy, &weight.t(), 0.0, &mut view_mut(&mut dx, rows));
        dx
    }
}

/// Each row brought to mean 0 and deviation 1, then scaled and shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Norm {
    pub scale: Slot,
    pub shift: Slot,
}

/// What is added to the variance of a row.
pub(super) const EPSILON: f32 = 1e-5;

/// What [`Norm::forward`] leaves for the way back.
pub(super) struct Normed {
    pub y: Vec<f32>,
    unit: Vec<f32>,
    inverse: Vec<f32>,
}

impl Norm {
    pub(super) fn forward(self, weights: &[f32], x: &[f32]) -> Normed {
        let width = self.scale.cols;
        let (scale, shift) = (self.scale.of(weights), self.shift.of(weights));
        let mut unit = x.to_vec();
        let mut y = vec![0.0; x.len()];
        let mut inverse = Vec::with_capacity(x.len() / width);
        for (row, y) in unit.chunks_mut(width).zip(y.chunks_mut(width)) {
            let mean = row.iter().sum::<f32>() / width as f32;
            row.iter_mut().for_each(|x| *x -= mean);
            let variance = row.iter().map(|x| x * x).sum::<f32>() / width as f32;
            let factor = 1.0 / (variance + EPSILON).sqrt();
            for (at, x) in row.iter_mut().enumerate() {
                *x *= factor;
                y[at] = *x * scale[at] + shift[at];
            }
            inverse.push(factor);
        }
        Normed { y, unit, inverse }
    }

    pub(super) fn backward(
        self,
        weights: &[f32],
        grads: &mut [f32],
        seen: &Normed,
        dy: &[f32],
    ) -> Vec<f32> {
        let width = self.scale.cols;
        let scale = self.scale.of(weights);
        let mut dx = vec![0.0; dy.len()];
        for (at, dy) in dy.chunks(width).enumerate() {
            let unit = &seen.unit[at * width..][..width];
            let (mut sum, mut dot) = (0.0, 0.0);
            for ((dy, scale), unit) in dy.iter().zip(scale).zip(unit) {
                sum += dy * scale;
                dot += dy * scale * unit;
            }
            let (sum, dot) = (sum / width as f32, dot / width as f32);
            let dx = &mut dx[at * width..][..width];
            for at_col in 0..width {
                dx[at_col] =
                    (dy[at_col] * scale[at_col] - sum - unit[at_col] * dot) * seen.inverse[at];
            }
            for (grad, (dy, unit)) in self.scale.of_mut(grads).iter_mut().zip(dy.iter().zip(unit)) {
                *grad += dy * unit;
            }
            for (grad, dy) in self.shift.of_mut(grads).iter_mut().zip(dy) {
                *grad += dy;
            }
        }
        dx
    }
}

/// Every row with its neighbours beside it, `[before, itself, after]`; zeros beyond either end.
pub(super) fn with_neighbours(x: &[f32], width: usize, rows: &[Range<usize>]) -> Vec<f32> {
    let mut wide = vec![0.0; 3 * x.len()];
    for range in rows {
        for at in range.clone() {
            let row = &mut wide[3 * width * at..][..3 * width];
            let from = at.saturating_sub(1).max(range.start);
            let to = (at + 2).min(range.end);
            let first = (from + 1 - at) * width;
            row[first..first + (to - from) * width].copy_from_slice(&x[from * width..to * width]);
        }
    }
    wide
}

/// The way back of [`with_neighbours`].
pub(super) fn to_neighbours(dwide: &[f32], width: usize, rows: &[Range<usize>]) -> Vec<f32> {
    let mut dx = vec![0.0; dwide.len() / 3];
    for range in rows {
        for at in range.clone() {
            let row = &dwide[3 * width * at..][..3 * width];
            let from = at.saturating_sub(1).max(range.start);
            let to = (at + 2).min(range.end);
            let first = (from + 1 - at) * width;
            let part = &row[first..first + (to - from) * width];
            for (dx, part) in dx[from * width..to * width].iter_mut().zip(part) {
                *dx += part;
            }
        }
    }
    dx
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The first half of each row where the second lets it through: `a · σ(b)`.
pub(super) fn gate(x: &[f32], width: usize) -> Vec<f32> {
    let row = |row: &[f32]| -> Vec<f32> {
        let (a, b) = row.split_at(width);
        a.iter().zip(b).map(|(a, b)| a * sigmoid(*b)).collect()
    };
    x.chunks(2 * width).flat_map(row).collect()
}

/// The way back of [`gate`].
pub(super) fn ungate(x: &[f32], dy: &[f32], width: usize) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    for ((x, dy), dx) in x
        .chunks(2 * width)
        .zip(dy.chunks(width))
        .zip(dx.chunks_mut(2 * width))
    {
        for at in 0..width {
            let open = sigmoid(x[width + at]);
            dx[at] = dy[at] * open;
            dx[width + at] = dy[at] * x[at] * open * (1.0 - open);
        }
    }
    dx
}

/// What [`attend`] leaves for the way back: for each text and head, who looks at whom.
pub(super) struct Looks(Vec<Vec<f32>>);

/// Each row looks at every row of its text: `qkv` holds queries, keys and values side by side,
/// `width` of each, divided among `n_heads`.
pub(super) fn attend(
    qkv: &[f32],
    width: usize,
    n_heads: usize,
    rows: &[Range<usize>],
) -> (Vec<f32>, Looks) {
    let all = view(qkv, 3 * width);
    let mut y = vec![0.0; qkv.len() / 3];
    let mut out = view_mut(&mut y, width);
    let head_width = width / n_heads;
    let factor = 1.0 / (head_width as f32).sqrt();
    let mut looks = Vec::with_capacity(rows.len() * n_heads);
    for range in rows {
        let n = range.len();
        for head in 0..n_heads {
            let part = |which: usize| {
                let from = which * width + head * head_width;
                all.slice(s![range.clone(), from..from + head_width])
            };
            let mut look = vec![0.0; n * n];
            general_mat_mul(
                factor,
                &part(0),
                &part(1).t(),
                0.0,
                &mut view_mut(&mut look, n),
            );
            look.chunks_mut(n).for_each(soften);
            let columns = head * head_width..(head + 1) * head_width;
            let mut out = out.slice_mut(s![range.clone(), columns]);
            general_mat_mul(1.0, &view(&look, n), &part(2), 0.0, &mut out);
            looks.push(look);
        }
    }
    (y, Looks(looks))
}

fn soften(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// The way back of [`attend`].
pub(super) fn unattend(
    qkv: &[f32],
    looks: &Looks,
    dy: &[f32],
    width: usize,
    n_heads: usize,
    rows: &[Range<usize>],
) -> Vec<f32> {
    let (all, dy) = (view(qkv, 3 * width), view(dy, width));
    let mut dqkv = vec![0.0; qkv.len()];
    let mut dall = view_mut(&mut dqkv, 3 * width);
    let head_width = width / n_heads;
    let factor = 1.0 / (head_width as f32).sqrt();
    for (text, range) in rows.iter().enumerate() {
        let n = range.len();
        for head in 0..n_heads {
            let look = view(&looks.0[text * n_heads + head], n);
            let columns = |which: usize| {
                let from = which * width + head * head_width;
                from..from + head_width
            };
            let part = |which: usize| all.slice(s![range.clone(), columns(which)]);
            let dy = dy.slice(s![range.clone(), columns(0)]);
            let mut dlook = vec![0.0; n * n];
            general_mat_mul(1.0, &dy, &part(2).t(), 0.0, &mut view_mut(&mut dlook, n));
            for (dlook, look) in dlook.chunks_mut(n).zip(look.rows()) {
                let dot: f32 = dlook.iter().zip(look).map(|(d, p)| d * p).sum();
                dlook
                    .iter_mut()
                    .zip(look)
                    .for_each(|(d, p)| *d = (*d - dot) * p * factor);
            }
            let dlook = view(&dlook, n);
            let mut give = |which: usize, a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>| {
                let mut d = dall.slice_mut(s![range.clone(), columns(which)]);
                general_mat_mul(1.0, a, b, 0.0, &mut d);
            };
            give(0, &dlook, &part(1));
            give(1, &dlook.t(), &part(0));
            give(2, &look.t(), &dy);
        }
    }
    dqkv
}

/// The largest number of each column and the mean of each, for each text: `[max, mean]`.
///
/// Answers where each largest one stood, too.
pub(super) fn pool(x: &[f32], width: usize, rows: &[Range<usize>]) -> (Vec<f32>, Vec<usize>) {
    let mut pooled = vec![0.0; 2 * width * rows.len()];
    let mut places = vec![0; width * rows.len()];
    for (text, range) in rows.iter().enumerate() {
        let (most, mean) = pooled[2 * width * text..][..2 * width].split_at_mut(width);
        let places = &mut places[width * text..][..width];
        most.fill(f32::NEG_INFINITY);
        for at in range.clone() {
            for (col, &x) in x[at * width..][..width].iter().enumerate() {
                mean[col] += x / range.len() as f32;
                if x > most[col] {
                    (most[col], places[col]) = (x, at);
                }
            }
        }
    }
    (pooled, places)
}

/// The way back of [`pool`].
pub(super) fn unpool(
    dpooled: &[f32],
    places: &[usize],
    n_rows: usize,
    width: usize,
    rows: &[Range<usize>],
) -> Vec<f32> {
    let mut dx = vec![0.0; n_rows * width];
    for (text, range) in rows.iter().enumerate() {
        let (most, mean) = dpooled[2 * width * text..][..2 * width].split_at(width);
        for at in range.clone() {
            for (dx, mean) in dx[at * width..][..width].iter_mut().zip(mean) {
                *dx += mean / range.len() as f32;
            }
        }
        for (col, &at) in places[width * text..][..width].iter().enumerate() {
            dx[at * width + col] += most[col];
        }
    }
    dx
}
