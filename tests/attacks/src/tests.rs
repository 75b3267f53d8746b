//! What holds for every attack.

use super::*;

/// Spam as one sees it, written for these tests.
const SPAM: [&str; 3] = [
    "Congratulations! You have been chosen to claim a FREE prize of 2000 pounds. Visit http://claim-prize.example/now?id=7 or call 0900 555 0101 before midnight!",
    "Hot singles near you are waiting for your message tonight, txt YES to 80555 and meet them within the hour. This offer ends tomorrow morning, so hurry! First message costs nothing, then two pounds each. Unsubscribe at www.stop-now.example",
    "Make $$$ from home, no skills needed!!! Thousands of people like you already earn every single week with our secret system, which the banks want hidden. Limited places left, join today: quick-cash4u.com/start",
];

/// What has broken programs before.
fn odd() -> Vec<String> {
    let mut odd: Vec<String> = [
        "",
        " ",
        "\n\n\t",
        ".",
        "://",
        "http://",
        "www.",
        "a",
        "\u{feff}",
        "\0\u{1}\u{1b}[31m",
        "e\u{301}\u{301}\u{301}",
        "\u{301}",
        "👩‍👩‍👧‍👦🇩🇪🏳️‍🌈",
        "שלום עולם",
        "日本語のテキスト",
        "ﬁﬃ",
        "İıſK",
        "\u{202e}txet desrever",
        "\u{10ffff}\u{e000}",
        "http://\u{301}.com/ü",
        "a.b.c.d.com",
        "(((www.x.y)))",
        "http://[::1]:80/",
        "....com",
        "é.com",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push("x".repeat(100_000));
    odd.push("a ".repeat(50_000));
    odd
}

#[test]
fn every_attack_changes_spam_and_keeps_it_readable() {
    for attack in ATTACKS {
        for (spam, seed) in SPAM.iter().zip(0..).flat_map(|(spam, n)| {
            let seeds = (0..100).map(move |seed| seed * 3 + n);
            seeds.map(move |seed| (*spam, seed))
        }) {
            let changed = attack.on(spam, seed);
            let (before, after) = (spam.chars().count(), changed.chars().count());
            assert_ne!(changed, spam, "{} with seed {seed}", attack.name);
            assert!(after * 10 >= before * 9, "{}: {changed}", attack.name);
            assert!(after <= before * 3 + 260, "{}: {changed}", attack.name);
            assert!(
                changed.len() <= spam.len() * 6 + 260,
                "{}: {changed}",
                attack.name
            );
        }
    }
}

#[test]
fn all_but_the_defanging_leave_links_that_work() {
    for attack in ATTACKS
        .iter()
        .filter(|attack| attack.name != "defanged-links")
    {
        for seed in 0..100 {
            let changed = attack.on(SPAM[0], seed);
            assert!(
                changed.contains("http://claim-prize.example/now?id=7"),
                "{}: {changed}",
                attack.name
            );
        }
    }
}

#[test]
fn a_seed_gives_the_same_text_and_another_seed_another() {
    for attack in ATTACKS {
        let texts: Vec<String> = (0..20).map(|seed| attack.on(SPAM[0], seed)).collect();
        let again: Vec<String> = (0..20).map(|seed| attack.on(SPAM[0], seed)).collect();
        assert_eq!(texts, again, "{}", attack.name);
        assert!(
            texts.iter().any(|text| *text != texts[0]),
            "{} ignores its seed",
            attack.name
        );
    }
}

#[test]
fn the_numbers_are_splitmix() {
    // The first outputs for seed 0, as other implementations give them.
    let mut random = Random::new(0);
    assert_eq!(random.bits(), 0xe220_a839_7b1d_cdaf);
    assert_eq!(random.bits(), 0x6e78_9e6a_a1b9_65f4);
}

#[test]
fn no_text_is_too_odd() {
    for attack in ATTACKS {
        for text in odd() {
            for seed in 0..3 {
                let changed = attack.on(&text, seed);
                assert!(changed.len() <= text.len() * 9 + 300, "{}", attack.name);
            }
        }
    }
}

#[test]
fn a_text_without_links_is_not_defanged() {
    for text in odd().iter().filter(|text| !text.contains(".c")) {
        let defanged = ATTACKS
            .iter()
            .find(|attack| attack.name == "defanged-links");
        let defanged = defanged.expect("the attack is there");
        if !text.split_whitespace().any(links::is_link) {
            assert_eq!(defanged.on(text, 1), *text);
        }
    }
}

#[test]
fn names_are_told_apart() {
    let names: std::collections::BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), ATTACKS.len());
}
