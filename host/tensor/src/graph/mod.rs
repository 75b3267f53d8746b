//! Ops and weights, no device: what an ONNX file says.
//!
//! Reading checks everything that a device would otherwise trip over: operators,
//! dtypes, shapes, external data. Batch, sequence and other named dimensions
//! stay symbolic; [`bind`] gives them sizes, run by run.

mod allowance;
mod bind;
mod bounded;
mod check;
mod declutter;
mod decoded;
mod fixed;
mod folds;
mod footprint;
mod operators;
mod proto;
mod read;
mod rows;
mod scalars;
mod work;

use std::collections::BTreeMap;
use std::fmt;

use sha2::Digest as _;
use tract_onnx::prelude::{SymbolValues, TypedModel};

pub(crate) use bind::Binding;
pub(crate) use declutter::{declutter, lower_for_cpu};
pub use fixed::Fixed;
use footprint::Footprint;
pub(crate) use read::{chain, dtype_of, panic_message};
use rows::RowsAxis;
pub(crate) use rows::Sized;
use work::Work;

use crate::{Port, Tensor, TensorError, Weights};

/// sha256 of a model's file, or of a weight's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a device that can stores what lies between a model's inputs and outputs, and its
/// weights. Sums are f32 either way, and so are inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As f32.
    #[default]
    Single,
    /// As f16 where numbers fit: half the bytes, and eleven bits of each.
    Half,
}

impl Precision {
    /// As manifests and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "f32",
            Self::Half => "f16",
        }
    }
}

/// A model as its file says it, checked, typed and decluttered.
#[derive(Debug, Clone)]
pub struct Graph {
    digest: Digest,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    operators: BTreeMap<String, usize>,
    model: TypedModel,
    footprint: Footprint,
    work: Work,
    weight_bytes: u64,
    rows: RowsAxis,
    rows_are_exact: bool,
    precision: Precision,
}

impl Graph {
    /// Reads an ONNX file. Blocking and, for a large model, slow: not on a
    /// caller's executor. `weights` shares what other graphs already hold.
    ///
    /// `InvalidGraph` or `UnsupportedOperator`, naming node and shapes. Weights
    /// in files beside the model (external data) are refused.
    pub fn from_onnx(file: &[u8], weights: &Weights) -> Result<Self, TensorError> {
        Self::from_onnx_fixing(file, weights, &[])
    }

    /// Reads an ONNX file some of whose inputs have one value for good: they
    /// become weights, and [`Graph::inputs`] no longer names them. For inputs that
    /// only describe shapes, since every size must be told before a run; two
    /// graphs that fix other values are two graphs, with digests of their own.
    ///
    /// As [`Graph::from_onnx`], and `UnknownName` or `ShapeMismatch` for a value
    /// whose input does not exist or holds another dtype or shape.
    pub fn from_onnx_fixing(
        file: &[u8],
        weights: &Weights,
        fixed: &[Fixed],
    ) -> Result<Self, TensorError> {
        let read::Model {
            mut model,
            inputs,
            outputs,
            operators,
        } = read::read(file, fixed)?;
        weights.share(&mut model);
        Ok(Self {
            digest: Fixed::digest(file, fixed),
            inputs,
            outputs,
            operators,
            footprint: Footprint::of(&model)?,
            work: Work::of(&model)?,
            weight_bytes: footprint::weight_bytes(&model),
            rows: RowsAxis::of(&model),
            rows_are_exact: true,
            precision: Precision::Single,
            model,
        })
    }

    /// sha256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What a run takes, in the file's order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What a run gives, in the file's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The operators of the file with how many nodes each has, before anything was
    /// rewritten. One that is not ONNX's own stands behind its domain and a dot.
    pub fn operators(&self) -> &BTreeMap<String, usize> {
        &self.operators
    }

    /// Bytes of all weights: what a holder of a session is charged.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Operations of a run on `inputs`, roughly: a multiplication with its addition is one,
    /// and so is an element that is only moved. Every device counts the same.
    ///
    /// As a run: `UnknownName` and `ShapeMismatch` for what the graph does not take.
    pub fn n_operations(&self, inputs: &[(String, Tensor)]) -> Result<u64, TensorError> {
        let binding = self.bind(inputs.to_vec(), &[])?;
        Ok(self.work.n_operations(&binding.symbols))
    }

    /// Bytes that a run on `inputs` holds at its peak, the inputs left out. Every device
    /// counts the same.
    ///
    /// As a run: `UnknownName` and `ShapeMismatch` for what the graph does not take.
    pub fn n_bytes(&self, inputs: &[(String, Tensor)]) -> Result<u64, TensorError> {
        let binding = self.bind(inputs.to_vec(), &[])?;
        self.peak_bytes(&binding)
    }

    /// Lets a row's numbers differ by 1e-5 of their size between one batch and another.
    /// Otherwise they are the same, bit for bit, or the graph is never batched.
    #[must_use]
    pub fn with_close_rows(mut self) -> Self {
        self.rows_are_exact = false;
        self
    }

    /// Whether a row is the same, bit for bit, in any batch.
    pub fn rows_are_exact(&self) -> bool {
        self.rows_are_exact
    }

    /// The same graph, asking devices to store its values so. A device that cannot store
    /// f16 stores f32, which is never further from what the file says.
    #[must_use]
    pub fn stored_as(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// How devices that can are to store its values.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Why rows of several callers never run together, as far as the graph alone tells;
    /// none when a device may try.
    pub fn why_alone(&self) -> Option<&str> {
        self.rows.symbol().err()
    }

    pub(crate) fn model(&self) -> &TypedModel {
        &self.model
    }

    /// Bytes that a run so bound holds at its peak, inputs left out.
    pub(crate) fn peak_bytes(&self, binding: &Binding) -> Result<u64, TensorError> {
        self.peak_bytes_of(&binding.symbols)
    }

    /// The same of sizes.
    pub(crate) fn peak_bytes_of(&self, sizes: &SymbolValues) -> Result<u64, TensorError> {
        self.footprint.peak_bytes(sizes)
    }

    /// Operations of a run so bound.
    pub(crate) fn operations(&self, binding: &Binding) -> u64 {
        self.operations_of(&binding.symbols)
    }

    /// The same of sizes.
    pub(crate) fn operations_of(&self, sizes: &SymbolValues) -> u64 {
        self.work.n_operations(sizes)
    }
}
