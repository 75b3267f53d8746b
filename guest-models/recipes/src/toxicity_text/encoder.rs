//! The encoder: pieces of a text in, three logits out, and how it learns.
//!
//! Vectors of pieces; a gated convolution over each piece and its neighbours; attention;
//! two dense layers; the largest and the mean number of each column; one dense layer.
//! Gradients are written out by hand, for a fixed order of every sum makes the same data
//! give the same bits on any number of cores.

use std::ops::Range;

use toxicity_text::vocabulary::PADDING;

use super::adam::Adam;
use super::layers::{
    Dense, Looks, Norm, Normed, Slot, attend, gate, pool, sigmoid, to_neighbours, unattend, ungate,
    unpool, with_neighbours,
};
use crate::augment::Random;

/// Numbers in the vector of a piece.
pub(super) const WIDTH: usize = 64;
pub(super) const N_HEADS: usize = 4;
/// Width between the two dense layers.
const INNER: usize = 128;
pub(super) const N_LABELS: usize = 3;

/// Where each weight lies; the vectors of pieces come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub conv: Dense,
    pub after_conv: Norm,
    pub qkv: Dense,
    pub mix: Dense,
    pub after_mix: Norm,
    pub widen: Dense,
    pub narrow: Dense,
    pub after_narrow: Norm,
    pub head: Dense,
    pub vectors: Slot,
}

impl Layout {
    fn of(n_pieces: usize) -> Self {
        let mut at = 0;
        let mut slot = |rows: usize, cols: usize| {
            let slot = Slot { at, rows, cols };
            at += rows * cols;
            slot
        };
        let mut dense = |rows: usize, cols: usize| Dense {
            weight: slot(rows, cols),
            bias: slot(1, cols),
        };
        let conv = dense(3 * WIDTH, 2 * WIDTH);
        let qkv = dense(WIDTH, 3 * WIDTH);
        let mix = dense(WIDTH, WIDTH);
        let widen = dense(WIDTH, INNER);
        let narrow = dense(INNER, WIDTH);
        let head = dense(2 * WIDTH, N_LABELS);
        let mut norm = || Norm {
            scale: slot(1, WIDTH),
            shift: slot(1, WIDTH),
        };
        Self {
            conv,
            after_conv: norm(),
            qkv,
            mix,
            after_mix: norm(),
            widen,
            narrow,
            after_narrow: norm(),
            head,
            vectors: slot(n_pieces, WIDTH),
        }
    }
}

/// A text to learn from.
#[derive(Debug, Clone)]
pub(super) struct Lesson<'a> {
    /// At least one.
    pub pieces: &'a [u32],
    /// Between 0 and 1; what is unknown teaches nothing.
    pub labels: [Option<f32>; N_LABELS],
    /// What an error on each label costs.
    pub weights: [f32; N_LABELS],
}

/// How it learns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schooling {
    pub seed: u64,
    pub n_epochs: usize,
    pub batch: usize,
    pub rate: f32,
    /// Share of pieces that are replaced by a strange one.
    pub forget: f64,
    /// Share of numbers that are dropped before the last layer and after the first.
    pub drop: f32,
    /// Decay of the weights for each step, as a factor of the rate.
    pub decay: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Encoder {
    pub weights: Vec<f32>,
    pub layout: Layout,
}

/// What the way there leaves for the way back.
struct Seen {
    rows: Vec<Range<usize>>,
    dropped_first: Vec<f32>,
    wide: Vec<f32>,
    gates: Vec<f32>,
    after_conv: Normed,
    qkv: Vec<f32>,
    looks: Looks,
    mixed: Vec<f32>,
    after_mix: Normed,
    inner: Vec<f32>,
    after_narrow: Normed,
    places: Vec<usize>,
    dropped_last: Vec<f32>,
    pooled: Vec<f32>,
    logits: Vec<f32>,
}

impl Encoder {
    fn new(n_pieces: usize, random: &mut Random) -> Self {
        let layout = Layout::of(n_pieces);
        let mut weights = vec![0.0; layout.vectors.range().end];
        for dense in [
            layout.conv,
            layout.qkv,
            layout.mix,
            layout.widen,
            layout.narrow,
            layout.head,
        ] {
            let reach = (6.0 / (dense.weight.rows + dense.weight.cols) as f32).sqrt();
            for weight in dense.weight.of_mut(&mut weights) {
                *weight = reach * (2.0 * unit(random) - 1.0);
            }
        }
        for norm in [layout.after_conv, layout.after_mix, layout.after_narrow] {
            norm.scale.of_mut(&mut weights).fill(1.0);
        }
        for weight in layout.vectors.of_mut(&mut weights) {
            *weight = 0.4 * (2.0 * unit(random) - 1.0);
        }
        Self { weights, layout }
    }

    /// Multiplies the logits, label by label.
    pub(super) fn scale(&mut self, factors: [f32; N_LABELS]) {
        let Dense { weight, bias } = self.layout.head;
        for slot in [weight, bias] {
            for row in slot.of_mut(&mut self.weights).chunks_mut(N_LABELS) {
                multiply(row, &factors);
            }
        }
    }

    /// The logits of one text. One without pieces is read as the plugin packs it: as one
    /// piece that is padding.
    pub(super) fn score(&self, pieces: &[u32]) -> [f32; N_LABELS] {
        let pieces = if pieces.is_empty() {
            &[PADDING]
        } else {
            pieces
        };
        let seen = self.forward(&[pieces], None);
        std::array::from_fn(|label| seen.logits[label])
    }

    fn forward(&self, texts: &[&[u32]], mut drop: Option<(f32, &mut Random)>) -> Seen {
        let at = self.layout;
        let weights = &self.weights;
        let mut rows = Vec::with_capacity(texts.len());
        let mut x = Vec::new();
        for text in texts {
            let from = x.len() / WIDTH;
            rows.push(from..from + text.len());
            for &piece in *text {
                x.extend_from_slice(&at.vectors.of(weights)[piece as usize * WIDTH..][..WIDTH]);
            }
        }
        let dropped_first = dropping(x.len(), &mut drop);
        multiply(&mut x, &dropped_first);
        let wide = with_neighbours(&x, WIDTH, &rows);
        let gates = at.conv.forward(weights, &wide);
        add(&mut x, &gate(&gates, WIDTH));
        let after_conv = at.after_conv.forward(weights, &x);
        let qkv = at.qkv.forward(weights, &after_conv.y);
        let (mixed, looks) = attend(&qkv, WIDTH, N_HEADS, &rows);
        let mut x = at.mix.forward(weights, &mixed);
        add(&mut x, &after_conv.y);
        let after_mix = at.after_mix.forward(weights, &x);
        let mut inner = at.widen.forward(weights, &after_mix.y);
        inner.iter_mut().for_each(|x| *x = x.max(0.0));
        let mut x = at.narrow.forward(weights, &inner);
        add(&mut x, &after_mix.y);
        let after_narrow = at.after_narrow.forward(weights, &x);
        let (mut pooled, places) = pool(&after_narrow.y, WIDTH, &rows);
        let dropped_last = dropping(pooled.len(), &mut drop);
        multiply(&mut pooled, &dropped_last);
        let logits = at.head.forward(weights, &pooled);
        Seen {
            rows,
            dropped_first,
            wide,
            gates,
            after_conv,
            qkv,
            looks,
            mixed,
            after_mix,
            inner,
            after_narrow,
            places,
            dropped_last,
            pooled,
            logits,
        }
    }

    /// Adds the gradient of everything to `grads`.
    fn backward(&self, texts: &[&[u32]], seen: &Seen, dlogits: &[f32], grads: &mut [f32]) {
        let at = self.layout;
        let (weights, rows) = (&self.weights, &seen.rows);
        let mut dpooled = at.head.backward(weights, grads, &seen.pooled, dlogits);
        multiply(&mut dpooled, &seen.dropped_last);
        let n_rows = seen.after_narrow.y.len() / WIDTH;
        let dy = unpool(&dpooled, &seen.places, n_rows, WIDTH, rows);
        let mut dx = at
            .after_narrow
            .backward(weights, grads, &seen.after_narrow, &dy);
        let mut dinner = at.narrow.backward(weights, grads, &seen.inner, &dx);
        for (d, x) in dinner.iter_mut().zip(&seen.inner) {
            *d = if *x > 0.0 { *d } else { 0.0 };
        }
        add(
            &mut dx,
            &at.widen
                .backward(weights, grads, &seen.after_mix.y, &dinner),
        );
        let mut dx = at.after_mix.backward(weights, grads, &seen.after_mix, &dx);
        let dmixed = at.mix.backward(weights, grads, &seen.mixed, &dx);
        let dqkv = unattend(&seen.qkv, &seen.looks, &dmixed, WIDTH, N_HEADS, rows);
        add(
            &mut dx,
            &at.qkv.backward(weights, grads, &seen.after_conv.y, &dqkv),
        );
        let mut dx = at
            .after_conv
            .backward(weights, grads, &seen.after_conv, &dx);
        let dgates = ungate(&seen.gates, &dx, WIDTH);
        let dwide = at.conv.backward(weights, grads, &seen.wide, &dgates);
        add(&mut dx, &to_neighbours(&dwide, WIDTH, rows));
        multiply(&mut dx, &seen.dropped_first);
        let dvectors = at.vectors.of_mut(grads);
        let pieces = texts.iter().flat_map(|text| text.iter());
        for (&piece, dx) in pieces.zip(dx.chunks(WIDTH)) {
            add(&mut dvectors[piece as usize * WIDTH..][..WIDTH], dx);
        }
    }

    /// Learns from `lessons`, none of which is empty.
    pub(super) fn fit(lessons: &[Lesson<'_>], n_pieces: usize, schooling: Schooling) -> Self {
        let mut random = Random::new(schooling.seed);
        let mut encoder = Self::new(n_pieces, &mut random);
        let mut adam = Adam::new(encoder.weights.len());
        let mut grads = vec![0.0; encoder.weights.len()];
        let mut order: Vec<usize> = (0..lessons.len()).collect();
        let n_steps = schooling.n_epochs * lessons.len().div_ceil(schooling.batch);
        let mut step = 0;
        for _ in 0..schooling.n_epochs {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            for batch in order.chunks(schooling.batch) {
                let texts: Vec<Vec<u32>> = batch
                    .iter()
                    .map(|&at| forget(lessons[at].pieces, schooling.forget, &mut random))
                    .collect();
                let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                let seen = encoder.forward(&texts, Some((schooling.drop, &mut random)));
                let lessons: Vec<&Lesson<'_>> = batch.iter().map(|&at| &lessons[at]).collect();
                let dlogits = gradient(&lessons, &seen.logits);
                encoder.backward(&texts, &seen, &dlogits, &mut grads);
                step += 1;
                let rate = schooling.rate * pace(step, n_steps);
                encoder.learn(&mut adam, &mut grads, &texts, rate, rate * schooling.decay);
            }
        }
        encoder
    }

    /// One step; the gradients are zeros afterwards.
    fn learn(
        &mut self,
        adam: &mut Adam,
        grads: &mut [f32],
        texts: &[&[u32]],
        rate: f32,
        decay: f32,
    ) {
        let vectors = self.layout.vectors;
        adam.tick();
        adam.step(&mut self.weights, grads, 0..vectors.at, rate, decay);
        // Vectors that nobody looked at stay as they are.
        let mut pieces: Vec<u32> = texts.iter().flat_map(|text| text.iter().copied()).collect();
        pieces.sort_unstable();
        pieces.dedup();
        for piece in pieces {
            let from = vectors.at + piece as usize * WIDTH;
            adam.step(&mut self.weights, grads, from..from + WIDTH, rate, decay);
        }
    }
}

/// Up for a twentieth of the way, then down to nothing.
fn pace(step: usize, n_steps: usize) -> f32 {
    let (step, n_steps) = (step as f32, n_steps as f32);
    let up = n_steps / 20.0;
    if step < up {
        step / up
    } else {
        (n_steps - step) / (n_steps - up)
    }
}

/// Of the weighted mean of the cross-entropies, by the logits.
fn gradient(lessons: &[&Lesson<'_>], logits: &[f32]) -> Vec<f32> {
    let n_lessons = lessons.len() as f32;
    let each = lessons
        .iter()
        .zip(logits.chunks(N_LABELS))
        .flat_map(|(lesson, logits)| {
            (0..N_LABELS).map(move |at| {
                let error = lesson.labels[at].map_or(0.0, |label| sigmoid(logits[at]) - label);
                lesson.weights[at] * error / n_lessons
            })
        });
    each.collect()
}

fn forget(pieces: &[u32], share: f64, random: &mut Random) -> Vec<u32> {
    let forget = |&piece: &u32| match random.chance(share) {
        true => toxicity_text::vocabulary::STRANGE,
        false => piece,
    };
    pieces.iter().map(forget).collect()
}

/// Zeros where something is dropped, and what the others are multiplied with.
fn dropping(n: usize, drop: &mut Option<(f32, &mut Random)>) -> Vec<f32> {
    match drop {
        Some((share, random)) if *share > 0.0 => {
            let kept = 1.0 / (1.0 - *share);
            (0..n)
                .map(|_| if unit(random) < *share { 0.0 } else { kept })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn multiply(x: &mut [f32], by: &[f32]) {
    x.iter_mut().zip(by).for_each(|(x, by)| *x *= by);
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// In `0..1`.
fn unit(random: &mut Random) -> f32 {
    random.below(1 << 24) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&[u32]; 3] = [&[5, 6, 7, 6], &[8], &[9, 5]];

    fn lessons() -> Vec<Lesson<'static>> {
        let labels = [
            [Some(1.0), Some(0.3), None],
            [Some(0.0), None, Some(1.0)],
            [None, Some(1.0), Some(0.0)],
        ];
        let lesson = |(pieces, labels)| Lesson {
            pieces,
            labels,
            weights: [1.5; 3],
        };
        TEXTS.into_iter().zip(labels).map(lesson).collect()
    }

    fn loss(encoder: &Encoder) -> f64 {
        let seen = encoder.forward(&TEXTS, None);
        let lessons = lessons();
        let each = lessons
            .iter()
            .zip(seen.logits.chunks(N_LABELS))
            .map(|(lesson, logits)| {
                let each = lesson
                    .labels
                    .iter()
                    .zip(logits)
                    .filter_map(|(label, &logit)| {
                        let (label, logit) = (f64::from((*label)?), f64::from(logit));
                        Some((1.0 + logit.exp()).ln() - label * logit)
                    });
                f64::from(lesson.weights[0]) * each.sum::<f64>()
            });
        each.sum::<f64>() / 3.0
    }

    #[test]
    fn gradients_are_those_of_the_loss() {
        let mut encoder = Encoder::new(12, &mut Random::new(3));
        let seen = encoder.forward(&TEXTS, None);
        let lessons = lessons();
        let lessons: Vec<&Lesson<'_>> = lessons.iter().collect();
        let mut grads = vec![0.0; encoder.weights.len()];
        let dlogits = gradient(&lessons, &seen.logits);
        encoder.backward(&TEXTS, &seen, &dlogits, &mut grads);
        let mut random = Random::new(1);
        for _ in 0..400 {
            let at = random.below(encoder.weights.len());
            let was = encoder.weights[at];
            let mut at_step = |step: f32| {
                encoder.weights[at] = was + step;
                loss(&encoder)
            };
            let found = (at_step(4e-3) - at_step(-4e-3)) / 8e-3;
            encoder.weights[at] = was;
            let said = f64::from(grads[at]);
            assert!(
                (found - said).abs() < 2e-3 + 0.02 * said.abs(),
                "weight {at}: {found} and {said}"
            );
        }
    }

    #[test]
    fn a_text_scores_the_same_alone_and_among_others() {
        let encoder = Encoder::new(12, &mut Random::new(3));
        let together = encoder.forward(&TEXTS, None).logits;
        for (text, logits) in TEXTS.iter().zip(together.chunks(N_LABELS)) {
            for (alone, among) in encoder.score(text).iter().zip(logits) {
                assert!((alone - among).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn what_it_is_taught_it_learns_and_twice_the_same() {
        let schooling = Schooling {
            seed: 1,
            n_epochs: 60,
            batch: 2,
            rate: 5e-3,
            forget: 0.0,
            drop: 0.0,
            decay: 0.0,
        };
        let encoder = Encoder::fit(&lessons(), 12, schooling);
        assert!(encoder.score(TEXTS[0])[0] > 1.0 && encoder.score(TEXTS[1])[0] < -1.0);
        assert_eq!(encoder, Encoder::fit(&lessons(), 12, schooling));
    }
}
