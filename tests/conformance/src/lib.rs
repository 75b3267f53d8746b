//! ONNX's own operator tests, run through `trommel-tensor` on a device.
//!
//! A folder holds suites, a suite holds tests, a test is a model with inputs and
//! the outputs that they must give. What runs is what the host runs: a
//! [`trommel_tensor::Graph`], a device's session, a run. Nothing here looks at
//! the name of a test to decide anything.

mod case;
mod describes;
mod judge;
mod target;
mod value;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use trommel_tensor::{Account, Fixed, Graph, Run, Tensor, TensorError, Weights};

use case::{Case, Set};
pub use case::{Listed, list};
use judge::differs;
pub use target::{Kind, Target};
use value::Value;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every output of every data set is right.
    Pass,
    /// A wrong answer, or an error that nobody meant.
    Fail,
    /// Refused clearly, before anything ran.
    Unsupported,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unsupported => "unsupported",
        })
    }
}

/// One test's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The suite: `node`, `simple`, `pytorch-operator`, `light`.
    pub suite: String,
    /// The test, as its suite calls it.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// Why it did not pass; empty when it did.
    pub reason: String,
    /// Whether its values are all f32, i32, i64 or bool.
    #[serde(skip)]
    pub is_core: bool,
}

/// Why a test did not pass.
struct Miss(Status, String);

impl Miss {
    fn fail(why: impl Into<String>) -> Self {
        Self(Status::Fail, why.into())
    }

    fn unsupported(why: impl Into<String>) -> Self {
        Self(Status::Unsupported, why.into())
    }

    /// An error while a graph is read or made ready. What is refused by design
    /// says how to mend it; what says nothing has surprised somebody.
    fn while_loading(error: &TensorError) -> Self {
        match error {
            TensorError::UnsupportedOperator { .. } | TensorError::UnsupportedDtype { .. } => {
                Self::unsupported(error.to_string())
            }
            TensorError::InvalidGraph { hint, .. } if !hint.is_empty() => {
                Self::unsupported(error.to_string())
            }
            _ => Self::fail(error.to_string()),
        }
    }
}

/// Runs one test. An error when its files cannot be read.
pub async fn run(test: &Listed, target: &Target) -> Result<Outcome, String> {
    let case = Case::read(test)?;
    let missed = run_case(&case, target).await.err();
    let Miss(status, reason) = missed.unwrap_or(Miss(Status::Pass, String::new()));
    Ok(Outcome {
        suite: test.suite.clone(),
        name: test.name.clone(),
        status,
        reason,
        is_core: case.is_core,
    })
}

async fn run_case(case: &Case, target: &Target) -> Result<(), Miss> {
    let sets = case.sets.as_ref();
    // A test whose values we do not hold may still be refused for a better reason.
    let sets = match sets {
        Ok(sets) => sets,
        Err(why) => {
            let read = Graph::from_onnx(&case.file, &Weights::default());
            return Err(match read {
                Err(error) => Miss::while_loading(&error),
                Ok(_) => Miss::unsupported(why.clone()),
            });
        }
    };
    for set in sets {
        run_set(case, set, target).await?;
    }
    Ok(())
}

async fn run_set(case: &Case, set: &Set, target: &Target) -> Result<(), Miss> {
    let (fixed, free): (Vec<_>, Vec<_>) = set
        .inputs
        .iter()
        .partition(|(name, _)| case.describing.contains(name));
    let fixed: Vec<Fixed> = fixed
        .into_iter()
        .map(|(name, value)| value.fixed(name))
        .collect();
    let graph = Graph::from_onnx_fixing(&case.file, &Weights::default(), &fixed)
        .map_err(|error| Miss::while_loading(&error))?;
    let graph = std::sync::Arc::new(graph);
    target.covers(&graph).map_err(Miss::unsupported)?;
    let n_refused = target.n_refused_kernels();
    let device = target.device.as_ref();
    let session = device
        .session(&graph)
        .map_err(|error| Miss::while_loading(&error))?;
    let account = Account::new("the test", 4 << 30, 1 << 20);
    let upload = |(name, value): &(String, Value)| {
        let tensor = Tensor::upload(device, &account, value.dtype, &value.shape, &value.bytes);
        tensor.map(|tensor| (name.clone(), tensor))
    };
    let inputs = free.into_iter().map(upload).collect::<Result<_, _>>();
    let names: Vec<String> = set.outputs.iter().map(|(name, _)| name.clone()).collect();
    let failed = |error: TensorError| Miss::fail(error.to_string());
    let run = Run {
        inputs: inputs.map_err(failed)?,
        outputs: names,
        deadline: None,
        account: account.clone(),
    };
    let given = session.run(run).await.map_err(failed)?;
    if target.n_refused_kernels() > n_refused {
        return Err(Miss::fail(
            "a kernel does not compile, and another device ran",
        ));
    }
    for ((name, wanted), given) in set.outputs.iter().zip(&given) {
        let given = Value {
            dtype: given.dtype(),
            shape: given.shape().to_vec(),
            bytes: given.read().await.map_err(failed)?,
        };
        if let Some(why) = differs(&given, wanted) {
            return Err(Miss::fail(format!("output `{name}`: {why}")));
        }
    }
    Ok(())
}

/// Whether `folder` looks like the tests: it holds a suite.
pub fn holds_suites(folder: &Path) -> bool {
    case::SUITES.iter().any(|suite| folder.join(suite).is_dir())
}
