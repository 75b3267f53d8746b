//! What the suite and the benches share: guests, plugin folders, models, devices, and
//! a sandbox around one detector.

pub mod by_hand;
pub mod counting;
pub mod devices;
pub mod guests;
pub mod hostile_components;
pub mod hostile_items;
pub mod models;
pub mod onnx;
pub mod pictures;
pub mod plugin;
pub mod random;
pub mod sandbox;
pub mod stuck;
pub mod tokenizers;

use std::path::PathBuf;

/// The checkout that the tests were built from.
pub fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// The bundled model, as a test input.
pub fn spam_model() -> Vec<u8> {
    let file = workspace().join("guest-models/spam-text/model.onnx");
    std::fs::read(file).expect("the weights are committed")
}
