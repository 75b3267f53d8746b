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

use super::operators::{ALL, attribute, integer, integers};

/// Elements of a weight that is drawn at most.
const MAX_ELEMENTS: i64 = 1 << 12;

/// A value so far, as far as we know it: sizes may be wrong once odd nodes made them.
#[derive(Clone)]
struct Value {
    name: String,
    /// -1 where it is symbolic.
    dims: Vec<i64>,
    dtype: DataType,
}

struct Drawing<'a, 'u> {
    u: &'a mut Unstructured<'u>,
    graph: GraphProto,
    values: Vec<Value>,
    n_names: usize,
    is_odd: bool,
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
    fn name(&mut self) -> String {
        self.n_names += 1;
        format!("v{}", self.n_names)
    }

    fn oddly(&mut self, one_in: u8) -> Result<bool> {
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
                        (*self.u.choose(&["n*2", "n-1", "n/2", "0", "n*m*n", "?", "-n"])?).to_owned(),
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
    fn recent(&mut self) -> Result<Value> {
        let back = self.u.int_in_range(0..=self.values.len().min(4) - 1)?;
        Ok(self.values[self.values.len() - 1 - back].clone())
    }

    fn weight(&mut self, dtype: DataType, dims: &[i64]) -> Result<String> {
        let mut tensor = self.tensor(dtype, dims)?;
        tensor.name = self.name();
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        Ok(name)
    }

    fn tensor(&mut self, dtype: DataType, dims: &[i64]) -> Result<TensorProto> {
        let element = match dtype {
            DataType::Int64 | DataType::Double => 8,
            DataType::Float | DataType::Int32 => 4,
            _ => 1,
        };
        let n = dims.iter().map(|size| size.clamp(&0, &64)).product::<i64>();
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

    fn constant(&mut self, values: &[i64]) -> String {
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

    fn scalar(&mut self, value: i64) -> String {
        let name = self.constant(&[value]);
        let last = self.graph.initializer.last_mut().expect("just put");
        last.dims.clear();
        name
    }

    fn emit(
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
                self.emit("Transpose", vec![x.name], vec![ints("perm", perm)], (x.dtype, dims));
                Ok(())
            }
            6 => self.reshape(x),
            7 if rank > 0 => self.slice(x),
            8 if rank > 0 => {
                let axis = self.u.int_in_range(0..=rank - 1)?;
                let mut dims = x.dims.clone();
                if dims[axis as usize] > 0 {
                    dims[axis as usize] *= 2;
                }
                let inputs = vec![x.name.clone(), x.name];
                self.emit("Concat", inputs, vec![int("axis", axis)], (x.dtype, dims));
                Ok(())
            }
            9 if rank > 0 => self.gather(x),
            10 if rank > 0 => self.reduce(x),
            11 if rank > 0 => {
                let name = *self.u.choose(&["Softmax", "LogSoftmax", "CumSum", "LpNormalization"])?;
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
                self.emit("Cast", vec![x.name], vec![int("to", to as i64)], (to, x.dims));
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

    fn unary(&mut self, x: Value) -> Result<()> {
        const NAMES: [&str; 31] = [
            "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Floor", "Ceil", "Round",
            "Erf", "Not", "Identity", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "HardSwish",
            "Softplus", "Softsign", "Gelu", "Mish", "Sign", "Reciprocal", "Cos", "IsNaN", "IsInf",
            "Clip", "Celu", "ThresholdedRelu",
        ];
        let name = *self.u.choose(&NAMES)?;
        self.emit(name, vec![x.name], vec![], (x.dtype, x.dims));
        Ok(())
    }

    fn binary(&mut self, x: Value) -> Result<()> {
        const NAMES: [&str; 17] = [
            "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod", "Equal", "Greater", "Less",
            "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "PRelu",
        ];
        let name = *self.u.choose(&NAMES)?;
        let other = match self.u.int_in_range(0..=3)? {
            0 => x.name.clone(),
            1 => self.recent()?.name,
            2 => self.weight(x.dtype, &[])?,
            _ => {
                let last = x.dims.last().copied().unwrap_or(1).max(1);
                self.weight(x.dtype, &[last])?
            }
        };
        let mut inputs = vec![x.name, other];
        if self.u.ratio(1, 4)? {
            inputs.swap(0, 1);
        }
        let dtype = match name {
            "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" => DataType::Bool,
            _ => x.dtype,
        };
        self.emit(name, inputs, vec![], (dtype, x.dims));
        Ok(())
    }

    fn matmul(&mut self, x: Value) -> Result<()> {
        let columns = self.u.int_in_range(0..=5)?;
        let rows = x.dims.last().copied().unwrap_or(1).max(1);
        let w = self.weight(x.dtype, &[rows, columns])?;
        let mut dims = x.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = columns;
        }
        let (name, attributes) = match self.u.int_in_range(0..=3)? {
            0 => ("Gemm", vec![int("transB", self.u.int_in_range(0..=1)?)]),
            1 => ("Einsum", vec![text("equation", "...ij,jk->...ik")]),
            _ => ("MatMul", vec![]),
        };
        self.emit(name, vec![x.name, w], attributes, (x.dtype, dims));
        Ok(())
    }

    fn reshape(&mut self, x: Value) -> Result<()> {
        let mut dims: Vec<i64> = match self.u.int_in_range(0..=3)? {
            0 => vec![-1],
            1 => vec![0, -1],
            2 => x.dims.iter().copied().chain([1]).collect(),
            _ => integers(self.u, 5, self.is_odd)?,
        };
        if self.u.ratio(1, 2)? {
            let cut = self.u.int_in_range(0..=dims.len())?;
            dims.insert(cut, 1);
        }
        let shape = self.constant(&dims);
        self.emit("Reshape", vec![x.name, shape], vec![], (x.dtype, dims));
        Ok(())
    }

    fn slice(&mut self, x: Value) -> Result<()> {
        let axis = self.u.int_in_range(0..=x.dims.len() as i64 - 1)?;
        let given = [
            integer(self.u, true)?,
            integer(self.u, true)?,
            axis,
            *self.u.choose(&[1, 1, 2, -1, -2, 3])?,
        ];
        let mut inputs = vec![x.name];
        inputs.extend(given.map(|value| self.constant(&[value])));
        self.emit("Slice", inputs, vec![], (x.dtype, x.dims));
        Ok(())
    }

    fn gather(&mut self, x: Value) -> Result<()> {
        let axis = self.u.int_in_range(0..=x.dims.len() as i64 - 1)?;
        let indices = match self.u.int_in_range(0..=2)? {
            0 => self.recent()?.name,
            1 => {
                let index = integer(self.u, self.is_odd)?;
                self.scalar(index)
            }
            _ => {
                let values = integers(self.u, 4, self.is_odd)?;
                self.constant(&values)
            }
        };
        let name = *self.u.choose(&["Gather", "Gather", "GatherElements", "GatherND"])?;
        self.emit(name, vec![x.name, indices], vec![int("axis", axis)], (x.dtype, x.dims));
        Ok(())
    }

    fn reduce(&mut self, x: Value) -> Result<()> {
        let rank = x.dims.len() as i64;
        let name = *self.u.choose(&[
            "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2",
            "ReduceSumSquare", "ReduceLogSumExp", "ArgMax", "ArgMin",
        ])?;
        let axis = self.u.int_in_range(-rank..=rank - 1)?;
        let keeps = self.u.int_in_range(0..=1)?;
        let mut attributes = vec![int("keepdims", keeps)];
        let mut inputs = vec![x.name];
        match name {
            "ArgMax" | "ArgMin" => attributes.push(int("axis", axis)),
            _ if self.u.ratio(1, 2)? => inputs.push(self.constant(&[axis])),
            _ => attributes.push(ints("axes", vec![axis])),
        }
        let mut dims = x.dims;
        let at = axis.rem_euclid(rank) as usize;
        if keeps == 1 {
            dims[at] = 1;
        } else {
            dims.remove(at);
        }
        self.emit(name, inputs, attributes, (x.dtype, dims));
        Ok(())
    }

    fn window(&mut self, x: Value) -> Result<()> {
        let n = x.dims.len() - 2;
        let kernel: Vec<i64> = (0..n)
            .map(|_| self.u.int_in_range(1..=3))
            .collect::<Result<_>>()?;
        let mut attributes = vec![ints("kernel_shape", kernel.clone())];
        for name in ["strides", "dilations"] {
            if self.u.ratio(1, 3)? {
                let steps = (0..n).map(|_| self.u.int_in_range(1..=3));
                attributes.push(ints(name, steps.collect::<Result<_>>()?));
            }
        }
        if self.u.ratio(1, 2)? {
            let pads = (0..2 * n).map(|_| self.u.int_in_range(0..=3));
            attributes.push(ints("pads", pads.collect::<Result<_>>()?));
        }
        if self.u.ratio(1, 4)? {
            attributes.push(int("ceil_mode", 1));
        }
        let mut dims = x.dims.clone();
        dims[2..].fill(-1);
        let name = *self.u.choose(&["Conv", "Conv", "MaxPool", "AveragePool", "ConvTranspose"])?;
        let mut inputs = vec![x.name];
        if name.starts_with("Conv") {
            let channels = x.dims[1].max(1);
            let group = *self.u.choose(&[1, channels, 2])?;
            let out = group * self.u.int_in_range(1..=2)?;
            let shape = match name {
                "Conv" => [out, (channels / group).max(1)],
                _ => [channels, out / group],
            };
            attributes.push(int("group", group));
            let shape: Vec<i64> = shape.into_iter().chain(kernel).collect();
            inputs.push(self.weight(x.dtype, &shape)?);
            dims[1] = out;
        }
        self.emit(name, inputs, attributes, (x.dtype, dims));
        Ok(())
    }

    fn pad(&mut self, x: Value) -> Result<()> {
        let pads: Vec<i64> = (0..2 * x.dims.len())
            .map(|_| integer(self.u, self.is_odd))
            .collect::<Result<_>>()?;
        let mode = *self.u.choose(&["constant", "reflect", "edge", "wrap"])?;
        let pads = self.constant(&pads);
        self.emit("Pad", vec![x.name, pads], vec![text("mode", mode)], (x.dtype, x.dims));
        Ok(())
    }

    fn resize(&mut self, x: Value) -> Result<()> {
        let mode = *self.u.choose(&["nearest", "linear"])?;
        let way = *self.u.choose(&["half_pixel", "asymmetric", "align_corners"])?;
        let attributes = vec![text("mode", mode), text("coordinate_transformation_mode", way)];
        let inputs = match self.u.ratio(1, 2)? {
            true => {
                let scales = self.weight(DataType::Float, &[x.dims.len() as i64])?;
                vec![x.name, String::new(), scales]
            }
            false => {
                let sizes = x.dims.iter().map(|_| integer(self.u, self.is_odd));
                let sizes: Vec<i64> = sizes.collect::<Result<_>>()?;
                let sizes = self.constant(&sizes);
                vec![x.name, String::new(), String::new(), sizes]
            }
        };
        self.emit("Resize", inputs, attributes, (x.dtype, x.dims));
        Ok(())
    }

    /// Operators that a constant tells how large to make what they make.
    fn spread(&mut self, x: Value) -> Result<()> {
        let name = *self.u.choose(&["Expand", "Tile", "ConstantOfShape", "OneHot", "Range"])?;
        let told = integers(self.u, x.dims.len().max(1), self.is_odd)?;
        let inputs = match name {
            "ConstantOfShape" => vec![self.constant(&told)],
            "OneHot" => {
                let depth = integer(self.u, self.is_odd)?;
                let depth = self.scalar(depth);
                vec![x.name, depth, self.weight(DataType::Float, &[2])?]
            }
            "Range" => {
                let ends = [integer(self.u, self.is_odd)?, integer(self.u, self.is_odd)?, 1];
                ends.map(|end| self.scalar(end)).to_vec()
            }
            _ => vec![x.name, self.constant(&told)],
        };
        self.emit(name, inputs, vec![], (x.dtype, x.dims));
        Ok(())
    }

    fn norm(&mut self, x: Value) -> Result<()> {
        let name = *self.u.choose(&["LayerNormalization", "InstanceNormalization", "BatchNormalization", "LRN"])?;
        let last = x.dims.last().copied().unwrap_or(1).max(1);
        let channels = x.dims.get(1).copied().unwrap_or(1).max(1);
        let mut inputs = vec![x.name];
        let (n, size) = match name {
            "LayerNormalization" => (2, last),
            "InstanceNormalization" => (2, channels),
            "BatchNormalization" => (4, channels),
            _ => (0, 0),
        };
        for _ in 0..n {
            inputs.push(self.weight(x.dtype, &[size])?);
        }
        let attributes = vec![int("size", 3)];
        self.emit(name, inputs, attributes, (x.dtype, x.dims));
        Ok(())
    }

    /// Dimensions of 1 come and go.
    fn axes(&mut self, x: Value) -> Result<()> {
        let rank = x.dims.len() as i64;
        let adds = self.u.ratio(2, 3)?;
        let axis = self.u.int_in_range(-rank..=rank)?;
        let mut dims = x.dims;
        let name = match adds {
            true => {
                dims.insert(axis.rem_euclid(rank + 1) as usize, 1);
                "Unsqueeze"
            }
            false => "Squeeze",
        };
        let (mut inputs, mut attributes) = (vec![x.name], vec![]);
        match self.u.ratio(1, 2)? {
            true => inputs.push(self.constant(&[axis])),
            false => attributes.push(ints("axes", vec![axis])),
        }
        self.emit(name, inputs, attributes, (x.dtype, dims));
        Ok(())
    }

    /// Any operator on any values with any attributes.
    fn odd_node(&mut self) -> Result<()> {
        let name = self.u.choose(&ALL)?.clone();
        let mut inputs = Vec::new();
        for _ in 0..self.u.int_in_range(0..=4)? {
            let input = match self.u.int_in_range(0..=6)? {
                0..=2 => self.recent()?.name,
                3 => {
                    let values = integers(self.u, 4, true)?;
                    self.constant(&values)
                }
                4 => {
                    let dims = integers(self.u, 4, false)?;
                    let dtype = *self.u.choose(&[DataType::Float, DataType::Int64, DataType::Uint8])?;
                    self.weight(dtype, &dims)?
                }
                5 => {
                    let value = integer(self.u, true)?;
                    self.scalar(value)
                }
                // Left out, not there, or made later.
                _ => format!("v{}", self.n_names + self.u.int_in_range(0..=3)?),
            };
            inputs.push(input);
        }
        let mut attributes = Vec::new();
        for _ in 0..self.u.int_in_range(0..=3)? {
            let tensor = self.tensor(DataType::Float, &[1])?;
            attributes.push(attribute(self.u, Some(tensor))?);
        }
        let x = self.recent()?;
        self.emit(&name, inputs, attributes, (x.dtype, x.dims));
        Ok(())
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..AttributeProto::default()
    }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String as i32,
        s: s.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}
