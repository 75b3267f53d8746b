//! What operators there are, and attributes that they look for.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, TensorProto};

/// Every operator that the importer knows, in order, and some of ours.
pub(super) static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = tract_onnx::onnx().op_register.0.keys().cloned().collect();
    names.extend(["Attention", "TfIdfVectorizer", "Upsample"].map(str::to_owned));
    names.sort();
    names.dedup();
    names
});

const INTEGERS: [&str; 22] = [
    "axis",
    "keepdims",
    "group",
    "to",
    "allowzero",
    "exclusive",
    "reverse",
    "k",
    "p",
    "size",
    "noop_with_empty_axes",
    "batch_dims",
    "block_size",
    "ceil_mode",
    "count_include_pad",
    "upper",
    "transA",
    "transB",
    "num_outputs",
    "num_heads",
    "kv_num_heads",
    "stash_type",
];
const LISTS: [&str; 17] = [
    "axes",
    "perm",
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "output_padding",
    "output_shape",
    "starts",
    "ends",
    "split",
    "shape",
    "repeats",
    "value_ints",
    "pool_int64s",
    "ngram_counts",
    "ngram_indexes",
];
const FLOATS: [&str; 9] = [
    "alpha",
    "beta",
    "gamma",
    "bias",
    "epsilon",
    "min",
    "max",
    "value_float",
    "spatial_scale",
];
const TEXTS: [(&str, &[&str]); 8] = [
    (
        "mode",
        &[
            "constant", "reflect", "edge", "wrap", "nearest", "linear", "cubic", "TF", "DCR",
        ],
    ),
    ("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    (
        "coordinate_transformation_mode",
        &[
            "half_pixel",
            "asymmetric",
            "align_corners",
            "pytorch_half_pixel",
        ],
    ),
    (
        "nearest_mode",
        &["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"],
    ),
    ("reduction", &["none", "add", "mul", "max"]),
    (
        "equation",
        &[
            "ij,jk->ik",
            "bij,bjk->bik",
            "ij->ji",
            "ii->i",
            "...i,...i->...",
            "i,j->ij",
        ],
    ),
    ("approximate", &["none", "tanh"]),
    ("direction", &["LEFT", "RIGHT"]),
];

/// A number that a size, an axis or a pad may be: mostly small, sometimes absurd.
pub(super) fn integer(u: &mut Unstructured<'_>, is_odd: bool) -> Result<i64> {
    if is_odd && u.ratio(1, 8)? {
        return Ok(*u.choose(&[
            i64::MIN,
            i64::MAX,
            -1,
            1 << 20,
            1 << 31,
            1 << 32,
            1 << 40,
            1 << 62,
            -(1 << 33),
        ])?);
    }
    let low = if u.ratio(1, 4)? { -4 } else { 0 };
    u.int_in_range(low..=4)
}

pub(super) fn integers(u: &mut Unstructured<'_>, most: usize, is_odd: bool) -> Result<Vec<i64>> {
    let n = u.int_in_range(0..=most)?;
    (0..n).map(|_| integer(u, is_odd)).collect()
}

pub(super) fn attribute(
    u: &mut Unstructured<'_>,
    tensor: Option<TensorProto>,
) -> Result<AttributeProto> {
    let mut proto = AttributeProto::default();
    let kind = match u.int_in_range(0..=7)? {
        0..=2 => {
            proto.name = u.choose(&INTEGERS)?.to_string();
            proto.i = integer(u, true)?;
            AttributeType::Int
        }
        3 | 4 => {
            proto.name = u.choose(&LISTS)?.to_string();
            proto.ints = integers(u, 6, true)?;
            AttributeType::Ints
        }
        5 => {
            proto.name = u.choose(&FLOATS)?.to_string();
            proto.f = *u.choose(&[0.0, 1.0, -1.0, 0.5, 1e-5, 1e38, f32::INFINITY, f32::NAN])?;
            AttributeType::Float
        }
        6 => {
            let (name, texts) = u.choose(&TEXTS)?;
            proto.name = name.to_string();
            proto.s = u.choose(texts)?.as_bytes().to_vec();
            AttributeType::String
        }
        _ => {
            proto.name = "value".to_owned();
            proto.t = tensor;
            AttributeType::Tensor
        }
    };
    proto.r#type = kind as i32;
    Ok(proto)
}
