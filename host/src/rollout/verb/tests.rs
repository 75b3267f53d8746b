//! What verbs do, step by step and in any order.

use proptest::prelude::*;

use super::super::lineup::tests::digest;
use super::*;
use crate::rollout::{End, MAX_PINS, MAX_REVISIONS};

fn spam() -> DetectorId {
    "spam-text".into()
}

/// A short way to write a verb on one detector.
fn verb(word: &str, byte: u8) -> Verb {
    let (detector, revision) = (spam(), digest(byte));
    let millionths = |share| Share::from_millionths(share).unwrap();
    match word {
        "load" => Verb::Load { detector, revision },
        "shadow" => Verb::Shadow { detector, revision },
        "canary" => Verb::Canary {
            detector,
            revision,
            share: millionths(100_000),
        },
        "grow" => Verb::Canary {
            detector,
            revision,
            share: millionths(600_000),
        },
        "promote" => Verb::Promote {
            detector,
            revision,
            control: Share::NONE,
        },
        "control" => Verb::Promote {
            detector,
            revision,
            control: millionths(50_000),
        },
        "settle" => Verb::Settle { detector },
        "rollback" => Verb::Rollback { detector },
        "abort" => Verb::Abort { detector, revision },
        "retire" => Verb::Retire { detector, revision },
        "pin" => pin("tenant-7", byte),
        "unpin" => Verb::Unpin {
            detector,
            key: "tenant-7".to_owned(),
        },
        _ => panic!("{word}"),
    }
}

fn pin(key: &str, byte: u8) -> Verb {
    Verb::Pin {
        detector: spam(),
        revision: digest(byte),
        key: key.to_owned(),
    }
}

fn after(steps: &[(&str, u8)]) -> Lineup {
    let first = Lineup::new("salt").unwrap();
    steps.iter().fold(first, |lineup, (word, byte)| {
        let step = verb(word, *byte);
        step.apply(&lineup)
            .unwrap_or_else(|refusal| panic!("{word} {byte}: {refusal}"))
            .0
    })
}

fn stages(lineup: &Lineup) -> String {
    let Some(detector) = lineup.detector("spam-text") else {
        return String::new();
    };
    let shown = |staged: &Staged| format!("{} {}", staged.revision.as_bytes()[0], staged.stage);
    let stages: Vec<_> = detector.revisions().iter().map(shown).collect();
    let previous = detector
        .previous()
        .map(|previous| format!(" < {}", previous.as_bytes()[0]));
    stages.join(", ") + &previous.unwrap_or_default()
}

fn refused(steps: &[(&str, u8)], word: &str, byte: u8) -> String {
    verb(word, byte)
        .apply(&after(steps))
        .unwrap_err()
        .to_string()
}

const LIVE: [(&str, u8); 2] = [("load", 1), ("promote", 1)];
const CANARY: [(&str, u8); 5] = [
    ("load", 1),
    ("promote", 1),
    ("load", 2),
    ("shadow", 2),
    ("canary", 2),
];

#[test]
fn a_revision_walks_from_loaded_to_live_and_leaves_the_way_back_open() {
    let lineup = after(&CANARY);
    assert_eq!(stages(&lineup), "1 live, 2 canary");
    assert_eq!(lineup.generation(), 6);
    let (lineup, transition) = verb("promote", 2).apply(&lineup).unwrap();
    assert_eq!(stages(&lineup), "1 loaded, 2 live < 1");
    assert_eq!(
        transition.to_string(),
        "generation 7: `spam-text` 010101010101 live → loaded, 020202020202 canary → live"
    );
    let (lineup, _) = verb("rollback", 0).apply(&lineup).unwrap();
    assert_eq!(stages(&lineup), "1 live, 2 retired");
}

#[test]
fn a_second_promotion_retires_who_was_live_before_the_last() {
    let steps = [&CANARY[..], &[("promote", 2), ("load", 3), ("promote", 3)]].concat();
    assert_eq!(stages(&after(&steps)), "2 loaded, 3 live, 1 retired < 2");
    // Promoting the previous one is a way back that can be walked forth again.
    let steps = [&CANARY[..], &[("promote", 2), ("promote", 1)]].concat();
    assert_eq!(stages(&after(&steps)), "1 live, 2 loaded < 2");
}

#[test]
fn a_control_answers_beside_a_promoted_revision_until_that_is_settled() {
    let promoted = [&CANARY[..], &[("control", 2)]].concat();
    let lineup = after(&promoted);
    assert_eq!(stages(&lineup), "1 canary, 2 live < 1");
    let settled = [&promoted[..], &[("settle", 0)]].concat();
    assert_eq!(stages(&after(&settled)), "1 loaded, 2 live < 1");
    let back = [&promoted[..], &[("rollback", 0)]].concat();
    assert_eq!(stages(&after(&back)), "1 live, 2 retired");
    let again = refused(&settled, "settle", 0);
    assert!(again.contains("there is nothing to settle"), "{again}");
    let nobody = refused(&[("load", 1)], "control", 1);
    assert!(
        nobody.contains("no live revision to stand beside"),
        "{nobody}"
    );
    let crowded = [&CANARY[..], &[("load", 3), ("canary", 3), ("load", 4)]].concat();
    assert!(refused(&crowded, "control", 4).contains("has two canaries"));
}

#[test]
fn a_canary_keeps_its_end_when_it_grows_and_a_second_takes_the_other() {
    let steps = [
        &CANARY[..],
        &[
            ("load", 3),
            ("canary", 3),
            ("grow", 3),
            ("abort", 2),
            ("load", 4),
            ("canary", 4),
        ],
    ]
    .concat();
    let lineup = after(&steps);
    let canaries: Vec<_> = lineup.detector("spam-text").unwrap().canaries().collect();
    let share = |millionths| Share::from_millionths(millionths).unwrap();
    let expected = [
        (digest(3), share(600_000), End::High),
        (digest(4), share(100_000), End::Low),
    ];
    assert_eq!(canaries, expected);
}

#[test]
fn a_verb_that_does_not_fit_is_refused_with_the_way_out() {
    let promoted = [&CANARY[..], &[("promote", 2)]].concat();
    for (said, expected) in [
        (
            refused(&[], "promote", 1),
            "the lineup has no detector `spam-text`; load a revision",
        ),
        (
            refused(&LIVE, "promote", 2),
            "has no revision 020202020202; load it first",
        ),
        (
            refused(&LIVE, "promote", 1),
            "is live already; there is nothing to do",
        ),
        (
            refused(&LIVE, "load", 1),
            "is live already; there is nothing to do",
        ),
        (
            refused(&LIVE, "rollback", 0),
            "no previous live revision that is still loaded; load",
        ),
        (
            refused(&LIVE, "retire", 1),
            "is live; promote another one or roll back",
        ),
        (
            refused(&LIVE, "abort", 1),
            "is live; promote another one or roll back",
        ),
        (
            refused(&LIVE, "canary", 1),
            "is live; promote another one or roll back",
        ),
        (
            refused(&[("load", 1)], "shadow", 1),
            "no live revision to stand beside; promote one",
        ),
        (
            refused(&[("load", 1)], "canary", 1),
            "no live revision to stand beside; promote one",
        ),
        (
            refused(&[("load", 1)], "rollback", 1),
            "no live revision to stand beside",
        ),
        (
            refused(&[("load", 1)], "abort", 1),
            "is only loaded; retire it instead",
        ),
        (
            refused(&CANARY, "retire", 2),
            "is a canary; abort it instead",
        ),
        (
            refused(&CANARY, "canary", 2),
            "is a canary of 0.1 already; there is nothing to do",
        ),
        (
            refused(&[&CANARY[..], &[("abort", 2)]].concat(), "promote", 2),
            "is retired; load it first",
        ),
        (
            refused(&[&promoted[..], &[("retire", 1)]].concat(), "rollback", 0),
            "no previous live revision",
        ),
        (
            refused(
                &[&CANARY[..], &[("load", 3), ("canary", 3), ("load", 4)]].concat(),
                "canary",
                4,
            ),
            "has two canaries, 020202020202 and 030303030303; abort one",
        ),
        (
            refused(
                &[&CANARY[..], &[("grow", 2), ("load", 3)]].concat(),
                "grow",
                3,
            ),
            "a share of 0.6 does not fit beside the other canary of `spam-text`; give at most 0.4",
        ),
    ] {
        assert!(said.contains(expected), "{said}\n  is not {expected}");
    }
}

#[test]
fn a_pinned_revision_is_not_retired_and_leaves_its_place_all_the_same() {
    let pinned = [&CANARY[..], &[("pin", 1), ("promote", 2)]].concat();
    assert_eq!(stages(&after(&pinned)), "1 loaded, 2 live < 1");
    // Nobody can go back to it any more, and still it answers for its pin.
    let passed = [&pinned[..], &[("load", 3), ("promote", 3)]].concat();
    assert_eq!(stages(&after(&passed)), "1 loaded, 2 loaded, 3 live < 2");
    let said = refused(&passed, "retire", 1);
    assert_eq!(
        said,
        "revision 010101010101 of `spam-text` is pinned for `tenant-7`; unpin first; meanwhile a canary can be made a shadow"
    );
    let unpinned = [&passed[..], &[("unpin", 0), ("retire", 1)]].concat();
    assert_eq!(stages(&after(&unpinned)), "2 loaded, 3 live, 1 retired < 2");
    // A way back does not wait for pins.
    let back = [&CANARY[..], &[("promote", 2), ("pin", 2), ("rollback", 0)]].concat();
    let lineup = after(&back);
    assert_eq!(stages(&lineup), "1 live, 2 loaded");
    let pin = lineup.detector("spam-text").unwrap().pin("tenant-7");
    assert_eq!(pin, Some(digest(2)));
}

#[test]
fn a_pinned_canary_is_aborted_once_it_is_unpinned() {
    let pinned = [&CANARY[..], &[("pin", 2)]].concat();
    assert!(refused(&pinned, "abort", 2).contains("is pinned for `tenant-7`; unpin first"));
    let shadowed = [&pinned[..], &[("shadow", 2)]].concat();
    assert_eq!(stages(&after(&shadowed)), "1 live, 2 shadow");
    let aborted = [&pinned[..], &[("unpin", 0), ("abort", 2)]].concat();
    assert_eq!(stages(&after(&aborted)), "1 live, 2 retired");
    let (lineup, _) = pin("other", 2).apply(&after(&pinned)).unwrap();
    let refusal = verb("abort", 2).apply(&lineup).unwrap_err().to_string();
    assert!(
        refusal.contains("for `other` and 1 more; unpin"),
        "{refusal}"
    );
}

#[test]
fn a_pin_moves_and_a_transition_says_so() {
    let lineup = after(&[&CANARY[..], &[("pin", 2)]].concat());
    let (moved, transition) = verb("pin", 1).apply(&lineup).unwrap();
    assert_eq!(
        transition.to_string(),
        "generation 8: `spam-text` pin `tenant-7` 020202020202 → 010101010101"
    );
    assert_eq!(moved.detector("spam-text").unwrap().pins().count(), 1);
    let (_, transition) = verb("unpin", 0).apply(&moved).unwrap();
    assert_eq!(
        transition.to_string(),
        "generation 9: `spam-text` pin `tenant-7` 010101010101 → nobody"
    );
    let json = serde_json::json!({
        "verb": "pin", "detector": "spam-text", "revision": digest(1), "key": "tenant-7",
    });
    assert_eq!(
        serde_json::from_value::<Verb>(json).unwrap(),
        verb("pin", 1)
    );
}

#[test]
fn a_pin_that_does_not_fit_is_refused_with_the_way_out() {
    let pinned = [&LIVE[..], &[("pin", 1)]].concat();
    for (said, expected) in [
        (
            refused(&LIVE, "pin", 2),
            "has no revision 020202020202; load it first",
        ),
        (
            refused(&[&CANARY[..], &[("abort", 2)]].concat(), "pin", 2),
            "is retired; load it first",
        ),
        (
            refused(&pinned, "pin", 1),
            "of `spam-text` already; there is nothing to do",
        ),
        (
            refused(&LIVE, "unpin", 0),
            "`tenant-7` is not pinned to a revision of `spam-text`",
        ),
        (
            refused(&[], "pin", 1),
            "the lineup has no detector `spam-text`",
        ),
    ] {
        assert!(said.contains(expected), "{said}\n  is not {expected}");
    }
    let refusal = pin("\u{7f}x", 1).apply(&after(&LIVE)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "a pin's key holds a control character; write a word"
    );
    let full = (0..MAX_PINS).fold(after(&LIVE), |lineup, n| {
        pin(&n.to_string(), 1).apply(&lineup).unwrap().0
    });
    let refusal = pin("one more", 1).apply(&full).unwrap_err().to_string();
    assert_eq!(refusal, "`spam-text` has 256 pins; unpin one first");
    // One that is there may still move.
    let (full, _) = verb("load", 2).apply(&full).unwrap();
    pin("0", 2).apply(&full).unwrap();
}

#[test]
fn a_lineup_with_1024_pins_takes_none_more() {
    let mut lineup = Lineup::new("salt").unwrap();
    let take = |lineup: &mut Lineup, verb: Verb| verb.apply(lineup).map(|(next, _)| *lineup = next);
    for name in ["a", "b", "c", "d", "e"] {
        let (detector, revision) = (DetectorId::from(name), digest(1));
        let load = Verb::Load {
            detector: detector.clone(),
            revision,
        };
        take(&mut lineup, load).unwrap();
        for key in 0..MAX_PINS {
            let (detector, key) = (detector.clone(), key.to_string());
            let taken = take(
                &mut lineup,
                Verb::Pin {
                    detector,
                    revision,
                    key,
                },
            );
            if name == "e" {
                let refusal = taken.unwrap_err().to_string();
                assert_eq!(refusal, "the lineup has 1024 pins; unpin one first");
                return;
            }
            taken.unwrap();
        }
    }
    panic!("a fifth detector has pins");
}

#[test]
fn loading_forgets_who_is_retired_for_longest_and_no_one_else() {
    let mut steps = LIVE.to_vec();
    for byte in 2..=16 {
        steps.push(("load", byte));
    }
    assert!(refused(&steps, "load", 17).contains("16 revisions and none is retired; retire one"));
    steps.extend([("retire", 9), ("retire", 4), ("load", 17)]);
    let lineup = after(&steps);
    let detector = lineup.detector("spam-text").unwrap();
    assert_eq!(detector.stage(digest(9)), None);
    assert_eq!(detector.stage(digest(4)), Some(Stage::Retired));
    assert_eq!(detector.revisions().len(), MAX_REVISIONS);
}

#[test]
fn a_name_that_no_file_could_hold_is_refused() {
    let lineup = Lineup::new("salt").unwrap();
    let load = Verb::Load {
        detector: "a\nb".into(),
        revision: digest(1),
    };
    let error = load.apply(&lineup).unwrap_err().to_string();
    assert_eq!(
        error,
        "a detector's name holds a control character; write a word"
    );
    assert!(Lineup::new("").is_err());
}

#[test]
fn the_last_generation_is_not_passed() {
    let text = format!("generation = {}\nsalt = \"s\"\n", i64::MAX);
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    let error = verb("load", 1).apply(&lineup).unwrap_err().to_string();
    assert!(error.contains("is the last there is"), "{error}");
}

proptest! {
    /// Whatever is done in whatever order: each lineup would be read from a file, refusals
    /// change nothing, and a live revision is only ever followed by another.
    #[test]
    fn every_lineup_that_verbs_make_is_one_that_a_file_may_hold(
        steps in prop::collection::vec((0_usize..13, 1_u8..6), 0..60),
    ) {
        let words = [
            "load", "shadow", "canary", "grow", "promote", "rollback", "abort", "retire", "control",
            "settle", "pin", "unpin", "pin",
        ];
        let mut lineup = Lineup::new("salt").unwrap();
        for (word, byte) in steps {
            let step = verb(words[word], byte);
            let Ok((next, transition)) = step.apply(&lineup) else { continue };
            prop_assert_eq!(Lineup::parse("l.toml", &next.text()), Ok(next.clone()), "{}", next.text());
            prop_assert_eq!(next.generation(), lineup.generation() + 1);
            prop_assert!(!transition.changes.is_empty() || transition.pin.is_some());
            let pins = |lineup: &Lineup| {
                let pins = lineup.detector("spam-text").map(|spam| spam.pins.clone());
                pins.unwrap_or_default()
            };
            // Only whoever says so moves a pin.
            prop_assert!(pins(&next) == pins(&lineup) || transition.pin.is_some());
            let live = |lineup: &Lineup| lineup.detector("spam-text").and_then(DetectorLineup::live);
            prop_assert!(live(&lineup).is_none() || live(&next).is_some());
            let json = serde_json::to_string(&(&step, &transition)).unwrap();
            let read: (Verb, Transition) = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read, (step, transition));
            lineup = next;
        }
    }

    #[test]
    fn what_is_rolled_back_answers_as_before(byte in 2_u8..200) {
        let before = after(&LIVE);
        let steps = [("load", byte), ("promote", byte), ("rollback", 0)];
        let lineup = steps.iter().fold(before.clone(), |lineup, (word, byte)| {
            verb(word, *byte).apply(&lineup).unwrap().0
        });
        let live = |lineup: &Lineup| lineup.detector("spam-text").unwrap().live();
        prop_assert_eq!(live(&lineup), live(&before));
    }
}
