//! Packages and the files they are made of.
//!
//! Owns everything that is read from or written to disk for a detector: the
//! manifest and what it names, the revision's digest, the cache of compiled
//! components. Nothing here runs a component or decides who answers.

pub mod bundled;
mod cache;
mod load;
mod manifest;
mod package;
mod state;

pub use cache::{CompileCache, pipeline_folder};
pub use load::{GoldenCase, Loaded, PackageError, load};
pub use manifest::{Golden, Manifest, ManifestError, SettingValue};
pub use package::{FileError, FileKind, Package};
pub use state::{Recovered, StateError, StateFolder};
