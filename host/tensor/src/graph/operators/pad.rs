//! `Pad` of ONNX 11 and later: every mode, values from elsewhere in the graph, and
//! negative pads, which cut.

use tract_onnx::model::{ParsingContext, optional_inputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::{self, PadMode, Slice, TypedConcat};
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring, axis_within};

/// Elements put before or after a dimension, or cut there, at most: sums with sizes are
/// counted in 64 bits.
const MAX_PAD: u64 = 1 << 40;

#[derive(Debug, Clone)]
struct Pad {
    mode: Mode,
    value: Option<usize>,
    axes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

pub(super) fn pad(context: &ParsingContext, node: &NodeProto) -> Parsed {
    if context.onnx_operator_set_version < 11 {
        // Its pads are attributes.
        let builder = super::THEIRS.0["Pad"];
        return builder(context, node);
    }
    let mode = match node.get_attr_opt::<&str>("mode")? {
        None | Some("constant") => Mode::Constant,
        Some("reflect") => Mode::Reflect,
        Some("edge") => Mode::Edge,
        Some("wrap") => Mode::Wrap,
        Some(other) => bail!("Pad knows no mode `{other}`"),
    };
    let mut inputs = optional_inputs(node).skip(2);
    let operator = Pad {
        mode,
        value: inputs.next().flatten(),
        axes: inputs.next().flatten(),
    };
    Ok((expand(operator), vec![]))
}

/// How much is put before and after each dimension.
type Pads = Vec<(i64, i64)>;

impl Pad {
    fn pads(pads: &Tensor, axes: Option<&Tensor>, rank: usize) -> TractResult<Pads> {
        let pads = pads.cast_to::<i64>()?;
        let pads = pads.try_as_plain_ram()?.as_slice::<i64>()?;
        let axes: Vec<usize> = match axes {
            None => (0..rank).collect(),
            Some(axes) => {
                let axes = axes.cast_to::<i64>()?;
                let axes = axes.try_as_plain_ram()?.as_slice::<i64>()?;
                let axes = axes.iter().map(|&axis| axis_within(axis, rank));
                axes.collect::<TractResult<_>>()?
            }
        };
        ensure!(
            pads.len() == 2 * axes.len(),
            "Pad of {} dimensions has {} pads",
            axes.len(),
            pads.len()
        );
        if let Some(pad) = pads.iter().find(|pad| pad.unsigned_abs() > MAX_PAD) {
            bail!("Pad by {pad}, where {MAX_PAD} is the most");
        }
        let mut by_axis = vec![(0, 0); rank];
        for (at, &axis) in axes.iter().enumerate() {
            by_axis[axis] = (pads[at], pads[at + axes.len()]);
        }
        Ok(by_axis)
    }
}

impl Expansion for Pad {
    fn name(&self) -> StaticName {
        "Pad".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let optional = [self.value, self.axes];
        check_input_arity(inputs, 2 + optional.iter().flatten().count())?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].rank, &outputs[0].rank)?;
        let padded =
            move |s: &mut Solver<'r>, rank: i64, pads: Arc<Tensor>, axes: Option<Arc<Tensor>>| {
                let pads = Self::pads(&pads, axes.as_deref(), usize::try_from(rank)?)?;
                for (axis, (before, after)) in pads.into_iter().enumerate() {
                    let added = before.to_dim() + after;
                    s.equals(&outputs[0].shape[axis], inputs[0].shape[axis].bex() + added)?;
                }
                Ok(())
            };
        match self.axes {
            None => s.given_2(&inputs[0].rank, &inputs[1].value, move |s, rank, pads| {
                padded(s, rank, pads, None)
            }),
            Some(axes) => s.given_3(
                &inputs[0].rank,
                &inputs[1].value,
                &inputs[axes].value,
                move |s, rank, pads, axes| padded(s, rank, pads, Some(axes)),
            ),
        }
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let fixed = |w: &Wiring, at: usize| -> TractResult<Arc<Tensor>> {
            let value = w.fact(inputs[at])?.konst;
            value.context("the pads of Pad are not fixed")
        };
        let axes = self.axes.map(|at| fixed(&w, at)).transpose()?;
        let rank = w.rank(inputs[0])?;
        let pads = Self::pads(&*fixed(&w, 1)?, axes.as_deref(), rank)?;
        let (x, pads) = wire_cuts(&mut w, inputs[0], &pads)?;
        if pads.iter().all(|&pad| pad == (0, 0)) {
            return Ok(tvec![x]);
        }
        let padded = match self.mode {
            Mode::Constant => self.wire_constant(&mut w, inputs, x, pads)?,
            Mode::Reflect => wire_pad(&mut w, "reflected", x, PadMode::Reflect, pads)?,
            Mode::Edge => wire_pad(&mut w, "edged", x, PadMode::Edge, pads)?,
            Mode::Wrap => wire_wrapped(&mut w, x, &pads)?,
        };
        Ok(tvec![padded])
    }
}

impl Pad {
    fn wire_constant(
        &self,
        w: &mut Wiring,
        inputs: &[OutletId],
        x: OutletId,
        pads: Vec<(usize, usize)>,
    ) -> TractResult<OutletId> {
        let dtype = w.dtype(x)?;
        let zero = Tensor::zero_scalar_dt(dtype)?;
        let Some(value) = self.value.map(|at| inputs[at]) else {
            return wire_pad(w, "padded", x, constant(zero), pads);
        };
        if let Some(value) = w.fact(value)?.konst {
            let value = value.cast_to_dt(dtype)?.into_owned().into_shape(&[])?;
            return wire_pad(w, "padded", x, constant(value), pads);
        }
        // A value that a run brings: chosen wherever nothing of `x` is.
        let shape = w.shape(x)?;
        let one = w.constant("one", tensor0(true))?;
        let inside = w.broadcast("inside", one, &shape)?;
        let outside = constant(tensor0(false));
        let inside = wire_pad(w, "inside_padded", inside, outside, pads.clone())?;
        let padded = wire_pad(w, "padded", x, constant(zero), pads)?;
        let value = w.cast("value", value, dtype)?;
        let shape = w.shape(value)?;
        let value = w.reshape("value_scalar", value, 0, &shape, &[])?;
        w.choose("chosen", inside, [padded, value])
    }
}

fn constant(value: Tensor) -> PadMode {
    PadMode::Constant(value.into_arc_tensor())
}

/// Cuts where a pad is negative; answers what is left to be put on.
fn wire_cuts(
    w: &mut Wiring,
    mut x: OutletId,
    pads: &Pads,
) -> TractResult<(OutletId, Vec<(usize, usize)>)> {
    let mut left = Vec::with_capacity(pads.len());
    for (axis, &(before, after)) in pads.iter().enumerate() {
        if before < 0 || after < 0 {
            let end = w.shape(x)?[axis].clone() + after.min(0);
            let cut = Slice {
                axis,
                start: (-before.min(0)).to_dim(),
                end,
            };
            x = w.node("cut", cut, &[x])?;
        }
        left.push((
            usize::try_from(before.max(0))?,
            usize::try_from(after.max(0))?,
        ));
    }
    Ok((x, left))
}

/// tract pads numbers only, so bools pass as bytes.
fn wire_pad(
    w: &mut Wiring,
    what: &str,
    x: OutletId,
    mode: PadMode,
    pads: Vec<(usize, usize)>,
) -> TractResult<OutletId> {
    let dtype = w.dtype(x)?;
    if dtype != bool::datum_type() {
        return w.node(what, array::Pad { mode, pads }, &[x]);
    }
    let mode = match mode {
        PadMode::Constant(value) => constant(value.cast_to::<u8>()?.into_owned()),
        other => other,
    };
    let bytes = w.cast("bytes", x, u8::datum_type())?;
    let padded = w.node(what, array::Pad { mode, pads }, &[bytes])?;
    w.cast("bools", padded, dtype)
}

/// What is put before comes from the end, and the other way round.
fn wire_wrapped(w: &mut Wiring, mut x: OutletId, pads: &[(usize, usize)]) -> TractResult<OutletId> {
    for (axis, &(before, after)) in pads.iter().enumerate() {
        let length = w.shape(x)?[axis].clone();
        if let Ok(length) = length.to_usize() {
            ensure!(
                before.max(after) <= length,
                "Pad wraps a dimension of {length} by more than itself"
            );
        }
        let mut parts = tvec![];
        if before > 0 {
            let start = length.clone() - before;
            let end = length.clone();
            parts.push(w.node("end", Slice { axis, start, end }, &[x])?);
        }
        parts.push(x);
        if after > 0 {
            parts.push(w.node("start", Slice::new(axis, 0, after), &[x])?);
        }
        if parts.len() > 1 {
            x = w.node("wrapped", TypedConcat::new(axis), &parts)?;
        }
    }
    Ok(x)
}
