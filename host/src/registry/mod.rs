//! Packages and the files they are made of.
//!
//! Owns everything that is read from or written to disk for a detector: the
//! manifest and what it names, packed packages and who signed them, the revision's
//! digest, the cache of compiled components, and the state folder. Nothing here runs a component or decides who answers.

pub mod bundled;
mod cache;
mod hot;
mod keys;
mod layout;
mod load;
mod manifest;
mod package;
mod settings;
mod state;
mod store;

pub(crate) use cache::make_folder;
pub use cache::{CompileCache, pipeline_folder};
pub use hot::{HotStore, HotStoreError};
pub use keys::{KeyError, KeyId, PrivateKey, PublicKey, Trust};
pub use layout::{
    DETECTOR_TYPE, Digest, Layer, Layout, LayoutError, PAYLOAD_TYPE, Packed, SIGNATURE_TYPE, Shape,
    Signature,
};
pub use load::{GoldenCase, Loaded, PackageError, load};
pub use manifest::{Golden, Manifest, ManifestError, SettingValue};
pub use package::{FileError, FileKind, Package};
pub use settings::{SettingError, Settings, spelled};
pub use state::{Recovered, StateError, StateFolder};
pub use store::PackageStore;
