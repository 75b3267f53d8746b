//! Texts that are to keep a tokenizer busy, and files that are to keep the host busy with a
//! text, or to fill its memory.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};
use trommel::engine::{Blame, Fault, Limits};
use trommel::tokenizer::{EncodeError, MAX_TOKENS, PATTERNS, Tokenizer};
use trommel_tests::guests::component;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::tokenizers::{all, word_piece};

use super::tokenizers::{changed, with_words};

/// Texts of the most bytes that are read, made to be slow.
fn slow_texts() -> Vec<String> {
    let n_bytes = 16 << 10;
    let units = [
        "a",
        " ",
        "!",
        "\n",
        "今",
        "é",
        "\u{301}",
        "ﷺ",
        " \u{301}",
        "a ",
        "a!",
        "  x",
        "\r\n ",
        "'s",
        "[SEP]",
        "0",
        "😀",
        "İ",
        "\u{1100}\u{1161}",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ",
    ];
    let texts = units.iter().map(|unit| unit.repeat(n_bytes / unit.len()));
    texts.collect()
}

#[test]
fn no_text_keeps_an_honest_tokenizer_busy() {
    for (name, json) in all() {
        let tokenizer = Tokenizer::from_json(json, u64::MAX).unwrap();
        for text in slow_texts() {
            // The quickest of some: others use the machine.
            let took = (0..3).map(|_| took(&tokenizer, &text)).min().unwrap();
            let shown: String = text.chars().take(12).collect();
            say(&format!("{name}: {took:?} for 16 KiB of {shown:?}"));
            assert!(
                took < Duration::from_millis(500),
                "{name}: {took:?} for {shown:?}"
            );
        }
    }
}

/// A tokenizer with this model and what else is said, which makes the longest text that it
/// may of one of `letter`.
fn longest(letter: &str, model: &Value, rest: &Value) -> Tokenizer {
    let longer =
        json!({"type": "Replace", "pattern": {"String": letter}, "content": letter.repeat(16)});
    let mut json = json!({"version": "1.0", "normalizer": longer, "model": model});
    for (key, value) in rest.as_object().unwrap() {
        json[key] = value.clone();
    }
    let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), u64::MAX);
    tokenizer.unwrap_or_else(|error| panic!("{error}"))
}

fn word(n: usize) -> String {
    "a".repeat(n)
}

/// `Unigram` that knows all lengths of a word: each search finds them all.
fn scored() -> Value {
    let scored: Vec<Value> = (1..=64).map(|n| json!([word(n), 0.0])).collect();
    json!({"type": "Unigram", "unk_id": 0, "vocab": scored})
}

/// `BPE` that knows all lengths of a word.
fn pairs() -> Value {
    let mut pairs: serde_json::Map<String, Value> =
        (1..=256).map(|n| (word(n), json!(n))).collect();
    pairs.insert("[UNK]".to_owned(), json!(0));
    let merges: Vec<Value> = (1..256).map(|n| json!([word(n), "a"])).collect();
    json!({"type": "BPE", "unk_token": "[UNK]", "vocab": pairs, "merges": merges})
}

/// Says that each word of these lengths is special, which are numbered one after the other.
fn all_special(n_words: usize, first: usize) -> Value {
    let added: Vec<Value> = (0..n_words)
        .map(|n| json!({"id": first + n, "content": word(n + 1), "special": true}))
        .collect();
    json!({ "added_tokens": added })
}

#[test]
fn no_file_that_is_taken_makes_a_text_take_long() {
    // Each search tries all lengths, and the last letter spoils the word.
    let prefix = "p".repeat(16);
    let pieces = json!({"[UNK]": 0, "a": 1, format!("{prefix}a"): 2, "x": 3});
    let pieces = json!({"type": "WordPiece", "unk_token": "[UNK]", "vocab": pieces,
        "continuing_subword_prefix": prefix, "max_input_chars_per_word": 128});
    let chunks = |n: usize| json!({"type": "FixedLength", "length": n});
    let one = json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0}});
    let spoilt = format!("{}b", word(7)).repeat(2048);
    let long = word(16 << 10);
    // Each of the most pieces that there may be is looked at by the slowest of steps.
    let mut steps = vec![chunks(4)];
    steps.resize(
        16,
        json!({"type": "Split", "pattern": {"Regex": PATTERNS[3]}}),
    );
    let steps = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}});
    // What follows each find could be the start of a longer word, and there are too many
    // words for the quickest of automatons.
    let mut words = vec![word(2), format!("{}b", word(250))];
    words.extend((0..200).map(|n| format!("word {n}")));
    let words = words
        .iter()
        .zip(1..)
        .map(|(word, id)| json!({"id": id, "content": word, "normalized": true}));
    let grown = json!({"type": "Replace", "pattern": {"String": "x"}, "content": word(16)});
    let found = json!({"normalizer": grown, "added_tokens": words.collect::<Vec<_>>()});
    let between = json!({"normalizer": {"type": "Sequence", "normalizers": vec![json!({"type": "NFKC"}); 16]},
        "added_tokens": [{"id": 1, "content": "x", "normalized": false}]});
    let none = json!({});
    for (name, model, rest, text) in [
        (
            "word pieces",
            &pieces,
            &json!({"pre_tokenizer": chunks(128)}),
            &spoilt,
        ),
        ("unigram", &scored(), &none, &long),
        ("pairs", &pairs(), &none, &long),
        (
            "unigram, all special",
            &scored(),
            &all_special(64, 0),
            &long,
        ),
        ("pairs, all special", &pairs(), &all_special(256, 1), &long),
        ("steps", &one, &steps, &long),
        ("added words", &one, &found, &"x".repeat(16 << 10)),
        (
            "pieces between added words",
            &one,
            &between,
            &"xﷺ".repeat(4096),
        ),
    ] {
        let tokenizer = longest("a", model, rest);
        let took = (0..3).map(|_| took(&tokenizer, text)).min().unwrap();
        say(&format!("{name}: {took:?}"));
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
    }
}

#[test]
fn no_pattern_that_is_taken_makes_a_text_take_long() {
    let one = json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0}});
    for pattern in PATTERNS {
        let rest = json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}}});
        for unit in [
            "a", "A", " ", "!", "1", "\n", "今", "\u{301}", "'s", " x", "\r\n ", "A1",
        ] {
            let tokenizer = longest(unit, &one, &rest);
            let text = unit.repeat((16 << 10) / unit.len());
            let took = took(&tokenizer, &text);
            assert!(
                took < Duration::from_secs(3),
                "{pattern}: {unit:?}: {took:?}"
            );
            if took > Duration::from_millis(250) {
                say(&format!("{pattern}: {unit:?}: {took:?}"));
            }
        }
    }
}

#[test]
fn a_text_is_given_up_within_its_steps_and_within_a_word() {
    let one = json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0}});
    let steps = json!({"normalizer": {"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 16]}});
    for (name, tokenizer) in [
        ("steps", longest("a", &one, &steps)),
        ("unigram", longest("a", &scored(), &all_special(64, 0))),
        ("pairs", longest("a", &pairs(), &all_special(256, 1))),
    ] {
        let n_asked = Cell::new(0);
        let is_late = || {
            n_asked.set(n_asked.get() + 1);
            n_asked.get() > 10
        };
        let late = tokenizer.encode(&word(1000), MAX_TOKENS, &is_late);
        assert_eq!(late, Err(EncodeError::Late), "{name}");
        assert_eq!(n_asked.get(), 11, "{name}: it goes no further");
    }
}

/// Time of a processor that a text takes: others use the machine, and a test that waits
/// for them says nothing of the text.
fn took(tokenizer: &Tokenizer, text: &str) -> Duration {
    let before = on_processor();
    // That it is encoded is not the question.
    let _ = tokenizer.encode(text, MAX_TOKENS, &|| false);
    on_processor().saturating_sub(before)
}

/// Time that this thread had a processor, as Linux counts it; elsewhere the clock's.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the time that is asked for"
)]
fn on_processor() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = counted.and_then(|line| line.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

#[test]
fn normalizers_that_make_a_text_longer_and_longer_are_stopped() {
    let longer = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(60)});
    let steps = json!({"type": "Sequence", "normalizers": vec![longer; 16]});
    let json = changed(word_piece(), "/normalizer", steps);
    let tokenizer = Tokenizer::from_json(&json, u64::MAX).unwrap();
    let error = tokenizer
        .encode(&"a".repeat(10_000), MAX_TOKENS, &|| false)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more than 16 times as many as it has"),
        "{error}"
    );
    let letters = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false});
    let steps = json!({"type": "Sequence", "pretokenizers": vec![letters; 16]});
    let json = changed(word_piece(), "/pre_tokenizer", steps);
    let tokenizer = Tokenizer::from_json(&json, u64::MAX).unwrap();
    let error = tokenizer
        .encode(&"今".repeat(3_000), MAX_TOKENS, &|| false)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more than 16 times as many as it has"),
        "{error}"
    );
}

#[test]
fn pieces_of_a_text_share_the_room_that_it_has() {
    // Each of a thousand pieces, between words that were added, becomes four kilobytes.
    let longer = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(64)});
    let steps = json!({"type": "Sequence", "normalizers": [longer, longer]});
    let json = with_words(&steps, &json!([{"id": 2, "content": "x"}]));
    let tokenizer = Tokenizer::from_json(&json, u64::MAX).unwrap();
    let error = tokenizer
        .encode(&"xa".repeat(1000), MAX_TOKENS, &|| false)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more than 16 times as many as it has"),
        "{error}"
    );
    let cuts = json!({"type": "FixedLength", "length": 1});
    let longer = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(16)});
    let json = with_words(&longer, &json!([]));
    let json = changed(&json, "/pre_tokenizer", cuts);
    let tokenizer = Tokenizer::from_json(&json, u64::MAX).unwrap();
    let error = tokenizer
        .encode(&"a".repeat(1000), MAX_TOKENS, &|| false)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("makes 16000 words of it, more than 4 for each byte"),
        "{error}"
    );
}

#[tokio::test]
async fn a_guest_that_tokenizes_in_a_loop_is_stopped_and_to_blame() {
    let limits = Limits {
        deadline: Duration::from_millis(300),
        carried_bytes: 1 << 30,
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("scripted"), limits).unwrap();
    let mut fault = Fault::Host("not asked yet".to_owned());
    // On a machine that gives its threads hardly any core the time is the host's fault.
    for _ in 0..20 {
        let call = sandbox.script("tokenize-forever 4000").await;
        fault = call.outcome.unwrap_err();
        if !matches!(fault, Fault::Starved { .. } | Fault::TimedOut { .. }) {
            break;
        }
    }
    assert_eq!(fault.blame(), Blame::Guest, "{fault}");
    let good = sandbox.script("encode 16 be good").await;
    good.outcome.expect("the next item is judged");
}

#[expect(
    clippy::print_stdout,
    reason = "figures for whoever runs it with --nocapture"
)]
fn say(line: &str) {
    println!("{line}");
}
