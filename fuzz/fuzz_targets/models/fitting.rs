//! Nodes by family, each given what fits it: the rules that we know of shapes.

use arbitrary::Result;
use tract_onnx::pb::tensor_proto::DataType;

use super::draw::{Drawing, Value, int, ints, text};
use super::operators::{ALL, attribute, integer, integers};

impl Drawing<'_, '_> {
    pub(super) fn unary(&mut self, x: Value) -> Result<()> {
        const NAMES: [&str; 31] = [
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Log",
            "Sqrt",
            "Abs",
            "Neg",
            "Floor",
            "Ceil",
            "Round",
            "Erf",
            "Not",
            "Identity",
            "Elu",
            "Selu",
            "LeakyRelu",
            "HardSigmoid",
            "HardSwish",
            "Softplus",
            "Softsign",
            "Gelu",
            "Mish",
            "Sign",
            "Reciprocal",
            "Cos",
            "IsNaN",
            "IsInf",
            "Clip",
            "Celu",
            "ThresholdedRelu",
        ];
        let name = *self.u.choose(&NAMES)?;
        self.emit(name, vec![x.name], vec![], (x.dtype, x.dims));
        Ok(())
    }

    pub(super) fn binary(&mut self, x: Value) -> Result<()> {
        const NAMES: [&str; 17] = [
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Pow",
            "Max",
            "Min",
            "Mod",
            "Equal",
            "Greater",
            "Less",
            "GreaterOrEqual",
            "LessOrEqual",
            "And",
            "Or",
            "Xor",
            "PRelu",
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

    pub(super) fn matmul(&mut self, x: Value) -> Result<()> {
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

    pub(super) fn reshape(&mut self, x: Value) -> Result<()> {
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

    pub(super) fn slice(&mut self, x: Value) -> Result<()> {
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

    pub(super) fn gather(&mut self, x: Value) -> Result<()> {
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
        let name = *self
            .u
            .choose(&["Gather", "Gather", "GatherElements", "GatherND"])?;
        self.emit(
            name,
            vec![x.name, indices],
            vec![int("axis", axis)],
            (x.dtype, x.dims),
        );
        Ok(())
    }

    pub(super) fn reduce(&mut self, x: Value) -> Result<()> {
        let rank = x.dims.len() as i64;
        let name = *self.u.choose(&[
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSumExp",
            "ArgMax",
            "ArgMin",
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

    pub(super) fn window(&mut self, x: Value) -> Result<()> {
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
        let name = *self
            .u
            .choose(&["Conv", "Conv", "MaxPool", "AveragePool", "ConvTranspose"])?;
        let mut inputs = vec![x.name];
        if name.starts_with("Conv") {
            let channels = x.dims[1].max(1);
            let group = *self.u.choose(&[1, channels, 2])?;
            let out = group.saturating_mul(self.u.int_in_range(1..=2)?);
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

    pub(super) fn pad(&mut self, x: Value) -> Result<()> {
        let pads: Vec<i64> = (0..2 * x.dims.len())
            .map(|_| integer(self.u, self.is_odd))
            .collect::<Result<_>>()?;
        let mode = *self.u.choose(&["constant", "reflect", "edge", "wrap"])?;
        let pads = self.constant(&pads);
        self.emit(
            "Pad",
            vec![x.name, pads],
            vec![text("mode", mode)],
            (x.dtype, x.dims),
        );
        Ok(())
    }

    pub(super) fn resize(&mut self, x: Value) -> Result<()> {
        let mode = *self.u.choose(&["nearest", "linear"])?;
        let way = *self
            .u
            .choose(&["half_pixel", "asymmetric", "align_corners"])?;
        let attributes = vec![
            text("mode", mode),
            text("coordinate_transformation_mode", way),
        ];
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
    pub(super) fn spread(&mut self, x: Value) -> Result<()> {
        let name = *self
            .u
            .choose(&["Expand", "Tile", "ConstantOfShape", "OneHot", "Range"])?;
        let told = integers(self.u, x.dims.len().max(1), self.is_odd)?;
        let inputs = match name {
            "ConstantOfShape" => vec![self.constant(&told)],
            "OneHot" => {
                let depth = integer(self.u, self.is_odd)?;
                let depth = self.scalar(depth);
                vec![x.name, depth, self.weight(DataType::Float, &[2])?]
            }
            "Range" => {
                let ends = [
                    integer(self.u, self.is_odd)?,
                    integer(self.u, self.is_odd)?,
                    1,
                ];
                ends.map(|end| self.scalar(end)).to_vec()
            }
            _ => vec![x.name, self.constant(&told)],
        };
        self.emit(name, inputs, vec![], (x.dtype, x.dims));
        Ok(())
    }

    pub(super) fn norm(&mut self, x: Value) -> Result<()> {
        let name = *self.u.choose(&[
            "LayerNormalization",
            "InstanceNormalization",
            "BatchNormalization",
            "LRN",
        ])?;
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
    pub(super) fn axes(&mut self, x: Value) -> Result<()> {
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
    pub(super) fn odd_node(&mut self) -> Result<()> {
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
                    let dtype =
                        *self
                            .u
                            .choose(&[DataType::Float, DataType::Int64, DataType::Uint8])?;
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
