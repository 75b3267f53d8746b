//! What a lineup's file may say of pins, and how long it may become.

use std::fmt::Write as _;

use super::super::tests::{digest, file, refused};
use super::super::{MAX_BYTES, MAX_DETECTORS, MAX_REVISIONS, MAX_WORD_CHARS};
use super::*;

const LIVE_AND_RETIRED: [&str; 2] = ["stage = \"live\"", "stage = \"retired\""];

fn pin(key: &str, revision: RevisionId) -> String {
    format!("[[detector.pin]]\nkey = {key:?}\nrevision = \"{revision}\"\n")
}

/// Live is 1, retired is 2; the pins begin at line 13.
fn with(pins: &[String]) -> String {
    file("", &LIVE_AND_RETIRED) + "\n" + &pins.concat()
}

#[test]
fn pins_read_back_in_the_order_of_their_keys() {
    let text = with(&[pin("tenant-7", digest(1)), pin("a \"b\" \\", digest(1))]);
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    let spam = lineup.detector("spam-text").unwrap();
    let pins: Vec<_> = spam.pins().collect();
    assert_eq!(pins, [("a \"b\" \\", digest(1)), ("tenant-7", digest(1))]);
    assert_eq!(spam.pin("tenant-7"), Some(digest(1)));
    assert_eq!(spam.pin("tenant"), None);
    assert_eq!(Lineup::parse("l.toml", &lineup.text()), Ok(lineup));
}

#[test]
fn a_pin_that_could_not_answer_is_refused_with_its_line_and_the_way_out() {
    let many: Vec<_> = (0..=MAX_PINS)
        .map(|n| pin(&n.to_string(), digest(1)))
        .collect();
    for (pins, said) in [
        (
            vec![pin("a", digest(3))],
            "l.toml:15: detector `spam-text`: pin `a` names 030303030303, which is no revision here; add it with",
        ),
        (
            vec![pin("a", digest(2))],
            "l.toml:15: detector `spam-text`: pin `a` names 020202020202, which is retired and could not answer; make",
        ),
        (
            vec![pin("a", digest(1)), pin("a", digest(1))],
            "l.toml:17: detector `spam-text`: key `a` is pinned twice; keep one",
        ),
        (
            vec![pin(" ", digest(1))],
            "l.toml:14: detector `spam-text`: `key` is empty; write a word",
        ),
        (
            vec![pin(&"x".repeat(MAX_WORD_CHARS + 1), digest(1))],
            "l.toml:14: detector `spam-text`: `key` has more than 200 characters",
        ),
        (
            vec![pin("a", digest(1)) + "stage = \"live\""],
            "l.toml:16: unknown field `stage`",
        ),
        (
            vec!["[[detector.pin]]\nkey = \"a\"".to_owned()],
            "l.toml:13: missing field `revision`",
        ),
        (
            many,
            "l.toml:781: detector `spam-text`: 257 pins, more than 256; remove some",
        ),
    ] {
        let error = refused(&with(&pins));
        assert!(error.starts_with(said), "{error}\n  is not {said}");
    }
}

#[test]
fn a_lineup_has_1024_pins_at_most() {
    let text = |n_detectors: usize| {
        let mut text = "generation = 1\nsalt = \"s\"\n".to_owned();
        for detector in 0..n_detectors {
            let live = digest(1);
            write!(
                text,
                "[[detector]]\nid = \"d{detector}\"\n[[detector.revision]]\nrevision = \"{live}\"\nstage = \"live\"\n"
            )
            .unwrap();
            text.extend((0..MAX_PINS).map(|n| pin(&n.to_string(), live)));
        }
        text
    };
    let n_full = MAX_ALL_PINS / MAX_PINS;
    let lineup = Lineup::parse("l.toml", &text(n_full)).unwrap();
    assert_eq!(lineup.n_pins(), MAX_ALL_PINS);
    let error = refused(&text(n_full + 1));
    assert!(error.contains("more than 1024 pins up to"), "{error}");
}

/// Else a verb, a rollback among them, could lead to a lineup that cannot be kept.
#[test]
fn the_largest_lineup_is_one_that_a_file_may_hold() {
    let word = |n: usize| {
        let number = n.to_string();
        "🥁".repeat(MAX_WORD_CHARS - number.len()) + &number
    };
    let mut text = format!("generation = {}\nsalt = \"{}\"\n", i64::MAX, word(0));
    writeln!(text, "policy = \"{}\"", digest(1)).unwrap();
    for detector in 0..MAX_DETECTORS {
        writeln!(
            text,
            "[[detector]]\nid = \"{}\"\nprevious = \"{}\"",
            word(detector),
            digest(2)
        )
        .unwrap();
        for revision in 1..=MAX_REVISIONS {
            let stage = match revision {
                1 => "stage = \"live\"",
                2 => "stage = \"canary\"\nshare = 0.400001\nend = \"high\"",
                3 => "stage = \"canary\"\nshare = 0.400001",
                _ => "stage = \"retired\"",
            };
            let byte = u8::try_from(revision).unwrap();
            writeln!(
                text,
                "[[detector.revision]]\nrevision = \"{}\"\n{stage}",
                digest(byte)
            )
            .unwrap();
        }
        for key in 0..MAX_ALL_PINS / MAX_DETECTORS {
            text += &pin(&word(key), digest(1));
        }
    }
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    assert_eq!(lineup.n_pins(), MAX_ALL_PINS);
    let text = lineup.text();
    assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
    assert_eq!(Lineup::parse("l.toml", &text), Ok(lineup));
}
