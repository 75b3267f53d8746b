//! Whether each value is still there when it is read. The steps are gone through in their
//! order, as the device does, rather than asked for the lives that gave values their places.

use std::collections::BTreeMap;

use super::super::{Bounds, Place, Plan, ValueId};

/// The name of a step, and what is wrong.
type Checked = Result<(), (String, String)>;

pub(super) fn check(plan: &Plan, bounds: &Bounds) -> Checked {
    let nowhere = |why| (String::new(), why);
    if plan.arena_bytes > bounds.arena_bytes {
        return Err(nowhere(format!(
            "{} bytes at once, where a run may hold {}",
            plan.arena_bytes, bounds.arena_bytes
        )));
    }
    let mut arena = Arena {
        plan,
        alignment: bounds.alignment,
        written: BTreeMap::new(),
    };
    // All inputs are written before the first step.
    for input in &plan.inputs {
        arena.write(input.value).map_err(nowhere)?;
    }
    for input in &plan.inputs {
        arena.read(input.value).map_err(nowhere)?;
    }
    for step in &plan.steps {
        let mut made = || {
            for input in step.inputs() {
                arena.read(input)?;
                arena.apart(input, step.output)?;
            }
            arena.write(step.output)
        };
        made().map_err(|why| (step.name.clone(), why))?;
    }
    // And all outputs are copied out after the last.
    for output in &plan.outputs {
        arena.read(output.value).map_err(nowhere)?;
    }
    Ok(())
}

struct Arena<'a> {
    plan: &'a Plan,
    alignment: u64,
    /// Ranges that hold a value: by their begin, their end and whose they are.
    written: BTreeMap<u64, (u64, ValueId)>,
}

impl Arena<'_> {
    /// Where a value lies; none for a weight.
    fn range(&self, id: ValueId) -> Result<Option<(u64, u64)>, String> {
        let value = self.plan.values.get(id.0);
        let value = value.ok_or_else(|| format!("{id} is not there"))?;
        let Place::Arena(begin) = value.place else {
            return Ok(None);
        };
        let end = begin.saturating_add(value.n_bytes());
        if !begin.is_multiple_of(self.alignment) || end > self.plan.arena_bytes {
            return Err(format!(
                "{id} lies from {begin} to {end} of {} bytes",
                self.plan.arena_bytes
            ));
        }
        Ok(Some((begin, end)))
    }

    /// A value is made: what lay there is no more.
    fn write(&mut self, id: ValueId) -> Result<(), String> {
        let Some((begin, end)) = self.range(id)? else {
            return Err(format!("{id} is a weight, and is made"));
        };
        let before = self.written.range(..begin).next_back();
        if let Some((&other, _)) = before.filter(|(_, (end, _))| *end > begin) {
            self.written.remove(&other);
        }
        while let Some((&other, _)) = self.written.range(begin..end).next() {
            self.written.remove(&other);
        }
        self.written.insert(begin, (end, id));
        Ok(())
    }

    fn read(&self, id: ValueId) -> Result<(), String> {
        let Some((begin, end)) = self.range(id)? else {
            return Ok(());
        };
        match self.written.get(&begin) {
            Some(found) if *found == (end, id) => Ok(()),
            _ => Err(format!("{id} is read where it is not")),
        }
    }

    /// Whether a step can read one while it makes the other.
    fn apart(&self, read: ValueId, made: ValueId) -> Result<(), String> {
        let (Some(read_at), Some(made_at)) = (self.range(read)?, self.range(made)?) else {
            return Ok(());
        };
        if read_at.1 <= made_at.0 || made_at.1 <= read_at.0 {
            return Ok(());
        }
        Err(format!("{made} is made where {read} is read"))
    }
}
