//! `BatchNormalization` whose parameters come from elsewhere in the graph, or
//! which normalises by the batch itself (`training_mode`).

use tract_onnx::model::{ParsingContext, optional_outputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::math::{add, div, mul, sqrt, square, sub};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::nn::{Reduce, Reducer};

use super::{Parsed, Wiring, theirs};

#[derive(Debug, Clone)]
struct BatchNormalization {
    epsilon: f32,
    momentum: f32,
    is_training: bool,
    running_mean: Option<usize>,
    running_variance: Option<usize>,
    n_outputs: usize,
    /// For parameters that are weights: folded when the graph is read.
    folded: Box<dyn Expansion>,
}

pub(super) fn batch_normalization(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let outputs: Vec<_> = optional_outputs(node).take(5).collect();
    let is_training = node.get_attr_opt::<i64>("training_mode")? == Some(1);
    ensure!(
        is_training || outputs[1..].iter().all(Option::is_none),
        "BatchNormalization has one output when it does not train"
    );
    let operator = BatchNormalization {
        epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5),
        momentum: node.get_attr_opt("momentum")?.unwrap_or(0.9),
        is_training,
        running_mean: outputs[1],
        running_variance: outputs[2],
        n_outputs: outputs.iter().flatten().count(),
        folded: theirs(context, node)?,
    };
    Ok((expand(operator), vec![]))
}

impl Expansion for BatchNormalization {
    fn name(&self) -> StaticName {
        "BatchNormalization".into()
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
        check_input_arity(inputs, 5)?;
        check_output_arity(outputs, self.n_outputs)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        for parameter in &inputs[1..] {
            s.equals(&parameter.rank, 1)?;
            s.equals(&parameter.shape[0], &inputs[0].shape[1])?;
        }
        for output in &outputs[1..] {
            s.equals(&output.datum_type, &inputs[3].datum_type)?;
            s.equals(&output.shape, &inputs[3].shape)?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let is_weight = |value: &OutletId| -> TractResult<bool> {
            Ok(model.outlet_fact(*value)?.konst.is_some())
        };
        let weights: Vec<bool> = inputs[1..]
            .iter()
            .map(is_weight)
            .collect::<Result<_, _>>()?;
        if !self.is_training && weights.iter().all(|&it| it) {
            return self.folded.wire(prefix, model, inputs);
        }
        let mut w = Wiring::new(prefix, model);
        let x = inputs[0];
        let (rank, dtype) = (w.rank(x)?, w.dtype(x)?);
        ensure!(rank >= 2, "BatchNormalization of a tensor of rank {rank}");
        // Parameters broadcast along the channels, which are dimension 1.
        let mut parameters = [x; 4];
        for (parameter, &input) in parameters.iter_mut().zip(&inputs[1..]) {
            let input = w.cast("parameter", input, dtype)?;
            *parameter = w.with_trailing("channels", input, rank - 2)?;
        }
        let [scale, bias, mut mean, mut variance] = parameters;
        let mut outputs = tvec![x; self.n_outputs];
        if self.is_training {
            mean = wire_mean(&mut w, "mean", x)?;
            let centred = w.spread("centred", sub(), &[x, mean])?;
            let squared = w.node("squared", square(), &[centred])?;
            variance = wire_mean(&mut w, "variance", squared)?;
            let running = [
                (self.running_mean, inputs[3], mean),
                (self.running_variance, inputs[4], variance),
            ];
            for (at, before, now) in running {
                if let Some(at) = at {
                    outputs[at] = self.wire_running(&mut w, before, now)?;
                }
            }
        }
        // In the order that the folded form computes: x · slope + intercept.
        let epsilon = w.scalar("epsilon", self.epsilon, dtype)?;
        let deviation = w.spread("with_epsilon", add(), &[variance, epsilon])?;
        let deviation = w.node("deviation", sqrt(), &[deviation])?;
        let slope = w.spread("slope", div(), &[scale, deviation])?;
        let offset = w.spread("scaled_mean", mul(), &[mean, scale])?;
        let offset = w.spread("offset", div(), &[offset, deviation])?;
        let intercept = w.spread("intercept", sub(), &[bias, offset])?;
        let scaled = w.spread("scaled", mul(), &[slope, x])?;
        outputs[0] = w.spread("shifted", add(), &[intercept, scaled])?;
        Ok(outputs)
    }
}

impl BatchNormalization {
    /// `before · momentum + now · (1 - momentum)`, as `before` is shaped and typed.
    fn wire_running(
        &self,
        w: &mut Wiring,
        before: OutletId,
        now: OutletId,
    ) -> TractResult<OutletId> {
        let (shape, dtype) = (w.shape(now)?, w.dtype(before)?);
        let channels = [shape[1].clone()];
        let now = w.reshape("flat", now, 0, &shape, &channels)?;
        let now = w.cast("now", now, dtype)?;
        let momentum = w.scalar("momentum", self.momentum, dtype)?;
        let rest = w.scalar("rest", 1.0 - self.momentum, dtype)?;
        let before = w.spread("kept", mul(), &[before, momentum])?;
        let now = w.spread("added", mul(), &[now, rest])?;
        w.spread("running", add(), &[before, now])
    }
}

/// The mean over all but the channels, with every dimension kept.
fn wire_mean(w: &mut Wiring, what: &str, x: OutletId) -> TractResult<OutletId> {
    let rank = w.rank(x)? as i64;
    let axes = (0..rank).filter(|&axis| axis != 1).collect();
    let reduce = Reduce::new(Some(axes), true, Reducer::Mean);
    let name = w.name(what);
    Ok(reduce.wire(&name, w.model, &[x])?[0])
}
