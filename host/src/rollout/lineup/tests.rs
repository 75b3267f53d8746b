//! What a lineup's file may say.

use proptest::prelude::*;

use super::*;

pub(in crate::rollout) fn digest(byte: u8) -> RevisionId {
    RevisionId::new([byte; 32])
}

/// A lineup of one detector; each line of `revisions` is a table's keys, `N` a digest.
pub(super) fn file(detector: &str, revisions: &[&str]) -> String {
    let mut text =
        format!("generation = 3\nsalt = \"s\"\n[[detector]]\nid = \"spam-text\"\n{detector}\n");
    for (at, keys) in (1..).zip(revisions) {
        text += &format!(
            "[[detector.revision]]\nrevision = \"{}\"\n{keys}\n",
            digest(at)
        );
    }
    text
}

pub(super) fn refused(text: &str) -> String {
    Lineup::parse("l.toml", text).expect_err(text).to_string()
}

#[test]
fn a_lineup_reads_back_as_it_is_written() {
    let text = file(
        &format!("previous = \"{}\"", digest(2)),
        &[
            "stage = \"live\"",
            "stage = \"loaded\"",
            "stage = \"canary\"\nshare = 0.05",
            "stage = \"canary\"\nshare = 0.000001\nend = \"high\"",
            "stage = \"shadow\"",
            "stage = \"retired\"",
        ],
    );
    let policy = PolicyDigest::of_text("rule = []");
    let text = text.replacen("salt", &format!("policy = \"{policy}\"\nsalt"), 1);
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    assert_eq!(Lineup::parse("l.toml", &lineup.text()), Ok(lineup.clone()));
    assert_eq!((lineup.generation(), lineup.policy()), (3, Some(policy)));
    let spam = lineup.detector("spam-text").unwrap();
    assert_eq!(spam.live(), Some(digest(1)));
    assert_eq!(spam.previous(), Some(digest(2)));
    assert_eq!(spam.shadows().collect::<Vec<_>>(), [digest(5)]);
    assert_eq!(spam.ready().count(), 5);
    let canaries: Vec<_> = spam
        .canaries()
        .map(|(_, share, end)| (share.to_string(), end))
        .collect();
    assert_eq!(
        canaries,
        [
            ("0.05".to_owned(), End::Low),
            ("0.000001".to_owned(), End::High)
        ]
    );
}

#[test]
fn equal_lineups_have_one_text_and_one_digest_however_they_were_spelt() {
    let text = file(
        "",
        &["stage = \"live\"", "stage = \"canary\"\nshare = 0.050"],
    );
    let spelt = text
        .replace("generation = 3", "  generation = 0x3 # three")
        .replace("0.050", "5e-2")
        .replace("salt = \"s\"", "salt = '''s'''");
    let (one, other) = (
        Lineup::parse("a", &text).unwrap(),
        Lineup::parse("b", &spelt).unwrap(),
    );
    assert_eq!(one.digest(), other.digest());
    let grown = Lineup::parse("c", &text.replace("0.050", "0.051")).unwrap();
    assert_ne!(one.digest(), grown.digest());
}

#[test]
fn words_with_quotes_and_backslashes_survive() {
    let text = file("", &["stage = \"live\""]).replace("\"s\"", r#""a\"b\\u0041é""#);
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    assert_eq!(lineup.salt(), "a\"b\\u0041é");
    assert_eq!(Lineup::parse("l.toml", &lineup.text()), Ok(lineup));
}

#[test]
fn a_mistake_is_refused_with_its_line_and_the_way_out() {
    let live = "stage = \"live\"";
    let low = "stage = \"canary\"\nshare = 0.6";
    let high = "stage = \"canary\"\nshare = 0.5\nend = \"high\"";
    for (text, said) in [
        (String::new(), "l.toml:1: missing field `generation`".to_owned()),
        (
            file("", &[live]).replace('3', "0"),
            "l.toml:1: `generation` is 0; give a whole number from 1".into(),
        ),
        (
            file("", &[live]).replace('3', "-4"),
            "l.toml:1: `generation` is -4; give".into(),
        ),
        (
            file("", &[live]).replace("\"s\"", "\" \""),
            "l.toml:2: `salt` is empty; write a word".into(),
        ),
        (
            file("", &[live]).replace("\"s\"", "\"\\u0007\""),
            "l.toml:2: `salt` holds a control character".into(),
        ),
        (
            file("", &[live]).replace("\"s\"", &format!("\"{}\"", "x".repeat(MAX_WORD_CHARS + 1))),
            "l.toml:2: `salt` has more than 200 characters; shorten it".into(),
        ),
        (
            file("", &[live]).replace("sha256:", "sha256:A"),
            "l.toml:7: detector `spam-text`: `revision`: not a revision; write `sha256:`".into(),
        ),
        (
            file("", &["stage = \"alive\""]),
            "l.toml:8: detector `spam-text`: unknown stage `alive`; write loaded, shadow".into(),
        ),
        (
            file("", &["stage = \"live\"\nshare = 0.5"]),
            "l.toml:9: detector `spam-text`: `share` belongs to a canary, and this is live".into(),
        ),
        (
            file("", &[live, "stage = \"canary\""]),
            "l.toml:9: detector `spam-text`: a canary lacks `share`; add a fraction".into(),
        ),
        (
            file("", &[live, "stage = \"canary\"\nshare = 1.5"]),
            "l.toml:12: detector `spam-text`: `share`: 1.5 is no share; give a fraction".into(),
        ),
        (
            file("", &[live, "stage = \"canary\"\nshare = 0.1\nend = \"top\""]),
            "l.toml:13: detector `spam-text`: unknown end `top`; write low or high".into(),
        ),
        (
            file("", &[live, live]),
            "l.toml:9: detector `spam-text`: revision 020202020202 is live beside 010101010101".into(),
        ),
        (
            file("", &[live, low, low]),
            "l.toml:13: detector `spam-text`: canaries 020202020202 and 030303030303 take keys from the same end".into(),
        ),
        (
            file("", &[live, low, high]),
            "l.toml:4: detector `spam-text`: the canaries' shares are more than 1 together; shrink one".into(),
        ),
        (
            file("", &[low]),
            "l.toml:4: detector `spam-text`: a canary, and no live revision".into(),
        ),
        (
            file("", &[live, live]).replace(&digest(2).to_string(), &digest(1).to_string()),
            "l.toml:9: detector `spam-text`: revision 010101010101 is here twice".into(),
        ),
        (
            file(&format!("previous = \"{}\"", digest(9)), &[live]),
            "l.toml:5: detector `spam-text`: `previous` names 090909090909, which is no revision".into(),
        ),
        (
            file(&format!("previous = \"{}\"", digest(1)), &[live]),
            "l.toml:5: detector `spam-text`: `previous` names 010101010101, which is live itself".into(),
        ),
        (
            file(&format!("previous = \"{}\"", digest(2)), &[live, "stage = \"retired\""]),
            "l.toml:5: detector `spam-text`: `previous` names 020202020202, which is retired".into(),
        ),
        (
            file("", &[live]) + "[[detector]]\nid = \"spam-text\"\n",
            "l.toml:10: detector `spam-text` is here twice; put its revisions together".into(),
        ),
        (
            file("color = 1", &[live]),
            "l.toml:5: unknown field `color`".into(),
        ),
    ] {
        let error = refused(&text);
        assert!(error.starts_with(&said), "{error}\n  is not {said}");
    }
}

#[test]
fn a_lineup_is_bounded_in_every_direction() {
    let too_long = format!("#{}", "x".repeat(MAX_BYTES));
    assert!(refused(&too_long).contains("more than 2097152; shorten it"));
    let revisions = vec!["stage = \"retired\""; MAX_REVISIONS + 1];
    Lineup::parse("l.toml", &file("", &revisions[1..])).unwrap();
    assert!(refused(&file("", &revisions)).contains("17 revisions, more than 16"));
    let head = "generation = 1\nsalt = \"s\"\n";
    let detectors = |n| {
        (0..n)
            .map(|n| format!("[[detector]]\nid = \"d{n}\"\n"))
            .collect::<String>()
    };
    Lineup::parse("l.toml", &(head.to_owned() + &detectors(MAX_DETECTORS))).unwrap();
    assert!(refused(&(head.to_owned() + &detectors(MAX_DETECTORS + 1))).contains("257 detectors"));
    let long_key = format!("{} = 1", ["a"; 40].join("."));
    assert!(refused(&long_key).contains("this key is too long"));
}

#[test]
fn the_first_lineup_of_a_host_has_its_detectors_live() {
    let live = [("b", 2), ("a", 1)].map(|(id, byte)| (DetectorId::from(id), digest(byte)));
    let lineup = Lineup::of_live("s", live.clone()).unwrap();
    assert_eq!(lineup.generation(), 1);
    for (id, revision) in &live {
        let detector = lineup.detector(id.as_str()).unwrap();
        assert_eq!(detector.live(), Some(*revision));
    }
    assert_eq!(Lineup::parse("l.toml", &lineup.text()), Ok(lineup));

    let said =
        |live: Vec<(DetectorId, RevisionId)>| Lineup::of_live("s", live).unwrap_err().to_string();
    let [one, _] = &live;
    assert_eq!(
        said(vec![one.clone(), one.clone()]),
        "a new lineup:1: detector `b` is here twice; leave one out"
    );
    assert!(said(vec![("a\n".into(), digest(1))]).contains("holds a control character"));
    let many = |n| (0..n).map(|n| (format!("d{n}").as_str().into(), digest(1)));
    Lineup::of_live("s", many(MAX_DETECTORS)).unwrap();
    assert!(said(many(MAX_DETECTORS + 1).collect()).contains("more than 256 detectors"));
    assert!(Lineup::of_live("", []).is_err());
}

#[test]
fn another_policy_is_another_generation() {
    let text = file("", &["stage = \"live\""]);
    let lineup = Lineup::parse("l.toml", &text).unwrap();
    let policy = PolicyDigest::of_text("rule = []");
    let next = lineup.with_policy(Some(policy)).unwrap();
    assert_eq!((next.generation(), next.policy()), (4, Some(policy)));
    assert_eq!(next.detectors, lineup.detectors);
    assert_eq!(next.with_policy(None).unwrap().policy(), None);
    let last = text.replace("generation = 3", &format!("generation = {}", i64::MAX));
    let last = Lineup::parse("l.toml", &last).unwrap();
    let refused = last.with_policy(None).unwrap_err().to_string();
    assert!(refused.contains("is the last there is"), "{refused}");
}

#[test]
fn a_message_repeats_what_a_file_says_on_one_line_only() {
    let error = refused("\"a\\n\\u001b[2J\" = 1\ngeneration = 1\nsalt = 's'");
    assert!(!error.contains(['\n', '\u{1b}']), "{error:?}");
}

proptest! {
    /// It comes from whoever reaches the admin API.
    #[test]
    fn no_text_makes_the_reader_panic(
        text in r#"([\[\]{}=.,"'\\# \n]|é|generation|salt|detector|revision|id|stage|share|end|previous|pin|key|'live'|'canary'|0\.5|-1|nan|9{30}|sha256:){0,60}"#,
    ) {
        if let Err(error) = Lineup::parse("l.toml", &text) {
            prop_assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}");
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_damaged_is_read_or_refused_with_a_line(
        at in any::<prop::sample::Index>(),
        n_removed in 0_usize..12,
        inserted in r#"[\[\]{}=."' \n0-9a-z]{0,6}"#,
    ) {
        let pin = format!("share = 0.05\n[[detector.pin]]\nkey = 'a'\nrevision = '{}'", digest(1));
        let whole = file("", &["stage = \"live\"", &format!("stage = \"canary\"\n{pin}")]);
        let at = at.index(whole.len());
        let end = (at + n_removed).min(whole.len());
        let text = [&whole[..at], &inserted, &whole[end..]].concat();
        match Lineup::parse("l.toml", &text) {
            // What is read is valid: it reads back.
            Ok(lineup) => prop_assert_eq!(Lineup::parse("l.toml", &lineup.text()), Ok(lineup)),
            Err(error) => {
                prop_assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}\n{text}");
            }
        }
    }
}
