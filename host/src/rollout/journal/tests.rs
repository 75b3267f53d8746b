//! What a journal's bytes mean, whole and broken off.

use proptest::prelude::*;

use super::super::Lineup;
use super::super::lineup::tests::digest;
use super::*;
use crate::rollout::guard::{Bound, Rates};

fn entries() -> Vec<Entry> {
    let lineup = Lineup::new("sält \"quoted\"\\").unwrap();
    let load = Verb::Load {
        detector: "spam\u{202e}-text".into(),
        revision: digest(1),
    };
    let (next, transition) = load.apply(&lineup).unwrap();
    let breach = Breach {
        bound: Bound::Faults(Rates {
            candidate: 0.05,
            other: None,
            tolerated: 0.005,
        }),
        n_candidate: 120,
        n_other: 2_000,
        after: core::time::Duration::from_millis(61_234),
        ln_evidence: 7.25,
    };
    let entry = |at, event| Entry {
        at: Moment::from_micros(at),
        event,
    };
    let given = Cause::Given {
        origin: "lineup.toml\n".into(),
    };
    vec![
        entry(
            1_800_000_000_000_000,
            Event::Lineup {
                generation: 1,
                lineup: lineup.digest(),
                cause: given,
            },
        ),
        entry(
            1_800_000_000_000_001,
            Event::Lineup {
                generation: 2,
                lineup: next.digest(),
                cause: Cause::Verb {
                    step: load,
                    transition,
                },
            },
        ),
        entry(
            2,
            Event::TakenOut {
                generation: 2,
                detector: "spam-text".into(),
                revision: digest(1),
                effect: Effect::RolledBack { to: digest(2) },
                breach,
            },
        ),
        entry(
            u64::MAX,
            Event::Quarantine {
                detector: "spam-text".into(),
                revision: digest(1),
                change: QuarantineChange::Left {
                    until: Moment::from_micros(3),
                    backoff_ms: 1,
                },
            },
        ),
    ]
}

fn bytes_of(entries: &[Entry]) -> Vec<u8> {
    entries.iter().map(encode).collect::<String>().into_bytes()
}

#[test]
fn entries_come_back_as_they_were_written() {
    let entries = entries();
    let bytes = bytes_of(&entries);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.entries, entries);
    assert_eq!(decoded.n_good_bytes, bytes.len());
    let Event::Lineup { lineup, .. } = &entries[1].event else {
        unreachable!()
    };
    assert_eq!(decoded.confirmed(), Some((2, *lineup)));
    assert_eq!(decode(b"").unwrap().confirmed(), None);
    // Every line is JSON by itself, for whoever reads logs.
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let json: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert!(json["entry"]["event"].is_string());
    }
}

#[test]
fn a_journal_that_breaks_off_anywhere_keeps_every_entry_before() {
    let entries = entries();
    let bytes = bytes_of(&entries);
    let ends: Vec<usize> = entries
        .iter()
        .scan(0, |end, entry| {
            *end += encode(entry).len();
            Some(*end)
        })
        .collect();
    for length in 0..bytes.len() {
        let decoded = decode(&bytes[..length]).unwrap();
        let n_whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(decoded.entries, entries[..n_whole], "{length} bytes");
        let whole = if n_whole == 0 { 0 } else { ends[n_whole - 1] };
        assert_eq!(decoded.n_good_bytes, whole);
    }
}

#[test]
fn a_tail_of_zeros_or_of_anything_is_a_tail() {
    let entries = entries();
    let good = bytes_of(&entries);
    for tail in [
        &[0; 600][..],
        b"\n\n\n",
        b"{\"sum\":\"\xff\n}\n",
        &good[1..40],
    ] {
        let decoded = decode(&[&good[..], tail].concat()).unwrap();
        assert_eq!(
            (decoded.entries.len(), decoded.n_good_bytes),
            (4, good.len())
        );
    }
}

#[test]
fn damage_before_a_whole_entry_is_an_error_and_no_tail() {
    let entries = entries();
    let good = bytes_of(&entries);
    let last = good.len() - encode(&entries[3]).len();
    for at in (0..last).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let error = decode(&bytes).expect_err("a flipped bit").to_string();
        assert!(error.contains("is damaged, and whole entries follow it; put the file back"));
    }
}

#[test]
fn an_entry_of_another_version_is_an_error_and_not_cut_off() {
    let entry = "{\"at\":1,\"event\":\"later\"}";
    let line = summed::line(ENTRY, entry);
    let error = decode(line.as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("line 1 is whole but of another version"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_make_up_an_entry(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        keep in 0_usize..5,
        at in any::<prop::sample::Index>(),
    ) {
        let entries = entries();
        let good = bytes_of(&entries[..keep.min(4)]);
        let mut damaged = good.clone();
        damaged.splice(at.index(good.len() + 1).., bytes);
        if let Ok(decoded) = decode(&damaged) {
            prop_assert!(decoded.n_good_bytes <= damaged.len());
            prop_assert!(entries.starts_with(&decoded.entries));
        }
    }
}
