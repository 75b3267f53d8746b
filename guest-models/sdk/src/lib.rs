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

/// What a detector builds once, when its revision is loaded; see [`export!`].
///
/// ```
/// use std::sync::OnceLock;
/// use trommel_sdk::{Detector, Failure, Findings, Item, Prepare, settings};
///
/// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
///
/// struct Listed;
///
/// impl Prepare for Listed {
///     fn prepare() -> Result<(), Failure> {
///         let words = settings::text("words").unwrap_or_default();
///         WORDS.get_or_init(|| words.split(' ').map(str::to_lowercase).collect());
///         Ok(())
///     }
/// }
///
/// impl Detector for Listed {
///     fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
///         let words = WORDS.get().expect("every call starts after `prepare`");
///         for part in item.texts() {
///             let text = item.text(part)?;
///             if words.iter().any(|word| text.contains(word.as_str())) {
///                 findings.signal("listed", 1.0);
///                 break;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// trommel_sdk::export!(Listed, prepare);
/// # fn main() {}
/// ```
pub trait Prepare {
    /// Runs once, when the revision is loaded. Every call starts with statics and memory
    /// as this leaves them.
    ///
    /// It sees [`settings`] and may [`log`], and nothing else. A failure or a panic
    /// refuses the revision.
    fn prepare() -> Result<(), Failure>;
}

/// Exports a [`Detector`] as the component's `detection` interface. Once per
/// plugin crate, which has `crate-type = ["cdylib"]`. `export!(Mine, prepare)` exports its
/// [`Prepare`] too.
#[macro_export]
macro_rules! export {
    ($detector:ty, prepare) => {
        $crate::export!($detector);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_prepared<D: $crate::Prepare>() {}
            is_prepared::<$detector>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Preparation;
            impl $crate::__private::preparation::Guest for Preparation {
                fn prepare() -> ::core::result::Result<(), $crate::__private::RawFailure> {
                    $crate::__private::prepare::<$detector>()
                }
            }
            $crate::__private::preparation::export_preparation!(
                Preparation with_types_in $crate::__private::preparation
            );
        };
    };
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

    /// The generated side of `prepare`.
    pub mod preparation {
        pub use crate::bindings::preparation::exports::trommel::detector::prepare::Guest;
        pub use crate::bindings::preparation::{export_preparation, exports};
    }

    /// Runs `D`'s preparation, and leaves the arena to the calls.
    pub fn prepare<D: crate::Prepare>() -> Result<(), RawFailure> {
        crate::log::send_panics_to_the_log();
        #[cfg(target_arch = "wasm32")]
        let _beyond = crate::alloc::beyond_the_arena();
        D::prepare().map_err(Into::into)
    }

    /// Runs `D` on one call's handles.
    pub fn detect<D: crate::Detector>(
        item: &RawItem,
        findings: &RawFindings,
    ) -> Result<(), RawFailure> {
        crate::log::send_panics_to_the_log();
        D::detect(crate::Item::new(item), crate::Findings::new(findings)).map_err(Into::into)
    }
}
