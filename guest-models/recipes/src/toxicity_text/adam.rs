//! How weights follow their gradients.
//!
//! Arithmetic in a fixed order on slices; it knows no layers.

use std::ops::Range;

/// Kingma & Ba 2015, arXiv:1412.6980, with the decay of Loshchilov & Hutter 2019,
/// arXiv:1711.05101.
pub(super) struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    n_ticks: i32,
}

impl Adam {
    const FIRST: f32 = 0.9;
    const SECOND: f32 = 0.999;

    pub(super) fn new(n: usize) -> Self {
        Self {
            first: vec![0.0; n],
            second: vec![0.0; n],
            n_ticks: 0,
        }
    }

    pub(super) fn tick(&mut self) {
        self.n_ticks += 1;
    }

    pub(super) fn step(
        &mut self,
        weights: &mut [f32],
        grads: &mut [f32],
        range: Range<usize>,
        rate: f32,
        decay: f32,
    ) {
        let first_bias = 1.0 - Self::FIRST.powi(self.n_ticks);
        let second_bias = 1.0 - Self::SECOND.powi(self.n_ticks);
        let rate = rate * second_bias.sqrt() / first_bias;
        let weights = &mut weights[range.clone()];
        let grads = &mut grads[range.clone()];
        let firsts = &mut self.first[range.clone()];
        let seconds = &mut self.second[range];
        for (((weight, grad), first), second) in
            weights.iter_mut().zip(grads).zip(firsts).zip(seconds)
        {
            *first += (1.0 - Self::FIRST) * (*grad - *first);
            *second += (1.0 - Self::SECOND) * (*grad * *grad - *second);
            *weight -= rate * *first / (second.sqrt() + 1e-8) + decay * *weight;
            *grad = 0.0;
        }
    }
}
