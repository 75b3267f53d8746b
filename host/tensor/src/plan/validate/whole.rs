//! What tests damage: one plan with a step of every family, and how a damaged body is told.

use std::sync::Arc;

use super::super::view::{count, row_major};
use super::super::{
    Axis, Body, Bounds, Concat, Contract, Convolve, Element, Function2, Gather, Map, Node, Pad,
    PadMode, Place, Plan, PlanPort, Pool, PoolKind, Reduce, Reducer, Resize, ResizeAxis, Row,
    RowKind, Source, Spatial, Step, Stored, Value, ValueId, View, Weight, arena,
};
use super::Checked;

pub(super) const BOUNDS: Bounds = Bounds {
    alignment: 256,
    value_bytes: 1 << 20,
    arena_bytes: 1 << 20,
    inputs: 6,
    halves: true,
};

fn value(plan: &mut Plan, element: Element, shape: &[usize], place: Place) -> View {
    plan.values.push(Value {
        element,
        stored: Stored::Whole,
        n_elements: count(shape),
        place,
    });
    View::whole(ValueId(plan.values.len() - 1), element, shape)
}

fn weight(plan: &mut Plan, element: Element, shape: &[usize], words: &[i32]) -> View {
    let words = words.iter().cycle().take(count(shape));
    let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    plan.weights.push(Weight {
        bytes: Arc::from(bytes),
    });
    let place = Place::Weight(plan.weights.len() - 1);
    value(plan, element, shape, place)
}

fn step(plan: &mut Plan, name: &str, body: Body, shape: &[usize]) -> View {
    let made = value(plan, body.element(), shape, Place::Arena(0));
    plan.steps.push(Step {
        name: name.to_owned(),
        body,
        tail: None,
        output: made.value,
    });
    made
}

fn shown_as(view: &View, shape: &[usize]) -> View {
    View::whole(view.value, view.element, shape)
}

fn over(input: usize, output: usize, kernel: usize, stride: usize, before: usize) -> Spatial {
    Spatial {
        input,
        output,
        kernel,
        stride,
        dilation: 1,
        before,
        padded: input + 2 * before,
    }
}

/// A convolution, cut off at 0, and every other family after it.
pub(super) fn whole() -> Plan {
    let mut plan = Plan {
        values: Vec::new(),
        weights: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        steps: Vec::new(),
        arena_bytes: 0,
    };
    let to = &mut plan;
    let x = value(to, Element::F32, &[2, 4, 6, 6], Place::Arena(0));
    to.inputs.push(PlanPort {
        value: x.value,
        shape: x.shape.clone(),
    });
    let kernel = weight(to, Element::F32, &[1, 8, 4, 3, 3], &[1]);
    let bias = weight(to, Element::F32, &[1, 8], &[0]);
    let body = Convolve {
        input: shown_as(&x, &[2, 1, 4, 6, 6]),
        kernel,
        bias: Some(bias),
        spatial: vec![over(6, 6, 3, 1, 1); 2],
        out: vec![288, 288, 36, 6, 1],
    };
    let x = step(to, "convolve", Body::Convolve(body), &[2, 8, 6, 6]);
    to.steps[0].tail = Some(Map {
        shape: vec![576],
        sources: vec![Source::Carried(Element::F32)],
        nodes: vec![
            (Node::Source(0), Element::F32),
            (Node::F32(0.0), Element::F32),
            (Node::Combine(Function2::Max, 0, 1), Element::F32),
        ],
    });
    let body = Pool {
        input: x,
        kind: PoolKind::Max,
        spatial: vec![over(6, 3, 2, 2, 0); 2],
        out: row_major(&[2, 8, 3, 3]),
    };
    let x = step(to, "pool", Body::Pool(body), &[2, 8, 3, 3]);
    let body = Pad {
        input: x,
        before: vec![0, 0, 1, 1],
        shape: vec![2, 8, 5, 5],
        mode: PadMode::Reflect,
    };
    let x = step(to, "pad", Body::Pad(body), &[2, 8, 5, 5]);
    let places = weight(to, Element::I32, &[10, 2], &[0, 4]);
    let weights = weight(to, Element::F32, &[10, 2], &[0]);
    let body = Resize {
        input: x,
        along: ResizeAxis {
            axis: 3,
            window: 2,
            places,
            weights,
        },
        shape: vec![2, 8, 5, 10],
    };
    let x = step(to, "resize", Body::Resize(body), &[2, 8, 5, 10]);
    let body = Concat {
        parts: vec![x.clone(), x],
        axis: 1,
        shape: vec![2, 16, 5, 10],
    };
    let x = step(to, "concat", Body::Concat(body), &[2, 16, 5, 10]);
    let indices = weight(to, Element::I32, &[3], &[15, -1, 0]);
    let body = Gather {
        data: x,
        axis: 1,
        indices,
    };
    let x = step(to, "gather", Body::Gather(body), &[2, 3, 5, 10]);
    let body = Row {
        out: x.strides.clone(),
        input: x,
        n_kept: 3,
        kind: RowKind::Softmax,
    };
    let x = step(to, "row", Body::Row(body), &[2, 3, 5, 10]);
    let body = Reduce {
        input: x,
        n_kept: 3,
        reducer: Reducer::Sum,
    };
    let x = step(to, "reduce", Body::Reduce(body), &[2, 3, 5]);
    let by = weight(to, Element::F32, &[5, 7], &[1]);
    let bias = weight(to, Element::F32, &[7], &[0]);
    let axis = |size, a, b, out, bias| {
        vec![Axis {
            size,
            a,
            b,
            out,
            bias,
        }]
    };
    let body = Contract {
        a: x,
        b: by,
        batch: Vec::new(),
        rows: axis(6, 5, 0, 7, 0),
        columns: axis(7, 0, 1, 1, 1),
        inner: axis(5, 1, 7, 0, 0),
        bias: Some(bias),
    };
    let x = step(to, "contract", Body::Contract(body), &[6, 7]);
    let turned = Map::copy(x.moved(0, 1));
    let x = step(to, "map", Body::Map(turned), &[7, 6]);
    to.outputs.push(PlanPort {
        value: x.value,
        shape: x.shape,
    });
    arena::place(to, &BOUNDS).unwrap();
    plan
}

/// What is done to a body, and what is said of it.
pub(super) type Damage<T> = (fn(&mut T), &'static str);

/// Why each damage is refused, of a body that passes whole.
#[track_caller]
pub(super) fn all_refused<T: Clone>(whole: &T, check: impl Fn(&T) -> Checked, cases: &[Damage<T>]) {
    assert_eq!(check(whole), Ok(()));
    for (damage, says) in cases {
        let mut body = whole.clone();
        damage(&mut body);
        let error = check(&body).unwrap_err();
        assert!(error.contains(says), "expected `{says}`: {error}");
    }
}
