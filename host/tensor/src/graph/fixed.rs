//! Inputs that the caller fixes for good, before the file is read.
//!
//! Some inputs only say how large something is: the shape of a `Reshape`, the
//! `k` of a `TopK`. A run must be sized before it runs, so such an input becomes
//! a weight of the graph, and a run no longer takes it.

use sha2::Digest as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, ValueInfoProto, type_proto};

use super::Digest;
use super::proto::data_type_of;
use crate::shape::{n_bytes, shown};
use crate::{Dtype, TensorError};

/// An input of a model and the value that it has in every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The input, as the model calls it.
    pub name: String,
    /// Element type; the input's own.
    pub dtype: Dtype,
    /// Sizes, outermost first; they fit the input's.
    pub shape: Vec<usize>,
    /// The elements, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl Fixed {
    /// The digest of a file read so: its own when nothing is fixed.
    pub(super) fn digest(file: &[u8], fixed: &[Self]) -> Digest {
        if fixed.is_empty() {
            return Digest::of(file);
        }
        let mut hasher = sha2::Sha256::new();
        hasher.update(Digest::of(file).0);
        for input in fixed {
            hasher.update((input.name.len() as u64).to_le_bytes());
            hasher.update(&input.name);
            hasher.update(format!("{} {:?};", input.dtype, input.shape));
            hasher.update(&input.bytes);
        }
        Digest(hasher.finalize().into())
    }
}

/// Makes weights of the inputs that are fixed.
///
/// `UnknownName` for an input that is not there or is fixed twice;
/// `ShapeMismatch` for a value that contradicts its input.
pub(super) fn fix(proto: &mut ModelProto, fixed: &[Fixed]) -> Result<(), TensorError> {
    let Some(graph) = &mut proto.graph else {
        return Ok(());
    };
    for input in fixed {
        let at = graph.input.iter().position(|port| port.name == input.name);
        let Some(at) = at else {
            return Err(unknown(input, fixed, graph));
        };
        let port = graph.input.remove(at);
        check(input, &port)?;
        // A default that the file brings for the input gives way.
        graph.initializer.retain(|tensor| tensor.name != input.name);
        graph.initializer.push(TensorProto {
            name: input.name.clone(),
            dims: input.shape.iter().map(|&size| size as i64).collect(),
            data_type: data_type_of(input.dtype) as i32,
            raw_data: input.bytes.clone(),
            ..TensorProto::default()
        });
    }
    Ok(())
}

fn unknown(input: &Fixed, fixed: &[Fixed], graph: &GraphProto) -> TensorError {
    let times = fixed.iter().filter(|other| other.name == input.name);
    let left = graph.input.iter().take(16);
    let left: Vec<_> = left.map(|port| format!("`{}`", port.name)).collect();
    let what = match times.count() {
        1 => format!(
            "input `{}` cannot be fixed, it does not exist; left are {}",
            input.name,
            left.join(", ")
        ),
        n => format!("input `{}` is fixed {n} times", input.name),
    };
    TensorError::UnknownName {
        name: input.name.clone(),
        what,
    }
}

fn check(input: &Fixed, port: &ValueInfoProto) -> Result<(), TensorError> {
    let given = format!("{} {}", input.dtype, shown(&input.shape));
    let mismatch = |what: String| TensorError::ShapeMismatch {
        place: input.name.clone(),
        what: format!("input `{}` cannot be fixed: {what}", input.name),
    };
    let wanted = n_bytes(input.dtype, &input.shape)?;
    if input.bytes.len() != wanted {
        return Err(mismatch(format!(
            "{given} takes {wanted} bytes, {} were given",
            input.bytes.len()
        )));
    }
    if input.dtype == Dtype::Bool && input.bytes.iter().any(|&byte| byte > 1) {
        return Err(mismatch("a bool element is one byte, 0 or 1".to_owned()));
    }
    let value = port.r#type.as_ref().and_then(|it| it.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = value else {
        return Err(mismatch("it is no tensor".to_owned()));
    };
    if tensor.elem_type != data_type_of(input.dtype) as i32 {
        let wanted = DataType::try_from(tensor.elem_type)
            .map_or("an unknown dtype", |dtype| dtype.as_str_name());
        return Err(mismatch(format!("it holds {wanted}, {given} was given")));
    }
    // A shape that the file leaves out is any.
    let Some(shape) = &tensor.shape else {
        return Ok(());
    };
    let fits = shape.dim.len() == input.shape.len()
        && shape.dim.iter().zip(&input.shape).all(|(dim, &size)| {
            let Some(Size::DimValue(wanted)) = dim.value else {
                return true;
            };
            usize::try_from(wanted).is_ok_and(|wanted| wanted == size)
        });
    if fits {
        return Ok(());
    }
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(Size::DimValue(size)) => size.to_string(),
        Some(Size::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    let dims: Vec<_> = dims.collect();
    Err(mismatch(format!(
        "its shape is {}, {given} was given",
        shown(&dims)
    )))
}
