//! Reads text as a person would, for the text detectors: look-alikes, leetspeak, letters
//! set apart, what nobody sees. Each character keeps its place in the original.
//!
//! [`normalise`] is the street, [`table`] what single characters are read as; [`buckets`] makes
//! numbers of what a detector chose of it. It knows no detector and no language.

pub mod buckets;
mod links;
pub mod normalise;
pub mod table;
mod words;

pub use words::unmasked;
