//! The weights of the fixed filters.

use crate::graph::Filters;

/// A normal curve over ±3 standard deviations of 7/6 pixels.
pub(super) const GAUSS: [f32; 7] = [
    0.012_540_9,
    0.078_690_1,
    0.236_848_5,
    0.343_840_9,
    0.236_848_5,
    0.078_690_1,
    0.012_540_9,
];

pub(super) fn sobel() -> [Vec<f32>; 2] {
    let across = [-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0].map(|tap| tap / 4.0);
    let down = [-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0].map(|tap| tap / 4.0);
    [across.to_vec(), down.to_vec()]
}

pub(super) fn laplacian() -> Vec<f32> {
    vec![0.0, -0.25, 0.0, -0.25, 1.0, -0.25, 0.0, -0.25, 0.0]
}

/// Immerkær's mask, which image structure hardly answers to.
pub(super) fn grain() -> Vec<f32> {
    let taps = [1.0, -2.0, 1.0, -2.0, 4.0, -2.0, 1.0, -2.0, 1.0];
    taps.map(|tap: f32| tap / 6.0).to_vec()
}

/// Puts a small filter into the middle of 5 × 5 taps.
pub(super) fn in_five(side: usize, small: &[f32]) -> Vec<f32> {
    let mut taps = vec![0.0; 25];
    let margin = (5 - side) / 2;
    for (at, &tap) in small.iter().enumerate() {
        taps[(margin + at / side) * 5 + margin + at % side] = tap;
    }
    taps
}

/// The bank of derivatives and second differences, 5 × 5.
pub(super) fn bank() -> Filters {
    let [across, down] = sobel();
    let line = |pairs: &[(usize, f32)]| {
        let mut taps = vec![0.0; 25];
        for &(at, tap) in pairs {
            taps[at] = tap;
        }
        taps
    };
    let (mut gauss_across, mut gauss_down, mut log) = (vec![], vec![], vec![]);
    for y in -2_i32..=2 {
        for x in -2_i32..=2 {
            let (x, y) = (x as f32, y as f32);
            let bell = (-(x * x + y * y) / 2.0).exp() / std::f32::consts::TAU;
            gauss_across.push(x * bell);
            gauss_down.push(y * bell);
            log.push((x * x + y * y - 2.0) * bell);
        }
    }
    let mean = log.iter().sum::<f32>() / 25.0;
    let log: Vec<f32> = log.iter().map(|tap| tap - mean).collect();
    let turned = |a: &[f32], b: &[f32], sign: f32| -> Vec<f32> {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a + sign * b) * 0.707).collect()
    };
    Filters::stack(
        5,
        5,
        &[
            in_five(3, &laplacian()),
            in_five(3, &grain()),
            in_five(3, &across),
            in_five(3, &down),
            log,
            line(&[(12, -1.0), (13, 1.0)]),
            line(&[(12, -1.0), (17, 1.0)]),
            line(&[(12, -1.0), (18, 1.0)]),
            line(&[(12, -1.0), (16, 1.0)]),
            line(&[(11, -0.5), (12, 1.0), (13, -0.5)]),
            line(&[(7, -0.5), (12, 1.0), (17, -0.5)]),
            line(&[(10, -0.5), (12, 1.0), (14, -0.5)]),
            line(&[(2, -0.5), (12, 1.0), (22, -0.5)]),
            turned(&gauss_across, &gauss_down, 1.0),
            turned(&gauss_across, &gauss_down, -1.0),
            gauss_across,
            gauss_down,
        ],
    )
}

/// The same for opponent colours: fewer, and one bank for each of both.
pub(super) fn colour_bank() -> Filters {
    let [across, down] = sobel();
    let one = [across, down, laplacian(), grain()];
    Filters::stack(3, 3, &[one.clone(), one].concat())
}

/// A pixel, its neighbours right, below and below right, and those two away.
pub(super) fn neighbours() -> Filters {
    let one = |at: usize| {
        let mut taps = vec![0.0; 9];
        taps[at] = 1.0;
        taps
    };
    Filters::stack(3, 3, &[one(0), one(1), one(3), one(4), one(2), one(6)])
}

/// The 63 varying cosines of 8 × 8 blocks, orthonormal.
pub(super) fn cosines() -> Filters {
    let wave = |u: usize, x: usize| -> f32 {
        let scale = if u == 0 { 0.125_f32 } else { 0.25 };
        let angle = std::f64::consts::PI * ((2 * x + 1) * u) as f64 / 16.0;
        scale.sqrt() * angle.cos() as f32
    };
    let filters: Vec<Vec<f32>> = (1..64)
        .map(|at| {
            let (v, u) = (at / 8, at % 8);
            let taps = (0..64).map(|tap| wave(v, tap / 8) * wave(u, tap % 8));
            taps.collect()
        })
        .collect();
    Filters::stack(8, 8, &filters)
}

/// Which of 14 bands each cosine is in, `[63, 14]`, averaging within it.
pub(super) fn bands() -> Vec<f32> {
    let band = |at: usize| ((at / 8 + at % 8) - 1).min(13);
    let mut count = [0.0_f32; 14];
    (1..64).for_each(|at| count[band(at)] += 1.0);
    let mut matrix = vec![0.0; 63 * 14];
    for at in 1..64 {
        matrix[(at - 1) * 14 + band(at)] = 1.0 / count[band(at)];
    }
    matrix
}
