//! What the benches share: ratios within one run, and texts to judge.

pub mod devices;

use std::time::{Duration, Instant};

use image::ImageFormat;
use trommel_tests::pictures::{drawn, encoded};

/// Rounds that a ratio is the median of.
const ROUNDS: usize = 7;

/// Whether the bench was asked to run once, to see that it runs.
pub fn is_trial() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Time per iteration of `work`, which does as many as it is told.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn per_iteration(n: u32, mut work: impl FnMut(u32)) -> Duration {
    let start = Instant::now();
    work(n);
    start.elapsed() / n
}

/// Medians of both and the ratio of `subject` to `baseline`, round by round one
/// after the other, so that a busy machine is busy for both.
#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
pub fn print_ratio(
    names: (&str, &str),
    n: u32,
    mut baseline: impl FnMut(u32),
    mut subject: impl FnMut(u32),
) {
    let n = if is_trial() { 1 } else { n };
    let (mut of_baseline, mut of_subject, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let n_rounds = if is_trial() { 1 } else { ROUNDS };
    for _ in 0..n_rounds {
        let (a, b) = (
            per_iteration(n, &mut baseline),
            per_iteration(n, &mut subject),
        );
        of_baseline.push(a.as_secs_f64());
        of_subject.push(b.as_secs_f64());
        ratios.push(b.as_secs_f64() / a.as_secs_f64());
    }
    let micros = |times: &mut Vec<f64>| median(times) * 1e6;
    println!(
        "{}: {:.1} µs, {}: {:.1} µs, ratio {:.2} (medians of {n_rounds} rounds of {n})",
        names.0,
        micros(&mut of_baseline),
        names.1,
        micros(&mut of_subject),
        median(&mut ratios),
    );
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// `n` texts of a text message's length, 20 to 160 characters, of the project's
/// own making and the same every time; about one in five is a lure.
pub fn messages(n: usize) -> Vec<String> {
    const CHAT: [&str; 12] = [
        "are you coming to the match on saturday",
        "I left the keys with the neighbour",
        "mum says dinner is at seven",
        "the bus was late again so start without me",
        "can you send me the notes from today",
        "happy birthday, see you tonight",
        "ok",
        "did the parcel arrive yet?",
        "I'll call you when the meeting is over",
        "that film was better than I thought",
        "remember to water the plants",
        "thanks for the lift home yesterday",
    ];
    const LURE: [&str; 6] = [
        "WINNER! claim your free prize now",
        "call 09061234567 today",
        "your loan is approved, reply YES",
        "text STOP to end, 150p per message",
        "exclusive offer ends tonight",
        "click http://prize.example/claim",
    ];
    let mut state = 1_u64;
    let mut next = move |bound: usize| {
        // Knuth's MMIX generator; the high bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut message = || {
        let phrases: &[&str] = if next(5) == 0 { &LURE } else { &CHAT };
        let n_phrases = 1 + next(4);
        let chosen: Vec<&str> = (0..n_phrases)
            .map(|_| phrases[next(phrases.len())])
            .collect();
        chosen.join(". ")
    };
    (0..n).map(|_| message()).collect()
}

/// `n` JPEG photos of 1,600 by 1,200 pixels, of the project's own making and the same
/// every time: hills under a sky, with grain.
///
/// # Panics
///
/// When the codec fails on RGB.
pub fn pictures(n: usize) -> Vec<Vec<u8>> {
    let picture = |seed: u32| {
        let image = drawn(1600, 1200, |x, y| {
            let (fx, fy) = (f64::from(x) / 1600.0, f64::from(y) / 1200.0);
            let phase = f64::from(seed);
            let hill = 0.55 + 0.15 * (fx * 7.0 + phase).sin() + 0.05 * (fx * 31.0 + phase).cos();
            let grain = f64::from((x ^ (y * 7) ^ seed).wrapping_mul(2_654_435_761) >> 24) / 16.0;
            let base = if fy < hill {
                [120.0 + 80.0 * fy, 160.0 + 40.0 * fy, 230.0]
            } else {
                let stripe = 20.0 * (fx * 90.0 + fy * 60.0).sin();
                [70.0 + stripe, 120.0 + stripe, 60.0]
            };
            // A cast keeps to 0..=255.
            base.map(|value| (value + grain) as u8)
        });
        encoded(&image, ImageFormat::Jpeg)
    };
    (0..n).map(|seed| picture(seed as u32)).collect()
}
