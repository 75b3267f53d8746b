//! How many bytes a run holds at its peak, told before it runs: symbolic sizes
//! come from plugins, so they are checked before they size anything.

use tract_onnx::prelude::{DatumType, SymbolValues, TDim, TypedFact, TypedModel};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use crate::TensorError;
use crate::graph::read::chain;

/// When each intermediate value is born and dies, and its size as an expression.
#[derive(Debug, Clone)]
pub(super) struct Footprint {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Default)]
struct Step {
    born: Vec<Size>,
    dying: Vec<Size>,
}

#[derive(Debug, Clone)]
struct Size {
    element: u64,
    dims: Vec<TDim>,
}

impl Footprint {
    pub(super) fn of(model: &TypedModel) -> Result<Self, TensorError> {
        let order = model
            .eval_order()
            .map_err(|error| TensorError::invalid(chain(&error)))?;
        let mut at = vec![0; model.nodes().len()];
        for (step, &node) in order.iter().enumerate() {
            at[node] = step;
        }
        let mut steps: Vec<Step> = order.iter().map(|_| Step::default()).collect();
        for &node in &order {
            let node = model.node(node);
            // Weights are charged once, to their holder; inputs to who made them.
            if node.op_is::<Const>() || node.op_is::<TypedSource>() {
                continue;
            }
            for outlet in &node.outputs {
                let size = Size::of(&outlet.fact, &node.name, model)?;
                let last_use = outlet.successors.iter().map(|inlet| at[inlet.node]).max();
                steps[at[node.id]].born.push(size.clone());
                // An output of the graph has no successor and outlives the run.
                if let Some(last_use) = last_use {
                    steps[last_use].dying.push(size);
                }
            }
        }
        Ok(Self { steps })
    }

    /// The largest sum of values alive at once. `ShapeMismatch` when a size is
    /// negative or beyond counting.
    pub(super) fn peak_bytes(&self, symbols: &SymbolValues) -> Result<u64, TensorError> {
        let (mut alive, mut peak) = (0_u64, 0_u64);
        for step in &self.steps {
            for size in &step.born {
                alive = alive
                    .checked_add(size.bytes(symbols)?)
                    .ok_or_else(too_large)?;
            }
            peak = peak.max(alive);
            for size in &step.dying {
                alive = alive.saturating_sub(size.bytes(symbols)?);
            }
        }
        Ok(peak)
    }
}

impl Size {
    fn of(fact: &TypedFact, node: &str, model: &TypedModel) -> Result<Self, TensorError> {
        let known: Vec<_> = model
            .inputs
            .iter()
            .filter_map(|outlet| model.outlet_fact(*outlet).ok())
            .flat_map(|fact| fact.shape.iter().flat_map(TDim::symbols))
            .collect();
        let dims: Vec<TDim> = fact.shape.iter().cloned().collect();
        if dims
            .iter()
            .flat_map(TDim::symbols)
            .any(|symbol| !known.contains(&symbol))
        {
            return Err(TensorError::InvalidGraph {
                what: format!("the shape of `{node}` depends on the data"),
                hint: "a run must be sized before it runs; export without such operators"
                    .to_owned(),
            });
        }
        let element = match fact.datum_type {
            // Shape arithmetic and strings; a few elements each.
            DatumType::TDim | DatumType::String | DatumType::Blob => 64,
            other => other.size_of() as u64,
        };
        Ok(Self { element, dims })
    }

    fn bytes(&self, symbols: &SymbolValues) -> Result<u64, TensorError> {
        self.dims.iter().try_fold(self.element, |bytes, dim| {
            let size = dim
                .eval_to_i64(symbols)
                .ok()
                .and_then(|size| u64::try_from(size).ok());
            bytes
                .checked_mul(size.ok_or_else(too_large)?)
                .ok_or_else(too_large)
        })
    }
}

fn too_large() -> TensorError {
    TensorError::ShapeMismatch {
        place: String::new(),
        what: "the inputs make an intermediate value of negative or uncountable size".to_owned(),
    }
}

/// Bytes of all constants.
pub(super) fn weight_bytes(model: &TypedModel) -> u64 {
    let constants = model
        .nodes()
        .iter()
        .filter_map(|node| node.op_as::<Const>());
    constants
        .filter(|constant| constant.val().is_plain_ram())
        .map(|constant| constant.val().as_bytes().len() as u64)
        .sum()
}
