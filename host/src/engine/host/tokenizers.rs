//! `tokenizers`: texts to ids, behind handles.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use trommel_tensor::{Dtype, Tensor};
use wasmtime::component::Resource;

use crate::excerpt::printable;
use crate::tokenizer::{BYTES_PER_TOKEN, EncodeError, Encoded, MAX_TOKENS, MIN_TOKENS};

use super::super::bindings::trommel::detector::tokenizers::{Host, HostEncoding, HostTokenizer};
use super::super::call::{CallState, until};
use super::super::findings::broken;
use super::super::tokenizing::Tokenized;
use super::super::{Blame, Failure, Fault};
use super::{Answer, EncodingHandle, TokenizerHandle, unknown_name};

/// Bytes that a text takes while it is tokenized, for each of its own: how it was and
/// what became of it, where each byte came from, and a token for every few of them. A file
/// that makes a text sixteen times as long takes more, on as many threads as there are
/// (`docs/security.md` says how much).
const WORKING_BYTES: usize = 256;

/// Bytes that the host keeps of each token: id, type and span.
const TOKEN_BYTES: usize = 2 * size_of::<u32>() + size_of::<(usize, usize)>();

impl Host for CallState {}

impl CallState {
    fn encoding(&self, handle: &Resource<EncodingHandle>) -> wasmtime::Result<&EncodingHandle> {
        Ok(self
            .table
            .get(handle)
            .map_err(|error| broken(error.to_string()))?)
    }

    /// A tensor of one number per token, `pad` where there are no more.
    fn row(
        &mut self,
        handle: &Resource<EncodingHandle>,
        pad: impl FnOnce(&Encoded) -> u32,
        numbers: impl FnOnce(&Encoded) -> Vec<u32>,
    ) -> Answer<Resource<Tensor>> {
        // Three of these cost as much as a text, and carry nothing.
        self.carry(MAX_TOKENS * size_of::<i64>())?;
        let EncodingHandle {
            encoded, length, ..
        } = self.encoding(handle)?;
        let length = *length;
        let mut row = numbers(encoded);
        row.resize(length, pad(encoded));
        let bytes: Vec<u8> = row
            .into_iter()
            .flat_map(|number| i64::from(number).to_le_bytes())
            .collect();
        self.upload(Dtype::I64, &[1, length], &bytes)
    }
}

impl HostTokenizer for CallState {
    fn open(&mut self, name: String) -> Answer<Resource<TokenizerHandle>> {
        self.carry(name.len())?;
        if let Some(tokenizer) = self.detector.tokenizers.get(&name) {
            return self.hand_out(TokenizerHandle(tokenizer.clone()));
        }
        let known: Vec<&str> = self
            .detector
            .tokenizers
            .keys()
            .map(String::as_str)
            .collect();
        let what = format!("the manifest names no such tokenizer; it names {known:?}");
        let failure = Failure {
            hint: "name it under [tokenizers] in the manifest".to_owned(),
            ..unknown_name(what, &name)
        };
        self.decline(failure, Blame::Guest)
    }

    async fn encode(
        &mut self,
        handle: Resource<TokenizerHandle>,
        text: String,
        max_tokens: u32,
    ) -> Answer<Resource<EncodingHandle>> {
        self.carry(text.len())?;
        let max_tokens = max_tokens as usize;
        if !(MIN_TOKENS..=MAX_TOKENS).contains(&max_tokens) {
            return Err(broken(format!(
                "asks for {max_tokens} tokens; ask for {MIN_TOKENS} to {MAX_TOKENS}"
            ))
            .into());
        }
        let tokenizer = self.table.get(&handle);
        let tokenizer = tokenizer.map_err(|error| broken(error.to_string()))?;
        let tokenizer = tokenizer.0.clone();
        let n_read = text.len().min(max_tokens * BYTES_PER_TOKEN);
        let working = text.len() + n_read * WORKING_BYTES;
        let working = self.account.charge(working as u64, 0);
        let _working = match self.answer(working)? {
            Ok(charge) => charge,
            Err(failure) => return Ok(Err(failure)),
        };
        let (tokenizing, by) = (self.tokenizing.clone(), self.deadline());
        let began = Arc::<OnceLock<Instant>>::default();
        let encoded = tokenizing.encode(&tokenizer, text, max_tokens, by, began.clone());
        let encoded = until(by, encoded, self.timed_out("a text to be tokenized")).await;
        // Still at work on it, rather than waiting for a thread.
        if let (Err(Fault::TimedOut { .. }), Some(began)) = (&encoded, began.get()) {
            self.ran(began.elapsed());
            return Err(self.out_of_time().into());
        }
        let encoded = encoded?;
        let Tokenized { encoded, took } = match self.answer(encoded)? {
            Ok(tokenized) => tokenized,
            Err(failure) => return Ok(Err(failure)),
        };
        self.ran(took);
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(EncodeError::Late) => return Err(self.out_of_time().into()),
            Err(EncodeError::Failed(why)) => {
                let failure = Failure {
                    code: "run-failed".to_owned(),
                    what: printable(
                        &format!("the tokenizer cannot encode this text: {why}"),
                        200,
                    ),
                    place: String::new(),
                    hint: "try it with `tokenizers` 0.22 itself".to_owned(),
                };
                return self.decline(failure, Blame::Guest);
            }
        };
        let kept = self
            .account
            .charge((encoded.ids.len() * TOKEN_BYTES) as u64, 0);
        let charge = match self.answer(kept)? {
            Ok(charge) => charge,
            Err(failure) => return Ok(Err(failure)),
        };
        self.hand_out(EncodingHandle {
            length: encoded.padded_length(),
            encoded,
            _charge: charge,
        })
    }

    fn drop(&mut self, handle: Resource<TokenizerHandle>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

impl HostEncoding for CallState {
    fn tokens(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<u32> {
        Ok(in_wit(self.encoding(&handle)?.encoded.ids.len()))
    }

    fn length(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<u32> {
        Ok(in_wit(self.encoding(&handle)?.length))
    }

    fn pad_to(&mut self, handle: Resource<EncodingHandle>, length: u32) -> wasmtime::Result<()> {
        let encoding = self.table.get_mut(&handle);
        let encoding = encoding.map_err(|error| broken(error.to_string()))?;
        let n_tokens = encoding.encoded.ids.len();
        if !(n_tokens..=MAX_TOKENS).contains(&(length as usize)) {
            return Err(broken(format!(
                "pads {n_tokens} tokens to {length}; pad them to {n_tokens} to {MAX_TOKENS}"
            ))
            .into());
        }
        encoding.length = length as usize;
        Ok(())
    }

    fn ids(&mut self, handle: Resource<EncodingHandle>) -> Answer<Resource<Tensor>> {
        self.row(
            &handle,
            |encoded| encoded.pad.0,
            |encoded| encoded.ids.clone(),
        )
    }

    fn attention_mask(&mut self, handle: Resource<EncodingHandle>) -> Answer<Resource<Tensor>> {
        self.row(&handle, |_| 0, |encoded| vec![1; encoded.ids.len()])
    }

    fn token_types(&mut self, handle: Resource<EncodingHandle>) -> Answer<Resource<Tensor>> {
        self.row(
            &handle,
            |encoded| encoded.pad.1,
            |encoded| encoded.type_ids.clone(),
        )
    }

    fn spans(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<Vec<(u32, u32)>> {
        self.carry(MAX_TOKENS * size_of::<(u32, u32)>())?;
        let spans = self.encoding(&handle)?.encoded.spans.iter();
        Ok(spans
            .map(|&(start, end)| (in_wit(start), in_wit(end)))
            .collect())
    }

    fn end(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<u32> {
        Ok(in_wit(self.encoding(&handle)?.encoded.end))
    }

    fn is_cut(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<bool> {
        Ok(self.encoding(&handle)?.encoded.is_cut)
    }

    fn drop(&mut self, handle: Resource<EncodingHandle>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

/// A number of tokens, or a place in the bytes that are read for them.
fn in_wit(n: usize) -> u32 {
    u32::try_from(n).expect("no more than 32 bytes of 512 tokens")
}
