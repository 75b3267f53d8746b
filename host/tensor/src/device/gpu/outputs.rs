//! Outputs on their way out of the arena, each caller's own rows: what is small is read back
//! with the run, the rest stays on the GPU until somebody asks.

use std::ops::Range;
use std::sync::Arc;

use super::live::Live;
use super::prepared::Prepared;
use super::storage::{GpuStorage, tensor_bytes};
use super::{Shared, internal};
use crate::batch::Caller;
use crate::plan::{Element, Place};
use crate::{Account, Charge, Device as _, Dtype, Tensor, TensorError};

/// Outputs up to this size are read back with the run: whoever runs a model reads its
/// scores, and a second submission would cost more than the copy.
const READ_AT_ONCE: u64 = 1 << 20;

/// All outputs of a batch, on their way.
pub(super) struct Staged {
    /// The faults' word, then what is small.
    pub(super) buffer: wgpu::Buffer,
    /// Bytes of it in use.
    pub(super) n_bytes: usize,
    /// Each caller with its own, but for those that were answered.
    pub(super) callers: Vec<(Caller, Outputs)>,
}

/// One caller's outputs of a batch that is computed.
pub(super) struct Outputs(Vec<Output>);

struct Output {
    dtype: Dtype,
    shape: Vec<usize>,
    element: Element,
    n_elements: usize,
    charge: Charge,
    /// In the arena, in bytes.
    from: u64,
    to: To,
}

enum To {
    Staging(Range<usize>),
    Own(wgpu::Buffer),
}

/// Which rows of a batch are a caller's; all of it where it runs alone.
struct Share {
    first: usize,
    n_rows: usize,
    of: usize,
}

/// Adds the copies out of the arena to `commands`, caller by caller. A caller whose account
/// may not hold its outputs is answered so. `None` when the GPU has no memory for them, or
/// when nobody is left; then, and after an error, nobody is gone from `callers` but who was
/// answered.
pub(super) fn stage(
    live: &Live,
    prepared: &Prepared,
    commands: &mut wgpu::CommandEncoder,
    callers: &mut Vec<Caller>,
    n_rows: Option<usize>,
) -> Result<Option<Staged>, TensorError> {
    // The first word is the faults'; the rest keeps what follows aligned.
    let mut n_bytes = 16;
    let mut first = 0;
    let staged = for_each(
        callers,
        |caller| {
            let share = Share {
                first,
                n_rows: caller.n_rows,
                of: n_rows.unwrap_or(caller.n_rows),
            };
            first += caller.n_rows;
            outputs(live, prepared, caller, &share, &mut n_bytes)
        },
        |caller, error| caller.give(Err(error)),
    )?;
    let Some(staged) = staged.filter(|staged| !staged.is_empty()) else {
        return Ok(None);
    };
    let Some(buffer) = live.memory.staging(n_bytes as u64) else {
        callers.extend(staged.into_iter().map(|(caller, _)| caller));
        return Ok(None);
    };
    if let Some(faults) = &prepared.faults {
        commands.copy_buffer_to_buffer(faults, 0, &buffer, 0, 4);
    }
    let outputs = staged.iter().flat_map(|(_, outputs)| &outputs.0);
    for output in outputs.filter(|output| output.n_elements > 0) {
        let (to, begin) = match &output.to {
            To::Staging(range) => (&buffer, range.start as u64),
            To::Own(own) => (own, 0),
        };
        let size = output.n_bytes();
        commands.copy_buffer_to_buffer(&prepared.arena, output.from, to, begin, size);
    }
    Ok(Some(Staged {
        buffer,
        n_bytes,
        callers: staged,
    }))
}

/// Every caller with what `one` makes for it; whose account may not hold that is handed to
/// `refuse`. Where there is nothing for one, or an error, all who were not refused stand in
/// `callers` again.
fn for_each<C, T>(
    callers: &mut Vec<C>,
    mut one: impl FnMut(&C) -> Result<Option<T>, TensorError>,
    mut refuse: impl FnMut(C, TensorError),
) -> Result<Option<Vec<(C, T)>>, TensorError> {
    let mut done: Vec<(C, T)> = Vec::with_capacity(callers.len());
    let mut left = std::mem::take(callers).into_iter();
    while let Some(caller) = left.next() {
        let ended = match one(&caller) {
            Ok(Some(made)) => {
                done.push((caller, made));
                continue;
            }
            Err(error @ TensorError::QuotaExceeded { .. }) => {
                refuse(caller, error);
                continue;
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        callers.extend(done.into_iter().map(|(caller, _)| caller));
        callers.push(caller);
        callers.extend(left);
        return ended;
    }
    Ok(Some(done))
}

fn outputs(
    live: &Live,
    prepared: &Prepared,
    caller: &Caller,
    share: &Share,
    n_staged: &mut usize,
) -> Result<Option<Outputs>, TensorError> {
    let mut outputs = Vec::with_capacity(caller.binding.outputs.len());
    for &index in &caller.binding.outputs {
        match output(live, prepared, &caller.account, share, index, n_staged)? {
            Some(output) => outputs.push(output),
            None => return Ok(None),
        }
    }
    Ok(Some(Outputs(outputs)))
}

fn output(
    live: &Live,
    prepared: &Prepared,
    account: &Account,
    share: &Share,
    index: usize,
    n_staged: &mut usize,
) -> Result<Option<Output>, TensorError> {
    let port = &prepared.plan.outputs[index];
    let value = prepared.plan.value(port.value);
    let Place::Arena(from) = value.place else {
        return Err(internal("an output has no place"));
    };
    let dtype = match value.element {
        Element::F32 => Dtype::F32,
        Element::I32 => Dtype::I32,
        Element::I64 => Dtype::I64,
        Element::Bool => Dtype::Bool,
    };
    let (mut shape, mut from, mut n_elements) = (port.shape.clone(), from, value.n_elements);
    if share.n_rows != share.of {
        // Rows lie one after another: a batch has them first.
        let of_a_row = value.n_elements / share.of;
        n_elements = of_a_row * share.n_rows;
        from += (of_a_row * share.first) as u64 * value.element.n_bytes();
        shape[0] = share.n_rows;
    }
    let charge = account.charge((n_elements * dtype.n_bytes()) as u64, 1)?;
    let n_bytes = n_elements as u64 * value.element.n_bytes();
    let to = if n_bytes <= READ_AT_ONCE {
        let begin = *n_staged;
        *n_staged += n_bytes as usize;
        To::Staging(begin..*n_staged)
    } else {
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        match live.memory.buffer("output", n_bytes, usage) {
            Some(own) => To::Own(own),
            None => return Ok(None),
        }
    };
    Ok(Some(Output {
        dtype,
        shape,
        element: value.element,
        n_elements,
        charge,
        from,
        to,
    }))
}

impl Outputs {
    /// Tensors of a batch that is done; `staged`: what the staging buffer held.
    pub(super) fn tensors(
        self,
        live: &Arc<Live>,
        shared: &Shared,
        staged: &[u8],
    ) -> Result<Vec<Tensor>, TensorError> {
        let tensors = self.0.into_iter();
        tensors
            .map(|output| output.tensor(live, shared, staged))
            .collect()
    }
}

impl Output {
    /// Bytes on the GPU.
    fn n_bytes(&self) -> u64 {
        self.n_elements as u64 * self.element.n_bytes()
    }

    fn tensor(
        self,
        live: &Arc<Live>,
        shared: &Shared,
        staged: &[u8],
    ) -> Result<Tensor, TensorError> {
        let storage = match self.to {
            To::Staging(range) => {
                let bytes = tensor_bytes(self.element, staged[range].to_vec());
                shared.cpu.upload(self.dtype, &self.shape, &bytes)?
            }
            To::Own(buffer) => Arc::new(GpuStorage {
                live: live.clone(),
                buffer,
                element: self.element,
                n_elements: self.n_elements,
            }),
        };
        let (dtype, shape) = (self.dtype, &self.shape);
        Ok(Tensor::from_storage(dtype, shape, storage, self.charge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers 0 to 4, of whom 1 may not hold its outputs, and 3 meets `third`.
    fn ended(
        third: &Result<Option<()>, TensorError>,
    ) -> (Result<Option<usize>, TensorError>, Vec<u32>) {
        let mut callers = vec![0, 1, 2, 3, 4];
        let mut refused = Vec::new();
        let one = |caller: &u32| match caller {
            1 => Err(TensorError::QuotaExceeded {
                account: "poor".to_owned(),
                wanted: 2,
                limit: 1,
                unit: "tensor bytes",
            }),
            3 => third.clone(),
            _ => Ok(Some(())),
        };
        let made = for_each(&mut callers, one, |caller, _| refused.push(caller));
        assert_eq!(refused, [1]);
        (made.map(|made| made.map(|made| made.len())), callers)
    }

    #[test]
    fn whoever_was_not_answered_is_there_when_memory_is_short() {
        assert_eq!(ended(&Ok(Some(()))), (Ok(Some(4)), vec![]));
        assert_eq!(ended(&Ok(None)), (Ok(None), vec![0, 2, 3, 4]));
        let error = internal("it has no place");
        assert_eq!(ended(&Err(error.clone())), (Err(error), vec![0, 2, 3, 4]));
    }
}
