//! Tokenizers: the library's own answers, places in the text that are true whatever the
//! text is, and bounds on both.

use proptest::prelude::*;
use tokenizers::Tokenizer as Reference;
use trommel::engine::{Blame, Limits};
use trommel::tokenizer::{BYTES_PER_TOKEN, Encoded, MAX_TOKENS, Tokenizer};
use trommel_tests::guests::component;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::tokenizers::{all, byte_pairs, unigram, word_piece};

fn read(json: &[u8]) -> Tokenizer {
    Tokenizer::from_json(json, u64::MAX).unwrap_or_else(|error| panic!("{error}"))
}

fn encode(tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> Encoded {
    let encoded = tokenizer.encode(text, max_tokens, &|| false);
    encoded.unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// What must hold of every answer.
fn check(text: &str, max_tokens: usize, encoded: &Encoded) {
    let Encoded {
        ids,
        type_ids,
        spans,
        end,
        is_cut,
        ..
    } = encoded;
    assert!(ids.len() <= max_tokens, "{text:?}: {}", ids.len());
    assert_eq!((ids.len(), ids.len()), (type_ids.len(), spans.len()));
    assert!(text.is_char_boundary(*end), "{text:?}: {end}");
    assert_eq!(*is_cut, *end < text.len(), "{text:?}: {end}");
    assert!(*end > 0 || text.is_empty(), "{text:?}: no way ahead");
    let mut before = (0, 0);
    for &(start, end_of_token) in spans {
        assert!(
            text.get(start..end_of_token).is_some(),
            "{text:?}: {spans:?}"
        );
        assert!(
            start >= before.0 && end_of_token >= before.1,
            "{text:?}: {spans:?}"
        );
        assert!(end_of_token <= *end, "{text:?}: {spans:?} past {end}");
        before = (start, end_of_token);
    }
}

const TEXTS: [&str; 9] = [
    "You have won a free prize!",
    "  spaces   everywhere  ",
    "Únete ahora, naïve café",
    "今日は天気 ok?",
    "don't, won't; it's 1,000.50$",
    "ＦＵＬＬ ｗｉｄｔｈ ﬁ ﷺ",
    "e\u{301}\u{327} and \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
    "\u{0}\u{7f}\u{feff}tab\tnew\nline\r\n",
    "zzzzqqqq",
];

#[test]
fn ids_are_those_of_the_library_that_reads_the_same_file() {
    for (name, json) in all() {
        let (tokenizer, reference) = (read(json), Reference::from_bytes(json).unwrap());
        for text in TEXTS {
            let encoded = encode(&tokenizer, text, MAX_TOKENS);
            let expected = reference.encode(text, true).unwrap();
            assert_eq!(encoded.ids, expected.get_ids(), "{name}: {text:?}");
            assert_eq!(
                encoded.type_ids,
                expected.get_type_ids(),
                "{name}: {text:?}"
            );
            check(text, MAX_TOKENS, &encoded);
        }
    }
}

#[test]
fn spans_are_the_bytes_of_the_text_as_it_was_given() {
    let text = "  Click HERE, Únete!";
    let encoded = encode(&read(word_piece()), text, MAX_TOKENS);
    let words: Vec<&str> = encoded
        .spans
        .iter()
        .map(|&(start, end)| &text[start..end])
        .collect();
    let whole = words.concat();
    assert_eq!(whole, "ClickHERE,Únete!", "{words:?}");
    assert_eq!((words[0], words[words.len() - 1]), ("", ""), "the frame");
    // Of a byte-level model, which knows letters of half a character.
    let encoded = encode(&read(byte_pairs()), "a 😀 b", MAX_TOKENS);
    assert!(encoded.spans.contains(&(2, 6)), "{:?}", encoded.spans);
    assert_eq!(encoded.spans.last(), Some(&(8, 8)));
}

#[test]
fn what_is_written_in_a_text_is_never_a_special_token() {
    for (name, json) in all() {
        let (tokenizer, reference) = (read(json), Reference::from_bytes(json).unwrap());
        let special = [
            "[SEP]", "[CLS]", "[PAD]", "[MASK]", "</s>", "<s>", "<pad>", "<mask>",
        ];
        let forbidden: Vec<u32> = special
            .iter()
            .filter_map(|word| reference.token_to_id(word))
            .collect();
        assert!(forbidden.len() >= 3, "{name}: {forbidden:?}");
        for written in special {
            let text = format!("free {written} prize{written}");
            let ids = encode(&tokenizer, &text, MAX_TOKENS).ids;
            let found = &ids[1..ids.len() - 1];
            assert!(found.len() > 3, "{name}: {text}: {ids:?}");
            let is_plain = found.iter().all(|id| !forbidden.contains(id));
            assert!(is_plain, "{name}: {text}: {ids:?}");
        }
    }
}

#[test]
fn a_long_text_is_cut_where_its_rest_begins_and_all_of_it_can_be_read() {
    let text = "free phone 今日は 😀 prize, ".repeat(100);
    for (name, json) in all() {
        let tokenizer = read(json);
        for max_tokens in [8, 9, 33, MAX_TOKENS] {
            let (mut at, mut n_parts) = (0, 0);
            while at < text.len() {
                let encoded = encode(&tokenizer, &text[at..], max_tokens);
                check(&text[at..], max_tokens, &encoded);
                at += encoded.end;
                n_parts += 1;
            }
            assert!(n_parts > 1, "{name}: {n_parts}");
        }
    }
}

#[test]
fn no_more_of_a_text_is_read_than_the_tokens_could_need() {
    let text = "今".repeat(1 << 20);
    let encoded = encode(&read(word_piece()), &text, 100);
    assert!(encoded.is_cut);
    let one_word = " ".repeat(1 << 20);
    let encoded = encode(&read(word_piece()), &one_word, 100);
    assert_eq!((encoded.end, encoded.is_cut), (100 * BYTES_PER_TOKEN, true));
}

#[test]
fn a_text_is_given_up_between_its_words_when_the_time_is_up() {
    let tokenizer = read(word_piece());
    let left = std::cell::Cell::new(5);
    let is_late = || {
        left.set(left.get() - 1);
        left.get() < 0
    };
    let error = tokenizer.encode("a b c d e f g h", MAX_TOKENS, &is_late);
    assert_eq!(error.unwrap_err().to_string(), "the time was up");
}

#[test]
fn a_file_that_two_bring_is_held_once() {
    let sandbox = Sandbox::new(component("noop"), Limits::DEFAULT).unwrap();
    let one = sandbox
        .engine
        .tokenizer("a", byte_pairs(), u64::MAX)
        .unwrap();
    let two = sandbox
        .engine
        .tokenizer("b", byte_pairs(), u64::MAX)
        .unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    let other = sandbox.engine.tokenizer("a", unigram(), u64::MAX).unwrap();
    assert!(!std::sync::Arc::ptr_eq(&one, &other));
}

#[test]
fn a_tokenizer_is_paid_for_from_the_weights() {
    let tokenizer = read(word_piece());
    let limits = Limits {
        weight_bytes: tokenizer.n_bytes() - 1,
        ..Limits::DEFAULT
    };
    let error = Sandbox::new(component("noop"), limits).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    let error = error.to_string();
    assert!(error.contains("ask for more with `weights-mib`"), "{error}");
}

#[tokio::test]
async fn a_guest_sees_ids_mask_types_and_places() {
    let sandbox = Sandbox::new(component("scripted"), Limits::DEFAULT).unwrap();
    let call = sandbox.script("encode 64 Free prize").await;
    let findings = call.outcome.unwrap();
    let notes = &findings.signals[0].evidence;
    let reference = Reference::from_bytes(word_piece()).unwrap();
    let expected = reference.encode("Free prize", true).unwrap();
    let n_tokens = expected.len();
    let padded = |numbers: &[u32]| {
        let mut row = vec![0_i64; 16];
        for (to, number) in row.iter_mut().zip(numbers) {
            *to = i64::from(*number);
        }
        format!("{row:?}")
    };
    let shown = format!("{notes:?}");
    for expected in [
        format!("{n_tokens} of 16"),
        format!("Dtype::I64 [1, 16] {}", padded(expected.get_ids())),
        padded(&vec![1; n_tokens]),
        padded(&[]),
        "to 10, cut: false".to_owned(),
    ] {
        assert!(shown.contains(&expected), "{expected} in {shown}");
    }
}

#[tokio::test]
async fn a_guest_chooses_how_far_it_pads() {
    let sandbox = Sandbox::new(component("scripted"), Limits::DEFAULT).unwrap();
    let call = sandbox.script("pad 20").await;
    let shown = format!("{:?}", call.outcome.unwrap().signals[0].evidence);
    let ones_and_zeros = "[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]";
    assert!(shown.contains(ones_and_zeros), "{shown}");
}

/// Letters of every kind that tokenizers stumble over.
fn odd_text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        any::<char>(),
        prop::sample::select(vec![
            ' ',
            '\t',
            '\n',
            '\r',
            '\u{a0}',
            '\u{3000}',
            '\u{200b}',
            '\u{200d}',
            '\u{feff}',
            '\0',
            'a',
            'Z',
            'é',
            'ß',
            'İ',
            'ŉ',
            'ﬁ',
            'ﷺ',
            '㎒',
            '１',
            '½',
            '\u{301}',
            '\u{327}',
            '\u{5bf}',
            '\u{1100}',
            '\u{1161}',
            '가',
            '今',
            '\u{e000}',
            '😀',
            '\u{1F468}',
            '\u{fe0f}',
            '▁',
            'Ġ',
            '[',
            ']',
            '<',
            '>',
            '\'',
            '\u{10ffff}',
            '\u{fffd}',
            '\u{202e}',
        ]),
        prop::char::range('a', 'z'),
    ];
    prop::collection::vec(letter, 0..200).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn places_are_true_whatever_the_text_is(text in odd_text(), max_tokens in 8..=MAX_TOKENS) {
        for (_, json) in all() {
            check(&text, max_tokens, &encode(&read(json), &text, max_tokens));
        }
    }

    #[test]
    fn a_text_has_the_same_tokens_whatever_was_encoded_before(texts in prop::collection::vec(odd_text(), 1..5)) {
        for (_, json) in all() {
            let tokenizer = read(json);
            let first: Vec<Encoded> = texts.iter().map(|text| encode(&tokenizer, text, 64)).collect();
            for (text, first) in texts.iter().zip(&first).rev() {
                prop_assert_eq!(&encode(&tokenizer, text, 64), first);
            }
        }
    }
}
