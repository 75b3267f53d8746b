//! Nodes wired one by one, each named after the operator that it is part of.

use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::change_axes::wire_rank_broadcast;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_hir::internal::*;

use crate::graph::read::MAX_VALUE_BYTES;

/// Wires the nodes of one operator.
pub(super) struct Wiring<'a> {
    prefix: &'a str,
    pub(super) model: &'a mut TypedModel,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(prefix: &'a str, model: &'a mut TypedModel) -> Self {
        Self { prefix, model }
    }

    /// A name that no node has.
    pub(super) fn name(&self, what: &str) -> String {
        let name = format!("{}.{what}", self.prefix);
        self.model.unique_name(&name).into_owned()
    }

    pub(super) fn fact(&self, value: OutletId) -> TractResult<TypedFact> {
        self.model.outlet_fact(value).cloned()
    }

    pub(super) fn dtype(&self, value: OutletId) -> TractResult<DatumType> {
        Ok(self.model.outlet_fact(value)?.datum_type)
    }

    pub(super) fn rank(&self, value: OutletId) -> TractResult<usize> {
        Ok(self.model.outlet_fact(value)?.rank())
    }

    pub(super) fn shape(&self, value: OutletId) -> TractResult<TVec<TDim>> {
        Ok(self.model.outlet_fact(value)?.shape.to_tvec())
    }

    pub(super) fn constant(&mut self, what: &str, value: Tensor) -> TractResult<OutletId> {
        let name = self.name(what);
        self.model.add_const(name, value)
    }

    /// A scalar of another type.
    pub(super) fn scalar(
        &mut self,
        what: &str,
        value: f32,
        dtype: DatumType,
    ) -> TractResult<OutletId> {
        let value = tensor0(value).cast_to_dt(dtype)?.into_owned();
        self.constant(what, value)
    }

    /// One node with one output.
    pub(super) fn node(
        &mut self,
        what: &str,
        operator: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let operator = operator.into();
        self.check_size(operator.as_ref(), inputs)?;
        let name = self.name(what);
        Ok(self.model.wire_node(name, operator, inputs)?[0])
    }

    /// One node whose inputs broadcast to one another's ranks.
    pub(super) fn spread(
        &mut self,
        what: &str,
        operator: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = self.name(what);
        let inputs = wire_rank_broadcast(name, self.model, inputs)?;
        self.node(what, operator, &inputs)
    }

    /// `a` compared with `b`: a bool for each element.
    pub(super) fn compare(
        &mut self,
        what: &str,
        by: Box<dyn tract_onnx::tract_core::ops::binary::BinMiniOp>,
        [a, b]: [OutletId; 2],
    ) -> TractResult<OutletId> {
        self.spread(what, TypedBinOp(by, None), &[a, b])
    }

    /// `a` where `condition` is true, else `b`.
    pub(super) fn choose(
        &mut self,
        what: &str,
        condition: OutletId,
        [a, b]: [OutletId; 2],
    ) -> TractResult<OutletId> {
        self.spread(what, Iff, &[condition, a, b])
    }

    pub(super) fn cast(
        &mut self,
        what: &str,
        value: OutletId,
        to: DatumType,
    ) -> TractResult<OutletId> {
        match self.dtype(value)? == to {
            true => Ok(value),
            false => self.node(what, cast(to), &[value]),
        }
    }

    /// Splits or merges dimensions from `at` on; nothing moves.
    pub(super) fn reshape(
        &mut self,
        what: &str,
        value: OutletId,
        at: usize,
        from: &[TDim],
        to: &[TDim],
    ) -> TractResult<OutletId> {
        let operator = AxisOp::Reshape(at, from.into(), to.into());
        self.node(what, operator, &[value])
    }

    /// `value` with `n` dimensions of size 1 after its own.
    pub(super) fn with_trailing(
        &mut self,
        what: &str,
        mut value: OutletId,
        n: usize,
    ) -> TractResult<OutletId> {
        for _ in 0..n {
            let rank = self.rank(value)?;
            value = self.node(what, AxisOp::Add(rank), &[value])?;
        }
        Ok(value)
    }

    /// `value` stretched to `shape`, as ONNX broadcasts.
    pub(super) fn broadcast(
        &mut self,
        what: &str,
        value: OutletId,
        shape: &[TDim],
    ) -> TractResult<OutletId> {
        let shape = ShapeFact::from_dims(shape.iter().cloned());
        let operator = tract_onnx::tract_core::ops::array::MultiBroadcastTo::new(shape);
        self.node(what, operator, &[value])
    }

    // What does not depend on the inputs is computed as it is wired, so a size
    // that a few bytes of file ask for is checked before.
    fn check_size(&self, operator: &dyn TypedOp, inputs: &[OutletId]) -> TractResult<()> {
        let facts = inputs.iter().map(|input| self.model.outlet_fact(*input));
        let facts: TVec<&TypedFact> = facts.collect::<TractResult<_>>()?;
        for fact in operator.output_facts(&facts)? {
            let element = fact.datum_type.size_of() as u64;
            let bytes = fact.shape.iter().try_fold(element, |bytes, dim| {
                // Symbolic: bounded run by run.
                let size = dim.to_i64().unwrap_or(1);
                bytes.checked_mul(u64::try_from(size).ok()?.max(1))
            });
            ensure!(
                bytes.is_some_and(|bytes| bytes <= MAX_VALUE_BYTES),
                "`{}` makes a value of shape {:?}, larger than {MAX_VALUE_BYTES} bytes",
                self.prefix,
                fact.shape
            );
        }
        Ok(())
    }
}
