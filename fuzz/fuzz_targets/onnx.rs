//! Models: bytes to a graph, with the host's own bounds.
//!
//! The first byte says how the rest is read: as a file, or as choices that draw one.

#![no_main]

mod models;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use trommel_tensor::{Graph, TensorError, Weights};

fuzz_target!(init: models::expect_panics(), |data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    let drawn;
    let file = match kind {
        0 => rest,
        _ => {
            let Ok(file) = models::model(&mut Unstructured::new(rest), true) else {
                return;
            };
            drawn = file;
            &drawn[..]
        }
    };
    match Graph::from_onnx(file, &Weights::default()) {
        Ok(graph) => {
            assert!(!graph.outputs().is_empty());
            assert!(graph.inputs().iter().all(|port| !port.to_string().is_empty()));
        }
        Err(error) => check(&error),
    }
});

/// An error speaks, and is none of ours; nothing that never ends passes unseen.
fn check(error: &TensorError) {
    let said = error.to_string();
    assert!(!said.is_empty());
    assert!(!said.contains("did not end within"), "{said}");
    assert!(!matches!(error, TensorError::Internal { .. }), "{said}");
}
