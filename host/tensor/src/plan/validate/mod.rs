//! The last look at a plan before a device sees it.
//!
//! Shaders run unchecked: what keeps them within their values is that every offset that
//! they can compute was bounded here, of the finished plan and with no regard to how it
//! came about. A plan that does not hold is refused, and the CPU runs its graph. What data
//! decides (an index) is not known here; kernels clamp it.
//!
//! Held to: sizes and strides are counted in 32 bits; each view's smallest and largest
//! offset lies within its value; a step fills each element of its output once and no other;
//! f32 alone is stored as f16, and no input or output is; a table's places lie within what they point into; no thread goes through more than
//! [`MAX_IN_TURN`] elements; each value lies within the arena where no other is alive.
//! A group of a launch stores an element at least, so groups are counted in 32 bits too.

mod bodies;
mod lookups;
mod memory;
#[cfg(test)]
mod tests;
mod transformer;
#[cfg(test)]
mod whole;

use super::view::count;
use super::{
    Body, Bounds, Element, MAX_ELEMENTS, Place, Plan, PlanPort, Step, Stored, Uncovered, ValueId,
    View,
};

/// Elements that one thread goes through in turn at most: a launch cannot be interrupted,
/// and nobody else's work goes on meanwhile.
const MAX_IN_TURN: usize = 1 << 20;

/// The largest number that kernels compute offsets with.
const MAX_NUMBER: u64 = i32::MAX as u64;

/// Why a plan does not hold.
type Checked = Result<(), String>;

/// Refuses a plan that would read or write what is not its own.
pub(super) fn validate(plan: &Plan, bounds: &Bounds) -> Result<(), Uncovered> {
    let at = |node: &str, what: &str, why| Uncovered {
        node: node.to_owned(),
        operator: what.to_owned(),
        why,
    };
    values(plan, bounds).map_err(|why| at("", "the plan of the model", why))?;
    for step in &plan.steps {
        self::step(plan, step, bounds).map_err(|why| at(&step.name, "a step of its plan", why))?;
    }
    memory::check(plan, bounds).map_err(|(node, why)| at(&node, "the memory of its plan", why))
}

/// Whether a step with this body would hold in `plan`, whose values are known but have no
/// place yet, and fill `n` elements: for what can be lowered in another way.
pub(super) fn fits(plan: &Plan, body: &Body, n: usize) -> bool {
    bodies::check(plan, body, n).is_ok()
}

fn values(plan: &Plan, bounds: &Bounds) -> Checked {
    for (at, value) in plan.values.iter().enumerate() {
        let id = ValueId(at);
        if value.n_elements > MAX_ELEMENTS || value.n_bytes() > bounds.value_bytes {
            return Err(format!(
                "{id} has {} elements, where one value may have {} bytes",
                value.n_elements, bounds.value_bytes
            ));
        }
        if value.stored == Stored::Half && !(bounds.halves && value.element == Element::F32) {
            return Err(format!("{id} of {} is stored as f16", value.element));
        }
        let Place::Weight(weight) = value.place else {
            continue;
        };
        let Some(weight) = plan.weights.get(weight) else {
            return Err(format!("{id} is a weight that is not there"));
        };
        let n_bytes = value.content_bytes();
        if weight.bytes.len() as u64 != n_bytes {
            return Err(format!(
                "{id} takes {n_bytes} bytes, its weight has {}",
                weight.bytes.len()
            ));
        }
    }
    let mut ports = plan.inputs.iter().chain(&plan.outputs);
    ports.try_for_each(|port| self::port(plan, port))
}

fn port(plan: &Plan, port: &PlanPort) -> Checked {
    let value = plan.values.get(port.value.0);
    let fits = value.is_some_and(|value| {
        matches!(value.place, Place::Arena(_))
            && value.n_elements == count(&port.shape)
            && value.stored == Stored::Whole
    });
    match fits {
        true => Ok(()),
        false => Err(format!("{} does not lie as its port does", port.value)),
    }
}

fn step(plan: &Plan, step: &Step, bounds: &Bounds) -> Checked {
    let inputs = step.inputs();
    if inputs.len() > bounds.inputs {
        return Err(format!(
            "it reads {} values, where one may read {}",
            inputs.len(),
            bounds.inputs
        ));
    }
    let output = plan.values.get(step.output.0);
    let output = output.ok_or_else(|| format!("it makes {}, which is not there", step.output))?;
    if output.element != step.element() {
        return Err(format!(
            "it makes {} of {}, which is of {}",
            step.element(),
            step.output,
            output.element
        ));
    }
    for view in step.views() {
        self::view(plan, view)?;
    }
    bodies::check(plan, &step.body, output.n_elements)?;
    match &step.tail {
        Some(tail) => bodies::map(tail, output.n_elements, Some(step.body.element())),
        None => Ok(()),
    }
}

fn view(plan: &Plan, view: &View) -> Checked {
    let value = plan.values.get(view.value.0);
    let value = value.ok_or_else(|| format!("it reads {}, which is not there", view.value))?;
    if view.element != value.element || view.shape.len() != view.strides.len() {
        return Err(format!("{view} does not show {} as it is", view.value));
    }
    let sizes = view.shape.iter().copied();
    within(
        plan,
        view.value,
        view.offset,
        sizes.zip(view.strides.iter().copied()),
    )
}

/// Whether every offset that these dimensions reach lies within a value. Where one is empty
/// nothing is read.
fn within(
    plan: &Plan,
    value: ValueId,
    offset: i64,
    dimensions: impl Iterator<Item = (usize, i64)>,
) -> Checked {
    let (mut least, mut most) = (i128::from(offset), i128::from(offset));
    let mut is_empty = false;
    for (size, stride) in dimensions {
        if stride.unsigned_abs() > MAX_NUMBER || size as u64 > MAX_NUMBER {
            return Err(format!(
                "a stride of {stride} over {size} is beyond counting"
            ));
        }
        is_empty |= size == 0;
        // Below 2^62 each, and dimensions are few.
        let reach = i128::from(stride) * (size as i128 - 1);
        least += reach.min(0);
        most += reach.max(0);
    }
    let n_elements = plan.value(value).n_elements;
    if is_empty || (least >= 0 && most < n_elements as i128) {
        return Ok(());
    }
    Err(format!(
        "it reads from {least} to {most} of {value}, which has {n_elements} elements"
    ))
}

/// Whether sizes and strides name each of `n_elements` places once.
fn fill(dimensions: impl Iterator<Item = (usize, i64)>, n_elements: usize) -> bool {
    let mut dimensions: Vec<(usize, i64)> = dimensions.filter(|(size, _)| *size != 1).collect();
    if dimensions.iter().any(|(size, _)| *size == 0) {
        return n_elements == 0;
    }
    dimensions.sort_by_key(|(_, stride)| *stride);
    let mut next = 1_usize;
    for (size, stride) in dimensions {
        if usize::try_from(stride) != Ok(next) {
            return false;
        }
        next = next.saturating_mul(size);
    }
    next == n_elements
}
