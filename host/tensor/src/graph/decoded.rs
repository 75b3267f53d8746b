//! How many bytes a file becomes once it is decoded, told without decoding it: two
//! bytes may say that there is an attribute, which takes some hundred then.
//!
//! Walks the wire format of protocol buffers (protobuf.dev, "Encoding") through the
//! messages of ONNX. A file that is not well formed ends the walk, and fails to decode.

use std::mem::size_of;

use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto, TrainingInfoProto,
    TypeProto, ValueInfoProto, tensor_shape_proto,
};

/// A message of ONNX, as far as it holds others.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Annotation,
    Training,
    Function,
    Port,
    Type,
    TensorType,
    Shape,
    /// One that holds none, and its size.
    Leaf(usize),
}

/// Of a text, or of bytes, besides its content.
const TEXT: usize = size_of::<String>();

/// Of an integer, which may be one byte in the file, in a list that grows.
const INTEGER: u64 = 16;

/// A list that grows is copied into one twice as long, and both are there then.
const GROWING: u64 = 3;

impl Message {
    fn n_bytes(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::Sparse => size_of::<SparseTensorProto>(),
            Self::Annotation => size_of::<TensorAnnotation>(),
            Self::Training => size_of::<TrainingInfoProto>(),
            Self::Function => size_of::<FunctionProto>(),
            Self::Port => size_of::<ValueInfoProto>(),
            Self::Type | Self::TensorType => size_of::<TypeProto>(),
            Self::Shape => TEXT,
            Self::Leaf(n_bytes) => n_bytes,
        }
    }

    /// What a field of this number and of wire type 2 is; none for text, bytes, lists
    /// of numbers, and what is skipped.
    fn field(self, number: u64) -> Option<Self> {
        let entry = Self::Leaf(size_of::<StringStringEntryProto>());
        let opset = Self::Leaf(size_of::<OperatorSetIdProto>());
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => opset,
            (Self::Model, 14) | (Self::Tensor, 13) | (Self::Annotation, 2) => entry,
            (Self::Training, 3 | 4) => entry,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 11..=13) => Self::Port,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 15) | (Self::Port, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Leaf(size_of::<tensor_shape_proto::Dimension>()),
            _ => return None,
        })
    }

    /// What each byte of a field becomes that is no message.
    fn growth(self, number: u64) -> u64 {
        match (self, number) {
            // Integers.
            (Self::Attribute, 8) | (Self::Tensor, 1 | 5 | 7 | 11) | (Self::Sparse, 3) => INTEGER,
            // Floats, which take as much in the file.
            (Self::Attribute, 7) | (Self::Tensor, 4 | 10) => GROWING,
            _ => 1,
        }
    }
}

/// Bytes in memory of the model that `file` is, at most.
pub(super) fn decoded_bytes(file: &[u8]) -> u64 {
    let mut total = size_of::<ModelProto>() as u64;
    // Not a recursion: nesting is the file's.
    let mut todo = vec![(Message::Model, file)];
    while let Some((message, mut rest)) = todo.pop() {
        while let Some(field) = Field::read(&mut rest) {
            let (n_bytes, content) = match field {
                Field::Number => (INTEGER, None),
                Field::Content { number, content } => {
                    let length = content.len() as u64;
                    match message.field(number) {
                        Some(inner) => (GROWING * inner.n_bytes() as u64, Some((inner, content))),
                        None => {
                            let content = message.growth(number).saturating_mul(length);
                            (content.saturating_add(GROWING * TEXT as u64), None)
                        }
                    }
                }
            };
            total = total.saturating_add(n_bytes);
            todo.extend(content);
        }
    }
    total
}

enum Field<'a> {
    Number,
    Content { number: u64, content: &'a [u8] },
}

impl<'a> Field<'a> {
    /// The next field; none at the end, and where what follows is no field.
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let key = varint(rest)?;
        match key & 7 {
            0 => varint(rest).map(|_| Self::Number),
            1 => cut(rest, 8).map(|_| Self::Number),
            5 => cut(rest, 4).map(|_| Self::Number),
            2 => {
                let length = usize::try_from(varint(rest)?).ok()?;
                let content = cut(rest, length)?;
                let number = key >> 3;
                Some(Self::Content { number, content })
            }
            // A group, which ONNX has none of: decoding skips it, whatever it holds.
            3 | 4 => Some(Self::Number),
            _ => None,
        }
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..10 {
        let byte = *rest.get(at)?;
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte < 0x80 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of wire type 2.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn empty_attributes_count_for_what_they_become() {
        let node = field(1, &field(5, &[]).repeat(1000));
        let file = field(7, &node);
        assert!(file.len() < 2100, "{}", file.len());
        let bytes = decoded_bytes(&file);
        assert!(bytes > 1000 * size_of::<AttributeProto>() as u64, "{bytes}");
    }

    #[test]
    fn weights_count_for_what_they_are() {
        let file = field(7, &field(5, &field(9, &[7; 1 << 20])));
        let bytes = decoded_bytes(&file);
        assert!((1 << 20..(1 << 20) + 10_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_no_message_ends_the_walk() {
        for file in [&[0xff; 40][..], &[0x3a, 0xff, 0x7f], &[7], &[0x3a]] {
            assert!(decoded_bytes(file) < 10_000);
        }
    }
}
