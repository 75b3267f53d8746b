//! Files that claim to be tokenizers, and are refused.

use serde_json::{Value, json};
use trommel::Host;
use trommel::engine::Limits;
use trommel::tokenizer::{MAX_TOKENS, Tokenizer};
use trommel_tensor::Digest;
use trommel_tests::guests::component;
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::tokenizers::{byte_pairs, unigram, word_piece};

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

pub(super) fn changed(json: &[u8], pointer: &str, value: Value) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(json).unwrap();
    match pointer.rsplit_once('/') {
        Some((parent, key)) => file.pointer_mut(parent).unwrap()[key] = value,
        None => file = value,
    }
    serde_json::to_vec(&file).unwrap()
}

#[test]
fn every_mistake_in_a_tokenizer_is_named_with_what_to_do() {
    let steps =
        |n: usize| json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); n]});
    let nested = json!({"type": "Sequence", "normalizers": [steps(1)]});
    let template = |single: Value, ids: Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
               "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": ids, "tokens": []}}})
    };
    let cls = json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let charsmap = |coded: &str| json!({"type": "Precompiled", "precompiled_charsmap": coded});
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
            json!({"type": "Telepathy"}),
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
        ("/normalizer", charsmap("not base64"), "is no base64"),
        ("/normalizer", charsmap(""), "breaks off"),
        ("/normalizer", charsmap("/////w=="), "holds no search tree"),
        (
            "/normalizer",
            charsmap("/P///wAAAAA="),
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
            pattern(&"(a|b)".repeat(80)),
            "(a|b)(a|b)…` is of no tokenizer that this host knows, and could keep it busy for hours; use one of GPT-2",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Telepathy".repeat(100)}),
            "…` is no step that this host knows; leave it out",
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
            "/added_tokens",
            json!([{"id": 0, "content": "<0x61>", "special": true}]),
            "`<0x61>` is special, and is a byte that a model falls back to",
        ),
        (
            "/added_tokens",
            json!([{"id": 0, "content": "\u{1}", "normalized": true}]),
            "`\\u{1}` is nothing when it is normalized",
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

/// A file that knows `?` and `b`, with these normalizers and words.
pub(super) fn with_words(normalizer: &Value, added: &Value) -> Vec<u8> {
    let model = json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "b": 1}});
    let file =
        json!({"version": "1.0", "normalizer": normalizer, "added_tokens": added, "model": model});
    serde_json::to_vec(&file).unwrap()
}

#[test]
fn an_added_word_that_grows_or_takes_anothers_id_is_refused() {
    let longer = |n: usize| {
        let longer =
            json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(64)});
        json!({"type": "Sequence", "normalizers": vec![longer; n]})
    };
    let normalized = json!([{"id": 2, "content": "a", "normalized": true}]);
    let again = json!([{"id": 1, "content": "b", "special": true}, {"id": 1, "content": "c"}]);
    for (n_steps, added, says) in [
        (
            1,
            &normalized,
            "`a` grows beyond 4 times its length when it is normalized; set `normalized` to false",
        ),
        (
            2,
            &normalized,
            "`a` cannot be normalized: it makes 4096 bytes",
        ),
        (16, &normalized, "it makes 4096 bytes"),
        (1, &again, "`c` has id 1"),
    ] {
        let error = refused(&with_words(&longer(n_steps), added));
        assert!(error.contains(says), "{error}");
    }
    // Where a number is left out, the next word that is added would have a later one's.
    let gap = changed(
        &with_words(&Value::Null, &again),
        "/model/vocab",
        json!({"?": 0, "b": 2}),
    );
    let twice = json!([{"id": 2, "content": "b", "special": true}, {"id": 2, "content": "c"}]);
    let error = refused(&changed(&gap, "/added_tokens", twice));
    assert!(
        error.contains("`c` has id 2, as another of them has"),
        "{error}"
    );
    // Of a model that knows no other word for its letter.
    let file: Value = serde_json::from_slice(byte_pairs()).unwrap();
    let letter = json!([{"id": file["model"]["vocab"]["a"], "content": "a", "special": true}]);
    let error = refused(&changed(byte_pairs(), "/added_tokens", letter));
    assert!(
        error.contains("`a` is special, and its letter has no other word"),
        "{error}"
    );
    // What is put before a word of one letter is no growth.
    let mark = json!({"type": "Prepend", "prepend": "▁"});
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let steps = json!({"type": "Sequence", "normalizers": [mark, spaces]});
    let space = json!([{"id": 2, "content": " ", "normalized": true}]);
    Tokenizer::from_json(&with_words(&steps, &space), u64::MAX).expect("a tokenizer");
}

#[tokio::test]
async fn a_guest_that_hoards_encodings_is_refused_more_and_all_are_given_back() {
    let sandbox = Sandbox::new(component("scripted"), Limits::DEFAULT).unwrap();
    let before = sandbox.detector.account().bytes();
    let call = sandbox.script("encodings 100000 8").await;
    let error = call.outcome.unwrap_err().to_string();
    assert!(error.contains("quota-exceeded"), "{error}");
    assert_eq!(sandbox.detector.account().bytes(), before);
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
