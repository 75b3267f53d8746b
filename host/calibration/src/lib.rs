//! From counts per score bin to probabilities.
//!
//! Pure. Its own crate because it has two users: the host, which reads tables,
//! and the recipes, which write them and must measure the very map that the host
//! applies. It knows no file format, no label and no detector.

mod bound;
mod curve;
mod table;
mod target;

pub use bound::{greatest_rate, least_rate};
pub use table::{Bin, MAX_BINS, MAX_ROWS, Table, TableError};
pub use target::{Cut, OutOfReach, Target};
