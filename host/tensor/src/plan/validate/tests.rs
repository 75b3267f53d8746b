//! What happens to a plan when it is damaged.

use std::sync::Arc;

use super::super::{
    Body, Element, Map, Node, Place, Plan, Source, Stored, Uncovered, Value, ValueId,
};
use super::whole::{BOUNDS, Damage, whole};
use super::*;

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

#[track_caller]
fn all_refused(node: &str, cases: &[Damage<Plan>]) {
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
            (|it| it.values[0].n_elements = 7, "does not lie as its port"),
            (
                |it| it.values[0].stored = Stored::Half,
                "does not lie as its port",
            ),
            // The convolution's weights, and a resizing's places.
            (|it| it.values[1].stored = Stored::Half, "takes 576 bytes"),
            (
                |it| {
                    let places = it.values.iter_mut();
                    let mut places = places.filter(|it| it.element == Element::I32);
                    places.next().unwrap().stored = Stored::Half;
                },
                "of i32 is stored as f16",
            ),
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
    let mut halved = whole();
    made(&mut halved, "pad").stored = Stored::Half;
    assert_eq!(validate(&halved, &BOUNDS), Ok(()));
    let never = Bounds {
        halves: false,
        ..BOUNDS
    };
    let error = validate(&halved, &never).unwrap_err();
    assert!(error.why.contains("is stored as f16"), "{error}");
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
            stored: Stored::Whole,
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
