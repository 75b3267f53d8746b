//! What a device does for one set of sizes, step by step: the middle of the three
//! stages graph → plan → kernels.
//!
//! [`lower`] makes steps of a graph's nodes, [`fuse`] makes fewer of them, [`half`] says
//! which values of a graph that asks for it are stored as f16, and [`arena`] gives every value its bytes; [`validate`] lets no plan pass that would read or
//! write what is not its own. A plan knows shapes, strides and offsets;
//! it knows neither tract nor a device, so within the same [`Bounds`] it prints the same
//! everywhere.

mod arena;
mod fuse;
mod half;
mod lower;
mod map;
mod print;
mod steps;
mod validate;
pub(crate) mod view;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub(crate) use half::halved;
pub(crate) use map::{Function1, Function2, Map, Node, Source};
pub(crate) use steps::{
    Attend, AttendAxis, Axis, Body, Concat, Contract, Convolve, Deconvolve, Extreme, Gather,
    Looked, MAX_TOP, Pad, PadMode, Pick, Pool, PoolKind, Reduce, Reducer, Resize, ResizeAxis, Row,
    RowKind, Scan, Scatter, Spatial, Step, Top, Update,
};
pub(crate) use view::View;

use tract_onnx::prelude::SymbolValues;

use crate::graph::panic_message;
use crate::{Graph, Precision, TensorError};

/// What a device must hold for a plan, and what it can bind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Offsets of values are multiples of it; a power of two.
    pub(crate) alignment: u64,
    /// Bytes of one value at most.
    pub(crate) value_bytes: u64,
    /// Bytes of all values that live at once.
    pub(crate) arena_bytes: u64,
    /// Values that one step may read.
    pub(crate) inputs: usize,
    /// Whether values may be stored as f16.
    pub(crate) halves: bool,
}

/// Elements of one value at most: kernels count them in 32 bits, with a sign.
const MAX_ELEMENTS: usize = 1 << 30;

/// What every symbol is taken for when a graph is looked at before any run.
const PROBED_SIZE: i64 = 2;

/// Why a graph has no plan; a device without one runs it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operator} (node `{node}`): {why}")]
pub(crate) struct Uncovered {
    pub(crate) node: String,
    pub(crate) operator: String,
    pub(crate) why: String,
}

/// Element types that kernels compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    I32,
    /// Two words, the lower one first. Sums and products wrap around, as the CPU's do.
    I64,
    /// One word, 0 or 1.
    Bool,
}

impl Element {
    /// Bytes on a device, which has no bytes of its own.
    pub(crate) fn n_bytes(self) -> u64 {
        match self {
            Self::F32 | Self::I32 | Self::Bool => 4,
            Self::I64 => 8,
        }
    }
}

/// How elements lie in memory. Kernels compute with their [`Element`] either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// As they are computed with.
    Whole,
    /// F32 as f16, two to a word.
    Half,
}

/// A value of a plan, by its place in [`Plan::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(pub(crate) usize);

/// Elements that a step makes, an input brings or a weight holds; row-major.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) element: Element,
    pub(crate) stored: Stored,
    pub(crate) n_elements: usize,
    pub(crate) place: Place,
}

impl Value {
    /// Bytes on the device; an empty value has the room of one element, since
    /// nothing smaller can be bound.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.bytes_of(self.n_elements.max(1))
    }

    /// Bytes of its elements, rounded up to words: what a weight of it holds.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.bytes_of(self.n_elements)
    }

    fn bytes_of(&self, n_elements: usize) -> u64 {
        let n_elements = n_elements as u64;
        match self.stored {
            Stored::Whole => n_elements.saturating_mul(self.element.n_bytes()),
            Stored::Half => n_elements.div_ceil(2).saturating_mul(4),
        }
    }
}

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an offset of the run's arena, in bytes.
    Arena(u64),
    /// In a buffer of its own, by its place in [`Plan::weights`].
    Weight(usize),
}

/// A constant as the device keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    /// Elements as [`Element`] and [`Stored`] say, little-endian; of f16 a last word may be
    /// half empty.
    pub(crate) bytes: Arc<[u8]>,
}

/// An input or output of a plan.
#[derive(Debug, Clone)]
pub(crate) struct PlanPort {
    pub(crate) value: ValueId,
    pub(crate) shape: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) values: Vec<Value>,
    pub(crate) weights: Vec<Weight>,
    /// In the graph's order.
    pub(crate) inputs: Vec<PlanPort>,
    /// In the graph's order.
    pub(crate) outputs: Vec<PlanPort>,
    pub(crate) steps: Vec<Step>,
    /// Bytes of the arena.
    pub(crate) arena_bytes: u64,
}

impl Plan {
    /// Plans a graph for the sizes of one run. The same graph and sizes give the
    /// same plan, and no kernel of it is chosen by the number of rows.
    pub(crate) fn new(
        graph: &Graph,
        sizes: &SymbolValues,
        bounds: &Bounds,
    ) -> Result<Self, Uncovered> {
        let plan = || {
            let mut plan = lower::lower(graph, sizes, bounds)?;
            fuse::fuse(&mut plan, bounds);
            if graph.precision() == Precision::Half && bounds.halves {
                half::halve(&mut plan);
            }
            arena::place(&mut plan, bounds)?;
            validate::validate(&plan, bounds)?;
            Ok(plan)
        };
        // A graph comes from a plugin: one that we did not think of runs on the CPU, and
        // ends no process.
        catch_unwind(AssertUnwindSafe(plan)).unwrap_or_else(|panic| {
            Err(Uncovered {
                node: String::new(),
                operator: "the whole model".to_owned(),
                why: format!("planning gave up: {}", panic_message(panic.as_ref())),
            })
        })
    }

    /// Plans a graph for a size that any symbol may have, to see whether it can be.
    pub(crate) fn probe(graph: &Graph, bounds: &Bounds) -> Result<Self, Uncovered> {
        Self::new(graph, &graph.sizes_of(PROBED_SIZE), bounds)
    }

    pub(crate) fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// Values stored as f16.
    pub(crate) fn n_halves(&self) -> usize {
        let values = self.values.iter();
        values.filter(|value| value.stored == Stored::Half).count()
    }

    /// Multiplications and additions of all steps, roughly, for who reads a plan; saturating.
    /// No run is charged for them.
    pub(crate) fn n_operations(&self) -> u64 {
        let steps = self.steps.iter().map(|step| step.n_operations());
        steps.fold(0, u64::saturating_add)
    }
}

impl From<Uncovered> for TensorError {
    fn from(uncovered: Uncovered) -> Self {
        Self::NoPlan {
            operator: uncovered.operator,
            node: uncovered.node,
            why: uncovered.why,
        }
    }
}

/// Bounds that every adapter keeps, so that a plan's text is the same everywhere. A device
/// plans within its own: one that binds more values to a step (up to 14) joins more steps,
/// and one that holds larger values covers larger inputs.
const COMMON: Bounds = Bounds {
    alignment: 256,
    value_bytes: 128 << 20,
    arena_bytes: 1 << 30,
    inputs: 6,
    halves: true,
};

/// How large a graph's plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSummary {
    /// Kernels launched, one after another.
    pub n_steps: usize,
    /// Multiplications and additions of a run, roughly.
    pub n_operations: u64,
    /// Bytes of all values that live at once.
    pub arena_bytes: u64,
    /// Bytes of weights on the device.
    pub weight_bytes: u64,
    /// Weights and values in between that are stored as f16.
    pub n_halves: usize,
}

/// How a GPU would run a graph, in figures. `sizes` as for [`plan_text`], and so are the
/// errors.
pub fn plan_summary(graph: &Graph, sizes: &[(String, usize)]) -> Result<PlanSummary, TensorError> {
    let sizes = graph.sizes_named(PROBED_SIZE, sizes)?;
    let plan = Plan::new(graph, &sizes, &COMMON)?;
    let weights = plan.weights.iter();
    Ok(PlanSummary {
        n_steps: plan.steps.len(),
        n_operations: plan.n_operations(),
        arena_bytes: plan.arena_bytes,
        weight_bytes: weights.map(|weight| weight.bytes.len() as u64).sum(),
        n_halves: plan.n_halves(),
    })
}

/// How a GPU would run a graph: its plan as text, for people and snapshots. `sizes` gives
/// the graph's named dimensions their sizes; the others are 2. The plan keeps to what every
/// adapter binds and holds; on a larger one a step may do the work of several here.
///
/// `UnknownName` for a dimension that the graph has not, `NoPlan` when there is
/// none and the CPU runs it.
pub fn plan_text(graph: &Graph, sizes: &[(String, usize)]) -> Result<String, TensorError> {
    let sizes = graph.sizes_named(PROBED_SIZE, sizes)?;
    Ok(Plan::new(graph, &sizes, &COMMON)?.to_string())
}
