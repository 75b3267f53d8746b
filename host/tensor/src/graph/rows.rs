//! Whether a graph has rows: one leading dimension that all inputs and outputs share, and
//! that every value in between keeps. Several callers' rows can then be run as one batch.
//!
//! That no row looks at another cannot be read off shapes alone; a device tries it
//! ([`crate::batch`]). What can be read is refused here: a value that lost the dimension, as
//! a mean over the batch has, and one that has it twice.

use tract_onnx::prelude::{DatumType, Symbol, SymbolValues, TDim, TypedModel};

use super::{Binding, Graph};
use crate::shape::n_bytes;

/// The symbol that counts the rows, or why there are none.
#[derive(Debug, Clone)]
pub(super) struct RowsAxis(Result<Symbol, String>);

impl RowsAxis {
    pub(super) fn of(model: &TypedModel) -> Self {
        Self(find(model))
    }

    pub(super) fn symbol(&self) -> Result<&Symbol, &str> {
        self.0.as_ref().map_err(String::as_str)
    }
}

/// Sizes for a run.
pub(crate) struct Sized {
    /// Of all inputs.
    pub(crate) shapes: Vec<Vec<usize>>,
    /// Of every symbol.
    pub(crate) sizes: SymbolValues,
}

impl Sized {
    /// Shapes of the inputs but for their first dimension, one after another: which runs of
    /// a graph that has rows can be joined.
    pub(crate) fn of_a_row(&self) -> Vec<usize> {
        of_a_row(self.shapes.iter().map(Vec::as_slice))
    }
}

pub(super) fn of_a_row<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    shapes
        .flat_map(|shape| shape.iter().skip(1).copied())
        .collect()
}

impl Graph {
    /// What counts its rows.
    pub(crate) fn rows_symbol(&self) -> Option<Symbol> {
        self.rows.symbol().ok().cloned()
    }

    /// Whether a run chooses sizes beside its rows.
    pub(crate) fn has_other_symbols(&self) -> bool {
        let rows = self.rows.symbol().ok();
        let facts = (0..self.inputs.len()).filter_map(|input| self.model.input_fact(input).ok());
        let mut symbols = facts.flat_map(|fact| {
            let symbols = fact.shape.iter().flat_map(TDim::symbols);
            symbols.collect::<Vec<_>>()
        });
        symbols.any(|symbol| Some(&symbol) != rows)
    }

    /// Rows of a run so bound; none where the graph has no rows.
    pub(crate) fn n_rows(&self, binding: &Binding) -> Option<usize> {
        let symbol = self.rows.symbol().ok()?;
        let n_rows = binding.symbols.get(symbol)?;
        usize::try_from(n_rows).ok()
    }

    /// The sizes of a run so bound, with another number of rows.
    pub(crate) fn with_rows(&self, binding: &Binding, n_rows: usize) -> Sized {
        let mut sizes = binding.symbols.clone();
        if let (Ok(symbol), Ok(n_rows)) = (self.rows.symbol(), i64::try_from(n_rows)) {
            sizes.set(symbol, n_rows);
        }
        let shapes = binding.inputs.iter().map(|tensor| {
            let mut shape = tensor.shape().to_vec();
            shape[..1].fill(n_rows);
            shape
        });
        Sized {
            shapes: shapes.collect(),
            sizes,
        }
    }

    /// The sizes of one row, where every other open dimension is `other`; none when there
    /// are no rows, or no input can be so.
    pub(crate) fn one_row(&self, other: i64) -> Option<Sized> {
        let mut sizes = self.sizes_of(other);
        sizes.set(self.rows.symbol().ok()?, 1);
        let inputs = (0..self.inputs.len()).map(|input| {
            let fact = self.model.input_fact(input).ok()?;
            let dims = fact.shape.iter().map(|dim| dim.eval_to_i64(&sizes).ok());
            dims.map(|size| usize::try_from(size?).ok()).collect()
        });
        let shapes: Option<Vec<Vec<usize>>> = inputs.collect();
        Some(Sized {
            shapes: shapes?,
            sizes,
        })
    }

    /// Bytes of inputs of these shapes, saturating.
    pub(crate) fn input_bytes(&self, shapes: &[Vec<usize>]) -> u64 {
        let bytes = self.inputs.iter().zip(shapes);
        let bytes = bytes.map(|(port, shape)| {
            n_bytes(port.dtype, shape).map_or(u64::MAX, |n_bytes| n_bytes as u64)
        });
        bytes.fold(0, u64::saturating_add)
    }
}

fn find(model: &TypedModel) -> Result<Symbol, String> {
    let first = model.inputs.first().ok_or("it has no input")?;
    let first = model
        .outlet_fact(*first)
        .map_err(|error| error.to_string())?;
    let Some(TDim::Sym(rows)) = first.shape.first() else {
        return Err("the first dimension of its inputs has no name".to_owned());
    };
    let is_rows = |dim: &TDim| matches!(dim, TDim::Sym(symbol) if symbol == rows);
    let counts = |dim: &TDim| dim.symbols().contains(rows);
    for outlet in model.inputs.iter().chain(&model.outputs) {
        let fact = model
            .outlet_fact(*outlet)
            .map_err(|error| error.to_string())?;
        let mut dims = fact.shape.iter();
        if !dims.next().is_some_and(is_rows) || dims.any(counts) {
            return Err(format!(
                "the inputs and outputs do not all have `{rows}`, and that first and once"
            ));
        }
    }
    // What is made of inputs: whether each outlet of each node is.
    let order = model.eval_order().map_err(|error| error.to_string())?;
    let mut is_made = vec![false; model.nodes().len()];
    for outlet in &model.inputs {
        is_made[outlet.node] = true;
    }
    for node in order {
        let node = model.node(node);
        if is_made[node.id] || !node.inputs.iter().any(|input| is_made[input.node]) {
            continue;
        }
        is_made[node.id] = true;
        for outlet in &node.outputs {
            // Sizes that a node computes, not elements.
            if outlet.fact.datum_type == DatumType::TDim {
                continue;
            }
            if outlet.fact.shape.iter().filter(|dim| counts(dim)).count() != 1 {
                return Err(format!(
                    "`{}` ({}) makes a value of shape {:?}, in which rows cannot be told apart",
                    node.name,
                    node.op.name(),
                    outlet.fact.shape
                ));
            }
        }
    }
    Ok(rows.clone())
}
