//! Inputs that are one number by ONNX's definition, where the importer and its kernels
//! read the first element without looking whether there is one.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Operators, and which of their inputs are one number.
const SCALARS: [(&str, &[usize]); 16] = [
    ("BlackmanWindow", &[0]),
    ("ConvInteger", &[2]),
    ("CumSum", &[1]),
    ("DFT", &[1, 2]),
    ("Dropout", &[1, 2]),
    ("HammingWindow", &[0]),
    ("HannWindow", &[0]),
    ("MelWeightMatrix", &[0, 1, 2, 3, 4]),
    ("NonMaxSuppression", &[2, 3, 4]),
    ("OneHot", &[1]),
    ("Pad", &[2]),
    ("QLinearConv", &[1, 2, 6, 7]),
    ("Range", &[0, 1, 2]),
    ("STFT", &[1, 3]),
    ("TopK", &[1]),
    ("Trilu", &[1]),
];

/// The inputs of `node` that are one number, by their place among those that are given.
pub(super) fn scalars_of(node: &NodeProto) -> Vec<usize> {
    let of = SCALARS
        .iter()
        .find(|(operator, _)| *operator == node.op_type);
    let given = |slot: usize| node.input.get(slot).is_some_and(|name| !name.is_empty());
    let place = |slot: usize| (0..slot).filter(|&before| given(before)).count();
    let slots = of.map_or(&[][..], |(_, slots)| slots).iter().copied();
    slots.filter(|&slot| given(slot)).map(place).collect()
}

/// Refuses what is not one number; what is not known yet passes unless `is_last`.
pub(super) fn check_scalar(fact: &InferenceFact, is_last: bool) -> TractResult<()> {
    let mut dims = fact.shape.dims();
    let is_one = match is_last {
        true => !fact.shape.is_open() && dims.all(|dim| dim.concretize() == Some(1.to_dim())),
        false => dims.all(|dim| {
            let size = dim.concretize().and_then(|dim| dim.to_i64().ok());
            size.is_none_or(|size| size == 1)
        }),
    };
    ensure!(
        is_one,
        "an input that is one number has the shape {:?}; give it one element",
        fact.shape
    );
    Ok(())
}
