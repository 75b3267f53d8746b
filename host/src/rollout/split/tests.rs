//! Who answers: stable, even, independent, and never back and forth.

use proptest::prelude::*;

use super::super::lineup::tests::digest;
use super::*;
use crate::rollout::{Effect, Verb};

fn spam() -> DetectorId {
    "spam-text".into()
}

fn share(millionths: u32) -> Share {
    Share::from_millionths(millionths).unwrap()
}

/// One live and two canaries: 2 from the low end, 3 from the high end.
fn lineup(low: Share, high: Share) -> Lineup {
    let revision = |byte, keys: String| {
        format!(
            "[[detector.revision]]\nrevision = \"{}\"\n{keys}\n",
            digest(byte)
        )
    };
    let text = [
        "generation = 1\nsalt = \"salt\"\n[[detector]]\nid = \"spam-text\"\n".to_owned(),
        format!("previous = \"{}\"\n", digest(4)),
        revision(1, "stage = \"live\"".into()),
        revision(2, format!("stage = \"canary\"\nshare = {low}")),
        revision(
            3,
            format!("stage = \"canary\"\nshare = {high}\nend = \"high\""),
        ),
        revision(4, "stage = \"loaded\"".into()),
    ];
    Lineup::parse("l.toml", &text.concat()).unwrap()
}

fn who(lineup: &Lineup, key: &str, local: &LocalAborts) -> u8 {
    lineup
        .assign(&spam(), key, local)
        .unwrap()
        .revision
        .as_bytes()[0]
}

/// Salt, detector, key, position.
const VECTORS: [(&str, &str, &str, u32); 7] = [
    ("", "", "", 437_196),
    ("salt", "spam-text", "1", 137_362),
    ("salt", "spam-text", "2", 381_742),
    ("salt", "image-quality", "1", 516_332),
    ("2026-spring", "spam-text", "user:4711", 553_857),
    ("s", "d", "é🥁", 48_201),
    ("salt", "spam-text", X300, 262_054),
];

/// A long key.
const X300: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// From another implementation (Python's hashlib) of what [`Position::of`] says. A build
/// that disagrees would split a fleet in two.
#[test]
fn positions_are_the_same_in_every_build() {
    for (salt, detector, key, expected) in VECTORS {
        let position = Position::of(salt, &DetectorId::from(detector), key);
        assert_eq!(
            position.millionths(),
            expected,
            "{salt:?} {detector:?} {key:?}"
        );
    }
}

/// Pearson's statistic over ten equal parts; 27.9 is passed once in a thousand times.
#[test]
fn keys_are_spread_evenly() {
    for salt in ["", "a", "2026-spring"] {
        let mut counts = [0_u32; 10];
        for key in 0..20_000 {
            let position = Position::of(salt, &spam(), &format!("item-{key}"));
            counts[(position.millionths() / 100_000) as usize] += 1;
        }
        let off = counts.map(|count| (f64::from(count) - 2_000.0).powi(2) / 2_000.0);
        let chi_square: f64 = off.iter().sum();
        assert!(chi_square < 27.9, "{salt:?}: {chi_square}");
    }
}

/// Of the two positions of each key, in tenths: 81 degrees of freedom, 124.8 once in a
/// thousand times.
#[test]
fn detectors_and_salts_draw_independently() {
    let check = |one: &dyn Fn(&str) -> Position, other: &dyn Fn(&str) -> Position| {
        let mut counts = [[0_u32; 10]; 10];
        for key in 0..20_000 {
            let key = format!("item-{key}");
            let tenth = |position: Position| (position.millionths() / 100_000) as usize;
            counts[tenth(one(&key))][tenth(other(&key))] += 1;
        }
        let row = |at: usize| f64::from(counts[at].iter().sum::<u32>());
        let column = |at: usize| f64::from(counts.iter().map(|row| row[at]).sum::<u32>());
        let mut chi_square = 0.0;
        for (at, counts) in counts.iter().enumerate() {
            for (below, count) in counts.iter().enumerate() {
                let expected = row(at) * column(below) / 20_000.0;
                chi_square += (f64::from(*count) - expected).powi(2) / expected;
            }
        }
        assert!(chi_square < 124.8, "{chi_square}");
    };
    let image = DetectorId::from("image-quality");
    check(&|key| Position::of("salt", &spam(), key), &|key| {
        Position::of("salt", &image, key)
    });
    check(&|key| Position::of("salt", &spam(), key), &|key| {
        Position::of("salt2", &spam(), key)
    });
}

#[test]
fn parts_that_join_to_the_same_bytes_are_told_apart() {
    let position = |salt, detector: &str, key| Position::of(salt, &detector.into(), key);
    assert_ne!(position("ab", "c", "d"), position("a", "bc", "d"));
    assert_ne!(position("a", "bc", "d"), position("a", "b", "cd"));
}

#[test]
fn nobody_and_everybody_are_exact() {
    let position = [0, 1, 999_999].map(Position);
    for (share, end, expected) in [
        (Share::NONE, End::Low, [false; 3]),
        (Share::NONE, End::High, [false; 3]),
        (Share::WHOLE, End::Low, [true; 3]),
        (Share::WHOLE, End::High, [true; 3]),
        (share(1), End::Low, [true, false, false]),
        (share(1), End::High, [false, false, true]),
    ] {
        assert_eq!(
            position.map(|position| position.is_within(share, end)),
            expected
        );
    }
}

#[test]
fn a_canary_that_this_host_took_out_leaves_its_keys_to_the_live_revision() {
    let lineup = lineup(share(400_000), share(400_000));
    let mut local = LocalAborts::default();
    let keys: Vec<String> = (0..200).map(|key| key.to_string()).collect();
    let before: Vec<u8> = keys.iter().map(|key| who(&lineup, key, &local)).collect();
    assert!([1, 2, 3].iter().all(|who| before.contains(who)));
    assert_eq!(local.take_out(&lineup, &spam(), digest(2)), Effect::Aborted);
    for (key, before) in keys.iter().zip(before) {
        let expected = if before == 2 { 1 } else { before };
        assert_eq!(who(&lineup, key, &local), expected);
    }
}

#[test]
fn a_live_revision_that_this_host_took_out_gives_way_to_the_one_before() {
    let lineup = lineup(Share::NONE, Share::NONE);
    let mut local = LocalAborts::default();
    let out = local.take_out(&lineup, &spam(), digest(1));
    assert_eq!(out, Effect::RolledBack { to: digest(4) });
    assert_eq!(who(&lineup, "key", &local), 4);
    assert_eq!(local.take_out(&lineup, &spam(), digest(9)), Effect::Stays);
    // A new generation is what somebody wants now: it starts with nothing taken out.
    let text = lineup.text().replace("generation = 1", "generation = 2");
    let next = Lineup::parse("l.toml", &text).unwrap();
    assert_eq!(who(&next, "key", &local), 1);
}

#[test]
fn without_one_to_go_back_to_the_live_revision_stays() {
    let text = lineup(Share::NONE, Share::NONE).text();
    let text = text.replace(&format!("previous = \"{}\"\n", digest(4)), "");
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    let mut local = LocalAborts::default();
    assert_eq!(local.take_out(&lineup, &spam(), digest(1)), Effect::Stays);
    assert_eq!(who(&lineup, "key", &local), 1);
}

#[test]
fn a_pin_names_any_revision_that_is_ready_and_belongs_to_no_arm() {
    let lineup = lineup(Share::NONE, Share::NONE);
    let pinned = lineup.pinned(&spam(), digest(4)).unwrap();
    assert_eq!((pinned.revision, pinned.arm), (digest(4), Arm::Pinned));
    assert_eq!(lineup.pinned(&spam(), digest(9)), None);
    assert_eq!(
        lineup.assign(&"nobody".into(), "key", &LocalAborts::default()),
        None
    );
}

/// The lineup with its key pinned to `byte`.
fn pinned(lineup: &Lineup, key: &str, byte: u8) -> Lineup {
    let pin = Verb::Pin {
        detector: spam(),
        revision: digest(byte),
        key: key.to_owned(),
    };
    pin.apply(lineup).unwrap().0
}

#[test]
fn a_pin_of_the_lineup_holds_though_this_host_took_the_revision_out() {
    let lineup = pinned(&lineup(Share::WHOLE, Share::NONE), "tenant-7", 2);
    let mut local = LocalAborts::default();
    local.take_out(&lineup, &spam(), digest(2));
    let assignment = |key| lineup.assign(&spam(), key, &local).unwrap();
    assert_eq!(
        assignment("tenant-7"),
        Assignment {
            revision: digest(2),
            arm: Arm::Pinned,
            fallback: None
        }
    );
    assert_eq!(assignment("tenant-8").revision, digest(1));
}

#[test]
fn a_pin_answers_where_nobody_is_live() {
    let lineup = Lineup::new("salt").unwrap();
    let load = Verb::Load {
        detector: spam(),
        revision: digest(1),
    };
    let lineup = pinned(&load.apply(&lineup).unwrap().0, "tenant-7", 1);
    let none = LocalAborts::default();
    assert_eq!(who(&lineup, "tenant-7", &none), 1);
    assert_eq!(lineup.assign(&spam(), "tenant-8", &none), None);
}

proptest! {
    #[test]
    fn a_pin_moves_its_own_key_and_no_other(
        shares in (0_u32..=500_000, 0_u32..=500_000),
        byte in 1_u8..=4,
        key in "[a-z]{1,20}",
        other in ".{0,20}",
    ) {
        let none = LocalAborts::default();
        let before = lineup(share(shares.0), share(shares.1));
        let after = pinned(&before, &key, byte);
        let assignment = after.assign(&spam(), &key, &none).unwrap();
        prop_assert_eq!((assignment.revision, assignment.arm), (digest(byte), Arm::Pinned));
        if other != key {
            prop_assert_eq!(after.assign(&spam(), &other, &none), before.assign(&spam(), &other, &none));
        }
    }

    #[test]
    fn a_growing_canary_keeps_every_key_and_takes_only_from_the_live_revision(
        shares in (0_u32..=500_000, 0_u32..=500_000),
        grown in (0_u32..=500_000, 0_u32..=500_000),
        key in ".{0,20}",
    ) {
        let none = LocalAborts::default();
        let greater = (shares.0.max(grown.0), shares.1.max(grown.1));
        let before = who(&lineup(share(shares.0), share(shares.1)), &key, &none);
        let after = who(&lineup(share(greater.0), share(greater.1)), &key, &none);
        prop_assert!(before == after || before == 1, "{before} lost the key to {after}");
    }
}
