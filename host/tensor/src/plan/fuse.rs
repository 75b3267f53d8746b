//! Fewer steps for the same numbers: element-wise steps join each other, and become
//! the tail of whatever made their input.

use super::view::count;
use super::{Body, Bounds, Map, Plan, Source, Step, ValueId};

/// Nodes of one program at most: beyond that registers run out and nothing is won.
const MAX_NODES: usize = 48;

/// Joins each element-wise step to the one that makes its input, where it alone reads it.
/// Each join ends a step and looks at the steps that make one step's inputs, so a graph of
/// many nodes takes no longer for each of them.
pub(super) fn fuse(plan: &mut Plan, bounds: &Bounds) {
    let mut fusing = Fusing::new(plan, bounds);
    for at in 0..fusing.steps.len() {
        // The joined step stands where the later one stood: all that either reads is made
        // by then. It may be joined again.
        while let Some((maker, joined)) = fusing.fusible(at) {
            fusing.replace(maker, at, joined);
        }
    }
    plan.steps = fusing.steps.into_iter().flatten().collect();
}

struct Fusing {
    /// None where a step was joined to a later one.
    steps: Vec<Option<Step>>,
    /// The step that makes each value; none for inputs and weights.
    makers: Vec<Option<usize>>,
    /// Steps that read each value, and once more where it is an output of the plan.
    n_readers: Vec<usize>,
    n_elements: Vec<usize>,
    max_inputs: usize,
}

impl Fusing {
    fn new(plan: &mut Plan, bounds: &Bounds) -> Self {
        let mut makers = vec![None; plan.values.len()];
        let mut n_readers = vec![0; plan.values.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            makers[step.output.0] = Some(at);
            for input in step.inputs() {
                n_readers[input.0] += 1;
            }
        }
        for output in &plan.outputs {
            n_readers[output.value.0] += 1;
        }
        let steps = std::mem::take(&mut plan.steps);
        Self {
            steps: steps.into_iter().map(Some).collect(),
            makers,
            n_readers,
            n_elements: plan.values.iter().map(|value| value.n_elements).collect(),
            max_inputs: bounds.inputs,
        }
    }

    /// A step that step `at` can be joined to, and what they are together.
    fn fusible(&self, at: usize) -> Option<(usize, Step)> {
        let step = self.steps[at].as_ref()?;
        let Body::Map(map) = &step.body else {
            return None;
        };
        if step.tail.is_some() {
            return None;
        }
        for (source, view) in map.sources.iter().enumerate() {
            let Source::View(view) = view else { continue };
            let value = view.value;
            let whole = self.n_elements[value.0] == count(&map.shape);
            if !whole || !map.sources[source].is_all_of(value) || !self.reads_alone(map, value) {
                continue;
            }
            let Some(maker) = self.makers[value.0] else {
                continue;
            };
            let Some(made) = &self.steps[maker] else {
                continue;
            };
            let joined = joined(made, step, source);
            let small = joined
                .tail
                .as_ref()
                .is_none_or(|tail| tail.nodes.len() <= MAX_NODES)
                && !matches!(&joined.body, Body::Map(map) if map.nodes.len() > MAX_NODES);
            if small && joined.inputs().len() <= self.max_inputs {
                return Some((maker, joined));
            }
        }
        None
    }

    /// Whether the step of this map alone reads `value`, and through one source.
    fn reads_alone(&self, map: &Map, value: ValueId) -> bool {
        self.n_readers[value.0] == 1 && map.views().filter(|view| view.value == value).count() == 1
    }

    fn replace(&mut self, maker: usize, at: usize, joined: Step) {
        for input in joined.inputs() {
            self.n_readers[input.0] += 1;
        }
        let replaced = [self.steps[maker].take(), self.steps[at].replace(joined)];
        for input in replaced.into_iter().flatten().flat_map(|it| it.inputs()) {
            self.n_readers[input.0] -= 1;
        }
    }
}

fn joined(maker: &Step, step: &Step, source: usize) -> Step {
    let Body::Map(map) = &step.body else {
        unreachable!("only element-wise steps are joined");
    };
    let (body, tail) = match (&maker.body, &maker.tail) {
        (Body::Map(first), None) => (Body::Map(map.after(first, source)), None),
        (_, Some(tail)) => (maker.body.clone(), Some(map.after(tail, source))),
        (body, None) => {
            let mut tail: Map = map.clone();
            tail.sources[source] = Source::Carried(body.element());
            (body.clone(), Some(tail))
        }
    };
    Step {
        name: step.name.clone(),
        body,
        tail,
        output: step.output,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Element, Function2, Node, Place, PlanPort, Stored, Value, View};
    use super::*;

    /// `n` additions, each of the one before and the first input.
    fn chain(n: usize) -> Plan {
        let value = Value {
            element: Element::F32,
            stored: Stored::Whole,
            n_elements: 4,
            place: Place::Arena(0),
        };
        let view = |at: usize| Source::View(View::whole(ValueId(at), Element::F32, &[4]));
        let step = |at: usize| Step {
            name: format!("step {at}"),
            body: Body::Map(Map {
                shape: vec![4],
                sources: vec![view(at - 1), view(0)],
                nodes: vec![
                    (Node::Source(0), Element::F32),
                    (Node::Source(1), Element::F32),
                    (Node::Combine(Function2::Add, 0, 1), Element::F32),
                ],
            }),
            tail: None,
            output: ValueId(at),
        };
        let port = |at: usize| PlanPort {
            value: ValueId(at),
            shape: vec![4],
        };
        Plan {
            values: vec![value; n + 1],
            weights: Vec::new(),
            inputs: vec![port(0)],
            outputs: vec![port(n)],
            steps: (1..=n).map(step).collect(),
            arena_bytes: 0,
        }
    }

    fn bounds() -> Bounds {
        Bounds {
            alignment: 256,
            value_bytes: 1 << 20,
            arena_bytes: 1 << 30,
            inputs: 6,
            halves: false,
        }
    }

    #[test]
    fn a_chain_becomes_as_few_steps_as_programs_may_be_long() {
        let mut plan = chain(100);
        fuse(&mut plan, &bounds());
        let nodes = |step: &Step| match &step.body {
            Body::Map(map) => map.nodes.len(),
            _ => 0,
        };
        assert!(plan.steps.iter().all(|step| nodes(step) <= MAX_NODES));
        // The first addition is of the input with itself, so nothing joins through it; each
        // other one brings two nodes.
        assert!(plan.steps.len() <= 6, "{} steps", plan.steps.len());
        assert_eq!(plan.steps.last().unwrap().output, ValueId(100));
    }

    /// No clock is asked, yet a pass over all steps for each of them would take minutes.
    #[test]
    fn as_many_steps_as_a_large_model_has_are_joined_at_once() {
        let mut plan = chain(100_000);
        fuse(&mut plan, &bounds());
        assert!(plan.steps.len() < 6_000, "{} steps", plan.steps.len());
    }
}
