//! A plan as people read it, and as snapshots hold it.

use std::fmt::{self, Display, Formatter};

use super::view::count;
use super::{
    AttendAxis, Axis, Body, Element, Map, Node, Place, Plan, PlanPort, PoolKind, Source, Stored,
    ValueId, View,
};
use crate::shape::shown;

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bool => "bool",
        })
    }
}

impl Display for ValueId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for View {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.value, shown(&self.shape))?;
        if !self.is_plain() {
            write!(f, "·{}", shown(&self.strides))?;
        }
        match self.offset {
            0 => Ok(()),
            offset => write!(f, "+{offset}"),
        }
    }
}

/// The steps, one a line, after the inputs and before the outputs.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let weights: usize = self.weights.iter().map(|weight| weight.bytes.len()).sum();
        write!(
            f,
            "{} steps, {} operations, arena {} bytes, {} weights of {weights} bytes",
            self.steps.len(),
            self.n_operations(),
            self.arena_bytes,
            self.weights.len()
        )?;
        let halves = self.values.iter().enumerate();
        let halves = halves.filter(|(_, value)| {
            value.stored == Stored::Half && matches!(value.place, Place::Weight(_))
        });
        for (number, (at, _)) in halves.enumerate() {
            let before = if number == 0 { ", as f16" } else { "" };
            write!(f, "{before} {}", ValueId(at))?;
        }
        writeln!(f)?;
        let port = |f: &mut Formatter<'_>, what: &str, port: &PlanPort| {
            let element = self.value(port.value).element;
            writeln!(
                f,
                "{what} {} = {element} {}",
                port.value,
                shown(&port.shape)
            )
        };
        for input in &self.inputs {
            port(f, "input", input)?;
        }
        for step in &self.steps {
            let value = self.value(step.output);
            let place = match value.place {
                Place::Arena(offset) => offset,
                Place::Weight(_) => unreachable!("a step makes no weight"),
            };
            let stored = match value.stored {
                Stored::Whole => "",
                Stored::Half => "f16 ",
            };
            write!(f, "{} @{place} = {stored}{}", step.output, step.body)?;
            if let Some(tail) = &step.tail {
                write!(f, " then {tail}")?;
            }
            writeln!(f, "  # {}", step.name)?;
        }
        for output in &self.outputs {
            port(f, "output", output)?;
        }
        Ok(())
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(map) => write!(f, "map {map}"),
            Self::Contract(it) => {
                let sizes = |axes: &[Axis]| count(axes.iter().map(|axis| axis.size));
                write!(
                    f,
                    "contract {} × {} as {} × [{}, {}]·[{}, {}]",
                    it.a,
                    it.b,
                    sizes(&it.batch),
                    sizes(&it.rows),
                    sizes(&it.inner),
                    sizes(&it.inner),
                    sizes(&it.columns)
                )?;
                plus(f, it.bias.as_ref())
            }
            Self::Convolve(it) => {
                write!(f, "convolve {} by {}", it.input, it.kernel)?;
                for spatial in &it.spatial {
                    write!(
                        f,
                        " {}→{}/{}",
                        spatial.input, spatial.output, spatial.stride
                    )?;
                }
                plus(f, it.bias.as_ref())
            }
            Self::Reduce(it) => write!(f, "reduce {:?} {} to {}", it.reducer, it.input, it.n_kept),
            Self::Row(it) => write!(f, "row {:?} {} from {}", it.kind, it.input, it.n_kept),
            Self::Pool(it) => {
                let kind = match it.kind {
                    PoolKind::Max => "max",
                    PoolKind::Sum => "sum",
                    PoolKind::Mean { with_padding: true } => "mean with padding",
                    PoolKind::Mean { .. } => "mean",
                };
                write!(f, "pool {kind} {}", it.input)
            }
            Self::Gather(it) => write!(f, "gather {} axis {} at {}", it.data, it.axis, it.indices),
            Self::Concat(it) => {
                write!(f, "concat axis {}:", it.axis)?;
                it.parts.iter().try_for_each(|part| write!(f, " {part}"))
            }
            Self::Pad(it) => write!(f, "pad {:?} {} to {}", it.mode, it.input, shown(&it.shape)),
            Self::Resize(it) => write!(
                f,
                "resize {} axis {} window {} to {}",
                it.input,
                it.along.axis,
                it.along.window,
                shown(&it.shape)
            ),
            Self::Attend(it) => {
                let sizes = |axes: &[AttendAxis]| count(axes.iter().map(|axis| axis.size));
                write!(
                    f,
                    "attend {} to {} for {} as {} × [{}, {}]·[{}, {}]·[{}, {}]",
                    it.q,
                    it.k,
                    it.v,
                    sizes(&it.batch),
                    sizes(&it.rows),
                    sizes(&it.depth),
                    sizes(&it.depth),
                    sizes(&it.keys),
                    sizes(&it.keys),
                    sizes(&it.features)
                )?;
                match &it.scores {
                    Some(scores) => write!(f, " by scores {scores}"),
                    None => Ok(()),
                }
            }
            Self::Deconvolve(it) => {
                write!(f, "deconvolve {} by {}", it.input, it.kernel)?;
                for spatial in &it.spatial {
                    write!(
                        f,
                        " {}→{}·{}",
                        spatial.input, spatial.output, spatial.stride
                    )?;
                }
                plus(f, Some(&it.bias))
            }
            Self::Pick(it) => write!(
                f,
                "pick {} at {} to {}",
                it.data,
                it.indices,
                shown(&it.shape)
            ),
            Self::Scatter(it) => write!(
                f,
                "scatter {:?} {} at {} into {}",
                it.update, it.updates, it.indices, it.data
            ),
            Self::Scan(it) => {
                let exclusive = if it.exclusive { " exclusive" } else { "" };
                let reverse = if it.reverse { " reverse" } else { "" };
                write!(f, "scan Sum{exclusive}{reverse} {}", it.input)
            }
            Self::Top(it) => {
                let kind = if it.largest { "largest" } else { "smallest" };
                write!(f, "top {} {kind} {}", it.n, it.input)
            }
        }
    }
}

fn plus(f: &mut Formatter<'_>, bias: Option<&View>) -> fmt::Result {
    match bias {
        Some(bias) => write!(f, " plus {bias}"),
        None => Ok(()),
    }
}

/// What is used more than once is named first, since a program may share its nodes.
impl Display for Map {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut uses = vec![0; self.nodes.len()];
        for (node, _) in &self.nodes {
            node.arguments().for_each(|at| uses[at] += 1);
        }
        let is_named = |at: usize| uses[at] > 1 && self.nodes[at].0.arguments().next().is_some();
        for at in (0..self.nodes.len()).filter(|at| is_named(*at)) {
            write!(f, "n{at} = ")?;
            self.show(f, at, &is_named)?;
            f.write_str("; ")?;
        }
        self.show(f, self.nodes.len() - 1, &is_named)
    }
}

impl Map {
    fn show(
        &self,
        f: &mut Formatter<'_>,
        at: usize,
        is_named: &dyn Fn(usize) -> bool,
    ) -> fmt::Result {
        let (node, element) = self.nodes[at];
        let call = |f: &mut Formatter<'_>, name: &dyn Display, arguments: &[usize]| {
            write!(f, "{name}(")?;
            for (index, argument) in arguments.iter().enumerate() {
                f.write_str(if index > 0 { ", " } else { "" })?;
                match is_named(*argument) {
                    true => write!(f, "n{argument}")?,
                    false => self.show(f, *argument, is_named)?,
                }
            }
            f.write_str(")")
        };
        match node {
            Node::Source(source) => match &self.sources[source] {
                Source::View(view) => write!(f, "{view}"),
                Source::Carried(_) => f.write_str("it"),
            },
            Node::F32(x) => write!(f, "{x:?}"),
            Node::I32(x) => write!(f, "{x}"),
            Node::Index { stride, size } => write!(f, "index({stride}, {size})"),
            Node::Apply(function, a) => call(f, &format!("{function:?}").to_lowercase(), &[a]),
            Node::Combine(function, a, b) => {
                call(f, &format!("{function:?}").to_lowercase(), &[a, b])
            }
            Node::Select(c, a, b) => call(f, &"select", &[c, a, b]),
            Node::Cast(a) => call(f, &element, &[a]),
        }
    }
}
