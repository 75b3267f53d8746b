//! What one step computes, by family; each has a kernel of the same name.

use super::{Element, Map, Source, ValueId, View};

/// Makes one value of others.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Of the graph's node, or of the last of those that were fused.
    pub(crate) name: String,
    pub(crate) body: Body,
    /// What happens to each element before it is stored.
    pub(crate) tail: Option<Map>,
    pub(crate) output: ValueId,
}

/// The families.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Map(Map),
    Contract(Contract),
    Convolve(Convolve),
    Reduce(Reduce),
    Row(Row),
    Pool(Pool),
    Gather(Gather),
    Concat(Concat),
    Pad(Pad),
    Resize(Resize),
}

/// One index of a product of two tensors: its size, and its stride in each of them, in what
/// they make and in the bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) size: usize,
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) out: i64,
    pub(crate) bias: i64,
}

/// A batched product of matrices: for each of `batch`, `rows` of `a` with `columns` of
/// `b`, summed over `inner` in order, from the bias on.
#[derive(Debug, Clone)]
pub(crate) struct Contract {
    pub(crate) a: View,
    pub(crate) b: View,
    pub(crate) batch: Vec<Axis>,
    pub(crate) rows: Vec<Axis>,
    pub(crate) columns: Vec<Axis>,
    pub(crate) inner: Vec<Axis>,
    pub(crate) bias: Option<View>,
}

/// One spatial dimension of a convolution or pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spatial {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding before.
    pub(crate) before: usize,
    /// Input and explicit padding: what an average over padding counts.
    pub(crate) padded: usize,
}

/// A convolution over one to three spatial dimensions.
#[derive(Debug, Clone)]
pub(crate) struct Convolve {
    /// `[image, group, channel, spatial…]`.
    pub(crate) input: View,
    /// `[group, channel out, channel in, spatial…]`.
    pub(crate) kernel: View,
    /// `[group, channel out]`.
    pub(crate) bias: Option<View>,
    pub(crate) spatial: Vec<Spatial>,
    /// Strides of the output's `[image, group, channel out, spatial…]`.
    pub(crate) out: Vec<i64>,
}

/// What is made of many elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reducer {
    Sum,
    Product,
    Min,
    Max,
    MeanOfSquares,
    All,
    Any,
    /// The place of an extreme, as I64.
    Place(Extreme),
}

/// Which extreme, and which of equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extreme {
    pub(crate) largest: bool,
    pub(crate) last: bool,
}

/// For each of the first `n_kept` dimensions of `input`, one element of the others.
#[derive(Debug, Clone)]
pub(crate) struct Reduce {
    pub(crate) input: View,
    pub(crate) n_kept: usize,
    pub(crate) reducer: Reducer,
}

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RowKind {
    Softmax,
    LogSoftmax,
    /// Divided by the root of the mean square and this.
    RootMeanSquare(f32),
}

/// Rows along the last dimensions of `input`, from `n_kept` on, each made anew.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) input: View,
    pub(crate) n_kept: usize,
    pub(crate) kind: RowKind,
    /// Strides of the output's dimensions, in the input's order.
    pub(crate) out: Vec<i64>,
}

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolKind {
    Max,
    Sum,
    /// Divided by the elements in the window, padding counted or not.
    Mean {
        with_padding: bool,
    },
}

/// Windows over spatial dimensions.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// `[image, channel, spatial…]`.
    pub(crate) input: View,
    pub(crate) kind: PoolKind,
    pub(crate) spatial: Vec<Spatial>,
    /// Strides of the output's dimensions, in that order.
    pub(crate) out: Vec<i64>,
}

/// Elements of `data` along one axis, as indices say. A negative index counts from the
/// end; one outside is a fault of the run.
#[derive(Debug, Clone)]
pub(crate) struct Gather {
    /// `[outer…, axis, inner…]`.
    pub(crate) data: View,
    pub(crate) axis: usize,
    pub(crate) indices: View,
}

/// Values one after another along an axis.
#[derive(Debug, Clone)]
pub(crate) struct Concat {
    pub(crate) parts: Vec<View>,
    pub(crate) axis: usize,
    pub(crate) shape: Vec<usize>,
}

/// What stands beyond the edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PadMode {
    /// The element's bits, those of an I64 sign-extended.
    Constant(i32),
    Reflect,
    Edge,
}

/// A larger value around another.
#[derive(Debug, Clone)]
pub(crate) struct Pad {
    pub(crate) input: View,
    pub(crate) before: Vec<usize>,
    pub(crate) shape: Vec<usize>,
    pub(crate) mode: PadMode,
}

/// How one axis is resampled: for each place of the output `window` places of the input
/// and their weights, in two weights of the plan.
#[derive(Debug, Clone)]
pub(crate) struct ResizeAxis {
    pub(crate) axis: usize,
    pub(crate) window: usize,
    pub(crate) places: View,
    pub(crate) weights: View,
}

/// Resampling along one axis.
#[derive(Debug, Clone)]
pub(crate) struct Resize {
    pub(crate) input: View,
    pub(crate) along: ResizeAxis,
    pub(crate) shape: Vec<usize>,
}

impl Body {
    /// What it makes before the tail.
    pub(crate) fn element(&self) -> Element {
        match self {
            Self::Map(map) => map.element(),
            Self::Contract(_) | Self::Convolve(_) | Self::Row(_) | Self::Resize(_) => Element::F32,
            Self::Reduce(reduce) => match reduce.reducer {
                Reducer::Place(_) => Element::I64,
                _ => reduce.input.element,
            },
            Self::Pool(pool) => pool.input.element,
            Self::Gather(gather) => gather.data.element,
            Self::Concat(concat) => concat.parts[0].element,
            Self::Pad(pad) => pad.input.element,
        }
    }

    fn views(&self) -> Vec<&View> {
        match self {
            Self::Map(map) => map.views().collect(),
            Self::Contract(it) => [&it.a, &it.b].into_iter().chain(&it.bias).collect(),
            Self::Convolve(it) => [&it.input, &it.kernel]
                .into_iter()
                .chain(&it.bias)
                .collect(),
            Self::Reduce(it) => vec![&it.input],
            Self::Row(it) => vec![&it.input],
            Self::Pool(it) => vec![&it.input],
            Self::Gather(it) => vec![&it.data, &it.indices],
            Self::Concat(it) => it.parts.iter().collect(),
            Self::Pad(it) => vec![&it.input],
            Self::Resize(it) => vec![&it.input, &it.along.places, &it.along.weights],
        }
    }
}

impl Step {
    /// All that it reads, the tail's last.
    pub(crate) fn views(&self) -> impl Iterator<Item = &View> {
        let tail = self.tail.iter().flat_map(Map::views);
        self.body.views().into_iter().chain(tail)
    }

    /// Every value it reads, each once, in the order of first use.
    pub(crate) fn inputs(&self) -> Vec<ValueId> {
        let mut inputs = Vec::new();
        for view in self.views() {
            if !inputs.contains(&view.value) {
                inputs.push(view.value);
            }
        }
        inputs
    }

    /// What it stores.
    pub(crate) fn element(&self) -> Element {
        self.tail.as_ref().map_or(self.body.element(), Map::element)
    }

    /// Operations, roughly; saturating.
    pub(crate) fn n_operations(&self) -> u64 {
        let product = |sizes: &mut dyn Iterator<Item = usize>| {
            sizes.fold(1_u64, |product, size| product.saturating_mul(size as u64))
        };
        let axes = |axes: &[Axis]| product(&mut axes.iter().map(|axis| axis.size));
        let shape = |shape: &[usize]| product(&mut shape.iter().copied());
        match &self.body {
            Body::Map(map) => shape(&map.shape).saturating_mul(map.nodes.len() as u64),
            Body::Contract(it) => [&it.batch, &it.rows, &it.columns, &it.inner]
                .into_iter()
                .fold(2, |product, it| product.saturating_mul(axes(it))),
            Body::Convolve(it) => {
                let outputs = it.spatial.iter().map(|spatial| spatial.output);
                let images = it.input.shape[0];
                shape(&it.kernel.shape)
                    .saturating_mul(2)
                    .saturating_mul(product(&mut outputs.chain([images])))
            }
            Body::Reduce(it) => shape(&it.input.shape),
            Body::Row(it) => shape(&it.input.shape).saturating_mul(4),
            Body::Pool(it) => {
                let windows = it
                    .spatial
                    .iter()
                    .map(|spatial| spatial.output.saturating_mul(spatial.kernel));
                product(&mut windows.chain(it.input.shape[..2].iter().copied()))
            }
            Body::Gather(it) => {
                let rows = shape(&it.data.shape) / (it.data.shape[it.axis].max(1) as u64);
                shape(&it.indices.shape).saturating_mul(rows)
            }
            Body::Concat(it) => shape(&it.shape),
            Body::Pad(it) => shape(&it.shape),
            Body::Resize(it) => shape(&it.shape).saturating_mul(it.along.window as u64),
        }
    }
}

impl Source {
    /// Whether it is all of `value`, in the map's own order.
    pub(crate) fn is_all_of(&self, value: ValueId) -> bool {
        matches!(self, Self::View(view) if view.value == value && view.is_plain())
    }
}
