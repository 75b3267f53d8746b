//! Tokenizers for tests, trained by the library that reads them; none is downloaded.

use std::sync::LazyLock;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::{BertNormalizer, NFKC, NormalizerWrapper, Replace, Sequence};
use tokenizers::normalizers::{Lowercase, Strip, replace::ReplacePattern};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, Tokenizer, TokenizerImpl};

/// What they are trained on.
const TEXT: [&str; 8] = [
    "You have won a free phone, click here to claim your prize now!",
    "The committee will meet on Thursday to talk about the new library.",
    "Please send the report before noon; the numbers were wrong again.",
    "She was walking along the river and singing to herself.",
    "Únete ahora: dinero gratis, sin riesgo, solo por hoy.",
    "Wir treffen uns morgen früh am Bahnhof, wie besprochen.",
    "Сегодня хорошая погода, и мы идём гулять в парк.",
    "今日は天気がいいので、公園を散歩しました。",
];

type Built = TokenizerImpl<
    ModelWrapper,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// As BERT's: `WordPiece` with `[CLS]` and `[SEP]`.
pub fn word_piece() -> &'static [u8] {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        let special = special.map(|token| AddedToken::from(token, true));
        let mut built = Built::new(ModelWrapper::WordPiece(WordPiece::default()));
        built
            .with_normalizer(Some(BertNormalizer::default()))
            .with_pre_tokenizer(Some(BertPreTokenizer));
        let trainer = WordPieceTrainer::builder()
            .show_progress(false)
            .vocab_size(400)
            .special_tokens(special.to_vec());
        let mut trainer = TrainerWrapper::from(trainer.build());
        built.train(&mut trainer, TEXT.iter()).expect("it trains");
        let id = |token| {
            (
                String::from(token),
                built.token_to_id(token).expect("trained with it"),
            )
        };
        let frame = BertProcessing::new(id("[SEP]"), id("[CLS]"));
        built.with_post_processor(Some(frame));
        written(built)
    });
    &FILE
}

/// As RoBERTa's: BPE over bytes, without a word for what is not known.
pub fn byte_pairs() -> &'static [u8] {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
        let special = special.map(|token| AddedToken::from(token, true));
        let mut built = Built::new(ModelWrapper::BPE(BPE::default()));
        built.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(420)
            .special_tokens(special.to_vec())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect());
        let mut trainer = TrainerWrapper::from(trainer.build());
        built.train(&mut trainer, TEXT.iter()).expect("it trains");
        let id = |token| {
            (
                String::from(token),
                built.token_to_id(token).expect("trained with it"),
            )
        };
        let frame = RobertaProcessing::new(id("</s>"), id("<s>")).add_prefix_space(false);
        built.with_post_processor(Some(frame));
        written(built)
    });
    &FILE
}

/// As XLM-RoBERTa's: `Unigram` over words that begin with a mark, and a template.
pub fn unigram() -> &'static [u8] {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut words: Vec<(String, f64)> = ["<s>", "<pad>", "</s>", "<unk>"]
            .map(|word| (word.to_owned(), 0.0))
            .into();
        let mut letters: Vec<char> = TEXT.iter().flat_map(|line| line.chars()).collect();
        letters.push('▁');
        letters.sort_unstable();
        letters.dedup();
        let letters = letters.into_iter().filter(|letter| *letter != ' ');
        words.extend(letters.map(|letter| (letter.to_string(), -8.0)));
        let ends = [
            "ing", "tion", "er", "▁the", "▁free", "▁click", "▁prize", "▁win", "ed",
        ];
        words.extend(ends.map(|word| (word.to_owned(), -4.0)));
        let model = Unigram::from(words, Some(3), false).expect("its third is there");
        let mut built = Built::new(ModelWrapper::Unigram(model));
        let spaces = ReplacePattern::Regex(" {2,}".to_owned());
        built.with_normalizer(Some(Sequence::new(vec![
            NFKC.into(),
            Lowercase.into(),
            Strip::new(false, true).into(),
            Replace::new(spaces, " ").expect("a pattern").into(),
        ])));
        built.with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::Always, true)));
        let special = ["<s>", "<pad>", "</s>", "<unk>"];
        built.add_special_tokens(&special.map(|token| AddedToken::from(token, true)));
        let frame = TemplateProcessing::builder()
            .try_single("<s> $A </s>")
            .expect("a template")
            .try_pair("<s> $A </s> </s> $B </s>")
            .expect("a template")
            .special_tokens(vec![("<s>", 0), ("</s>", 2)])
            .build();
        built.with_post_processor(Some(frame.expect("a template")));
        written(built)
    });
    &FILE
}

/// All of them by name.
pub fn all() -> [(&'static str, &'static [u8]); 3] {
    [
        ("word pieces", word_piece()),
        ("byte pairs", byte_pairs()),
        ("unigram", unigram()),
    ]
}

fn written(built: Built) -> Vec<u8> {
    let built = Tokenizer::from(built);
    built.to_string(false).expect("it is JSON").into_bytes()
}
