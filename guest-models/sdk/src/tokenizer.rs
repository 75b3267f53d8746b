//! Tokenizers behind handles: from text to the ids that a model was trained on.

use std::ops::Range;

use crate::bindings::trommel::detector::tokenizers;
use crate::{Failure, Tensor};

/// A tokenizer of the plugin's package, in the host.
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// The tokenizer that the manifest calls `name`; `unknown-name` when there is none.
    pub fn open(name: &str) -> Result<Self, Failure> {
        Ok(Self(tokenizers::Tokenizer::open(name)?))
    }

    /// The first tokens of `text`, with those that the file puts around it at most
    /// `max_tokens`. At most 32 bytes of text are read for each; [`Encoding::end`] tells
    /// how far it came. Special tokens are never found in the text itself.
    ///
    /// `run-failed` when the tokenizer cannot encode it, `quota-exceeded` when a limit of
    /// the call would be passed.
    ///
    /// # Panics
    ///
    /// The host ends the call when `max_tokens` is not from 8 to 512.
    pub fn encode(&self, text: &str, max_tokens: u32) -> Result<Encoding, Failure> {
        Ok(Encoding(self.0.encode(text, max_tokens)?))
    }
}

/// A text as tokens, padded on the right: to 16, 32, 64, 128, 256 or 512, the least that
/// holds them, so that the host can compute rows of other items with it.
pub struct Encoding(tokenizers::Encoding);

impl Encoding {
    /// How many tokens there are, padding left out.
    pub fn n_tokens(&self) -> u32 {
        self.0.tokens()
    }

    /// How long the tensors are: tokens and padding.
    pub fn length(&self) -> u32 {
        self.0.length()
    }

    /// Pads to exactly `length` instead; [`Encoding::n_tokens`] is no padding at all.
    ///
    /// # Panics
    ///
    /// The host ends the call when `length` is not from the tokens there are to 512.
    pub fn pad_to(&self, length: u32) {
        self.0.pad_to(length);
    }

    /// The tokens' ids, i64 `[1, length]`.
    pub fn ids(&self) -> Result<Tensor, Failure> {
        Ok(Tensor(self.0.ids()?))
    }

    /// 1 for each token, 0 for padding: i64 `[1, length]`.
    pub fn attention_mask(&self) -> Result<Tensor, Failure> {
        Ok(Tensor(self.0.attention_mask()?))
    }

    /// Which of the model's texts each token belongs to, i64 `[1, length]`.
    pub fn token_types(&self) -> Result<Tensor, Failure> {
        Ok(Tensor(self.0.token_types()?))
    }

    /// The bytes of the text that each token stands for, on characters' boundaries; fit
    /// for [`crate::Findings::span`] where they are not empty. Those of the tokens around
    /// the text are.
    pub fn spans(&self) -> Vec<Range<usize>> {
        let spans = self.0.spans().into_iter();
        spans
            .map(|(start, end)| start as usize..end as usize)
            .collect()
    }

    /// How far the text was read: where the rest begins, or its end.
    pub fn end(&self) -> usize {
        self.0.end() as usize
    }

    /// Whether there is a rest.
    pub fn is_cut(&self) -> bool {
        self.0.is_cut()
    }
}
