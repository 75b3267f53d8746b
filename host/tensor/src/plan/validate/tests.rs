//! One plan with a step of every family, and what happens to it when it is damaged.

use std::sync::Arc;

use super::super::view::row_major;
use super::super::{
    Axis, Body, Concat, Contract, Convolve, Element, Function2, Gather, Map, Node, Pad, PadMode,
    Place, Plan, PlanPort, Pool, PoolKind, Reduce, Reducer, Resize, ResizeAxis, Row, RowKind,
    Source, Spatial, Step, Value, ValueId, View, Weight, arena,
};
use super::*;

const BOUNDS: Bounds = Bounds {
    alignment: 256,
    value_bytes: 1 << 20,
    arena_bytes: 1 << 20,
    inputs: 6,
};

fn value(plan: &mut Plan, element: Element, shape: &[usize], place: Place) -> View {
    plan.values.push(Value {
        element,
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
fn whole() -> Plan {
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

macro_rules! body {
    ($plan:expr, $family:ident) => {
        $plan
            .steps
            .iter_mut()
            .find_map(|step| match &mut step.body {
                Body::$family(body) => Some(body),
                _ => None,
            })
            .unwrap()
    };
}

/// The value that the named step makes.
fn made<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Value {
    let step = plan.steps.iter().find(|step| step.name == name).unwrap();
    &mut plan.values[step.output.0]
}

/// Why the damaged plan is refused, and at which node.
fn refused(damage: impl FnOnce(&mut Plan)) -> Uncovered {
    let mut plan = whole();
    damage(&mut plan);
    validate(&plan, &BOUNDS).unwrap_err()
}

#[test]
fn a_plan_that_keeps_to_its_own_passes() {
    assert_eq!(validate(&whole(), &BOUNDS), Ok(()));
}

/// What is done to the plan, and what is said of it.
type Damage = (fn(&mut Plan), &'static str);

#[track_caller]
fn all_refused(node: &str, cases: &[Damage]) {
    for (damage, says) in cases {
        let error = refused(damage);
        assert!(error.why.contains(says), "expected `{says}`: {error}");
        assert_eq!(error.node, node, "{error}");
    }
}

#[test]
fn a_convolution_or_its_tail_beyond_its_own_is_refused() {
    all_refused(
        "convolve",
        &[
            (
                |it| body!(it, Convolve).input.offset = 1,
                "from 1 to 288 of %0",
            ),
            (|it| body!(it, Convolve).input.offset = -1, "from -1 to 286"),
            (
                |it| body!(it, Convolve).input.strides[3] = 7,
                "from 0 to 292",
            ),
            (
                |it| body!(it, Convolve).input.strides[3] = i64::MAX,
                "beyond counting",
            ),
            (
                |it| body!(it, Convolve).input.value = ValueId(999),
                "not there",
            ),
            (
                |it| body!(it, Convolve).input.element = Element::I32,
                "as it is",
            ),
            (
                |it| body!(it, Convolve).kernel.shape[2] = 3,
                "other channels",
            ),
            (
                |it| body!(it, Convolve).kernel.shape[3] = 2,
                "not its window",
            ),
            (|it| body!(it, Convolve).out[2] = 35, "do not fill"),
            (
                |it| body!(it, Convolve).spatial[0].output = 7,
                "do not fill",
            ),
            (
                |it| body!(it, Convolve).spatial[0].input = 7,
                "another input",
            ),
            (
                |it| body!(it, Convolve).spatial[0].stride = 1 << 40,
                "beyond counting",
            ),
            (
                |it| body!(it, Convolve).spatial[1].before = 1 << 31,
                "beyond counting",
            ),
            (
                |it| body!(it, Convolve).bias.as_mut().unwrap().shape[1] = 7,
                "its bias",
            ),
            (
                |it| it.steps[0].tail.as_mut().unwrap().shape[0] = 577,
                "makes another number",
            ),
            (
                |it| it.steps[0].tail.as_mut().unwrap().nodes[2].0 = Node::Source(1),
                "not computed yet",
            ),
            (
                |it| {
                    it.steps[0].tail.as_mut().unwrap().sources[0] = Source::Carried(Element::I32);
                },
                "another size",
            ),
        ],
    );
}

#[test]
fn windows_and_edges_beyond_their_own_are_refused() {
    all_refused(
        "pool",
        &[
            (|it| body!(it, Pool).spatial[0].input = 7, "another input"),
            (
                |it| body!(it, Pool).spatial[0].kernel = 1 << 21,
                "a thread goes through",
            ),
            (
                |it| body!(it, Pool).spatial[0].dilation = 1 << 31,
                "beyond counting",
            ),
            (
                |it| {
                    let axis = &mut body!(it, Pool).spatial[0];
                    (axis.output, axis.stride) = (usize::MAX, usize::MAX);
                    (axis.kernel, axis.dilation) = (usize::MAX, usize::MAX);
                },
                "beyond counting",
            ),
            (|it| body!(it, Pool).out[3] = 0, "do not fill"),
            (|it| body!(it, Pool).spatial.truncate(1), "do not match"),
        ],
    );
    all_refused(
        "pad",
        &[
            (|it| body!(it, Pad).before[2] = 3, "less than nothing"),
            (|it| body!(it, Pad).input.shape[2] = 1, "more than it has"),
            (|it| body!(it, Pad).shape[3] = 6, "another number"),
        ],
    );
    let place = |it: &mut Plan, word: i32| {
        let mut bytes = it.weights[2].bytes.to_vec();
        bytes[4..8].copy_from_slice(&word.to_le_bytes());
        it.weights[2].bytes = bytes.into();
    };
    for outside in [5, -1, i32::MIN] {
        let error = refused(|it| place(it, outside));
        assert!(error.why.contains("lies outside"), "{outside}: {error}");
    }
    all_refused(
        "resize",
        &[
            (
                |it| body!(it, Resize).along.window = 3,
                "tables have another size",
            ),
            (|it| body!(it, Resize).along.axis = 4, "no such axis"),
            (|it| body!(it, Resize).shape[3] = 11, "another number"),
        ],
    );
}

#[test]
fn what_moves_elements_beyond_its_own_is_refused() {
    all_refused(
        "concat",
        &[
            (|it| body!(it, Concat).shape[1] = 17, "another number"),
            (|it| body!(it, Concat).parts.truncate(1), "do not fill"),
            (|it| body!(it, Concat).parts[1].shape[2] = 4, "another size"),
        ],
    );
    all_refused(
        "gather",
        &[
            (|it| body!(it, Gather).data.shape[1] = 17, "it reads from"),
            (|it| body!(it, Gather).data.shape[1] = 0, "of nothing"),
            (
                |it| body!(it, Gather).indices.shape[0] = 2,
                "another number",
            ),
            (|it| body!(it, Gather).axis = 4, "no such axis"),
        ],
    );
    all_refused(
        "map",
        &[
            (
                |it| body!(it, Map).nodes[0].0 = Node::Cast(0),
                "not computed yet",
            ),
            (|it| body!(it, Map).shape = vec![43], "makes another number"),
        ],
    );
}

#[test]
fn sums_beyond_their_own_are_refused() {
    all_refused(
        "row",
        &[
            (|it| body!(it, Row).out[3] = 2, "do not fill"),
            (|it| body!(it, Row).n_kept = 5, "do not match"),
        ],
    );
    all_refused(
        "reduce",
        &[
            (|it| body!(it, Reduce).n_kept = 2, "another number"),
            (|it| body!(it, Reduce).input.shape[3] = 0, "reduces nothing"),
        ],
    );
    all_refused(
        "contract",
        &[
            (
                |it| body!(it, Contract).inner[0].size = 6,
                "it reads from 0 to 30",
            ),
            (|it| body!(it, Contract).rows[0].a = -5, "it reads from -25"),
            (|it| body!(it, Contract).columns[0].out = 2, "do not fill"),
            (
                |it| body!(it, Contract).columns[0].bias = 2,
                "it reads from 0 to 12",
            ),
            (
                |it| {
                    let inner = &mut body!(it, Contract).inner[0];
                    (inner.size, inner.a, inner.b) = (1 << 21, 0, 0);
                },
                "a thread goes through",
            ),
        ],
    );
}

#[test]
fn values_that_are_not_what_is_said_of_them_are_refused() {
    all_refused(
        "",
        &[
            (
                |it| it.values[0].n_elements = MAX_ELEMENTS + 1,
                "one value may have",
            ),
            (|it| it.values[0].n_elements = 1 << 19, "one value may have"),
            (|it| it.values[0].n_elements = 7, "not as large as its port"),
            (|it| it.values[1].place = Place::Weight(99), "not there"),
            (
                |it| it.weights[0].bytes = Arc::from([0; 4]),
                "its weight has 4",
            ),
            (|it| it.arena_bytes = 2 << 20, "where a run may hold"),
        ],
    );
    let few = Bounds {
        inputs: 2,
        ..BOUNDS
    };
    let error = validate(&whole(), &few).unwrap_err();
    assert!(error.why.contains("where one may read 2"), "{error}");
}

#[test]
fn values_that_lie_where_others_do_are_refused() {
    let moved = |name: &'static str, to: fn(&mut Plan) -> u64| {
        refused(|it| {
            let to = to(it);
            made(it, name).place = Place::Arena(to);
        })
    };
    let of = |it: &mut Plan, name: &str| match made(it, name).place {
        Place::Arena(offset) => offset,
        Place::Weight(_) => unreachable!("a step makes no weight"),
    };
    let error = moved("pad", |_| 4);
    assert!(error.why.contains("lies from 4"), "{error}");
    assert_eq!(error.node, "pad");
    let error = moved("pad", |it| it.arena_bytes);
    assert!(error.why.contains("lies from"), "{error}");
    let error = refused(|it| {
        let place = of(it, "convolve");
        made(it, "pool").place = Place::Arena(place);
    });
    assert!(error.why.contains("is made where"), "{error}");
    assert_eq!(error.node, "pool");
    // The first part is read by a step of its own, later, when another has taken its bytes.
    let error = refused(|it| {
        let first = it.steps[0].output;
        it.values[0].place = Place::Arena(16 << 10);
        it.arena_bytes = 64 << 10;
        let view = View::whole(first, Element::F32, &[576]);
        it.values.push(Value {
            element: Element::F32,
            n_elements: 576,
            place: Place::Arena(32 << 10),
        });
        it.steps.push(Step {
            name: "late".to_owned(),
            body: Body::Map(Map::copy(view)),
            tail: None,
            output: ValueId(it.values.len() - 1),
        });
    });
    assert!(error.why.contains("is read where it is not"), "{error}");
    assert_eq!(error.node, "late");
    let error = refused(|it| it.steps.swap(1, 2));
    assert!(error.why.contains("is read where it is not"), "{error}");
    let error = refused(|it| it.steps.truncate(9));
    assert!(error.why.contains("is read where it is not"), "{error}");
    let error = refused(|it| it.steps[0].output = it.steps[1].output);
    assert_eq!(error.node, "convolve", "{error}");
}
