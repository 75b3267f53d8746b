//! Files that claim to be tokenizers, and texts that are to keep one busy.

use std::time::Duration;

use serde_json::{Value, json};
use trommel::Host;
use trommel::engine::{Blame, Fault, Limits};
use trommel::tokenizer::{MAX_TOKENS, Tokenizer};
use trommel_tensor::Digest;
use trommel_tests::guests::component;
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::tokenizers::{all, byte_pairs, unigram, word_piece};

use super::IMPORTS;

/// Why a file is refused.
fn refused(json: &[u8]) -> String {
    match Tokenizer::from_json(json, 64 << 20) {
        Ok(tokenizer) => panic!("taken: {tokenizer:?}"),
        Err(error) => error.to_string(),
    }
}

/// Why a file is refused that is as BERT's but for one change.
fn refused_with(pointer: &str, value: Value) -> String {
    refused(&changed(word_piece(), pointer, value))
}

fn changed(json: &[u8], pointer: &str, value: Value) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(json).unwrap();
    match pointer.rsplit_once('/') {
        Some((parent, key)) => file.pointer_mut(parent).unwrap()[key] = value,
        None => file = value,
    }
    serde_json::to_vec(&file).unwrap()
}

#[test]
fn every_mistake_in_a_tokenizer_is_named_with_what_to_do() {
    let step = |step: Value| json!(step);
    let steps =
        |n: usize| json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); n]});
    let nested = json!({"type": "Sequence", "normalizers": [steps(1)]});
    let template = |single: Value, ids: Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
               "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": ids, "tokens": []}}})
    };
    let cls = json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let pattern = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    for (pointer, value, says) in [
        ("/version", json!("2.0"), "`version`: is `2.0`, 1.0 is read"),
        (
            "/padding",
            json!({"direction": "Left", "pad_id": 0}),
            "`padding`: is on the left",
        ),
        (
            "/truncation",
            json!({"direction": "Left", "max_length": 1, "stride": 9}),
            "`truncation`: is on the left",
        ),
        (
            "/normalizer",
            step(json!({"type": "Telepathy"})),
            "`normalizer`: `Telepathy` is no step",
        ),
        ("/normalizer", nested, "a sequence within a sequence"),
        ("/normalizer", steps(17), "more than 16 entries"),
        (
            "/normalizer",
            json!({"type": "Prepend", "prepend": "x".repeat(100)}),
            "`prepend` has 100 bytes",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
            "a text of 0 bytes",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
            "the pattern `(a+)+$`",
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "not base64"}),
            "is no base64",
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": ""}),
            "breaks off",
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
            "holds no search tree",
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/P///wAAAAA="}),
            "breaks off in its search tree",
        ),
        (
            "/pre_tokenizer",
            pattern("(?=(a+))\\1+b"),
            "`pre_tokenizer`: the pattern `(?=(a+))\\1+b`",
        ),
        (
            "/pre_tokenizer",
            pattern("(?:a|b|ab)*?(?=c)"),
            "could keep it busy for hours",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
            "words of no letters",
        ),
        (
            "/post_processor",
            json!({"type": "BertProcessing"}),
            "`post_processor`: names no `cls` or no `sep`",
        ),
        (
            "/post_processor",
            template(json!([cls]), json!([1])),
            "`single` holds the text once",
        ),
        (
            "/post_processor",
            template(
                json!([cls, text, {"Sequence": {"id": "B", "type_id": 0}}]),
                json!([1]),
            ),
            "asks for a second text",
        ),
        (
            "/post_processor",
            template(json!([cls, cls, text]), json!([1, 2, 3, 4])),
            "puts 8 tokens around a text",
        ),
        (
            "/post_processor",
            template(json!([cls, text]), json!(vec![1; 1000])),
            "more than 7 entries",
        ),
        (
            "/post_processor",
            template(
                json!([{"SpecialToken": {"id": "[X]", "type_id": 0}}, text]),
                json!([1]),
            ),
            "names `[X]`",
        ),
        (
            "/added_tokens",
            json!([{"id": 7, "content": ""}]),
            "`added_tokens`: a word has 0 bytes",
        ),
        (
            "/added_tokens",
            json!([{"id": 0, "content": "x".repeat(1000)}]),
            "a word has 1000 bytes",
        ),
        (
            "/added_tokens",
            json!([{"id": 1_000_000, "content": "[UNK]"}]),
            "`[UNK]` has id 1000000",
        ),
        (
            "/added_tokens",
            json!([{"id": 2, "content": "[CLS]", "lstrip": true}]),
            "asks for `single_word`, `lstrip`",
        ),
        (
            "/model/type",
            json!("Oracle"),
            "`model`: `Oracle` is no model",
        ),
        (
            "/model/type",
            json!("Unigram"),
            "its `vocab` is not of its `type`",
        ),
        ("/model/type", Value::Null, "has no `type`"),
        (
            "/model/unk_token",
            json!("[GONE]"),
            "`unk_token` is `[GONE]`, which its vocabulary does not hold",
        ),
        ("/model/unk_token", Value::Null, "has no `unk_token`"),
        (
            "/model/max_input_chars_per_word",
            json!(1_000_000_000),
            "words of 1000000000 letters",
        ),
        (
            "/model/vocab/again",
            json!(2),
            "has id 2, as another word has",
        ),
        (
            "/model/vocab/far",
            json!(4_000_000_000_u32),
            "`far` has id 4000000000",
        ),
        (
            "/model/vocab",
            json!({"x".repeat(300): 0}),
            "a word of 300 bytes",
        ),
        ("/surprise", json!(1), "unknown field `surprise`"),
    ] {
        let error = refused_with(pointer, value);
        assert!(error.contains(says), "{pointer}: {error}");
        assert!(error.len() < 700 && !error.contains('\n'), "{error}");
    }
    for (json, pointer, value, says) in [
        (
            byte_pairs(),
            "/model/dropout",
            json!(0.5),
            "leaves pairs out by chance",
        ),
        (
            byte_pairs(),
            "/model/vocab/Ġ",
            json!("none"),
            "invalid type",
        ),
        (
            byte_pairs(),
            "/pre_tokenizer",
            Value::Null,
            "does not hold all 256 bytes",
        ),
        (
            byte_pairs(),
            "/model/merges",
            json!([["no", "such"]]),
            "out of vocabulary",
        ),
        (
            byte_pairs(),
            "/model/merges",
            json!(["one two three"]),
            "a merge is two words",
        ),
        (
            byte_pairs(),
            "/model/continuing_subword_prefix",
            json!("é".repeat(9)),
            "of 18 bytes",
        ),
        (
            byte_pairs(),
            "/model/continuing_subword_prefix",
            json!("ĠĠĠ"),
            "the file: makes the reader fail",
        ),
        (
            unigram(),
            "/model/unk_id",
            json!(99_999),
            "`unk_id` names no word",
        ),
        (
            unigram(),
            "/model/unk_id",
            Value::Null,
            "`unk_id` names no word",
        ),
        (
            unigram(),
            "/model/vocab",
            json!([["x".repeat(65), 0.0]]),
            "a word of 65 bytes",
        ),
    ] {
        let error = refused(&changed(json, pointer, value));
        assert!(error.contains(says), "{pointer}: {error}");
    }
}

#[test]
fn a_tokenizer_that_is_large_deep_or_none_is_refused_before_it_takes_memory() {
    let list = |entry: &str, n: usize| vec![entry; n].join(",");
    let model = r#""model":{"type":"WordPiece","unk_token":"a","vocab":{"a":0}}"#;
    let file = |rest: &str| format!(r#"{{"version":"1.0",{rest}}}"#).into_bytes();
    for (what, json, says) in [
        ("none", b"no".to_vec(), "is no tokenizer.json"),
        ("empty", Vec::new(), "is no tokenizer.json"),
        (
            "33 MiB",
            vec![b' '; 33 << 20],
            "has 34603008 bytes, at most 33554432 are taken",
        ),
        (
            "deep",
            file(&format!(
                r#""normalizer":{}"#,
                r#"{"type":"Sequence","normalizers":["#.repeat(10_000)
            )),
            "a sequence within a sequence",
        ),
        (
            "deep where nobody looks",
            file(&format!(r#""decoder":{}"#, "[".repeat(1_000_000))),
            "is no tokenizer.json",
        ),
        (
            "a million added tokens",
            file(&format!(
                r#""added_tokens":[{}]"#,
                list(r#"{"id":0,"content":"a"}"#, 1_000_000)
            )),
            "more than 4096 entries",
        ),
        (
            "a list of millions of words",
            file(&format!(
                r#""model":{{"type":"Unigram","vocab":[{}]}}"#,
                list(r#"["a",0]"#, 2_000_000)
            )),
            "more than 1048576 entries",
        ),
        (
            "millions of pairs",
            file(&format!(
                r#""model":{{"type":"BPE","vocab":{{"a":0}},"merges":[{}]}}"#,
                list(r#""a a""#, 2_000_000)
            )),
            "more than 1048576 entries",
        ),
        (
            "steps by the million",
            file(&format!(
                r#"{model},"pre_tokenizer":{{"type":"Sequence","pretokenizers":[{}]}}"#,
                list(r#"{"type":"Digits"}"#, 1_000_000)
            )),
            "more than 16 entries",
        ),
        (
            "two models",
            file(&format!("{model},{model}")),
            "duplicate field `model`",
        ),
    ] {
        let error = refused(&json);
        assert!(error.contains(says), "{what}: {error}");
    }
    // Each word another path through the search tree.
    let words: Vec<Value> = (0..200_000)
        .map(|n| json!([format!("{n:0>60}"), 0.0]))
        .collect();
    let large =
        json!({"version": "1.0", "model": {"type": "Unigram", "unk_id": 0, "vocab": words}});
    let error = refused(&serde_json::to_vec(&large).unwrap());
    assert!(error.contains("ask for more with `weights-mib`"), "{error}");
}

#[test]
fn a_table_that_leads_nowhere_fails_the_text_and_not_the_host() {
    use base64::Engine as _;
    // A tree whose root leads out of it, and texts that end nowhere.
    let mut table = 8_u32.to_le_bytes().to_vec();
    table.extend(0xffff_ffff_u32.to_le_bytes());
    table.extend(0xffff_ffff_u32.to_le_bytes());
    table.extend(b"abc");
    let table = base64::engine::general_purpose::STANDARD.encode(table);
    let step = json!({"type": "Precompiled", "precompiled_charsmap": table});
    let json = changed(word_piece(), "/normalizer", step);
    let tokenizer = Tokenizer::from_json(&json, u64::MAX).expect("it looks like one");
    let error = tokenizer
        .encode("any text", MAX_TOKENS, &|| false)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tokenizer cannot encode this text: it fell over"
    );
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
fn a_package_with_a_tokenizer_that_is_none_is_refused_and_others_load() {
    let folder = PluginFolder::of("noop", component("noop"), &IMPORTS);
    folder.write("tokenizer.json", b"{}");
    let digest = Digest::of(b"{}").to_string();
    let digest = digest.trim_start_matches("sha256:");
    folder.edit(
        "[limits]",
        &format!(
            "[tokenizers.words]\nfile = \"tokenizer.json\"\nsha256 = \"{digest}\"\n\n[limits]"
        ),
    );
    let with_it = Host::builder().bundled_detectors().detector(folder.path());
    let error = with_it.build().expect_err("must be refused").to_string();
    assert!(
        error.contains("tokenizer `words`: the file: is no tokenizer.json: missing field"),
        "{error}"
    );
    let changed = "0".repeat(64);
    folder.edit(digest, &changed);
    let with_it = Host::builder().detector(folder.path());
    let error = with_it.build().expect_err("must be refused").to_string();
    assert!(error.contains("tokenizer.json has sha256 "), "{error}");
    let without_it = Host::builder().bundled_detectors().build();
    without_it.expect("the others still load");
}

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

/// A tokenizer of words of one letter, which makes the longest text that it may of one.
fn of_one_letter(model: &Value, pre_tokenizer: &Value) -> Tokenizer {
    let longer = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(16)});
    let json = json!({"version": "1.0", "normalizer": longer, "pre_tokenizer": pre_tokenizer, "model": model});
    let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), u64::MAX);
    tokenizer.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn no_file_that_is_taken_makes_a_text_take_long() {
    let word = |n: usize| "a".repeat(n);
    // Each search tries all lengths, and the last letter spoils the word.
    let prefix = "p".repeat(16);
    let pieces = json!({"[UNK]": 0, "a": 1, format!("{prefix}a"): 2, "x": 3});
    let pieces = json!({"type": "WordPiece", "unk_token": "[UNK]", "vocab": pieces,
        "continuing_subword_prefix": prefix, "max_input_chars_per_word": 128});
    let chunks = json!({"type": "FixedLength", "length": 128});
    // Each search finds all lengths.
    let scored: Vec<Value> = (1..=64).map(|n| json!([word(n), 0.0])).collect();
    let scored = json!({"type": "Unigram", "unk_id": 0, "vocab": scored});
    let mut pairs: serde_json::Map<String, Value> =
        (1..=256).map(|n| (word(n), json!(n))).collect();
    pairs.insert("[UNK]".to_owned(), json!(0));
    let merges: Vec<Value> = (1..256).map(|n| json!([word(n), "a"])).collect();
    let pairs = json!({"type": "BPE", "unk_token": "[UNK]", "vocab": pairs, "merges": merges});
    let spoilt = format!("{}b", word(7)).repeat(2048);
    for (name, model, pre_tokenizer, text) in [
        ("word pieces", &pieces, &chunks, &spoilt),
        ("unigram", &scored, &Value::Null, &word(16 << 10)),
        ("pairs", &pairs, &Value::Null, &word(16 << 10)),
    ] {
        let tokenizer = of_one_letter(model, pre_tokenizer);
        let took = (0..3).map(|_| took(&tokenizer, text)).min().unwrap();
        say(&format!("{name}: {took:?}"));
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
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
