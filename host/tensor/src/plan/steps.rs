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
    Attend(Attend),
    Deconvolve(Deconvolve),
    Pick(Pick),
    Scatter(Scatter),
    Scan(Scan),
    Top(Top),
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

/// A transposed convolution over one to three spatial dimensions: each element of the
/// input adds its window to the output. A [`Spatial`] here is of the output that windows
/// are laid over: `input` are the elements that come in, `output` those that are made,
/// `before` those that are cut off in front.
#[derive(Debug, Clone)]
pub(crate) struct Deconvolve {
    /// `[image, group, channel in, spatial…]`.
    pub(crate) input: View,
    /// `[group, channel out, channel in, spatial…]`.
    pub(crate) kernel: View,
    /// `[group, channel out]`.
    pub(crate) bias: View,
    pub(crate) spatial: Vec<Spatial>,
    /// Strides of the output's `[image, group, channel out, spatial…]`.
    pub(crate) out: Vec<i64>,
}

/// One index of attention: its size, and its stride in each value that it walks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AttendAxis {
    pub(crate) size: usize,
    pub(crate) q: i64,
    pub(crate) k: i64,
    pub(crate) v: i64,
    /// In the scores, which are nowhere kept and yet have an order: the program over them
    /// reads its masks by it.
    pub(crate) score: i64,
    pub(crate) out: i64,
}

/// `softmax(scores(q · k)) · v` for each of `batch`: `rows` of queries, each with all
/// `keys`, compared over `depth` and summed up into `features`.
#[derive(Debug, Clone)]
pub(crate) struct Attend {
    pub(crate) q: View,
    pub(crate) k: View,
    pub(crate) v: View,
    pub(crate) batch: Vec<AttendAxis>,
    pub(crate) rows: Vec<AttendAxis>,
    pub(crate) keys: Vec<AttendAxis>,
    pub(crate) depth: Vec<AttendAxis>,
    pub(crate) features: Vec<AttendAxis>,
    /// What becomes of a product before the softmax: its scale, its mask. Its carried source
    /// is the product. None leaves it as it is.
    pub(crate) scores: Option<Map>,
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
    /// The same after the row's mean is taken away.
    Normalised(f32),
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

/// One axis of a value along which indices say where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) size: usize,
    pub(crate) stride: i64,
}

/// For each element of the output one of `data`, by as many indices as there are axes
/// looked up. Indices are treated as by [`Gather`].
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    pub(crate) data: View,
    pub(crate) indices: View,
    /// Of the output.
    pub(crate) shape: Vec<usize>,
    /// Strides of `data` along the output's dimensions; 0 along those looked up.
    pub(crate) along_data: Vec<i64>,
    /// Strides of `indices` along them.
    pub(crate) along_indices: Vec<i64>,
    /// Axes of `data` that are looked up, in the order of their indices.
    pub(crate) looked: Vec<Looked>,
    /// From one of an element's indices to its next.
    pub(crate) step: i64,
}

/// What an update does to the element that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    Replace,
    Sum,
    Product,
    Min,
    Max,
}

/// `data` with updates put in where indices say, one after another in their order. Each
/// element of the output looks through the updates that may be for it, so no two threads
/// write one place, and every run sums in the same order.
#[derive(Debug, Clone)]
pub(crate) struct Scatter {
    pub(crate) data: View,
    pub(crate) indices: View,
    pub(crate) updates: View,
    pub(crate) update: Update,
    /// Whether a negative index counts from the end; else it is a fault.
    pub(crate) wraps: bool,
    /// Dimensions of `data` that indices name, in the order of an update's indices.
    pub(crate) named: Vec<usize>,
    /// From one of an update's indices to its next.
    pub(crate) step: i64,
    /// Along each dimension of `data` the places that have updates.
    pub(crate) reached: Vec<usize>,
    /// Strides of `indices` and of `updates` along the dimensions of `data`.
    pub(crate) place_indices: Vec<i64>,
    pub(crate) place_updates: Vec<i64>,
    /// Sizes of the updates that may be for one place, outermost first.
    pub(crate) candidates: Vec<usize>,
    /// Strides of `indices` and of `updates` along those.
    pub(crate) candidate_indices: Vec<i64>,
    pub(crate) candidate_updates: Vec<i64>,
}

/// Running sums along the last dimension of `input`.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// `[kept…, along]`.
    pub(crate) input: View,
    /// Whether a place's own element is left out of its sum.
    pub(crate) exclusive: bool,
    /// Whether sums run from the end.
    pub(crate) reverse: bool,
    /// Strides of the output's dimensions, in the input's order.
    pub(crate) out: Vec<i64>,
}

/// Elements that are looked for in one row at most: each is one more look through it.
pub(crate) const MAX_TOP: usize = 1024;

/// Places of the `n` most extreme elements along the last dimension of `input`, as I64, the
/// most extreme first and of equal ones the first.
#[derive(Debug, Clone)]
pub(crate) struct Top {
    /// `[kept…, along]`.
    pub(crate) input: View,
    pub(crate) n: usize,
    pub(crate) largest: bool,
    /// Strides of the output's `[kept…, n]`.
    pub(crate) out: Vec<i64>,
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
            Self::Contract(_)
            | Self::Convolve(_)
            | Self::Row(_)
            | Self::Resize(_)
            | Self::Attend(_)
            | Self::Deconvolve(_) => Element::F32,
            Self::Top(_) => Element::I64,
            Self::Pick(pick) => pick.data.element,
            Self::Scatter(scatter) => scatter.data.element,
            Self::Scan(scan) => scan.input.element,
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

    /// Every value that it reads, each once, in the order of first use.
    pub(crate) fn inputs(&self) -> Vec<ValueId> {
        each_once(self.views().into_iter())
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
            Self::Attend(it) => [&it.q, &it.k, &it.v]
                .into_iter()
                .chain(it.scores.iter().flat_map(Map::views))
                .collect(),
            Self::Deconvolve(it) => vec![&it.input, &it.kernel, &it.bias],
            Self::Pick(it) => vec![&it.data, &it.indices],
            Self::Scatter(it) => vec![&it.data, &it.indices, &it.updates],
            Self::Scan(it) => vec![&it.input],
            Self::Top(it) => vec![&it.input],
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
        each_once(self.views())
    }

    /// What it stores.
    pub(crate) fn element(&self) -> Element {
        self.tail.as_ref().map_or(self.body.element(), Map::element)
    }
}

fn each_once<'a>(views: impl Iterator<Item = &'a View>) -> Vec<ValueId> {
    let mut values = Vec::new();
    for view in views {
        if !values.contains(&view.value) {
            values.push(view.value);
        }
    }
    values
}

impl Source {
    /// Whether it is all of `value`, in the map's own order.
    pub(crate) fn is_all_of(&self, value: ValueId) -> bool {
        matches!(self, Self::View(view) if view.value == value && view.is_plain())
    }
}
