//! `Upsample`, which ONNX 10 renamed: a `Resize` of one particular manner.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::Parsed;

pub(super) fn upsample(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let [x, scales] = node.input.as_slice() else {
        return node.bail(
            "Upsample of ONNX 7 and 8 keeps its scales in an attribute, which is not supported",
        );
    };
    let mut resize = node.clone();
    resize.op_type = "Resize".to_owned();
    resize.input = vec![x.clone(), String::new(), scales.clone()];
    resize.attribute.extend(
        [
            ("coordinate_transformation_mode", "asymmetric"),
            ("nearest_mode", "floor"),
        ]
        .map(|(name, value)| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::String as i32,
            s: value.as_bytes().to_vec(),
            ..AttributeProto::default()
        }),
    );
    let mut context = context.clone();
    context.onnx_operator_set_version = 13;
    let builder = super::THEIRS.0["Resize"];
    builder(&context, &resize)
}
