//! The host's side of the contract, one file per interface.
//!
//! Every function here is bounded by itself: epochs cannot interrupt it. Sizes
//! that a guest chose are checked before they size anything.

mod content;
mod images;
mod log;
mod results;
mod settings;
mod tensors;
mod tokenizers;

use std::sync::Arc;

use trommel_tensor::{Charge, Preprocess, Session, TensorError};

use crate::decode::Header;
use crate::excerpt::{NAME_CHARS, printable};
use crate::tokenizer::{Encoded, Tokenizer};

use super::bindings::trommel::detector::failures;
use super::call::{CallState, told_or_fatal};
use super::{Blame, Failure};

/// The one item of a call; its content is in the call's state.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ItemHandle;

/// The one writer of a call; what it wrote is in the call's state.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct FindingsHandle;

/// A model that the guest opened.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ModelHandle(Arc<dyn Session>);

/// An image part that the guest looked at.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ImageHandle {
    part: u32,
    header: Header,
    n_bytes: usize,
}

/// What the guest wants done with images.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct PreprocessHandle(Preprocess);

/// A tokenizer that the guest opened.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct TokenizerHandle(Arc<Tokenizer>);

/// A text that the guest had tokenized, and what it takes of the call's account.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct EncodingHandle {
    encoded: Encoded,
    length: usize,
    _charge: Charge,
}

/// What a trappable function with a typed failure answers.
type Answer<T> = wasmtime::Result<Result<T, failures::Failure>>;

impl failures::Host for CallState {}

impl CallState {
    /// Answers a failure to the guest, remembering whose fault it is.
    fn decline<T>(&mut self, failure: Failure, blame: Blame) -> Answer<T> {
        self.tell(&failure, blame);
        Ok(Err(failures::Failure {
            code: failure.code,
            what: failure.what,
            where_: failure.place,
            hint: failure.hint,
        }))
    }

    /// Answers what a tensor call gave, or ends the call when it must.
    fn answer<T>(&mut self, result: Result<T, TensorError>) -> Answer<T> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) => {
                let (failure, blame) = told_or_fatal(&error).map_err(wasmtime::Error::new)?;
                self.decline(failure, blame)
            }
        }
    }

    /// Gives the guest a handle, or `quota-exceeded` when it holds too many.
    fn hand_out<T: Send + 'static>(
        &mut self,
        value: T,
    ) -> Answer<wasmtime::component::Resource<T>> {
        match self.table.push(value) {
            Ok(handle) => Ok(Ok(handle)),
            Err(_) => {
                let most = self.limits().handles;
                let failure = Failure {
                    code: "quota-exceeded".to_owned(),
                    what: format!("the call already holds {most} handles, its limit"),
                    place: String::new(),
                    hint: "drop tensors, images and models that are done with".to_owned(),
                };
                self.decline(failure, Blame::Guest)
            }
        }
    }
}

/// `unknown-name`, with what there is instead.
fn unknown_name(what: String, name: &str) -> Failure {
    Failure {
        code: "unknown-name".to_owned(),
        what,
        place: printable(name, NAME_CHARS),
        hint: String::new(),
    }
}
