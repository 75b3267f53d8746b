//! `Attention` of ONNX 23 and 24, as its function body defines it.
//!
//! Heads that share keys are folded into the rows of the product rather than the
//! keys repeated: `[batch, kv, group · rows, size]`, so nothing is copied.

use tract_onnx::model::{ParsingContext, optional_inputs, optional_outputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Range, TypedConcat};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::{comp_gte, comp_lt};
use tract_onnx::tract_core::ops::math::{add, div, mul, tanh};
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring};

#[derive(Debug, Clone)]
struct Attention {
    q_heads: Option<i64>,
    kv_heads: Option<i64>,
    is_causal: bool,
    scale: Option<f32>,
    softcap: f32,
    softmax_dtype: Option<DatumType>,
    /// Which of the scores is an output: 0 the product, 1 with its bias, 2 capped,
    /// 3 the softmax.
    scores_mode: i64,
    mask: Option<usize>,
    past_key: Option<usize>,
    past_value: Option<usize>,
    n_valid_keys: Option<usize>,
    n_inputs: usize,
    present_key: Option<usize>,
    present_value: Option<usize>,
    scores: Option<usize>,
    n_outputs: usize,
}

pub(super) fn attention(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let inputs: Vec<_> = optional_inputs(node).take(7).collect();
    let outputs: Vec<_> = optional_outputs(node).take(4).collect();
    ensure!(
        inputs[..3].iter().all(Option::is_some) && outputs[0].is_some(),
        "Attention takes queries, keys and values, and answers what they make"
    );
    let scores_mode = node.get_attr_opt("qk_matmul_output_mode")?.unwrap_or(0);
    ensure!(
        (0..4).contains(&scores_mode),
        "qk_matmul_output_mode is 0 to 3, not {scores_mode}"
    );
    let attention = Attention {
        q_heads: node.get_attr_opt("q_num_heads")?,
        kv_heads: node.get_attr_opt("kv_num_heads")?,
        is_causal: node.get_attr_opt::<i64>("is_causal")? == Some(1),
        scale: node.get_attr_opt("scale")?,
        softcap: node.get_attr_opt("softcap")?.unwrap_or(0.0),
        softmax_dtype: node.get_attr_opt("softmax_precision")?,
        scores_mode,
        mask: inputs[3],
        past_key: inputs[4],
        past_value: inputs[5],
        n_valid_keys: inputs[6],
        n_inputs: inputs.iter().flatten().count(),
        present_key: outputs[1],
        present_value: outputs[2],
        scores: outputs[3],
        n_outputs: outputs.iter().flatten().count(),
    };
    ensure!(
        attention.past_key.is_some() == attention.past_value.is_some(),
        "past_key and past_value come together or not at all"
    );
    Ok((expand(attention), vec![]))
}

/// Shapes with heads as a dimension of their own: `[batch, heads, rows, size]`.
struct Shapes {
    q: TVec<TDim>,
    k: TVec<TDim>,
    v: TVec<TDim>,
}

impl Attention {
    fn split(&self, shape: &[TDim], heads: Option<i64>) -> TractResult<TVec<TDim>> {
        match shape {
            [_, _, _, _] => Ok(shape.into()),
            [batch, rows, hidden] => {
                let heads = heads.context("q_num_heads and kv_num_heads are needed in rank 3")?;
                ensure!(heads > 0, "{heads} heads");
                let hidden = hidden.to_i64().context("a hidden size that is not fixed")?;
                ensure!(
                    hidden % heads == 0,
                    "a hidden size of {hidden} in {heads} heads"
                );
                let size = (hidden / heads).to_dim();
                Ok(tvec![batch.clone(), heads.to_dim(), rows.clone(), size])
            }
            other => bail!(
                "queries, keys and values have rank 3 or 4, not {}",
                other.len()
            ),
        }
    }

    fn shapes(&self, [q, k, v]: [&[TDim]; 3], past: Option<&TDim>) -> TractResult<Shapes> {
        let mut shapes = Shapes {
            q: self.split(q, self.q_heads)?,
            k: self.split(k, self.kv_heads)?,
            v: self.split(v, self.kv_heads)?,
        };
        if let Some(past) = past {
            shapes.k[2] += past;
            shapes.v[2] += past;
        }
        Ok(shapes)
    }

    fn output_shapes(&self, shapes: &Shapes, rank: usize) -> Vec<(usize, TVec<TDim>)> {
        let Shapes { q, k, v } = shapes;
        let y = match rank {
            3 => tvec![q[0].clone(), q[2].clone(), q[1].clone() * &v[3]],
            _ => tvec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()],
        };
        let scores = tvec![q[0].clone(), q[1].clone(), q[2].clone(), k[2].clone()];
        let outputs = [
            (Some(0), y),
            (self.present_key, k.clone()),
            (self.present_value, v.clone()),
            (self.scores, scores),
        ];
        let present = outputs
            .into_iter()
            .filter_map(|(at, shape)| at.map(|at| (at, shape)));
        present.collect()
    }
}

impl Expansion for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.n_outputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.n_inputs)?;
        check_output_arity(outputs, self.n_outputs)?;
        for output in outputs {
            s.equals(&inputs[0].datum_type, &output.datum_type)?;
        }
        let mask = self.mask;
        let shaped = move |s: &mut Solver<'r>, past: Option<TDim>| match mask {
            None => self.rule_shapes(s, inputs, outputs, past, None),
            Some(mask) => s.given(&inputs[mask].shape, move |s, mask| {
                self.rule_shapes(s, inputs, outputs, past.clone(), Some(mask))
            }),
        };
        match self.past_key {
            None => shaped(s, None),
            Some(past) => s.given(&inputs[past].shape[2], move |s, past| shaped(s, Some(past))),
        }
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let dtype = w.dtype(inputs[0])?;
        let rank = w.rank(inputs[0])?;
        let q = self.wire_heads(&mut w, "q", inputs[0], self.q_heads)?;
        let mut k = self.wire_heads(&mut w, "k", inputs[1], self.kv_heads)?;
        let mut v = self.wire_heads(&mut w, "v", inputs[2], self.kv_heads)?;
        let mut past = 0.to_dim();
        if let (Some(key), Some(value)) = (self.past_key, self.past_value) {
            let (keys, values) = (w.shape(inputs[key])?, w.shape(inputs[value])?);
            ensure!(
                keys.len() == 4 && values.len() == 4,
                "past keys of rank {} and values of rank {}, where it is 4",
                keys.len(),
                values.len()
            );
            past = keys[2].clone();
            k = w.node("present_key", TypedConcat::new(2), &[inputs[key], k])?;
            v = w.node("present_value", TypedConcat::new(2), &[inputs[value], v])?;
        }
        let groups = Groups::of(&w, q, k)?;
        let size = w.shape(q)?[3].to_i64();
        let scale = match self.scale {
            Some(scale) => scale,
            None => (size.context("a head size that is not fixed")? as f32)
                .sqrt()
                .recip(),
        };
        // Half of the scale on each side keeps the product of halves in range.
        let scale = w.scalar("scale", scale.sqrt(), dtype)?;
        let q_scaled = w.spread("q_scaled", mul(), &[q, scale])?;
        let k_scaled = w.spread("k_scaled", mul(), &[k, scale])?;
        let rows = groups.fold(&mut w, "q_folded", q_scaled)?;
        let product = EinSum::new("abmk,abnk->abmn".parse()?, dtype);
        let product = w.node("product", product, &[rows, k_scaled])?;
        let product = groups.unfold(&mut w, "product_unfolded", product)?;

        let biased = self.wire_bias(&mut w, inputs, product, &past)?;
        let capped = self.wire_softcap(&mut w, biased)?;
        let softmax_dtype = self.softmax_dtype.unwrap_or(dtype);
        let softmax = w.cast("softmax_in", capped, softmax_dtype)?;
        let operator = Softmax {
            axes: tvec![3],
            quant_output_dt: None,
            kind: SoftmaxKind::Softmax,
        };
        let softmax = w.node("softmax", operator, &[softmax])?;
        let softmax = w.cast("softmax_out", softmax, dtype)?;

        let weights = groups.fold(&mut w, "softmax_folded", softmax)?;
        let y = EinSum::new("abmn,abnd->abmd".parse()?, dtype);
        let y = w.node("weighted", y, &[weights, v])?;
        let mut y = groups.unfold(&mut w, "weighted_unfolded", y)?;
        if rank == 3 {
            let shape = w.shape(y)?;
            let hidden = shape[1].clone() * &shape[3];
            y = w.node("rows_first", AxisOp::Move(1, 2), &[y])?;
            let heads = [shape[1].clone(), shape[3].clone()];
            y = w.reshape("merged", y, 2, &heads, &[hidden])?;
        }
        let scores = [product, biased, capped, softmax];
        let scores = scores[usize::try_from(self.scores_mode)?];
        let mut outputs = tvec![y; self.n_outputs];
        for (at, value) in [
            (self.present_key, k),
            (self.present_value, v),
            (self.scores, scores),
        ] {
            if let Some(at) = at {
                outputs[at] = value;
            }
        }
        Ok(outputs)
    }
}

impl Attention {
    /// A mask whose sizes are others by name may yet fit in every run; then the
    /// shapes are told when the nodes are wired.
    fn rule_shapes<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
        past: Option<TDim>,
        mask: Option<TVec<TDim>>,
    ) -> InferenceResult {
        let [q, k, v] = [0, 1, 2].map(|at: usize| &inputs[at].shape);
        s.given_3(q, k, v, move |s, q, k, v| {
            let shapes = self.shapes([&q, &k, &v], past.as_ref())?;
            let scores = [&shapes.q[0], &shapes.q[1], &shapes.q[2], &shapes.k[2]];
            let fits = |mask: &TVec<TDim>| {
                let pairs = mask.iter().rev().zip(scores.into_iter().rev());
                // The last may be shorter, and is padded.
                let mut pairs = pairs.skip(1);
                pairs.all(|(dim, wanted)| dim.is_one() || dim == wanted)
            };
            if !mask.as_ref().is_none_or(fits) {
                return s.equals(&outputs[0].rank, q.len() as i64);
            }
            for (at, shape) in self.output_shapes(&shapes, q.len()) {
                s.equals(&outputs[at].shape, shape)?;
            }
            Ok(())
        })
    }

    /// `[batch, rows, hidden]` as `[batch, heads, rows, size]`.
    fn wire_heads(
        &self,
        w: &mut Wiring,
        what: &str,
        value: OutletId,
        heads: Option<i64>,
    ) -> TractResult<OutletId> {
        let shape = w.shape(value)?;
        let split = self.split(&shape, heads)?;
        if shape.len() == 4 {
            return Ok(value);
        }
        let to = [split[1].clone(), split[3].clone()];
        let value = w.reshape(&format!("{what}_split"), value, 2, &shape[2..], &to)?;
        w.node(&format!("{what}_heads"), AxisOp::Move(2, 1), &[value])
    }

    /// Adds what forbids a row to see a key: the mask, causality, padding.
    fn wire_bias(
        &self,
        w: &mut Wiring,
        inputs: &[OutletId],
        product: OutletId,
        past: &TDim,
    ) -> TractResult<OutletId> {
        let shape = w.shape(product)?;
        let dtype = w.dtype(product)?;
        let (rows, keys) = (&shape[2], &shape[3]);
        let zero = w.scalar("zero", 0.0, dtype)?;
        let never = w.scalar("never", f32::NEG_INFINITY, dtype)?;
        let mut biased = product;
        if let Some(mask) = self.mask {
            let mut mask = inputs[mask];
            if w.dtype(mask)? == bool::datum_type() {
                mask = w.choose("mask_bias", mask, [zero, never])?;
            }
            mask = w.cast("mask_cast", mask, dtype)?;
            mask = wire_padded_mask(w, mask, keys)?;
            biased = w.spread("masked", add(), &[biased, mask])?;
        }
        if self.is_causal {
            let row = wire_range(w, "row", rows)?;
            let row = w.node("row_column", AxisOp::Add(1), &[row])?;
            let past = w.constant("past", tensor0(past.clone()))?;
            let past = w.cast("past_cast", past, i64::datum_type())?;
            let row = w.spread("row_after_past", add(), &[row, past])?;
            let key = wire_range(w, "key", keys)?;
            let sees = w.compare("sees", comp_gte(), [row, key])?;
            let bias = w.choose("causal_bias", sees, [zero, never])?;
            biased = w.spread("causal", add(), &[biased, bias])?;
        }
        if let Some(n_valid) = self.n_valid_keys {
            let n_valid = w.cast("n_valid", inputs[n_valid], i64::datum_type())?;
            let n_valid = w.with_trailing("n_valid_column", n_valid, 3)?;
            let key = wire_range(w, "valid_key", keys)?;
            let is_valid = w.compare("is_valid", comp_lt(), [key, n_valid])?;
            let bias = w.choose("padding_bias", is_valid, [zero, never])?;
            biased = w.spread("padded", add(), &[biased, bias])?;
        }
        Ok(biased)
    }

    fn wire_softcap(&self, w: &mut Wiring, scores: OutletId) -> TractResult<OutletId> {
        if self.softcap == 0.0 {
            return Ok(scores);
        }
        let cap = w.scalar("softcap", self.softcap, w.dtype(scores)?)?;
        let scores = w.spread("cap_div", div(), &[scores, cap])?;
        let scores = w.node("cap_tanh", tanh(), &[scores])?;
        w.spread("capped", mul(), &[scores, cap])
    }
}

/// A mask may end before the keys do; what it does not speak of is not seen.
fn wire_padded_mask(w: &mut Wiring, mask: OutletId, keys: &TDim) -> TractResult<OutletId> {
    let shape = w.shape(mask)?;
    let last = shape.last().context("a mask without dimensions")?;
    let (Ok(spoken), Ok(keys)) = (last.to_usize(), keys.to_usize()) else {
        return Ok(mask);
    };
    if spoken == 1 || spoken >= keys {
        return Ok(mask);
    }
    let mut pads = vec![(0, 0); shape.len()];
    pads[shape.len() - 1] = (0, keys - spoken);
    let never = tensor0(f32::NEG_INFINITY);
    let never = never.cast_to_dt(w.dtype(mask)?)?.into_owned();
    let mode = PadMode::Constant(never.into_arc_tensor());
    w.node("mask_padded", Pad { mode, pads }, &[mask])
}

/// `0, 1, … n - 1`, i64.
fn wire_range(w: &mut Wiring, what: &str, n: &TDim) -> TractResult<OutletId> {
    let start = w.constant(&format!("{what}_start"), tensor0(TDim::from(0)))?;
    let end = w.constant(&format!("{what}_end"), tensor0(n.clone()))?;
    let step = w.constant(&format!("{what}_step"), tensor0(TDim::from(1)))?;
    w.node(what, Range::new(n.clone()), &[start, end, step])
}

/// How many query heads share each head of keys.
struct Groups {
    n: i64,
    kv_heads: i64,
}

impl Groups {
    fn of(w: &Wiring, q: OutletId, k: OutletId) -> TractResult<Self> {
        let heads = |value| -> TractResult<i64> {
            let heads = &w.model.outlet_fact(value)?.shape[1];
            heads
                .to_i64()
                .context("a number of heads that is not fixed")
        };
        let (q_heads, kv_heads) = (heads(q)?, heads(k)?);
        ensure!(
            kv_heads > 0 && q_heads % kv_heads == 0,
            "{q_heads} heads of queries for {kv_heads} of keys"
        );
        Ok(Self {
            n: q_heads / kv_heads,
            kv_heads,
        })
    }

    /// `[batch, heads, rows, _]` as `[batch, kv, group · rows, _]`.
    fn fold(&self, w: &mut Wiring, what: &str, value: OutletId) -> TractResult<OutletId> {
        if self.n == 1 {
            return Ok(value);
        }
        let rows = w.shape(value)?[2].clone();
        let from = [(self.n * self.kv_heads).to_dim(), rows.clone()];
        let to = [self.kv_heads.to_dim(), rows * self.n];
        w.reshape(what, value, 1, &from, &to)
    }

    fn unfold(&self, w: &mut Wiring, what: &str, value: OutletId) -> TractResult<OutletId> {
        if self.n == 1 {
            return Ok(value);
        }
        let folded = w.shape(value)?[2].clone();
        let from = [self.kv_heads.to_dim(), folded.clone()];
        let to = [(self.n * self.kv_heads).to_dim(), folded / self.n];
        w.reshape(what, value, 1, &from, &to)
    }
}
