//! From a plan's step to a shader and its launch: the last of the three stages graph →
//! plan → kernels.
//!
//! One file per family with its shader beside it. A kernel's shapes, strides and the
//! functions that follow from them are written at the head of its text, so a shader is
//! specialised to its step; the same step always gives the same text. Nothing here has
//! met a device.

mod concat;
mod contract;
mod convolve;
mod gather;
mod map;
mod pad;
mod pool;
mod reduce;
mod resize;
mod row;
mod text;

use crate::plan::{Body, Plan, Step, ValueId};

/// Threads of a group that computes an element per thread.
const THREADS: u64 = 64;

/// What a device launches.
#[derive(Debug)]
pub(crate) struct Program {
    /// WGSL with the entry point `main`. Binding 0 is a uniform `vec4<u32>` whose first
    /// word is the first group of this launch, binding 1 the output, then the inputs,
    /// then, if `tells_faults`, a word that a fault sets.
    pub(crate) source: String,
    /// What bindings 2 and on are bound to.
    pub(crate) inputs: Vec<ValueId>,
    /// Groups in all; a launch may take a part of them.
    pub(crate) n_groups: u64,
    /// Operations of one group, roughly.
    pub(crate) group_operations: u64,
    /// Whether data may be found wrong: an index outside, for one.
    pub(crate) tells_faults: bool,
}

/// The kernel of a step.
pub(crate) fn program(plan: &Plan, step: &Step) -> Program {
    let text = text::Text::new(plan, step);
    match &step.body {
        Body::Map(it) => map::program(text, it),
        Body::Contract(it) => contract::program(text, it),
        Body::Convolve(it) => convolve::program(text, it),
        Body::Reduce(it) => reduce::program(text, it),
        Body::Row(it) => row::program(text, it),
        Body::Pool(it) => pool::program(text, it),
        Body::Gather(it) => gather::program(text, it),
        Body::Concat(it) => concat::program(text, it),
        Body::Pad(it) => pad::program(text, it),
        Body::Resize(it) => resize::program(text, it),
    }
}
