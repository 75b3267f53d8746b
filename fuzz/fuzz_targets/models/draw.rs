//! A graph whose operators mostly fit what they are given, and sometimes do not.

use arbitrary::{Result, Unstructured};
use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value as Of};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

use super::operators::integer;

/// Elements of a weight that is drawn at most.
const MAX_ELEMENTS: i64 = 1 << 12;

/// A value so far, as far as we know it: sizes may be wrong once odd nodes made them.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) name: String,
    /// -1 where it is symbolic.
    pub(super) dims: Vec<i64>,
    pub(super) dtype: DataType,
}

pub(super) struct Drawing<'a, 'u> {
    pub(super) u: &'a mut Unstructured<'u>,
    graph: GraphProto,
    values: Vec<Value>,
    pub(super) n_names: usize,
    pub(super) is_odd: bool,
}

/// The bytes of a model. `is_odd`: nodes, weights and sizes that do not fit are drawn too.
pub(crate) fn model(u: &mut Unstructured<'_>, is_odd: bool) -> Result<Vec<u8>> {
    let opset = *u.choose(&[13, 9, 11, 17, 18, 21, 6])?;
    let mut drawing = Drawing {
        u,
        graph: GraphProto::default(),
        values: Vec::new(),
        n_names: 0,
        is_odd,
    };
    for _ in 0..drawing.u.int_in_range(1..=2)? {
        drawing.input()?;
    }
    for _ in 0..drawing.u.int_in_range(1..=8)? {
        drawing.node()?;
    }
    for _ in 0..drawing.u.int_in_range(1..=2)? {
        let near = drawing.recent()?.name;
        drawing.graph.output.push(ValueInfoProto {
            name: near,
            ..ValueInfoProto::default()
        });
    }
    let model = ModelProto {
        ir_version: 7,
        opset_import: vec![OperatorSetIdProto {
            version: opset,
            ..OperatorSetIdProto::default()
        }],
        graph: Some(drawing.graph),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

impl Drawing<'_, '_> {
    pub(super) fn name(&mut self) -> String {
        self.n_names += 1;
        format!("v{}", self.n_names)
    }

    pub(super) fn oddly(&mut self, one_in: u8) -> Result<bool> {
        Ok(self.is_odd && self.u.ratio(1, one_in)?)
    }

    fn input(&mut self) -> Result<()> {
        let dtype = *self.u.choose(&[
            DataType::Float,
            DataType::Float,
            DataType::Float,
            DataType::Int64,
            DataType::Int32,
            DataType::Bool,
        ])?;
        let rank = *self.u.choose(&[2, 3, 4, 1, 0, 5])?;
        let dims: Vec<i64> = (0..rank)
            .map(|_| self.u.int_in_range(0..=7))
            .map(|size| size.map(|size| if size == 7 { -1 } else { size.max(1) }))
            .collect::<Result<_>>()?;
        let name = self.name();
        let odd = self.oddly(8)?;
        let mut shape = Vec::new();
        for &size in &dims {
            let value = match size {
                _ if odd => match self.u.int_in_range(0..=2)? {
                    0 => Some(dimension::Value::DimValue(integer(self.u, true)?)),
                    1 => Some(dimension::Value::DimParam(
                        (*self
                            .u
                            .choose(&["n*2", "n-1", "n/2", "0", "n*m*n", "?", "-n"])?)
                        .to_owned(),
                    )),
                    _ => None,
                },
                -1 => Some(dimension::Value::DimParam(
                    (*self.u.choose(&["n", "m"])?).to_owned(),
                )),
                size => Some(dimension::Value::DimValue(size)),
            };
            shape.push(Dimension {
                value,
                ..Dimension::default()
            });
        }
        self.graph.input.push(ValueInfoProto {
            name: name.clone(),
            r#type: Some(TypeProto {
                value: Some(Of::TensorType(Tensor {
                    elem_type: dtype as i32,
                    shape: Some(TensorShapeProto { dim: shape }),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        });
        self.values.push(Value { name, dims, dtype });
        Ok(())
    }

    /// One of the last values, so that graphs are deep.
    pub(super) fn recent(&mut self) -> Result<Value> {
        let back = self.u.int_in_range(0..=self.values.len().min(4) - 1)?;
        Ok(self.values[self.values.len() - 1 - back].clone())
    }

    pub(super) fn weight(&mut self, dtype: DataType, dims: &[i64]) -> Result<String> {
        let mut tensor = self.tensor(dtype, dims)?;
        tensor.name = self.name();
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        Ok(name)
    }

    pub(super) fn tensor(&mut self, dtype: DataType, dims: &[i64]) -> Result<TensorProto> {
        let element = match dtype {
            DataType::Int64 | DataType::Double => 8,
            DataType::Float | DataType::Int32 => 4,
            _ => 1,
        };
        let sizes = dims.iter().map(|size| *size.clamp(&0, &64));
        let n = sizes.fold(1, i64::saturating_mul);
        let n = usize::try_from(n.min(MAX_ELEMENTS)).unwrap_or(0);
        let seed = self.u.int_in_range(0..=3_u8)?;
        let mut raw_data = Vec::new();
        for at in 0..n {
            let value = (at as i64 * 7 + i64::from(seed)) % 5 - i64::from(seed % 2);
            match dtype {
                DataType::Float => raw_data.extend((value as f32).to_le_bytes()),
                DataType::Double => raw_data.extend((value as f64).to_le_bytes()),
                DataType::Bool => raw_data.push(u8::from(value > 0)),
                _ => raw_data.extend(&value.to_le_bytes()[..element]),
            }
        }
        if self.oddly(16)? {
            raw_data.truncate(self.u.int_in_range(0..=raw_data.len())?);
        }
        Ok(TensorProto {
            dims: dims.to_vec(),
            data_type: dtype as i32,
            raw_data,
            ..TensorProto::default()
        })
    }

    pub(super) fn constant(&mut self, values: &[i64]) -> String {
        let name = self.name();
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            raw_data: values.iter().flat_map(|it| it.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name
    }

    pub(super) fn scalar(&mut self, value: i64) -> String {
        let name = self.constant(&[value]);
        let last = self.graph.initializer.last_mut().expect("just put");
        last.dims.clear();
        name
    }

    pub(super) fn emit(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
        (dtype, dims): (DataType, Vec<i64>),
    ) {
        let name = self.name();
        self.graph.node.push(NodeProto {
            name: format!("{name}-node"),
            op_type: operator.to_owned(),
            input: inputs,
            output: vec![name.clone()],
            attribute: attributes,
            ..NodeProto::default()
        });
        self.values.push(Value { name, dims, dtype });
    }

    fn node(&mut self) -> Result<()> {
        if self.oddly(3)? {
            return self.odd_node();
        }
        let x = self.recent()?;
        let rank = x.dims.len() as i64;
        match self.u.int_in_range(0..=21)? {
            0 | 1 => self.unary(x),
            2 | 3 => self.binary(x),
            4 => self.matmul(x),
            5 if rank > 0 => {
                let mut perm: Vec<i64> = (0..rank).collect();
                for at in 1..perm.len() {
                    perm.swap(at, self.u.int_in_range(0..=at)?);
                }
                let dims = perm.iter().map(|&at| x.dims[at as usize]).collect();
                self.emit(
                    "Transpose",
                    vec![x.name],
                    vec![ints("perm", perm)],
                    (x.dtype, dims),
                );
                Ok(())
            }
            6 => self.reshape(x),
            7 if rank > 0 => self.slice(x),
            8 if rank > 0 => {
                let axis = self.u.int_in_range(0..=rank - 1)?;
                let mut dims = x.dims.clone();
                if dims[axis as usize] > 0 {
                    dims[axis as usize] = dims[axis as usize].saturating_mul(2);
                }
                let inputs = vec![x.name.clone(), x.name];
                self.emit("Concat", inputs, vec![int("axis", axis)], (x.dtype, dims));
                Ok(())
            }
            9 if rank > 0 => self.gather(x),
            10 if rank > 0 => self.reduce(x),
            11 if rank > 0 => {
                let name =
                    *self
                        .u
                        .choose(&["Softmax", "LogSoftmax", "CumSum", "LpNormalization"])?;
                let axis = int("axis", self.u.int_in_range(-rank..=rank - 1)?);
                let mut inputs = vec![x.name];
                if name == "CumSum" {
                    let along = self.u.int_in_range(0..=rank - 1)?;
                    inputs.push(self.scalar(along));
                }
                self.emit(name, inputs, vec![axis], (x.dtype, x.dims));
                Ok(())
            }
            12 | 13 if rank >= 3 => self.window(x),
            14 if rank > 0 => self.pad(x),
            15 => self.resize(x),
            16 => {
                let on = self.weight(DataType::Bool, &[1])?;
                let other = self.recent()?;
                let inputs = vec![on, x.name, other.name];
                self.emit("Where", inputs, vec![], (x.dtype, x.dims));
                Ok(())
            }
            17 => {
                let to = *self.u.choose(&[
                    DataType::Float,
                    DataType::Int64,
                    DataType::Int32,
                    DataType::Bool,
                    DataType::Float16,
                    DataType::Uint8,
                ])?;
                self.emit(
                    "Cast",
                    vec![x.name],
                    vec![int("to", to as i64)],
                    (to, x.dims),
                );
                Ok(())
            }
            18 => self.spread(x),
            19 if rank > 0 => self.norm(x),
            20 => {
                self.emit("Shape", vec![x.name], vec![], (DataType::Int64, vec![rank]));
                Ok(())
            }
            _ => self.axes(x),
        }
    }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

pub(super) fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..AttributeProto::default()
    }
}

pub(super) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String as i32,
        s: s.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}
