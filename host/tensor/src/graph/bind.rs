//! Sizes for a graph's symbols, from the tensors of one run. Device-free.

use tract_onnx::prelude::{SymbolValues, TDim};

use super::Graph;
use super::rows::of_a_row;
use crate::shape::shown;
use crate::{Port, Tensor, TensorError};

/// One run's inputs in the graph's order, its outputs by index, and the size of
/// every symbol.
#[derive(Debug, Clone, Default)]
pub(crate) struct Binding {
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<usize>,
    pub(super) symbols: SymbolValues,
}

impl Binding {
    /// The size of every symbol in this run.
    pub(crate) fn sizes(&self) -> &SymbolValues {
        &self.symbols
    }

    /// Shapes of the inputs but for their first dimension, one after another: which runs of
    /// a graph that has rows can be joined.
    pub(crate) fn sizes_of_a_row(&self) -> Vec<usize> {
        of_a_row(self.inputs.iter().map(Tensor::shape))
    }
}

impl Graph {
    /// Sizes for a run in which every symbol of the inputs is `size`.
    pub(crate) fn sizes_of(&self, size: i64) -> SymbolValues {
        let mut sizes = SymbolValues::default();
        for input in 0..self.inputs.len() {
            let fact = self
                .model
                .input_fact(input)
                .expect("ports are the model's inputs");
            for symbol in fact.shape.iter().flat_map(TDim::symbols) {
                sizes.set(&symbol, size);
            }
        }
        sizes
    }

    /// The same with sizes by name. `UnknownName` for a symbol that no input has.
    pub(crate) fn sizes_named(
        &self,
        other: i64,
        named: &[(String, usize)],
    ) -> Result<SymbolValues, TensorError> {
        let mut sizes = self.sizes_of(other);
        let facts = (0..self.inputs.len()).filter_map(|input| self.model.input_fact(input).ok());
        let symbols: Vec<_> = facts
            .flat_map(|fact| {
                fact.shape
                    .iter()
                    .flat_map(TDim::symbols)
                    .collect::<Vec<_>>()
            })
            .collect();
        for (name, size) in named {
            let symbol = symbols.iter().find(|symbol| symbol.to_string() == *name);
            let symbol = symbol.ok_or_else(|| {
                let known: Vec<String> = symbols.iter().map(ToString::to_string).collect();
                TensorError::UnknownName {
                    name: name.clone(),
                    what: format!(
                        "no dimension is called `{name}`; there are: {}",
                        known.join(", ")
                    ),
                }
            })?;
            let size = i64::try_from(*size).map_err(|_| TensorError::ShapeMismatch {
                place: name.clone(),
                what: format!("`{name}` cannot be {size}"),
            })?;
            sizes.set(symbol, size);
        }
        Ok(sizes)
    }

    /// Checks one run's inputs and outputs against the graph.
    ///
    /// `UnknownName` for an input that is missing, unknown or given twice and for
    /// an unknown output; `ShapeMismatch` for dtypes, ranks and sizes.
    pub(crate) fn bind(
        &self,
        mut inputs: Vec<(String, Tensor)>,
        outputs: &[String],
    ) -> Result<Binding, TensorError> {
        // Names are looked up one by one, so their number is bounded first.
        if outputs.len() > self.outputs.len() {
            return Err(TensorError::UnknownName {
                name: String::new(),
                what: format!(
                    "{} outputs were asked for, the model has {}",
                    outputs.len(),
                    self.outputs.len()
                ),
            });
        }
        if inputs.len() > self.inputs.len() {
            let known = |name: &String| self.inputs.iter().any(|port| port.name == *name);
            let extra = inputs
                .iter()
                .take(self.inputs.len() + 1)
                .map(|(name, _)| name)
                .find(|name| !known(name));
            let name = extra.unwrap_or(&inputs[self.inputs.len()].0);
            return Err(unknown("input", name, &self.inputs));
        }
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for port in &self.inputs {
            let at = inputs.iter().position(|(name, _)| *name == port.name);
            let at = at.ok_or_else(|| missing(port))?;
            ordered.push(inputs.swap_remove(at).1);
        }
        if let Some((name, _)) = inputs.first() {
            return Err(unknown("input", name, &self.inputs));
        }
        let mut symbols = SymbolValues::default();
        for (index, (port, tensor)) in self.inputs.iter().zip(&ordered).enumerate() {
            self.bind_input(index, port, tensor, &mut symbols)?;
        }
        Ok(Binding {
            inputs: ordered,
            outputs: self.output_indices(outputs)?,
            symbols,
        })
    }

    fn bind_input(
        &self,
        index: usize,
        port: &Port,
        tensor: &Tensor,
        symbols: &mut SymbolValues,
    ) -> Result<(), TensorError> {
        let mismatch = |why: String| TensorError::ShapeMismatch {
            place: port.name.clone(),
            what: format!(
                "input `{}` takes {} {}, {} {} was given{why}",
                port.name,
                port.dtype,
                shown(&port.shape),
                tensor.dtype(),
                shown(tensor.shape()),
            ),
        };
        if tensor.dtype() != port.dtype || tensor.shape().len() != port.shape.len() {
            return Err(mismatch(String::new()));
        }
        let fact = self
            .model
            .input_fact(index)
            .expect("ports are the model's inputs");
        for (dim, &size) in fact.shape.iter().zip(tensor.shape()) {
            let size = i64::try_from(size).map_err(|_| mismatch(String::new()))?;
            match dim {
                TDim::Sym(symbol) if symbols.get(symbol).is_none() => symbols.set(symbol, size),
                dim => match dim.eval_to_i64(symbols) {
                    Ok(wanted) if wanted == size => {}
                    Ok(wanted) => {
                        return Err(mismatch(format!(
                            "; {dim} is {wanted} in this run, not {size}"
                        )));
                    }
                    Err(_) => {
                        return Err(mismatch(format!(
                            "; {dim} cannot be told from the inputs before it"
                        )));
                    }
                },
            }
        }
        Ok(())
    }

    fn output_indices(&self, names: &[String]) -> Result<Vec<usize>, TensorError> {
        let index = |name: &String| {
            let at = self.outputs.iter().position(|port| port.name == *name);
            at.ok_or_else(|| unknown("output", name, &self.outputs))
        };
        names.iter().map(index).collect()
    }
}

fn missing(port: &Port) -> TensorError {
    TensorError::UnknownName {
        name: port.name.clone(),
        what: format!(
            "input `{}` ({} {}) was not given",
            port.name,
            port.dtype,
            shown(&port.shape)
        ),
    }
}

fn unknown(kind: &str, name: &str, ports: &[Port]) -> TensorError {
    let known: Vec<String> = ports
        .iter()
        .take(16)
        .map(|port| format!("`{}`", port.name))
        .collect();
    let twice = ports.iter().any(|port| port.name == name);
    let problem = if twice {
        "was given twice"
    } else {
        "does not exist"
    };
    TensorError::UnknownName {
        name: name.to_owned(),
        what: format!(
            "{kind} `{name}` {problem}; the model has {}",
            known.join(", ")
        ),
    }
}
