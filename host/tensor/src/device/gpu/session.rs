//! A graph on the GPU: a plan for each set of sizes it meets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;
use tract_onnx::prelude::SymbolValues;

use super::live::Live;
use super::prepared::Prepared;
use super::storage::{GpuStorage, device_bytes, read_mapped, tensor_bytes};
use super::{Shared, internal, lost};
use crate::device::cpu::{CpuStorage, check_deadline};
use crate::graph::Binding;
use crate::plan::{Element, Place, Plan};
use crate::{
    Account, Charge, Device as _, Dimension, Dtype, Graph, Run, Session, Tensor, TensorError,
};

/// Plans that a session keeps ready; the one used longest ago makes room.
const MAX_PLANS: usize = 16;

/// Outputs up to this size are read back with the run: whoever runs a model reads its
/// scores, and a second submission would cost more than the copy.
const READ_AT_ONCE: u64 = 1 << 20;

/// See [`crate::device`].
pub(super) struct GpuSession {
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    /// Answers what the GPU cannot.
    cpu: Arc<dyn Session>,
    covered: bool,
    plans: Arc<Mutex<Plans>>,
}

/// Shapes of all inputs: what a plan is made for.
type Sizes = Vec<Vec<usize>>;

/// Plans made ready for one opened adapter.
#[derive(Default)]
struct Plans {
    ready: VecDeque<(Sizes, Arc<Prepared>)>,
    owner: Option<Arc<Live>>,
    /// Sizes that the GPU does not take.
    refused: VecDeque<Sizes>,
}

impl std::fmt::Debug for GpuSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuSession({})", self.graph.digest())
    }
}

impl GpuSession {
    pub(super) fn new(
        graph: Arc<Graph>,
        shared: Arc<Shared>,
        cpu: Arc<dyn Session>,
        covered: bool,
    ) -> Self {
        Self {
            graph,
            shared,
            cpu,
            covered,
            plans: Arc::default(),
        }
    }
}

impl GpuSession {
    /// Makes the plan of a graph whose sizes are all fixed, and waits for that.
    pub(super) fn make_ready(&self) {
        let mut sizes: Sizes = Vec::new();
        for port in self.graph.inputs() {
            let mut shape = Vec::with_capacity(port.shape.len());
            for dimension in &port.shape {
                match dimension {
                    Dimension::Fixed(size) => shape.push(*size),
                    Dimension::Symbol(_) => return,
                }
            }
            sizes.push(shape);
        }
        if !self.covered {
            return;
        }
        let (graph, shared, plans) = (self.graph.clone(), self.shared.clone(), self.plans.clone());
        let (ended, end) = mpsc::sync_channel::<()>(1);
        let queued = self.shared.scheduler.submit(move || {
            if let Some(live) = shared.live() {
                plan(&graph, &shared, &live, &plans, &graph.sizes_of(1), sizes);
            }
            drop(ended);
        });
        // Where the queue is full the first run makes it.
        if let Ok(queued) = queued {
            let _ = end.recv();
            drop(queued);
        }
    }
}

impl Session for GpuSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        if !self.covered {
            return on_cpu(self.cpu.clone(), self.shared.clone(), run);
        }
        // Names and shapes are checked before anything waits.
        let binding = match self.graph.bind(run.inputs.clone(), &run.outputs) {
            Ok(binding) => binding,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (graph, shared, plans) = (self.graph.clone(), self.shared.clone(), self.plans.clone());
        let (account, deadline) = (run.account.clone(), run.deadline);
        let (answer, answered) = oneshot::channel();
        let owner = shared.clone();
        let job = move || {
            let begun = check_deadline(deadline)
                .and_then(|()| begin(&graph, &owner, &plans, &binding, &account));
            match begun {
                Ok(Some(begun)) => begun.submit(&account, &binding.outputs, answer),
                // The CPU takes it.
                Ok(None) => drop(answer.send(Ok(None))),
                Err(error) => drop(answer.send(Err(error))),
            }
        };
        let queued = match self.shared.scheduler.submit(job) {
            Ok(queued) => queued,
            Err(full) => {
                return ready(Err(TensorError::Overloaded {
                    device: "gpu".to_owned(),
                    n_waiting: full.n_waiting,
                }))
                .boxed();
            }
        };
        let cpu = self.cpu.clone();
        async move {
            // Dropped with the future, so that a run given up is not begun.
            let queued = queued;
            let answered = answered.await;
            drop(queued);
            match answered {
                Ok(Ok(Some(tensors))) => Ok(tensors),
                Ok(Ok(None)) => on_cpu(cpu, shared, run).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(lost()),
            }
        }
        .boxed()
    }
}

type Answer = oneshot::Sender<Result<Option<Vec<Tensor>>, TensorError>>;

/// On the CPU, with whatever lies on the GPU brought over.
fn on_cpu(
    cpu: Arc<dyn Session>,
    shared: Arc<Shared>,
    mut run: Run,
) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
    async move {
        for (_, tensor) in &mut run.inputs {
            if GpuStorage::of(tensor.storage()).is_some() {
                let bytes = tensor.read().await?;
                let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
                *tensor = Tensor::upload(&shared.cpu, &run.account, dtype, &shape, &bytes)?;
            }
        }
        cpu.run(run).await
    }
    .boxed()
}

/// A run that is encoded.
struct Begun {
    live: Arc<Live>,
    shared: Arc<Shared>,
    prepared: Arc<Prepared>,
    commands: wgpu::CommandEncoder,
    working: Charge,
}

/// Finds or makes the plan and encodes the run. `None` when the CPU is to take it.
fn begin(
    graph: &Graph,
    shared: &Arc<Shared>,
    plans: &Mutex<Plans>,
    binding: &Binding,
    account: &Account,
) -> Result<Option<Begun>, TensorError> {
    let Some(live) = shared.live() else {
        return Ok(None);
    };
    let sizes = binding.inputs.iter().map(|tensor| tensor.shape().to_vec());
    let sizes: Sizes = sizes.collect();
    let Some(prepared) = plan(graph, shared, &live, plans, binding.sizes(), sizes) else {
        return Ok(None);
    };
    let working = account.charge(prepared.plan.arena_bytes, 0)?;
    let mut commands = live
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for (port, tensor) in prepared.plan.inputs.iter().zip(&binding.inputs) {
        let value = prepared.plan.value(port.value);
        let Place::Arena(offset) = value.place else {
            return Err(internal("an input has no place"));
        };
        if value.n_elements == 0 {
            continue;
        }
        if let Some(bytes) = CpuStorage::bytes(tensor.storage()) {
            let bytes = device_bytes(value.element, bytes);
            live.queue.write_buffer(&prepared.arena, offset, &bytes);
            continue;
        }
        let Some(stored) = GpuStorage::of(tensor.storage()) else {
            return Err(internal("a tensor of another device was given"));
        };
        if !Arc::ptr_eq(&stored.live, &live) {
            return Err(lost());
        }
        let size = stored.size();
        commands.copy_buffer_to_buffer(&stored.buffer, 0, &prepared.arena, offset, size);
    }
    prepared.encode(&mut commands);
    Ok(Some(Begun {
        live,
        shared: shared.clone(),
        prepared,
        commands,
        working,
    }))
}

/// The plan for these sizes, made ready; `None` when the GPU does not take them.
fn plan(
    graph: &Graph,
    shared: &Shared,
    live: &Arc<Live>,
    plans: &Mutex<Plans>,
    symbols: &SymbolValues,
    sizes: Sizes,
) -> Option<Arc<Prepared>> {
    let mut plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
    if !plans
        .owner
        .as_ref()
        .is_some_and(|owner| Arc::ptr_eq(owner, live))
    {
        plans.ready.clear();
        plans.owner = Some(live.clone());
    }
    if plans.refused.contains(&sizes) {
        return None;
    }
    if let Some(at) = plans.ready.iter().position(|(known, _)| *known == sizes) {
        let (known, prepared) = plans.ready.remove(at).expect("found above");
        if prepared.fits(live) {
            plans.ready.push_back((known, prepared.clone()));
            return Some(prepared);
        }
    }
    let made = Plan::new(graph, symbols, &live.bounds(&shared.options));
    let prepared = match made {
        Ok(plan) => Prepared::new(live, plan, &shared.options),
        Err(why) => {
            tracing::warn!(model = %graph.digest(), %why, "a run of this size goes to the CPU");
            None
        }
    };
    let Some(prepared) = prepared.map(Arc::new) else {
        if !live.is_lost() {
            if plans.refused.len() == MAX_PLANS {
                plans.refused.pop_front();
            }
            plans.refused.push_back(sizes);
        }
        return None;
    };
    if plans.ready.len() == MAX_PLANS {
        plans.ready.pop_front();
    }
    plans.ready.push_back((sizes, prepared.clone()));
    Some(prepared)
}

/// An output on its way.
struct Output {
    dtype: Dtype,
    shape: Vec<usize>,
    element: Element,
    charge: Charge,
    /// Where it lies in the staging buffer, or a buffer of its own.
    place: Result<std::ops::Range<usize>, wgpu::Buffer>,
}

impl Begun {
    fn submit(self, account: &Account, outputs: &[usize], answer: Answer) {
        let Self {
            live,
            shared,
            prepared,
            mut commands,
            working,
        } = self;
        let staged = stage(&live, &prepared, &mut commands, account, outputs);
        let (staging, size, outputs) = match staged {
            Ok(staged) => staged,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let commands = commands.finish();
        commands.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..size as u64, |_| {});
        let tells_faults = prepared.faults.is_some();
        let owner = live.clone();
        let done = move |done: bool| {
            // What the run held meanwhile is given back before its caller goes on.
            drop((working, prepared));
            let bytes = done.then(|| read_mapped(&staging, size)).flatten();
            staging.unmap();
            let answered = match bytes {
                None => Err(lost()),
                Some(bytes) if tells_faults && bytes[..4] != [0; 4] => {
                    Err(TensorError::RunFailed {
                        what: "an index is outside the table it points into".to_owned(),
                    })
                }
                Some(bytes) => outputs
                    .into_iter()
                    .map(|output| output.tensor(&owner, &shared, &bytes))
                    .collect(),
            };
            owner.give_back(staging);
            // Whoever asked may have gone.
            drop(answer.send(answered.map(Some)));
        };
        live.submit(commands, Box::new(done));
    }
}

/// Copies outputs out of the arena: the faults' word and what is small into a staging
/// buffer, the rest into buffers of their own.
fn stage(
    live: &Live,
    prepared: &Prepared,
    commands: &mut wgpu::CommandEncoder,
    account: &Account,
    outputs: &[usize],
) -> Result<(wgpu::Buffer, usize, Vec<Output>), TensorError> {
    let no_memory = || internal("no memory for the outputs");
    let mut size = 16;
    let mut all: Vec<(Output, u64)> = Vec::with_capacity(outputs.len());
    for &index in outputs {
        let port = &prepared.plan.outputs[index];
        let value = prepared.plan.value(port.value);
        let Place::Arena(offset) = value.place else {
            return Err(internal("an output has no place"));
        };
        let dtype = match value.element {
            Element::F32 => Dtype::F32,
            Element::I32 => Dtype::I32,
            Element::I64 => Dtype::I64,
            Element::Bool => Dtype::Bool,
        };
        let n_bytes = value.n_elements as u64 * value.element.n_bytes();
        let own = (value.n_elements * dtype.n_bytes()) as u64;
        let charge = account.charge(own, 1)?;
        let place = if n_bytes <= READ_AT_ONCE {
            let begin = size;
            size += n_bytes as usize;
            Ok(begin..size)
        } else {
            let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            Err(live
                .buffer("output", n_bytes, usage)
                .ok_or_else(no_memory)?)
        };
        let output = Output {
            dtype,
            shape: port.shape.clone(),
            element: value.element,
            charge,
            place,
        };
        all.push((output, offset));
    }
    let staging = live.staging(size as u64).ok_or_else(no_memory)?;
    if let Some(faults) = &prepared.faults {
        commands.copy_buffer_to_buffer(faults, 0, &staging, 0, 4);
    }
    for (output, from) in &all {
        match &output.place {
            Ok(range) if range.is_empty() => {}
            Ok(range) => {
                let length = (range.end - range.start) as u64;
                let (arena, begin) = (&prepared.arena, range.start as u64);
                commands.copy_buffer_to_buffer(arena, *from, &staging, begin, length);
            }
            Err(buffer) => {
                let length = output.n_elements() as u64 * output.element.n_bytes();
                commands.copy_buffer_to_buffer(&prepared.arena, *from, buffer, 0, length);
            }
        }
    }
    Ok((
        staging,
        size,
        all.into_iter().map(|(output, _)| output).collect(),
    ))
}

impl Output {
    fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn tensor(
        self,
        live: &Arc<Live>,
        shared: &Shared,
        staged: &[u8],
    ) -> Result<Tensor, TensorError> {
        let n_elements = self.n_elements();
        let storage = match self.place {
            Ok(range) => {
                let bytes = tensor_bytes(self.element, staged[range].to_vec());
                shared.cpu.upload(self.dtype, &self.shape, &bytes)?
            }
            Err(buffer) => Arc::new(GpuStorage {
                live: live.clone(),
                buffer,
                element: self.element,
                n_elements,
            }),
        };
        Ok(Tensor::from_storage(
            self.dtype,
            &self.shape,
            storage,
            self.charge,
        ))
    }
}
