//! From tract's decluttered graph, sizes filled in, to steps.
//!
//! Axes that come, go and move, slices and broadcasts become views; elements move only
//! where a step needs them in order.

mod arithmetic;
mod attention;
mod contraction;
mod deconvolution;
mod fold;
mod lookups;
mod movement;
mod places;
mod rows;
mod windows;

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::prelude::{DatumType, OutletId, SymbolValues, Tensor, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::view::count;
use super::{
    Body, Bounds, Element, MAX_ELEMENTS, Map, Place, Plan, PlanPort, Step, Stored, Uncovered,
    Value, ValueId, View, Weight,
};
use crate::Graph;
use crate::shape::shown;

/// Dimensions of one value at most.
const MAX_RANK: usize = 12;

/// A plan whose values have no place yet.
pub(super) fn lower(
    graph: &Graph,
    sizes: &SymbolValues,
    bounds: &Bounds,
) -> Result<Plan, Uncovered> {
    let model = graph.model();
    let order = model.eval_order().map_err(|error| Uncovered {
        node: String::new(),
        operator: "the whole model".to_owned(),
        why: format!("{error:#}"),
    })?;
    let mut lowering = Lowering {
        model,
        sizes,
        bounds,
        views: HashMap::new(),
        made_bytes: 0,
        done: HashMap::new(),
        attentions: attention::find(model),
        plan: Plan {
            values: Vec::new(),
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: Vec::new(),
            arena_bytes: 0,
        },
    };
    for outlet in &model.inputs {
        lowering.input(*outlet)?;
    }
    for at in order {
        let node = model.node(at);
        // A constant becomes a weight when a step reads it: many tell shapes only.
        if !node.op_is::<TypedSource>() && !node.op_is::<Const>() {
            lowering.node(node)?;
        }
    }
    for outlet in &model.outputs {
        lowering.output(*outlet)?;
    }
    let mut plan = lowering.plan;
    drop_unread(&mut plan);
    Ok(plan)
}

/// Steps whose value nobody reads.
fn drop_unread(plan: &mut Plan) {
    let mut read: Vec<bool> = vec![false; plan.values.len()];
    for output in &plan.outputs {
        read[output.value.0] = true;
    }
    for step in plan.steps.iter().rev() {
        if read[step.output.0] {
            step.inputs()
                .into_iter()
                .for_each(|input| read[input.0] = true);
        }
    }
    plan.steps.retain(|step| read[step.output.0]);
    // What nobody makes any more takes no bytes, however large it would have been.
    let mut lives = vec![false; plan.values.len()];
    for id in plan.inputs.iter().map(|port| port.value) {
        lives[id.0] = true;
    }
    for step in &plan.steps {
        lives[step.output.0] = true;
    }
    for (value, lives) in plan.values.iter_mut().zip(lives) {
        if !lives && matches!(value.place, Place::Arena(_)) {
            value.n_elements = 0;
        }
    }
}

struct Lowering<'a> {
    model: &'a TypedModel,
    sizes: &'a SymbolValues,
    bounds: &'a Bounds,
    views: HashMap<OutletId, View>,
    plan: Plan,
    /// Bytes of weights that no file holds: tables that a step reads.
    made_bytes: u64,
    /// Nodes that are folded into an earlier one, and their input that goes on as it is.
    done: HashMap<usize, usize>,
    attentions: attention::Attentions,
}

/// What lowers one family of operators; `None` for an operator of another.
type Family = fn(&mut Lowering<'_>, &TypedNode) -> Result<Option<View>, Uncovered>;

/// The first that knows an operator has it.
const FAMILIES: [Family; 9] = [
    movement::lower,
    arithmetic::lower,
    attention::lower,
    contraction::lower,
    windows::lower,
    rows::lower,
    lookups::lower,
    places::lower,
    deconvolution::lower,
];

impl Lowering<'_> {
    fn node(&mut self, node: &TypedNode) -> Result<(), Uncovered> {
        if let Some(&input) = self.done.get(&node.id) {
            let view = self.read(node, input)?;
            self.views.insert(OutletId::new(node.id, 0), view);
            return Ok(());
        }
        for family in FAMILIES {
            if let Some(view) = family(self, node)? {
                let shape = self.shape(node, OutletId::new(node.id, 0))?;
                if view.shape != shape {
                    return Err(uncovered(
                        node,
                        format!(
                            "{} where {} was inferred",
                            shown(&view.shape),
                            shown(&shape)
                        ),
                    ));
                }
                self.views.insert(OutletId::new(node.id, 0), view);
                return Ok(());
            }
        }
        Err(uncovered(node, "no kernel computes it"))
    }

    fn input(&mut self, outlet: OutletId) -> Result<(), Uncovered> {
        let node = self.model.node(outlet.node);
        let element = element_of(node, node.outputs[outlet.slot].fact.datum_type)?;
        let shape = self.shape(node, outlet)?;
        let view = self.value(node, element, &shape)?;
        self.plan.inputs.push(PlanPort {
            value: view.value,
            shape,
        });
        self.views.insert(outlet, view);
        Ok(())
    }

    fn output(&mut self, outlet: OutletId) -> Result<(), Uncovered> {
        let node = self.model.node(outlet.node);
        let view = self.view(outlet)?;
        let shape = view.shape.clone();
        // An output has bytes of its own in the arena: it is copied out from there.
        let is_own = view.is_plain()
            && matches!(self.plan.value(view.value).place, Place::Arena(_))
            && self.plan.value(view.value).n_elements == view.n_elements();
        let view = if is_own {
            view
        } else {
            self.copied(node, view)?
        };
        self.plan.outputs.push(PlanPort {
            value: view.value,
            shape,
        });
        Ok(())
    }

    /// The sizes of an outlet in this run.
    fn shape(&self, node: &TypedNode, outlet: OutletId) -> Result<Vec<usize>, Uncovered> {
        let fact = &self.model.node(outlet.node).outputs[outlet.slot].fact;
        let sizes = fact.shape.iter().map(|dim| {
            let size = dim.eval_to_i64(self.sizes).ok();
            size.and_then(|size| usize::try_from(size).ok())
        });
        let shape: Option<Vec<usize>> = sizes.collect();
        let shape = shape.ok_or_else(|| uncovered(node, "a size is not known before the run"))?;
        let n_elements = shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size.max(1)));
        if n_elements.is_none_or(|n| n > MAX_ELEMENTS) || shape.len() > MAX_RANK {
            return Err(uncovered(
                node,
                format!("a value of {} is too large to count", shown(&shape)),
            ));
        }
        Ok(shape)
    }

    /// How an input of a node is seen.
    fn read(&mut self, node: &TypedNode, input: usize) -> Result<View, Uncovered> {
        self.view(node.inputs[input])
    }

    fn view(&mut self, outlet: OutletId) -> Result<View, Uncovered> {
        if let Some(view) = self.views.get(&outlet) {
            return Ok(view.clone());
        }
        let node = self.model.node(outlet.node);
        let Some(constant) = node.op_as::<Const>() else {
            return Err(uncovered(node, "a second output has no kernel"));
        };
        let view = self.weight(node, constant.val())?;
        self.views.insert(outlet, view.clone());
        Ok(view)
    }

    /// The constant behind an input; none where a step makes it.
    fn constant(&self, node: &TypedNode, input: usize) -> Option<&Arc<Tensor>> {
        let maker = self.model.node(node.inputs[input].node);
        maker.op_as::<Const>().map(Const::val)
    }

    fn weight(&mut self, node: &TypedNode, tensor: &Tensor) -> Result<View, Uncovered> {
        let element = element_of(node, tensor.datum_type())?;
        self.check_value(node, element, tensor.shape())?;
        let bytes = bytes_of(node, tensor)?;
        Ok(self.add_weight(element, tensor.shape(), bytes))
    }

    /// Refuses what the device cannot hold as one value. Called before anything is made
    /// that grows with it: sizes come from a plugin.
    fn check_value(
        &self,
        node: &TypedNode,
        element: Element,
        shape: &[usize],
    ) -> Result<(), Uncovered> {
        let n_elements = count(shape);
        let n_bytes = (n_elements as u64).saturating_mul(element.n_bytes());
        if n_bytes <= self.bounds.value_bytes && n_elements <= MAX_ELEMENTS {
            return Ok(());
        }
        Err(uncovered(
            node,
            format!(
                "{} takes {n_bytes} bytes, where one value may have {}",
                shown(shape),
                self.bounds.value_bytes
            ),
        ))
    }

    /// Counts `times` weights that planning itself is about to make. All of them together
    /// take no more than a run may.
    fn charge(
        &mut self,
        node: &TypedNode,
        element: Element,
        shape: &[usize],
        times: u64,
    ) -> Result<(), Uncovered> {
        let each = (count(shape) as u64).saturating_mul(element.n_bytes());
        let made = self.made_bytes.saturating_add(each.saturating_mul(times));
        if made > self.bounds.arena_bytes {
            return Err(uncovered(
                node,
                format!(
                    "its tables and those before it take {made} bytes, where a run may hold {}",
                    self.bounds.arena_bytes
                ),
            ));
        }
        self.made_bytes = made;
        Ok(())
    }

    fn add_weight(&mut self, element: Element, shape: &[usize], bytes: Vec<u8>) -> View {
        let place = Place::Weight(self.plan.weights.len());
        let bytes = bytes.into();
        self.plan.weights.push(Weight { bytes });
        self.plan.values.push(Value {
            element,
            stored: Stored::Whole,
            n_elements: count(shape),
            place,
        });
        View::whole(ValueId(self.plan.values.len() - 1), element, shape)
    }

    /// A value of the arena that a step or an input will fill.
    fn value(
        &mut self,
        node: &TypedNode,
        element: Element,
        shape: &[usize],
    ) -> Result<View, Uncovered> {
        // The scores of an attention are larger than all else and stand nowhere; a plan that
        // keeps them after all is looked at again as a whole.
        if !self.attentions.within.contains(&node.id) {
            self.check_value(node, element, shape)?;
        }
        self.plan.values.push(Value {
            element,
            stored: Stored::Whole,
            n_elements: count(shape),
            place: Place::Arena(0),
        });
        let id = ValueId(self.plan.values.len() - 1);
        Ok(View::whole(id, element, shape))
    }

    /// Adds a step that makes a value of `shape`.
    fn step(&mut self, node: &TypedNode, body: Body, shape: &[usize]) -> Result<View, Uncovered> {
        let view = self.value(node, body.element(), shape)?;
        self.plan.steps.push(Step {
            name: node.name.clone(),
            body,
            tail: None,
            output: view.value,
        });
        Ok(view)
    }

    fn copied(&mut self, node: &TypedNode, view: View) -> Result<View, Uncovered> {
        let shape = view.shape.clone();
        self.step(node, Body::Map(Map::copy(view)), &shape)
    }

    fn f32_only(&self, node: &TypedNode, view: &View) -> Result<(), Uncovered> {
        match view.element {
            Element::F32 => Ok(()),
            element => Err(uncovered(node, format!("no kernel for {element}"))),
        }
    }
}

fn uncovered(node: &TypedNode, why: impl Into<String>) -> Uncovered {
    Uncovered {
        node: node.name.clone(),
        operator: node.op.name().into_owned(),
        why: why.into(),
    }
}

fn element_of(node: &TypedNode, datum_type: DatumType) -> Result<Element, Uncovered> {
    match datum_type {
        DatumType::F32 => Ok(Element::F32),
        DatumType::I32 => Ok(Element::I32),
        DatumType::I64 | DatumType::TDim => Ok(Element::I64),
        DatumType::Bool => Ok(Element::Bool),
        other => Err(uncovered(node, format!("{other:?} has no kernels"))),
    }
}

/// A constant as the device keeps it.
fn bytes_of(node: &TypedNode, tensor: &Tensor) -> Result<Vec<u8>, Uncovered> {
    let plain = || uncovered(node, "a constant in a form of tract's own");
    match tensor.datum_type() {
        DatumType::Bool => {
            let bytes = tensor.is_plain_ram().then(|| tensor.as_bytes());
            let words = bytes.ok_or_else(plain)?.iter().map(|&byte| u32::from(byte));
            Ok(words.flat_map(u32::to_le_bytes).collect())
        }
        DatumType::TDim => {
            let cast = tensor.cast_to::<i64>();
            let cast = cast.map_err(|error| uncovered(node, format!("{error:#}")))?;
            Ok(cast.as_bytes().to_vec())
        }
        _ if tensor.is_plain_ram() => Ok(tensor.as_bytes().to_vec()),
        _ => Err(plain()),
    }
}
