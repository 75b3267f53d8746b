//! Graphs that nobody thought of: chains of operators over odd shapes, each device
//! held to the CPU's answers and to itself in any batch, and the CPU held to
//! reference implementations that anybody can check by reading.
//!
//! CI tries the same few each time. `PROPTEST_CASES=5000 cargo test --release -p
//! trommel-tests generated` tries others, and more of them.

mod chain;
mod lookups;
mod movement;
mod operators;
mod reference;
mod windows;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use trommel_tensor::{Device, Dtype, Graph, Precision, Weights, plan_text};
use trommel_tests::devices::{Array, agree, devices, evaluate};

use chain::{Case, Recipe, recipes};

/// Cases of a property where `PROPTEST_CASES` does not say.
const N_CASES: u32 = 64;
/// What tract 0.23.9 says of good graphs that it cannot optimise, three in a thousand
/// of these: a step of two, of a Slice or a Conv, after what is a reshape to it.
const REFUSED: [&str; 1] = ["Downsample: Pulling"];
/// Rows of a batch; odd, as a queue would leave it.
const N_ROWS: usize = 3;

/// Runs `property` on what `strategy` makes: the same in each run of CI, and others
/// each time where `PROPTEST_CASES` says how many.
fn hold<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = N_CASES;
        config.rng_seed = RngSeed::Fixed(1);
    }
    config.max_global_rejects = config.cases.saturating_mul(16);
    // A case that failed becomes a test of its own, or a line here; not a file.
    config.failure_persistence = None;
    TestRunner::new(config)
        .run(strategy, property)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Runs graphs, one at a time.
struct Runner {
    runtime: Runtime,
    devices: Vec<(&'static str, Arc<dyn Device>)>,
}

impl Runner {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            runtime: runtime.build().unwrap(),
            devices: devices(),
        }
    }

    /// Reads a graph, and sees that the CPU can run it. A case that tract is known to
    /// refuse is another one's turn.
    fn read(&self, case: &Case) -> Result<Arc<Graph>, TestCaseError> {
        let (_, cpu) = &self.devices[0];
        let read = Graph::from_onnx(&case.file, &Weights::default()).map(Arc::new);
        let read = read.and_then(|graph| cpu.session(&graph).map(|_| graph));
        read.map_err(|error| {
            let error = error.to_string();
            // Its messages print whole graphs.
            let beginning: String = error.chars().take(300).collect();
            if REFUSED.iter().any(|known| error.contains(known)) {
                TestCaseError::reject(beginning)
            } else {
                TestCaseError::fail(format!("{}: {beginning}", case.story))
            }
        })
    }

    fn run(
        &self,
        device: &dyn Device,
        graph: &Arc<Graph>,
        inputs: &[(String, Array)],
    ) -> Result<Vec<Array>, TestCaseError> {
        let run = async {
            let session = device.session(graph)?;
            evaluate(device, session.as_ref(), inputs).await
        };
        let outputs = self.runtime.block_on(run);
        outputs.map_err(|error| TestCaseError::fail(error.to_string()))
    }
}

/// What differs between two answers, named by the device and the case.
fn compare(
    case: &Case,
    place: &str,
    right: &[Array],
    given: &[Array],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(right.len(), given.len());
    for (output, (right, given)) in right.iter().zip(given).enumerate() {
        agree(right, given).map_err(|difference| {
            TestCaseError::fail(format!(
                "{place}, output {output}: {difference}: {}",
                case.story
            ))
        })?;
    }
    Ok(())
}

#[test]
fn every_device_answers_a_generated_graph_as_the_cpu_does() {
    let runner = Runner::new();
    hold(&recipes(), |recipe: Recipe| {
        let case = recipe.case(N_ROWS);
        let graph = runner.read(&case)?;
        let (_, cpu) = &runner.devices[0];
        let right = runner.run(cpu.as_ref(), &graph, &case.inputs)?;
        for array in &right {
            prop_assert_eq!(array.shape[0], N_ROWS, "{}", case.story);
            let is_float = array.dtype == Dtype::F32;
            let is_finite = !is_float || array.to_floats().iter().all(|value| value.is_finite());
            prop_assert!(is_finite, "not finite: {}", case.story);
        }
        for (name, device) in &runner.devices[1..] {
            let given = runner.run(device.as_ref(), &graph, &case.inputs)?;
            compare(&case, name, &right, &given)?;
        }
        Ok(())
    });
}

#[test]
fn a_row_of_a_generated_graph_is_bit_equal_alone_and_in_a_batch() {
    let runner = Runner::new();
    hold(&recipes(), |recipe: Recipe| {
        let case = recipe.case(N_ROWS);
        let graph = runner.read(&case)?;
        for (name, device) in &runner.devices {
            let batch = runner.run(device.as_ref(), &graph, &case.inputs)?;
            for index in 0..N_ROWS {
                let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
                let inputs: Vec<_> = case.inputs.iter().map(row).collect();
                let alone = runner.run(device.as_ref(), &graph, &inputs)?;
                let rows: Vec<Array> = batch.iter().map(|array| array.row(index)).collect();
                compare(&case, &format!("{name}, row {index} alone"), &rows, &alone)?;
                // See `a_minilm_answers_as_on_the_cpu_at_an_odd_number_of_tokens`.
                if *name == "cpu" && case.has_odd_sum {
                    continue;
                }
                prop_assert!(rows == alone, "{name}, row {index} alone: {}", case.story);
            }
        }
        Ok(())
    });
}

/// Cases of the property in f16: each is run as often as one in f32, on GPUs alone.
const N_HALVED: usize = 16;

#[test]
fn a_row_of_a_generated_graph_in_f16_is_bit_equal_alone_and_in_a_batch() {
    let runner = Runner::new();
    let n_left = std::cell::Cell::new(N_HALVED);
    hold(&recipes(), |recipe: Recipe| {
        let is_bounded = std::env::var_os("PROPTEST_CASES").is_none();
        if is_bounded && n_left.replace(n_left.get().saturating_sub(1)) == 0 {
            return Ok(());
        }
        let case = recipe.case(N_ROWS);
        let graph = runner.read(&case)?;
        let graph = Arc::new(Graph::clone(&graph).stored_as(Precision::Half));
        for (name, device) in &runner.devices[1..] {
            let batch = runner.run(device.as_ref(), &graph, &case.inputs)?;
            for index in 0..N_ROWS {
                let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
                let inputs: Vec<_> = case.inputs.iter().map(row).collect();
                let alone = runner.run(device.as_ref(), &graph, &inputs)?;
                let rows: Vec<Array> = batch.iter().map(|array| array.row(index)).collect();
                prop_assert!(rows == alone, "{name}, row {index} alone: {}", case.story);
            }
        }
        Ok(())
    });
}

/// Else a graph that runs on the CPU behind a GPU would be compared with itself.
#[test]
fn every_generated_graph_has_a_plan_for_a_gpu() {
    let runner = Runner::new();
    hold(&recipes(), |recipe: Recipe| {
        let case = recipe.case(N_ROWS);
        let graph = runner.read(&case)?;
        plan_text(&graph, &[])
            .map_err(|error| TestCaseError::fail(format!("{error}: {}", case.story)))?;
        Ok(())
    });
}
