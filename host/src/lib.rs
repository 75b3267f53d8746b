//! Trommel screens content: it runs classifier plugins ("detectors") as
//! sandboxed WebAssembly components, gives them tensors on a device, and turns
//! their signals into verdicts.
//!
//! The street, every module on one arrow:
//!
//! ```text
//! bytes → item → plugin call → tensor graph → scores → policy → verdict
//! ```
//!
//! [`Host`] is the door; the rest is public so that a server or a test can
//! stand anywhere along the street.

pub mod blame;
pub mod calibrator;
pub mod decode;
pub mod engine;
pub mod excerpt;
pub mod item;
pub mod lists;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod registry;
pub mod revision;
pub mod rollout;
pub mod server;
pub mod signal;
pub mod spans;
mod summed;
pub mod tokenizer;
mod toml_text;

pub use pipeline::{Host, HostBuilder, Judgement};
pub use trommel_tensor as tensor;
