//! Writes a Trommel detector in Rust: implement [`Detector`], name it in
//! [`export!`], build for `wasm32-unknown-unknown`.
//!
//! ```
//! use trommel_sdk::{Detector, Failure, Findings, Item};
//!
//! struct Shouting;
//!
//! impl Detector for Shouting {
//!     fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
//!         let (mut n_letters, mut n_upper) = (0_u32, 0_u32);
//!         for part in item.texts() {
//!             for letter in item.text(part)?.chars().filter(|c| c.is_alphabetic()) {
//!                 n_letters += 1;
//!                 n_upper += u32::from(letter.is_uppercase());
//!             }
//!         }
//!         if n_letters > 0 {
//!             let signal = findings.signal("shouting", n_upper as f32 / n_letters as f32);
//!             findings.note(signal, "share of upper-case letters");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! trommel_sdk::export!(Shouting);
//! # fn main() {}
//! ```
//!
//! Every call runs in a fresh sandbox: statics start anew with each item, and
//! what one call leaves behind is gone. The contract itself, with every range
//! and error, is the text in `wit/`; this crate stands on it alone.

#[cfg(any(target_arch = "wasm32", test))]
#[expect(unsafe_code, reason = "an allocator hands out raw memory")]
mod alloc;
mod bindings;
mod failure;
mod findings;
mod image;
mod item;
pub mod log;
pub mod settings;
mod tensor;
mod tokenizer;

pub use failure::{Code, Failure};
pub use findings::{Findings, SignalRef};
pub use image::{Colors, Filter, Format, Image, Layout, Preprocess};
pub use item::{Item, PartId};
pub use tensor::{Dimension, Dtype, Element, Model, Port, Tensor};
pub use tokenizer::{Encoding, Tokenizer};

/// One detector: what a plugin is to the host.
pub trait Detector {
    /// Judges one item and writes what it found.
    ///
    /// An item with nothing to read is `Ok` with no findings. On `Err` the
    /// findings are discarded, and the verdict says that this detector gave no
    /// answer and why.
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure>;
}

/// Exports a [`Detector`] as the component's `detection` interface. Once per
/// plugin crate, which has `crate-type = ["cdylib"]`.
#[macro_export]
macro_rules! export {
    ($detector:ty) => {
        // Elsewhere than in a sandbox, as in the plugin's own unit tests, only the
        // trait is checked: the contract's symbols are no native linker's.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_a_detector<D: $crate::Detector>() {}
            is_a_detector::<$detector>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            impl $crate::__private::Guest for Component {
                fn detect(
                    item: &$crate::__private::RawItem,
                    findings: &$crate::__private::RawFindings,
                ) -> ::core::result::Result<(), $crate::__private::RawFailure> {
                    $crate::__private::detect::<$detector>(item, findings)
                }
            }
    $crate::__private::export_detector!(Component with_types_in $crate::__private);
        };
    };
}

/// What [`export!`] expands to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::exports::trommel::detector::detection::Guest;
    pub use crate::bindings::trommel::detector::content::Item as RawItem;
    pub use crate::bindings::trommel::detector::failures::Failure as RawFailure;
    pub use crate::bindings::trommel::detector::results::Findings as RawFindings;
    pub use crate::bindings::{export_detector, exports};

    /// Runs `D` on one call's handles.
    pub fn detect<D: crate::Detector>(
        item: &RawItem,
        findings: &RawFindings,
    ) -> Result<(), RawFailure> {
        crate::log::send_panics_to_the_log();
        D::detect(crate::Item::new(item), crate::Findings::new(findings)).map_err(Into::into)
    }
}
