//! Works as much, traps as often and scores as high as its settings say, so that two
//! revisions of it differ in nothing else. It serves the benches of a rollout: what a text
//! comes to depends on the text alone.

use std::hint::black_box;

use trommel_sdk::{Detector, Failure, Findings, Item, settings};

struct Works;

impl Detector for Works {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let n_rounds: u64 = settings::parsed("rounds").unwrap_or(0);
        let trap_percent: u64 = settings::parsed("trap-percent").unwrap_or(0);
        let lift: f32 = settings::parsed("lift").unwrap_or(0.0);
        let mut score: Option<f32> = None;
        for part in item.texts() {
            let hash = mixed(hash(item.text(part)?.as_bytes()), n_rounds);
            assert!(hash % 100 >= trap_percent, "the settings say so");
            // From -4 up to 4, evenly.
            let thousandths = u16::try_from(hash / 100 % 8_000).expect("it is below 8,000");
            let of_part = f32::from(thousandths) / 1e3 - 4.0 + lift;
            score = Some(score.map_or(of_part, |so_far| so_far.max(of_part)));
        }
        if let Some(score) = score {
            findings.signal("spam", score);
        }
        Ok(())
    }
}

trommel_sdk::export!(Works);

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `hash` with its bits mixed, after so many rounds of work that change nothing else.
fn mixed(hash: u64, n_rounds: u64) -> u64 {
    let mut state = hash;
    for _ in 0..n_rounds {
        state = black_box(state.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    black_box(state);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
