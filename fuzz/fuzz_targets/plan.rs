//! Plans: graphs that load, lowered for several sizes.
//!
//! The input is choices that draw a graph, as `onnx` draws one, with fewer mistakes.

#![no_main]

mod models;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use trommel_tensor::{Graph, Precision, TensorError, Weights, plan_text};

/// Of the symbols that graphs are drawn with.
const SIZES: [[usize; 2]; 4] = [[1, 1], [2, 3], [7, 0], [64, 1]];

fuzz_target!(init: models::expect_panics(), |data: &[u8]| {
    let Ok(file) = models::model(&mut Unstructured::new(data), false) else {
        return;
    };
    let Ok(graph) = Graph::from_onnx(&file, &Weights::default()) else {
        return;
    };
    let half = graph.clone().stored_as(Precision::Half);
    let inputs: String = graph.inputs().iter().map(ToString::to_string).collect();
    for [n, m] in SIZES {
        let named = [("n", n), ("m", m)];
        let sizes: Vec<_> = named
            .into_iter()
            .filter(|(name, _)| inputs.contains(name))
            .map(|(name, size)| (name.to_owned(), size))
            .collect();
        let plans = [&graph, &half].map(|graph| plan_text(graph, &sizes));
        // In half the bytes there may be room for more.
        assert!(plans[0].is_err() || plans[1].is_ok(), "{plans:?}");
        for plan in plans {
            match plan {
                Ok(text) => assert!(!text.is_empty()),
                // A panic while planning is caught, and told so.
                Err(TensorError::NoPlan { why, .. }) if why.contains("gave up") => {
                    panic!("{why}, {inputs}, {sizes:?}")
                }
                Err(_) => {}
            }
        }
    }
});
