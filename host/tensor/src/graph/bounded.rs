//! Operators that are looked at before the importer computes with them.
//!
//! The importer computes what does not depend on the inputs while it infers shapes, and
//! again when it simplifies. So each of its operators is wrapped: when the shapes that it
//! will make are known, they are checked, and what will be computed is taken from the
//! file's [`Allowance`].

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::optim::CONST_FOLD_MEM_BUDGET;
use tract_onnx::tract_hir::internal::*;

use super::allowance::{Allowance, Exceeded};
use super::folds::check_indices;
use super::operators::axis_within;
use super::read::MAX_VALUE_BYTES;
use super::scalars::{check_scalar, scalars_of};
use crate::patience::Deadline;

/// Characters of one size, written out. Honest ones have some dozens; simplifying what
/// is written as a product of sums takes time and memory by its length.
const MAX_SIZE_TEXT: usize = 1024;

/// Repeats of one dimension.
const MAX_REPEATS: i64 = 1 << 24;

/// Operators that take far more memory than they answer, and that nobody has reason to
/// apply to constants alone.
pub(super) const WINDOWED: [&str; 13] = [
    "AveragePool",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Deconv",
    "DeconvUnary",
    "GlobalAveragePool",
    "GridSample",
    "LRN",
    "MaxPool",
    "NonMaxSuppression",
    "QLinearConv",
    "SumPool",
];

/// Wraps every operator of `model`; the nodes of `graph` lend their names.
pub(super) fn bound(
    model: &mut InferenceModel,
    graph: &GraphProto,
    allowance: &Allowance,
    deadline: Deadline,
) {
    let nodes: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    for node in model.nodes_mut() {
        let is_given = node.op_is::<Const>() || InferenceModel::is_source(&node.op);
        if is_given {
            continue;
        }
        let said = nodes.get(node.name.as_str());
        let operator = said.map_or_else(|| node.op.name().into_owned(), |it| it.op_type.clone());
        let axis = |unless: i64| said?.get_attr_opt("axis").ok()?.or(Some(unless));
        let bounded = Bounded {
            what: format!("node `{}` ({operator})", node.name),
            is_windowed: WINDOWED.contains(&operator.as_str()),
            axis: match operator.as_str() {
                "Gather" => axis(0),
                "LayerNormalization" => axis(-1),
                _ => None,
            },
            scalars: said.map_or_else(Vec::new, |node| scalars_of(node)),
            is_gather: operator == "Gather",
            is_tile: operator == "Tile",
            taken: 0,
            allowance: allowance.clone(),
            deadline,
            operator: node.op.clone(),
        };
        node.op = Box::new(bounded);
    }
}

#[derive(Debug, Clone)]
struct Bounded {
    /// Node and operator, for messages.
    what: String,
    is_windowed: bool,
    /// A dimension of the first input, of operators that count up to it unseen.
    axis: Option<i64>,
    is_gather: bool,
    is_tile: bool,
    /// Inputs that are one number.
    scalars: Vec<usize>,
    /// Of the allowance, by what this node computes: it may be visited often.
    taken: u64,
    allowance: Allowance,
    deadline: Deadline,
    operator: Box<dyn InferenceOp>,
}

type Facts = (
    TVec<InferenceFact>,
    TVec<InferenceFact>,
    TVec<InferenceFact>,
);

impl InferenceOp for Bounded {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        self.deadline.check().map_err(TractError::msg)?;
        let given: TVec<InferenceFact> = inputs.iter().copied().cloned().collect();
        let axis = self.axis(&inputs).with_context(|| self.said(&given))?;
        if self.axis.is_some() && axis.is_none() {
            // Nothing can be told yet; the node is visited again.
            let as_given = |facts: TVec<&InferenceFact>| facts.into_iter().cloned().collect();
            return Ok((given, as_given(outputs), as_given(observed)));
        }
        self.check_gather(&inputs)?;
        self.check_scalars(&given, false)?;
        self.check_repeats(&given)?;
        let facts = self
            .operator
            .infer_facts(inputs, outputs, observed)
            .with_context(|| self.said(&given))?;
        self.check(&facts)?;
        Ok(facts)
    }

    fn observe_outlets(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Vec<OutletId>> {
        self.operator.observe_outlets(model, node)
    }

    fn incorporate(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Option<InferenceModelPatch>> {
        self.operator.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.operator.nboutputs()
    }

    /// What is wrapped: who asks what an operator is means that.
    fn as_op(&self) -> &dyn Op {
        self.operator.as_op()
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self.operator.as_op_mut()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let facts = node.inputs.iter().map(|input| source.outlet_fact(*input));
        let facts: TVec<InferenceFact> = facts.flatten().cloned().collect();
        self.check_scalars(&facts, true)?;
        let wired = self
            .operator
            .to_typed(source, node, target, mapping)
            .with_context(|| self.said(&facts))?;
        // Some constants are known only now, and what is made of them is there already.
        let made = wired.iter().map(|outlet| {
            let konst = &target.outlet_fact(*outlet)?.konst;
            Ok(konst.as_ref().map_or(0, |value| bytes_in(value)))
        });
        let made = made.sum::<TractResult<u64>>()?;
        if let Err(exceeded) = self.allowance.take(made.saturating_sub(self.taken)) {
            bail!("{}", self.said_of_constants(&facts, made, exceeded));
        }
        Ok(wired)
    }
}

fn bytes_in(value: &Tensor) -> u64 {
    (value.len() * value.datum_type().size_of()) as u64
}

impl Bounded {
    /// Node, operator, and what it is given.
    fn said(&self, inputs: &[InferenceFact]) -> String {
        format!("{} of {}", self.what, shown(inputs))
    }

    fn said_of_constants(&self, inputs: &[InferenceFact], made: u64, exceeded: Exceeded) -> String {
        format!(
            "{} is computed from constants and makes {made} bytes, but {exceeded}; \
             make it of the inputs' shapes, or export a smaller constant",
            self.said(inputs)
        )
    }

    fn check(&mut self, (inputs, outputs, _): &Facts) -> TractResult<()> {
        // What was computed before is seen as an input only.
        for fact in inputs.iter().chain(outputs) {
            check_expressions(fact).with_context(|| self.said(inputs))?;
        }
        let mut made = 0_u64;
        for output in outputs {
            let bytes = bytes_of(output).filter(|&bytes| bytes <= MAX_VALUE_BYTES);
            let Some(bytes) = bytes else {
                bail!(
                    "{} makes a value of {}, larger than {MAX_VALUE_BYTES} bytes",
                    self.said(inputs),
                    shown(std::slice::from_ref(output)),
                );
            };
            made = made.saturating_add(bytes);
        }
        let is_nothing = |fact: &InferenceFact| {
            let mut sizes = fact.shape.dims().filter_map(|dim| dim.concretize());
            sizes.any(|size| size == 0.to_dim())
        };
        // Kernels of windows step before the first element, and there is none.
        ensure!(
            !self.is_windowed || !inputs.iter().any(is_nothing),
            "{}, one of which has no elements; leave the node out",
            self.said(inputs)
        );
        if inputs.is_empty() || !inputs.iter().all(is_computed_with) {
            return Ok(());
        }
        ensure!(
            !self.is_windowed,
            "{} depends on no input of the model; compute it before the export",
            self.what
        );
        let more = made.saturating_sub(self.taken);
        if let Err(exceeded) = self.allowance.take(more) {
            bail!("{}", self.said_of_constants(inputs, made, exceeded));
        }
        self.taken = self.taken.max(made);
        Ok(())
    }

    /// Where `axis` lies, once the rank of the first input is known.
    fn axis(&self, inputs: &[&InferenceFact]) -> TractResult<Option<usize>> {
        let rank = inputs.first().and_then(|x| x.shape.rank().concretize());
        let (Some(axis), Some(rank)) = (self.axis, rank) else {
            return Ok(None);
        };
        Ok(Some(axis_within(axis, usize::try_from(rank)?)?))
    }

    fn check_scalars(&self, inputs: &[InferenceFact], is_last: bool) -> TractResult<()> {
        let mut facts = self.scalars.iter().filter_map(|&at| inputs.get(at));
        let checked = facts.try_for_each(|fact| check_scalar(fact, is_last));
        checked.with_context(|| self.said(inputs))
    }

    /// A `Tile` goes around for each repeat, and where it repeats nothing its shape does
    /// not tell how often.
    fn check_repeats(&self, inputs: &[InferenceFact]) -> TractResult<()> {
        let (true, Some(repeats)) = (self.is_tile, inputs.get(1)) else {
            return Ok(());
        };
        let Some(repeats) = repeats.value.concretize() else {
            return Ok(());
        };
        let repeats: TVec<i64> = match repeats.datum_type() {
            DatumType::TDim => {
                let sizes = repeats.try_as_plain_ram()?.as_slice::<TDim>()?;
                sizes.iter().filter_map(|size| size.to_i64().ok()).collect()
            }
            // Not cast to sizes: tract would halve a wide integer.
            _ => repeats
                .cast_to::<i64>()?
                .try_as_plain_ram()?
                .as_slice::<i64>()?
                .into(),
        };
        if let Some(n) = repeats.iter().find(|n| !(0..=MAX_REPEATS).contains(*n)) {
            bail!(
                "{} repeats {n} times, where {MAX_REPEATS} is the most",
                self.said(inputs)
            );
        }
        Ok(())
    }

    fn check_gather(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        let (true, Some(axis), &[data, indices]) = (self.is_gather, self.axis(inputs)?, inputs)
        else {
            return Ok(());
        };
        let size = data.shape.dim(axis).and_then(|size| size.concretize());
        match indices.value.concretize() {
            Some(indices) => check_indices(&self.what, &indices, size.as_ref()),
            None => Ok(()),
        }
    }
}

/// As the importer decides it.
fn is_computed_with(input: &InferenceFact) -> bool {
    let value = input.value.concretize();
    value.is_some_and(|value| {
        let bytes = value.volume().checked_mul(value.datum_type().size_of());
        value.is_plain_ram() && bytes.is_some_and(|bytes| bytes as u64 <= CONST_FOLD_MEM_BUDGET)
    })
}

/// What a value without elements counts as, for each that its other sizes would make:
/// kernels go around for them all.
pub(super) const EMPTY_BYTES: u64 = 256;

/// Bytes of a value; a size that is not known counts as 1. None beyond counting.
fn bytes_of(fact: &InferenceFact) -> Option<u64> {
    let element = fact.datum_type.concretize();
    let mut element = element.map_or(1, |datum_type| datum_type.size_of().max(1) as u64);
    let sizes = fact.shape.dims().map(|dim| dim.concretize()?.to_i64().ok());
    let sizes: TVec<Option<i64>> = sizes.collect();
    if sizes.contains(&Some(0)) {
        element = EMPTY_BYTES;
    }
    sizes.iter().try_fold(element, |bytes, size| {
        bytes.checked_mul(u64::try_from(size.unwrap_or(1)).ok()?.max(1))
    })
}

fn check_expressions(fact: &InferenceFact) -> TractResult<()> {
    let sizes = fact.shape.dims().filter_map(|dim| dim.concretize());
    { sizes }.try_for_each(|dim| check_expression(&dim))?;
    let Some(value) = fact.value.concretize() else {
        return Ok(());
    };
    if value.datum_type() != TDim::datum_type() || !value.is_plain_ram() {
        return Ok(());
    }
    let sizes = value.try_as_plain_ram()?;
    sizes
        .as_slice::<TDim>()?
        .iter()
        .try_for_each(check_expression)
}

fn check_expression(dim: &TDim) -> TractResult<()> {
    if matches!(dim, TDim::Val(_) | TDim::Sym(_)) {
        return Ok(());
    }
    // Sizes that do not broadcast stay an expression, of no symbol.
    ensure!(
        dim.to_i64().is_ok() || !dim.symbols().is_empty(),
        "sizes that differ are to be one: {dim}; check the shapes of what the node is given"
    );
    let n_characters = dim.to_string().len();
    ensure!(
        n_characters <= MAX_SIZE_TEXT,
        "a size is an expression of {n_characters} characters, more than {MAX_SIZE_TEXT}; \
         export the model with fewer sizes that are computed"
    );
    Ok(())
}

/// `F32 [batch, 2], I64 [2]`.
fn shown(facts: &[InferenceFact]) -> String {
    let shown = facts.iter().map(|fact| {
        let dtype = fact.datum_type.concretize();
        let dtype = dtype.map_or("?".to_owned(), |dtype| format!("{dtype:?}"));
        let dims = fact.shape.dims().map(|dim| match dim.concretize() {
            Some(dim) => dim.to_string(),
            None => "?".to_owned(),
        });
        let more = if fact.shape.is_open() { ", …" } else { "" };
        format!("{dtype} [{}{more}]", dims.collect::<Vec<_>>().join(", "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

impl Op for Bounded {
    fn name(&self) -> StaticName {
        self.operator.name()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        self.operator.info()
    }

    not_a_typed_op!();
}

impl EvalOp for Bounded {
    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.operator.eval(context, inputs)
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.operator.eval_out_of_plan(inputs)
    }

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.operator.state(context)
    }
}

impl PartialEq for Bounded {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Bounded {}
