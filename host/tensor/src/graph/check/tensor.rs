//! A weight, or a constant of a node: elements, shape, bytes and numbers.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::DatumType;

use super::MAX_RANK;
use crate::TensorError;
use crate::graph::bounded::EMPTY_BYTES;
use crate::graph::read::MAX_VALUE_BYTES;

/// What a tensor's elements are, where no device holds such.
pub(super) fn check_elements(data_type: i32) -> Result<(), String> {
    match DataType::try_from(data_type) {
        // Left out, or text, which is refused where it reaches a port.
        Ok(DataType::Undefined | DataType::String) => Ok(()),
        Ok(known) if DatumType::try_from(known).is_ok() => Ok(()),
        Ok(known) => Err(format!(
            "holds {}, which no device holds",
            known.as_str_name()
        )),
        Err(_) => Err(format!(
            "holds elements of ONNX's type {data_type}, which no device holds"
        )),
    }
}

/// Refuses a tensor that is not what it says. `what` names it: ``weight `w` ``.
pub(super) fn check_tensor(what: &str, tensor: &TensorProto) -> Result<(), TensorError> {
    let refused = |why: String, hint: &str| TensorError::InvalidGraph {
        what: format!("{what} {why}"),
        hint: hint.to_owned(),
    };
    check_elements(tensor.data_type)
        .map_err(|why| refused(why, "export the model with weights of other elements"))?;
    if tensor.data_location.is_some_and(|location| location != 0)
        || !tensor.external_data.is_empty()
    {
        return Err(refused(
            "lies in a file of its own (external data)".to_owned(),
            "save the model with its weights inside",
        ));
    }
    // Left out: the importer says so.
    let Ok(data_type) = DataType::try_from(tensor.data_type) else {
        return Ok(());
    };
    let Ok(datum_type) = DatumType::try_from(data_type) else {
        return Ok(());
    };
    if tensor.dims.len() > MAX_RANK {
        return Err(refused(
            format!("has {} dimensions, more than {MAX_RANK}", tensor.dims.len()),
            "export the model with fewer",
        ));
    }
    let (dtype, shape) = (data_type.as_str_name(), &tensor.dims);
    // A size of 0 hides no other.
    let n_elements = shape.iter().try_fold(1_u64, |product, &dim| {
        product.checked_mul(u64::try_from(dim).ok()?.max(1))
    });
    let is_empty = shape.contains(&0);
    // Kernels go around for each that it would have.
    if is_empty && n_elements.is_some_and(|n| n > MAX_VALUE_BYTES / EMPTY_BYTES) {
        return Err(refused(
            format!("is {dtype} {shape:?}, which has no elements and sizes beyond use"),
            "leave it out, or export it with its true shape",
        ));
    }
    let n_elements = n_elements.map(|n| if is_empty { 0 } else { n });
    let n_bytes = n_elements.and_then(|n| n.checked_mul(datum_type.size_of() as u64));
    let (Some(n_elements), Some(n_bytes)) = (n_elements, n_bytes) else {
        return Err(refused(
            format!("has the impossible shape {shape:?}"),
            "export the model again: sizes are 0 or more, and their product is counted in 64 bits",
        ));
    };
    if n_bytes > MAX_VALUE_BYTES {
        return Err(refused(
            format!("is {dtype} {shape:?}, larger than {MAX_VALUE_BYTES} bytes"),
            "split it, or export it with smaller elements",
        ));
    }
    check_length(tensor, data_type, n_elements, n_bytes)
        .map_err(|why| refused(why, "is the file whole?"))?;
    match first_nan(tensor, data_type) {
        None => Ok(()),
        Some(at) => Err(refused(
            format!("is {dtype} {shape:?} with NaN as element {at}"),
            "one NaN makes others of all that it meets: export the model from weights that are numbers",
        )),
    }
}

fn check_length(
    tensor: &TensorProto,
    data_type: DataType,
    n_elements: u64,
    n_bytes: u64,
) -> Result<(), String> {
    let said = format!("is {} {:?}", data_type.as_str_name(), tensor.dims);
    if !tensor.raw_data.is_empty() {
        let given = tensor.raw_data.len() as u64;
        return match (data_type, given == n_bytes) {
            (DataType::String, _) => Err(format!("{said} and holds text as raw bytes")),
            (_, true) => Ok(()),
            (_, false) => Err(format!(
                "{said}, which takes {n_bytes} bytes, and holds {given}"
            )),
        };
    }
    // By type, the field that ONNX has its elements in.
    let given = match data_type {
        DataType::Float => tensor.float_data.len(),
        DataType::Double => tensor.double_data.len(),
        DataType::Int64 => tensor.int64_data.len(),
        DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
        DataType::String => tensor.string_data.len(),
        _ => tensor.int32_data.len(),
    };
    if given as u64 == n_elements {
        return Ok(());
    }
    Err(format!(
        "{said}, which takes {n_elements} elements, and holds {given} of that type"
    ))
}

/// The first element that is no number. Infinities pass: masks are made of them.
fn first_nan(tensor: &TensorProto, data_type: DataType) -> Option<usize> {
    let raw = &tensor.raw_data;
    let is_half_nan = |bits: u16| bits & 0x7fff > 0x7c00;
    match data_type {
        DataType::Float => {
            let (raw, _) = raw.as_chunks();
            let is_nan = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_nan();
            let listed = || tensor.float_data.iter().position(|value| value.is_nan());
            raw.iter().position(is_nan).or_else(listed)
        }
        DataType::Double => {
            let (raw, _) = raw.as_chunks();
            let is_nan = |bytes: &[u8; 8]| f64::from_le_bytes(*bytes).is_nan();
            let listed = || tensor.double_data.iter().position(|value| value.is_nan());
            raw.iter().position(is_nan).or_else(listed)
        }
        DataType::Float16 => {
            let (raw, _) = raw.as_chunks();
            let is_nan = |bytes: &[u8; 2]| is_half_nan(u16::from_le_bytes(*bytes));
            let listed = tensor.int32_data.iter();
            let listed = || listed.clone().position(|&bits| is_half_nan(bits as u16));
            raw.iter().position(is_nan).or_else(listed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_nan_where_its_bits_say_so() {
        let of = |bits: [u16; 3]| TensorProto {
            data_type: DataType::Float16 as i32,
            dims: vec![3],
            raw_data: bits.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
            ..TensorProto::default()
        };
        // One, both infinities; then a NaN of either sign.
        assert!(check_tensor("it", &of([0x3c00, 0x7c00, 0xfc00])).is_ok());
        for nan in [0x7c01, 0xfe00] {
            let error = check_tensor("it", &of([0x3c00, 0x7c00, nan])).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("FLOAT16 [3] with NaN as element 2"),
                "{error}"
            );
        }
    }
}
