//! From a plan's step to a shader and its launch: the last of the three stages graph →
//! plan → kernels.
//!
//! One file per family with its shader beside it. A kernel's shapes, strides and the
//! functions that follow from them are written at the head of its text, so a shader is
//! specialised to its step; the same step always gives the same text. Nothing here has
//! met a device.

mod attend;
mod concat;
mod contract;
mod convolve;
mod cooperative;
mod deconvolve;
mod gather;
mod map;
mod pad;
mod pick;
mod pool;
pub(crate) mod preprocess;
mod reduce;
mod resize;
mod row;
mod scan;
mod scatter;
mod text;
mod top;

use crate::plan::{Body, Plan, Step, ValueId};
pub(crate) use cooperative::{Cooperative, SHARED_BYTES, n_threads};

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

/// What an adapter has beside what every one has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tools {
    /// Cooperative matrices that may be used.
    pub(crate) cooperative: Option<Cooperative>,
}

/// The kernel of a step.
pub(crate) fn program(plan: &Plan, step: &Step, tools: &Tools) -> Program {
    let text = text::Text::new(plan, step);
    match &step.body {
        Body::Map(it) => map::program(text, it),
        Body::Contract(it) => contract::program(text, it, tools),
        Body::Convolve(it) => convolve::program(text, it),
        Body::Reduce(it) => reduce::program(text, it),
        Body::Row(it) => row::program(text, it),
        Body::Pool(it) => pool::program(text, it),
        Body::Gather(it) => gather::program(text, it),
        Body::Concat(it) => concat::program(text, it),
        Body::Pad(it) => pad::program(text, it),
        Body::Resize(it) => resize::program(text, it),
        Body::Attend(it) => attend::program(text, it),
        Body::Deconvolve(it) => deconvolve::program(text, it),
        Body::Pick(it) => pick::program(text, it),
        Body::Scatter(it) => scatter::program(text, it),
        Body::Scan(it) => scan::program(text, it),
        Body::Top(it) => top::program(text, it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Axis, Contract, Element, Place, Pool, PoolKind, Spatial, Step, Stored, Value, ValueId, View,
    };

    /// A plan of one step from value 0 to value 1, both of one element.
    fn of(body: Body) -> Plan {
        let value = Value {
            element: Element::F32,
            stored: Stored::Whole,
            n_elements: 1,
            place: Place::Arena(0),
        };
        Plan {
            values: vec![value.clone(), value],
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: vec![Step {
                name: "step".to_owned(),
                body,
                tail: None,
                output: ValueId(1),
            }],
            arena_bytes: 0,
        }
    }

    fn saturated(body: Body) {
        let plan = of(body);
        let program = program(&plan, &plan.steps[0], &Tools::default());
        assert_eq!(program.group_operations, u64::MAX);
        assert!(plan.n_operations() > 1 << 40);
    }

    #[test]
    fn sizes_whose_product_is_beyond_counting_end_no_thread() {
        let view = |shape: &[usize]| View::whole(ValueId(0), Element::F32, shape);
        let long = 1 << 40;
        let window = Spatial {
            input: 1,
            output: 1,
            kernel: long,
            stride: long,
            dilation: long,
            before: long,
            padded: usize::MAX,
        };
        saturated(Body::Pool(Pool {
            input: view(&[1, 1, 1, 1]),
            kind: PoolKind::Max,
            spatial: vec![window; 2],
            out: vec![1; 4],
        }));
        let axis = Axis {
            size: long,
            a: 0,
            b: 0,
            out: 0,
            bias: 0,
        };
        saturated(Body::Contract(Contract {
            a: view(&[1]),
            b: view(&[1]),
            batch: vec![axis; 2],
            rows: vec![axis; 2],
            columns: vec![axis; 2],
            inner: vec![axis; 2],
            bias: None,
        }));
    }
}
