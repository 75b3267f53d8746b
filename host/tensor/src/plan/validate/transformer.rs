//! Attention and transposed convolutions: what each walks through lies within its value.

use super::super::view::count;
use super::super::{Attend, AttendAxis, Deconvolve, Element, Plan, View};
use super::bodies::{Channels, channels, held, in_turn, map};
use super::{Checked, MAX_ELEMENTS, MAX_NUMBER, fill, within};

pub(super) fn attend(plan: &Plan, it: &Attend, n: usize) -> Checked {
    let made = || it.batch.iter().chain(&it.rows).chain(&it.features);
    let scored = || it.batch.iter().chain(&it.rows).chain(&it.keys);
    type Read<'a> = (&'a View, [&'a [AttendAxis]; 2], fn(&AttendAxis) -> i64);
    let reads: [Read<'_>; 3] = [
        (&it.q, [&it.rows, &it.depth], |axis| axis.q),
        (&it.k, [&it.keys, &it.depth], |axis| axis.k),
        (&it.v, [&it.keys, &it.features], |axis| axis.v),
    ];
    for (view, [outer, inner], stride) in reads {
        let axes = it.batch.iter().chain(outer).chain(inner);
        let along = axes.map(|axis| (axis.size, stride(axis)));
        within(plan, view.value, view.offset, along)?;
        held(view.element == Element::F32, "attention is over f32")?;
    }
    let filled = fill(made().map(|axis| (axis.size, axis.out)), n);
    held(filled, "what is attended does not fill its output")?;
    let size = |axes: &[AttendAxis]| count(axes.iter().map(|axis| axis.size));
    held(
        n == 0 || size(&it.keys) > 0,
        "a softmax over nothing has no value",
    )?;
    let n_scores = count(scored().map(|axis| axis.size));
    let filled = fill(scored().map(|axis| (axis.size, axis.score)), n_scores);
    held(
        filled && n_scores <= MAX_ELEMENTS,
        "its scores have no order",
    )?;
    if let Some(scores) = &it.scores {
        map(scores, n_scores, Some(Element::F32))?;
        held(scores.element() == Element::F32, "its scores are no f32")?;
    }
    let each = size(&it.depth).max(size(&it.features).min(MAX_FEATURES));
    in_turn(size(&it.keys).saturating_mul(each))
}

/// Features of one group at most.
const MAX_FEATURES: usize = 128;

pub(super) fn deconvolve(it: &Deconvolve, n: usize) -> Checked {
    let all = Channels {
        input: &it.input,
        kernel: &it.kernel,
        bias: Some(&it.bias),
        spatial: &it.spatial,
        out: &it.out,
    };
    channels(&all, n)?;
    for (axis, &size) in it.spatial.iter().zip(&it.input.shape[3..]) {
        held(
            axis.input == size && axis.stride > 0,
            "its windows are over another input",
        )?;
        let last = |n: usize, step: usize| (n as u128).saturating_sub(1) * step as u128;
        let reach = last(axis.kernel, axis.dilation)
            .saturating_add(axis.output as u128)
            .saturating_add(axis.before as u128)
            .saturating_add(axis.stride as u128);
        held(
            reach <= u128::from(MAX_NUMBER),
            "its windows reach beyond counting",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::{Map, Node, Place, Source, Spatial, Stored, Value, ValueId, View};
    use super::super::whole::all_refused;
    use super::*;

    const N: usize = 64;

    fn plan() -> Plan {
        Plan {
            values: vec![Value {
                element: Element::F32,
                stored: Stored::Whole,
                n_elements: N,
                place: Place::Arena(0),
            }],
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: Vec::new(),
            arena_bytes: 0,
        }
    }

    fn view(shape: &[usize]) -> View {
        View::whole(ValueId(0), Element::F32, shape)
    }

    /// Two texts of three queries, five keys and a depth and width of four, masked by key.
    fn whole() -> Attend {
        let none = AttendAxis::default();
        let mask = View {
            strides: vec![0, 0, 1],
            ..view(&[2, 3, 5])
        };
        Attend {
            q: view(&[2, 3, 4]),
            k: view(&[2, 5, 4]),
            v: view(&[2, 5, 4]),
            batch: vec![AttendAxis {
                size: 2,
                q: 12,
                k: 20,
                v: 20,
                score: 15,
                out: 12,
            }],
            rows: vec![AttendAxis {
                size: 3,
                q: 4,
                score: 5,
                out: 4,
                ..none
            }],
            keys: vec![AttendAxis {
                size: 5,
                k: 4,
                v: 4,
                score: 1,
                ..none
            }],
            depth: vec![AttendAxis {
                size: 4,
                q: 1,
                k: 1,
                ..none
            }],
            features: vec![AttendAxis {
                size: 4,
                v: 1,
                out: 1,
                ..none
            }],
            scores: Some(Map {
                shape: vec![30],
                sources: vec![Source::Carried(Element::F32), Source::View(mask)],
                nodes: vec![(Node::Source(1), Element::F32)],
            }),
        }
    }

    #[test]
    fn attention_beyond_its_own_is_refused() {
        let plan = plan();
        let check = |it: &Attend| attend(&plan, it, 24);
        all_refused(
            &whole(),
            check,
            &[
                (|it| it.rows[0].size = 16, "it reads from 0 to 75 of %0"),
                (|it| it.keys[0].size = 16, "it reads from 0 to 83 of %0"),
                (|it| it.features[0].v = 10, "it reads from 0 to 66 of %0"),
                (|it| it.depth[0].k = -1, "it reads from -3"),
                (|it| it.features[0].out = 2, "does not fill"),
                (|it| it.rows[0].score = 4, "no order"),
                (|it| it.batch[0].score = 0, "no order"),
                (|it| it.keys[0].size = 0, "over nothing"),
                (
                    |it| it.scores.as_mut().unwrap().shape[0] = 31,
                    "makes another number",
                ),
                (
                    |it| it.scores.as_mut().unwrap().sources[0] = Source::Carried(Element::I32),
                    "another size",
                ),
            ],
        );
    }

    #[test]
    fn keys_that_one_thread_would_go_through_for_too_long_are_refused() {
        let mut body = whole();
        for (axis, size) in [(&mut body.keys[0], 1 << 19), (&mut body.depth[0], 4)] {
            *axis = AttendAxis {
                size,
                score: axis.score,
                ..AttendAxis::default()
            };
        }
        body.batch.clear();
        body.rows.clear();
        body.scores = None;
        body.features[0].out = 1;
        let error = attend(&plan(), &body, 4).unwrap_err();
        assert!(error.contains("a thread goes through"), "{error}");
    }

    #[test]
    fn a_transposed_convolution_beyond_its_own_is_refused() {
        let whole = Deconvolve {
            input: view(&[1, 1, 2, 3]),
            kernel: view(&[1, 4, 2, 3]),
            bias: view(&[1, 4]),
            spatial: vec![Spatial {
                input: 3,
                output: 7,
                kernel: 3,
                stride: 2,
                dilation: 1,
                before: 0,
                padded: 0,
            }],
            out: vec![28, 28, 7, 1],
        };
        all_refused(
            &whole,
            |it| deconvolve(it, 28),
            &[
                (|it| it.spatial[0].input = 4, "another input"),
                (|it| it.spatial[0].stride = 0, "another input"),
                (|it| it.spatial[0].output = 8, "do not fill"),
                (|it| it.spatial[0].before = 1 << 31, "beyond counting"),
                (|it| it.kernel.shape[2] = 1, "other channels"),
                (|it| it.bias.shape[1] = 3, "its bias"),
                (|it| it.out.truncate(3), "do not match"),
            ],
        );
    }
}
