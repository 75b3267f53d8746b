//! `QuantizeLinear`, `DequantizeLinear` and `QLinearMatMul` of basic operators:
//! scales from anywhere in the graph, one for all, one per axis or one per block.

use tract_onnx::model::{ParsingContext, optional_inputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::{add, div, max, min, mul, round_half_to_even, sub};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::matmul::compute_shapes;

use super::{Parsed, Wiring, axis_within};

/// How scales and zero points lie along a tensor.
#[derive(Debug, Clone, Copy)]
struct Layout {
    axis: i64,
    /// Elements that share one, along `axis`; 0 when all of a slice do.
    block: i64,
}

impl Layout {
    fn of(node: &NodeProto) -> TractResult<Self> {
        let block = node.get_attr_opt("block_size")?.unwrap_or(0);
        ensure!(block >= 0, "a block of {block} elements");
        Ok(Self {
            axis: node.get_attr_opt("axis")?.unwrap_or(1),
            block,
        })
    }

    /// `parameter`, shaped so that it broadcasts over `x`.
    fn wire(
        self,
        w: &mut Wiring,
        what: &str,
        parameter: OutletId,
        x: OutletId,
    ) -> TractResult<OutletId> {
        let (shape, rank) = (w.shape(parameter)?, w.rank(x)?);
        if shape.iter().all(|dim| *dim == 1.to_dim()) {
            return w.reshape(what, parameter, 0, &shape, &[]);
        }
        let axis = axis_within(self.axis, rank)?;
        if self.block == 0 {
            ensure!(shape.len() == 1, "a {what} of rank {}", shape.len());
            return w.with_trailing(what, parameter, rank - axis - 1);
        }
        ensure!(
            shape.len() == rank,
            "a blocked {what} of rank {} for a tensor of rank {rank}",
            shape.len()
        );
        // Each stands for a block: stretched beside its axis, then merged with it,
        // and cut where the last block is not full.
        let spread = w.node(what, AxisOp::Add(axis + 1), &[parameter])?;
        let mut stretched = w.shape(spread)?;
        stretched[axis + 1] = self.block.to_dim();
        let spread = w.broadcast(what, spread, &stretched)?;
        let merged = shape[axis].clone() * self.block;
        let from = [shape[axis].clone(), self.block.to_dim()];
        let merged = w.reshape(what, spread, axis, &from, &[merged])?;
        let end = w.shape(x)?[axis].clone();
        let start = 0.to_dim();
        w.node(what, Slice { axis, start, end }, &[merged])
    }
}

/// Rounds to even and keeps within what `dtype` holds; `x` is f32.
fn wire_saturated(
    w: &mut Wiring,
    x: OutletId,
    zero_point: Option<OutletId>,
    dtype: DatumType,
) -> TractResult<OutletId> {
    let (low, high) = match dtype {
        DatumType::U8 => (0.0, f32::from(u8::MAX)),
        DatumType::I8 => (f32::from(i8::MIN), f32::from(i8::MAX)),
        DatumType::U16 => (0.0, f32::from(u16::MAX)),
        DatumType::I16 => (f32::from(i16::MIN), f32::from(i16::MAX)),
        other => bail!("nothing is quantized to {other:?}"),
    };
    let mut x = w.node("rounded", round_half_to_even(), &[x])?;
    if let Some(zero_point) = zero_point {
        let zero_point = w.cast("zero_point", zero_point, f32::datum_type())?;
        x = w.spread("with_zero_point", add(), &[x, zero_point])?;
    }
    let low = w.scalar("low", low, f32::datum_type())?;
    let high = w.scalar("high", high, f32::datum_type())?;
    let x = w.spread("at_least", max(), &[x, low])?;
    let x = w.spread("at_most", min(), &[x, high])?;
    w.cast("quantized", x, dtype)
}

#[derive(Debug, Clone)]
struct Quantize {
    layout: Layout,
    has_zero_point: bool,
    dtype: Option<DatumType>,
}

pub(super) fn quantize(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let dtype = node.get_attr_opt::<i64>("output_dtype")?.unwrap_or(0);
    let operator = Quantize {
        layout: Layout::of(node)?,
        has_zero_point: optional_inputs(node).nth(2).flatten().is_some(),
        dtype: match dtype {
            0 => None,
            _ => Some(node.get_attr("output_dtype")?),
        },
    };
    Ok((expand(operator), vec![]))
}

impl Expansion for Quantize {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero_point))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        if self.has_zero_point {
            return s.equals(&inputs[2].datum_type, &outputs[0].datum_type);
        }
        let dtype = self.dtype.unwrap_or(u8::datum_type());
        s.equals(&outputs[0].datum_type, dtype)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let x = w.cast("x", inputs[0], f32::datum_type())?;
        let scale = w.cast("scale", inputs[1], f32::datum_type())?;
        let scale = self.layout.wire(&mut w, "scales", scale, x)?;
        let mut dtype = self.dtype.unwrap_or(u8::datum_type());
        let mut zero_point = None;
        if self.has_zero_point {
            dtype = w.dtype(inputs[2])?;
            let shaped = self.layout.wire(&mut w, "zero_points", inputs[2], x)?;
            zero_point = Some(shaped);
        }
        let x = w.spread("divided", div(), &[x, scale])?;
        Ok(tvec![wire_saturated(&mut w, x, zero_point, dtype)?])
    }
}

#[derive(Debug, Clone)]
struct Dequantize {
    layout: Layout,
    has_zero_point: bool,
}

pub(super) fn dequantize(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let operator = Dequantize {
        layout: Layout::of(node)?,
        has_zero_point: optional_inputs(node).nth(2).flatten().is_some(),
    };
    Ok((expand(operator), vec![]))
}

impl Expansion for Dequantize {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero_point))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        s.equals(&inputs[1].datum_type, &outputs[0].datum_type)?;
        if self.has_zero_point {
            s.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let scale = self.layout.wire(&mut w, "scales", inputs[1], inputs[0])?;
        // In i32, which holds every difference of narrower integers.
        let mut x = w.cast("x", inputs[0], i32::datum_type())?;
        if self.has_zero_point {
            let zero_point = w.cast("zero_point", inputs[2], i32::datum_type())?;
            let zero_point = self.layout.wire(&mut w, "zero_points", zero_point, x)?;
            x = w.spread("from_zero_point", sub(), &[x, zero_point])?;
        }
        let dtype = w.dtype(scale)?;
        let x = w.cast("steps", x, dtype)?;
        Ok(tvec![w.spread("scaled", mul(), &[x, scale])?])
    }
}

#[derive(Debug, Clone)]
struct QLinearMatMul;

pub(super) fn matmul(_: &ParsingContext, _: &NodeProto) -> Parsed {
    Ok((expand(QLinearMatMul), vec![]))
}

impl Expansion for QLinearMatMul {
    fn name(&self) -> StaticName {
        "QLinearMatMul".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 8)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
        s.equals(&inputs[3].datum_type, &inputs[5].datum_type)?;
        s.equals(&inputs[7].datum_type, &outputs[0].datum_type)?;
        s.given_2(&inputs[0].shape, &inputs[3].shape, move |s, a, b| {
            let (_, _, _, shape) = compute_shapes(a, b, false, false, false)?;
            s.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let &[a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = inputs else {
            bail!("QLinearMatMul has eight inputs");
        };
        let mut w = Wiring::new(prefix, model);
        let (a_rank, b_rank) = (w.rank(a)?, w.rank(b)?);
        ensure!(
            a_rank >= 2 && b_rank >= 2,
            "QLinearMatMul of tensors of rank {a_rank} and {b_rank}"
        );
        // Those of `a` may be one per row, those of `b` one per column.
        let a_steps = wire_steps(&mut w, "a", a, a_zero, 1)?;
        let b_steps = wire_steps(&mut w, "b", b, b_zero, 0)?;
        let rank = a_rank.max(b_rank);
        let batch = |rank_of: usize| -> String {
            let names = ('a'..).take(rank - 2).skip(rank - rank_of);
            names.collect()
        };
        let axes = format!("{}mk,{}kn->{}mn", batch(a_rank), batch(b_rank), batch(rank));
        let product = EinSum::new(axes.parse()?, i32::datum_type());
        let product = w.node("product", product, &[a_steps, b_steps])?;
        let product = w.cast("product_float", product, f32::datum_type())?;
        let a_scale = wire_parameter(&mut w, "a_scale", a_scale, 1)?;
        let b_scale = wire_parameter(&mut w, "b_scale", b_scale, 0)?;
        let y_scale = wire_parameter(&mut w, "y_scale", y_scale, 1)?;
        let dtype = w.dtype(y_zero)?;
        let y_zero = wire_parameter(&mut w, "y_zero", y_zero, 1)?;
        let scale = w.spread("both_scales", mul(), &[a_scale, b_scale])?;
        let scale = w.spread("scale", div(), &[scale, y_scale])?;
        let y = w.spread("rescaled", mul(), &[product, scale])?;
        Ok(tvec![wire_saturated(&mut w, y, Some(y_zero), dtype)?])
    }
}

/// `x` less its zero point, as i32.
fn wire_steps(
    w: &mut Wiring,
    what: &str,
    x: OutletId,
    zero_point: OutletId,
    n_trailing: usize,
) -> TractResult<OutletId> {
    let x = w.cast(what, x, i32::datum_type())?;
    let zero_point = wire_parameter(w, what, zero_point, n_trailing)?;
    let zero_point = w.cast(what, zero_point, i32::datum_type())?;
    w.spread(what, sub(), &[x, zero_point])
}

/// A scale or zero point as f32: one for all, or one per row (`n_trailing` 1) or
/// column (0).
fn wire_parameter(
    w: &mut Wiring,
    what: &str,
    parameter: OutletId,
    n_trailing: usize,
) -> TractResult<OutletId> {
    let parameter = w.cast(what, parameter, f32::datum_type())?;
    let shape = w.shape(parameter)?;
    match &*shape {
        [] => Ok(parameter),
        [one] if *one == 1.to_dim() => w.reshape(what, parameter, 0, &shape, &[]),
        [_] => w.with_trailing(what, parameter, n_trailing),
        _ => Ok(parameter),
    }
}
