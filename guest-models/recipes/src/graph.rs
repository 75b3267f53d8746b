//! Builds ONNX graphs in code: values of known shape, nodes, weights.
//!
//! Knows operators and shapes; never what a model means. Every shape is static
//! and every operator is one that the host runs without a graph inside it. The
//! same calls give the same bytes.

use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
};

use crate::proto::{self, Axis, Version, integer, integers};

const VERSION: Version = Version { ir: 7, opset: 13 };

/// A value of the graph: its name and its shape, always f32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    name: String,
    pub shape: Vec<usize>,
}

impl Value {
    /// Size along `axis`.
    pub(crate) fn dim(&self, axis: usize) -> usize {
        self.shape[axis]
    }
}

/// Filters of one convolution, `[n, channels, height, width]` row-major.
///
/// `channels` counts those of one group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filters {
    pub shape: [usize; 4],
    pub data: Vec<f32>,
}

impl Filters {
    /// One-channel filters of one size, each row-major.
    pub(crate) fn stack(height: usize, width: usize, filters: &[Vec<f32>]) -> Self {
        assert!(
            filters.iter().all(|filter| filter.len() == height * width),
            "each filter has {height} × {width} taps"
        );
        Self {
            shape: [filters.len(), 1, height, width],
            data: filters.concat(),
        }
    }
}

/// A graph under construction.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
}

impl Graph {
    /// An input, f32 of this shape.
    pub(crate) fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        self.inputs.push(info(name, shape));
        Value {
            name: name.to_owned(),
            shape: shape.to_vec(),
        }
    }

    /// Names `value` as an output.
    pub(crate) fn output(&mut self, name: &str, value: &Value) {
        self.node("Identity", &[&value.name], name, vec![]);
        self.outputs.push(info(name, &value.shape));
    }

    /// The model's bytes.
    pub(crate) fn encode(self, name: &str) -> Vec<u8> {
        let graph = GraphProto {
            name: name.into(),
            node: self.nodes,
            initializer: self.weights,
            input: self.inputs,
            output: self.outputs,
            ..GraphProto::default()
        };
        proto::model(graph, VERSION)
    }

    /// A weight, f32.
    pub(crate) fn weight(&mut self, shape: &[usize], data: &[f32]) -> Value {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?}");
        let name = format!("w{}", self.weights.len());
        self.weights.push(proto::floats(&name, shape, data));
        Value {
            name,
            shape: shape.to_vec(),
        }
    }

    fn scalar(&mut self, rank: usize, x: f32) -> Value {
        self.weight(&vec![1; rank], &[x])
    }

    fn integers(&mut self, data: &[i64]) -> String {
        let name = format!("w{}", self.weights.len());
        self.weights.push(proto::list(&name, data));
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(proto::node(op, inputs, output, attributes));
    }

    fn make(
        &mut self,
        op: &str,
        inputs: &[&str],
        shape: Vec<usize>,
        attributes: Vec<AttributeProto>,
    ) -> Value {
        let name = format!("v{}", self.nodes.len());
        self.node(op, inputs, &name, attributes);
        Value { name, shape }
    }

    /// Convolution without padding; `groups` divides the channels of `x`.
    pub(crate) fn conv(
        &mut self,
        x: &Value,
        filters: &Filters,
        stride: usize,
        groups: usize,
    ) -> Value {
        let [n, channels, height, width] = filters.shape;
        assert_eq!(x.dim(1), channels * groups, "channels of the filters");
        let weight = self.weight(&filters.shape, &filters.data);
        let shape = vec![
            x.dim(0),
            n,
            (x.dim(2) - height) / stride + 1,
            (x.dim(3) - width) / stride + 1,
        ];
        let attributes = vec![
            integer("group", groups as i64),
            integers("kernel_shape", &signed([height, width])),
            integers("strides", &signed([stride, stride])),
        ];
        self.make("Conv", &[&x.name, &weight.name], shape, attributes)
    }

    fn pool(&mut self, op: &str, x: &Value, kernel: usize, stride: usize) -> Value {
        let shape = vec![
            x.dim(0),
            x.dim(1),
            (x.dim(2) - kernel) / stride + 1,
            (x.dim(3) - kernel) / stride + 1,
        ];
        let attributes = vec![
            integers("kernel_shape", &signed([kernel, kernel])),
            integers("strides", &signed([stride, stride])),
        ];
        self.make(op, &[&x.name], shape, attributes)
    }

    /// Means of square windows that lie wholly inside.
    pub(crate) fn average_pool(&mut self, x: &Value, kernel: usize, stride: usize) -> Value {
        self.pool("AveragePool", x, kernel, stride)
    }

    /// Maxima of square windows that lie wholly inside.
    pub(crate) fn max_pool(&mut self, x: &Value, kernel: usize, stride: usize) -> Value {
        self.pool("MaxPool", x, kernel, stride)
    }

    /// An operator of one operand: `Abs`, `Sqrt`, `Log`, `Exp`, `Neg`, `Relu`, `Tanh`.
    pub(crate) fn unary(&mut self, op: &str, x: &Value) -> Value {
        self.make(op, &[&x.name], x.shape.clone(), vec![])
    }

    /// An operator of two operands of one rank, with broadcasting: `Add`,
    /// `Sub`, `Mul`, `Div`, `Max`, `Min`.
    pub(crate) fn binary(&mut self, op: &str, x: &Value, y: &Value) -> Value {
        assert_eq!(x.shape.len(), y.shape.len(), "{op} of one rank");
        let shape = x.shape.iter().zip(&y.shape).map(|(&x, &y)| {
            assert!(x == y || x == 1 || y == 1, "{op} broadcasts {x} and {y}");
            x.max(y)
        });
        let shape = shape.collect();
        self.make(op, &[&x.name, &y.name], shape, vec![])
    }

    /// The operator with a number as its right operand.
    pub(crate) fn with(&mut self, op: &str, x: &Value, number: f32) -> Value {
        let number = self.scalar(x.shape.len(), number);
        self.binary(op, x, &number)
    }

    /// Each element brought into `low..=high`.
    pub(crate) fn clip(&mut self, x: &Value, low: f32, high: f32) -> Value {
        let above = self.with("Max", x, low);
        self.with("Min", &above, high)
    }

    /// `ln(x + floor)`.
    pub(crate) fn log_above(&mut self, x: &Value, floor: f32) -> Value {
        let x = self.with("Add", x, floor);
        self.unary("Log", &x)
    }

    fn reduce(&mut self, op: &str, x: &Value, axes: &[usize], keep: bool) -> Value {
        let shape = x.shape.iter().enumerate();
        let shape = shape.filter_map(|(axis, &dim)| match axes.contains(&axis) {
            true => keep.then_some(1),
            false => Some(dim),
        });
        let shape = shape.collect();
        let of_axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let attributes = vec![
            integers("axes", &of_axes),
            integer("keepdims", i64::from(keep)),
        ];
        self.make(op, &[&x.name], shape, attributes)
    }

    /// Reduces height and width of `[1, C, H, W]`, giving `[1, C]`; `op` is
    /// `ReduceMean`, `ReduceMax` or `ReduceMin`.
    pub(crate) fn over_space(&mut self, op: &str, x: &Value) -> Value {
        self.reduce(op, x, &[2, 3], false)
    }

    /// Reduces some axes, which stay with size 1.
    pub(crate) fn reduce_keeping(&mut self, op: &str, x: &Value, axes: &[usize]) -> Value {
        self.reduce(op, x, axes, true)
    }

    /// The values side by side along `axis`.
    pub(crate) fn concat(&mut self, values: &[Value], axis: usize) -> Value {
        let mut shape = values[0].shape.clone();
        shape[axis] = values.iter().map(|value| value.dim(axis)).sum();
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        self.make("Concat", &names, shape, vec![integer("axis", axis as i64)])
    }

    /// Elements `start..end` along `axis`.
    pub(crate) fn slice(&mut self, x: &Value, axis: usize, start: usize, end: usize) -> Value {
        let mut shape = x.shape.clone();
        assert!(
            start < end && end <= shape[axis],
            "{start}..{end} of {shape:?}"
        );
        shape[axis] = end - start;
        let starts = self.integers(&[start as i64]);
        let ends = self.integers(&[end as i64]);
        let axes = self.integers(&[axis as i64]);
        self.make("Slice", &[&x.name, &starts, &ends, &axes], shape, vec![])
    }

    /// Takes `margin` off each side of height and width.
    pub(crate) fn trim(&mut self, x: &Value, margin: usize) -> Value {
        let rows = self.slice(x, 2, margin, x.dim(2) - margin);
        self.slice(&rows, 3, margin, x.dim(3) - margin)
    }

    /// The same elements in another shape.
    pub(crate) fn reshape(&mut self, x: &Value, shape: &[usize]) -> Value {
        assert_eq!(
            x.shape.iter().product::<usize>(),
            shape.iter().product::<usize>(),
            "{:?} to {shape:?}",
            x.shape
        );
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let dims = self.integers(&dims);
        self.make("Reshape", &[&x.name, &dims], shape.to_vec(), vec![])
    }

    /// `[a, b]` to `[b, a]`.
    pub(crate) fn transpose(&mut self, x: &Value) -> Value {
        let shape = vec![x.dim(1), x.dim(0)];
        self.make(
            "Transpose",
            &[&x.name],
            shape,
            vec![integers("perm", &[1, 0])],
        )
    }

    /// `[a, b]` by `[b, c]`.
    pub(crate) fn matmul(&mut self, x: &Value, y: &Value) -> Value {
        assert_eq!(x.dim(1), y.dim(0), "inner sizes");
        let shape = vec![x.dim(0), y.dim(1)];
        self.make("MatMul", &[&x.name, &y.name], shape, vec![])
    }
}

fn info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let axes: Vec<Axis<'_>> = shape.iter().map(|&size| Axis::Sized(size)).collect();
    proto::port(name, DataType::Float, &axes)
}

/// As the attributes hold them.
fn signed<const N: usize>(sizes: [usize; N]) -> [i64; N] {
    sizes.map(|size| size as i64)
}
