//! Threads that tokenize long texts, and the tokenizers that are alive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use trommel_tensor::{TensorError, Workers};

use super::{DecoderOptions, LoadError, now};
use crate::tokenizer::{EncodeError, Encoded, Tokenizer, TokenizerError};

/// Bytes of a text that is tokenized where it is asked for: to hand it to a thread and
/// back would take longer.
const MAX_INLINE_BYTES: usize = 512;

/// How long such a text is tokenized there. Honest files take far less; of one that is made
/// to be slow it begins again on a thread, so that nobody else waits for it.
const INLINE_TIME: Duration = Duration::from_millis(5);

/// The engine's one set of threads for texts. Images have their own, since one of them may
/// take as long as ten thousand texts.
#[derive(Debug)]
pub(super) struct Tokenizing {
    workers: Workers,
}

/// What came of a text, and how long it took, waiting for a thread left out.
#[derive(Debug)]
pub(super) struct Tokenized {
    pub(super) encoded: Result<Encoded, EncodeError>,
    pub(super) took: Duration,
}

impl Tokenizing {
    pub(super) fn start(options: &DecoderOptions) -> Result<Self, LoadError> {
        let workers = Workers::start("trommel-text", options.n_threads, options.max_waiting)
            .map_err(|error| LoadError::Engine(format!("cannot start a thread: {error}")))?;
        Ok(Self { workers })
    }

    /// Encodes `text`, until `by`: here when it is short and that is soon done, else on one
    /// of the threads, which says in `began` when.
    ///
    /// `Overloaded` when too many texts wait for one.
    pub(super) async fn encode(
        &self,
        tokenizer: &Arc<Tokenizer>,
        text: String,
        max_tokens: usize,
        by: Instant,
        began: Arc<OnceLock<Instant>>,
    ) -> Result<Tokenized, TensorError> {
        let mut in_vain = Duration::ZERO;
        if text.len() <= MAX_INLINE_BYTES {
            let here = encode(tokenizer, &text, max_tokens, by.min(now() + INLINE_TIME));
            if here.encoded != Err(EncodeError::Late) || now() >= by {
                return Ok(here);
            }
            in_vain = here.took;
        }
        let tokenizer = tokenizer.clone();
        let encoded = self.workers.submit(move || {
            began.get_or_init(now);
            let mut encoded = encode(&tokenizer, &text, max_tokens, by);
            encoded.took += in_vain;
            encoded
        });
        let encoded = encoded.map_err(|full| TensorError::Overloaded {
            device: "tokenizer".to_owned(),
            n_waiting: full.n_waiting,
        })?;
        encoded.await.map_err(|_| TensorError::Internal {
            device: "tokenizer".to_owned(),
            what: "its threads have ended".to_owned(),
        })
    }
}

fn encode(tokenizer: &Tokenizer, text: &str, max_tokens: usize, by: Instant) -> Tokenized {
    let start = now();
    let encoded = tokenizer.encode(text, max_tokens, &|| now() >= by);
    Tokenized {
        encoded,
        took: start.elapsed(),
    }
}

/// The tokenizers alive in an engine, by the sha256 of their files. Holds none of them:
/// the last detector that does frees it.
#[derive(Debug, Default)]
pub(super) struct Tokenizers {
    alive: Mutex<HashMap<[u8; 32], Weak<Tokenizer>>>,
}

impl Tokenizers {
    /// The one that is alive, else read anew. Its size is held against `most` either way.
    pub(super) fn shared(&self, json: &[u8], most: u64) -> Result<Arc<Tokenizer>, TokenizerError> {
        let digest = Sha256::digest(json).into();
        let known = self.locked().get(&digest).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.n_bytes() <= most) {
            return Ok(known);
        }
        // Not under the lock: reading takes up to a second. Two who read the same file at
        // once keep one of the two.
        let read = Arc::new(Tokenizer::from_json(json, most)?);
        let mut alive = self.locked();
        if let Some(known) = alive.get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        alive.retain(|_, weak| weak.strong_count() > 0);
        alive.insert(digest, Arc::downgrade(&read));
        Ok(read)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Weak<Tokenizer>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    /// Makes sixteen letters of each, cuts them apart, and looks at each of them again and
    /// again.
    fn slow() -> Tokenizer {
        let pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let looks = serde_json::json!({"type": "Split", "pattern": {"Regex": pattern}});
        let mut steps = vec![serde_json::json!({"type": "FixedLength", "length": 4})];
        steps.resize(16, looks);
        let longer = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(16)});
        let file = serde_json::json!({
            "version": "1.0",
            "normalizer": longer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0}},
        });
        let file = serde_json::to_vec(&file).expect("it is JSON");
        Tokenizer::from_json(&file, u64::MAX).expect("it is one")
    }

    #[tokio::test]
    async fn a_short_text_of_a_slow_tokenizer_is_left_to_a_thread() {
        let options = DecoderOptions {
            n_threads: NonZeroUsize::MIN,
            ..DecoderOptions::default()
        };
        let tokenizing = Tokenizing::start(&options).expect("a thread");
        let (by, began) = (
            now() + Duration::from_mins(5),
            Arc::<OnceLock<Instant>>::default(),
        );
        let (tokenizer, text) = (Arc::new(slow()), "a".repeat(MAX_INLINE_BYTES));
        let done = tokenizing.encode(&tokenizer, text, 64, by, Arc::clone(&began));
        let done = done.await.expect("nobody else waits");
        assert_eq!(done.encoded.map(|encoded| encoded.ids.len()), Ok(64));
        assert!(began.get().is_some(), "a thread took it");
    }
}
