//! A graph on the GPU: a plan for each set of sizes it meets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;

use super::live::{Ending, Live};
use super::outputs::{Staged, stage};
use super::plans::{Plans, Sizes};
use super::prepared::Prepared;
use super::storage::{GpuStorage, device_bytes, read_mapped};
use super::{Shared, internal, lost};
use crate::device::cpu::{CpuStorage, check_deadline, now};
use crate::graph::{Binding, panic_message};
use crate::plan::Place;
use crate::{Account, Charge, Dimension, Graph, Run, Session, Tensor, TensorError};

/// See [`crate::device`].
pub(super) struct GpuSession {
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    /// Answers what the GPU cannot.
    cpu: Arc<dyn Session>,
    covered: bool,
    plans: Arc<Plans>,
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
        let (ended, end) = mpsc::sync_channel::<()>(0);
        let queued = self.shared.scheduler.submit(move || {
            let (now, options) = (now(), &shared.options);
            let made = contained(&plans, &graph, || {
                let symbols = graph.sizes_of(1);
                let live = shared.live(now);
                Ok(live.and_then(|live| plans.get(&graph, options, &live, &symbols, sizes, now)))
            });
            // What went wrong is told, and no run has asked yet.
            drop((made, ended));
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
        if !self.covered || self.plans.has_given_up() {
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
            let begun = check_deadline(deadline).and_then(|()| {
                contained(&plans, &graph, || {
                    begin(&graph, &owner, &plans, &binding, &account)
                })
            });
            match begun {
                Ok(Some(begun)) => begun.submit(graph, owner, plans, answer),
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

/// Does `work` on the scheduler's thread, which is everybody's: a plan that makes us panic
/// sends its model to the CPU, and the thread goes on.
fn contained<T>(
    plans: &Plans,
    graph: &Graph,
    work: impl FnOnce() -> Result<Option<T>, TensorError>,
) -> Result<Option<T>, TensorError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic_message(panic.as_ref());
        plans.give_up(
            graph,
            &format!("making it ready for the GPU gave up: {why}"),
        );
        Ok(None)
    })
}

/// A run that is encoded.
struct Begun {
    live: Arc<Live>,
    prepared: Arc<Prepared>,
    commands: wgpu::CommandEncoder,
    staged: Staged,
    working: Charge,
}

/// Finds or makes the plan and encodes the run. `None` when the CPU is to take it.
fn begin(
    graph: &Graph,
    shared: &Shared,
    plans: &Plans,
    binding: &Binding,
    account: &Account,
) -> Result<Option<Begun>, TensorError> {
    let now = now();
    let Some(live) = shared.live(now) else {
        return Ok(None);
    };
    let sizes = binding.inputs.iter().map(|tensor| tensor.shape().to_vec());
    let (symbols, sizes): (_, Sizes) = (binding.sizes(), sizes.collect());
    let Some(prepared) = plans.get(graph, &shared.options, &live, symbols, sizes, now) else {
        return Ok(None);
    };
    let working = account.charge(prepared.plan.arena_bytes, 0)?;
    let mut commands = live
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    write_inputs(&live, &prepared, &mut commands, &binding.inputs)?;
    prepared.encode(&mut commands);
    let staged = stage(&live, &prepared, &mut commands, account, &binding.outputs)?;
    Ok(staged.map(|staged| Begun {
        live,
        prepared,
        commands,
        staged,
        working,
    }))
}

/// Brings the inputs into the arena.
fn write_inputs(
    live: &Arc<Live>,
    prepared: &Prepared,
    commands: &mut wgpu::CommandEncoder,
    inputs: &[Tensor],
) -> Result<(), TensorError> {
    for (port, tensor) in prepared.plan.inputs.iter().zip(inputs) {
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
        if !Arc::ptr_eq(&stored.live, live) {
            return Err(lost());
        }
        let size = stored.size();
        commands.copy_buffer_to_buffer(&stored.buffer, 0, &prepared.arena, offset, size);
    }
    Ok(())
}

impl Begun {
    fn submit(self, graph: Arc<Graph>, shared: Arc<Shared>, plans: Arc<Plans>, answer: Answer) {
        let Self {
            live,
            prepared,
            commands,
            staged,
            working,
        } = self;
        let (staging, n_bytes, outputs) = (staged.buffer, staged.n_bytes, staged.outputs);
        let commands = commands.finish();
        commands.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..n_bytes as u64, |_| {});
        let tells_faults = prepared.faults.is_some();
        let owner = live.clone();
        let done = move |ending: Ending| {
            plans.ended(&graph, ending);
            // What the run held meanwhile is given back before its caller goes on.
            drop((working, prepared));
            let is_done = ending == Ending::Done;
            let bytes = is_done.then(|| read_mapped(&staging, n_bytes)).flatten();
            staging.unmap();
            let answered = match bytes {
                None => Err(lost()),
                Some(bytes) if tells_faults && bytes[..4] != [0; 4] => {
                    Err(TensorError::RunFailed {
                        what: "an index is outside the table it points into".to_owned(),
                    })
                }
                Some(bytes) => outputs.tensors(&owner, &shared, &bytes),
            };
            if is_done {
                owner.memory.give_back(staging);
            }
            // Whoever asked may have gone.
            drop(answer.send(answered.map(Some)));
        };
        live.submit(commands, Box::new(done));
    }
}
