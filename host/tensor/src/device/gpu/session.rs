//! A graph on the GPU: a plan for each set of sizes it meets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use super::live::{Ending, Live};
use super::outputs::{Staged, stage};
use super::plans::{Plans, Sizes};
use super::prepared::Prepared;
use super::storage::{GpuStorage, device_bytes, read_mapped};
use super::{Shared, internal, lost};
use crate::batch::cut::Wanted;
use crate::batch::ladder::size_for;
use crate::batch::lane::Lane;
use crate::batch::{BatchCounts, Caller, Counts, Lanes, Runner};
use crate::device::cpu::{CpuStorage, now};
use crate::graph::panic_message;
use crate::plan::Place;
use crate::{Dimension, Graph, Precision, Run, Session, Tensor, TensorError};

/// See [`crate::device`].
#[derive(Debug)]
pub(super) struct GpuSession {
    core: Arc<Core>,
    lanes: Lanes,
    /// Answers what the GPU cannot.
    cpu: Arc<dyn Session>,
    covered: bool,
}

/// What computes.
pub(super) struct Core {
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    plans: Plans,
    counts: Counts,
}

impl std::fmt::Debug for Core {
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
        let pads = shared.scheduler.style().pads;
        let core = Arc::new(Core {
            graph,
            shared,
            plans: Plans::default(),
            counts: Counts::default(),
        });
        Self {
            lanes: Lanes::new(core.clone(), pads),
            core,
            cpu,
            covered,
        }
    }

    /// Whether no run of it goes to the GPU.
    fn is_the_cpus(&self) -> bool {
        !self.covered || self.core.plans.has_given_up()
    }
}

impl GpuSession {
    /// Makes the plan of a graph whose sizes are all fixed, and waits for that.
    pub(super) fn make_ready(&self) {
        let mut sizes: Sizes = Vec::new();
        for port in self.core.graph.inputs() {
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
        let core = self.core.clone();
        let (ended, end) = mpsc::sync_channel::<()>(0);
        let queued = self.core.shared.scheduler.submit(move || {
            let now = now();
            let made = core.contained(|| {
                let (graph, options) = (&core.graph, &core.shared.options);
                let symbols = graph.sizes_of(1);
                let live = core.shared.live(now);
                let plans = &core.plans;
                Ok(live.and_then(|live| plans.get(graph, options, &live, &symbols, sizes, now)))
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
        &self.core.graph
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        let (cpu, shared) = (self.cpu.clone(), self.core.shared.clone());
        if self.is_the_cpus() {
            return on_cpu(cpu, shared, run);
        }
        let again = Run {
            inputs: run.inputs.clone(),
            outputs: run.outputs.clone(),
            deadline: run.deadline,
            account: run.account.clone(),
        };
        let answered = match shared.scheduler.run(&self.lanes, run) {
            Ok(answered) => answered,
            Err(error) => return ready(Err(error)).boxed(),
        };
        async move {
            // Dropped with the future, so that a run given up is not begun.
            match answered.await {
                Ok(Ok(Some(tensors))) => Ok(tensors),
                Ok(Ok(None)) => on_cpu(cpu, shared, again).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(lost()),
            }
        }
        .boxed()
    }

    fn stores_halves(&self) -> Result<(), String> {
        let shared = &self.core.shared;
        let live = shared.gpu.peek();
        if self.core.graph.precision() != Precision::Half {
            Err("nobody asks for it".to_owned())
        } else if self.is_the_cpus() || live.is_none() {
            Err("the CPU runs it, in f32".to_owned())
        } else if live.is_some_and(|live| live.stores_halves(&shared.options)) {
            Ok(())
        } else {
            Err("the GPU stores no f16".to_owned())
        }
    }

    fn settle(&self) -> Option<Result<usize, String>> {
        match self.is_the_cpus() {
            true => self.cpu.settle(),
            false => {
                let threads = &self.core.shared.scheduler;
                let usual = threads.usual(&self.lanes)?;
                Some(threads.settle(&usual))
            }
        }
    }

    fn counts(&self) -> BatchCounts {
        match self.is_the_cpus() {
            true => self.cpu.counts(),
            false => self.core.counts.read(),
        }
    }
}

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

impl Runner for Core {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn execute(self: Arc<Self>, lane: &Arc<Lane>, callers: Vec<Caller>) {
        let (start, mut callers) = (now(), callers);
        let begun = self.contained(|| self.begin(&mut callers));
        match begun {
            Ok(Some(begun)) => begun.submit(self, lane.clone(), start),
            // Alone, each may find a place, and is told of its own mistakes only.
            Ok(None) | Err(_) if callers.len() > 1 => {
                for caller in callers {
                    self.clone().execute(lane, vec![caller]);
                }
            }
            // The CPU takes it.
            Ok(None) => callers.into_iter().for_each(|caller| caller.give(Ok(None))),
            Err(error) => {
                let failed = || Err(error.clone());
                callers.into_iter().for_each(|caller| caller.give(failed()));
            }
        }
    }
}

impl Core {
    /// Does `work` on the scheduler's thread, which is everybody's: a plan that makes us
    /// panic sends its model to the CPU, and the thread goes on.
    fn contained<T>(
        &self,
        work: impl FnOnce() -> Result<Option<T>, TensorError>,
    ) -> Result<Option<T>, TensorError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let why = panic_message(panic.as_ref());
            let why = format!("making it ready for the GPU gave up: {why}");
            self.plans.give_up(&self.graph, &why);
            Ok(None)
        })
    }

    /// Finds or makes the plan and encodes a batch. `None` when the GPU does not take it,
    /// and an error that is everybody's; then those who are left in `callers` are to be
    /// answered.
    fn begin(&self, callers: &mut Vec<Caller>) -> Result<Option<Begun>, TensorError> {
        let now = now();
        let Some(live) = self.shared.live(now) else {
            return Ok(None);
        };
        let Some(first) = callers.first() else {
            return Ok(None);
        };
        // Alone, a run has the rows that it came with.
        let n_rows = callers.iter().map(|caller| caller.n_rows).sum();
        let n_rows = (callers.len() > 1).then(|| size_for(n_rows));
        let (symbols, sizes): (_, Sizes) = match n_rows {
            Some(n_rows) => {
                let sized = self.graph.with_rows(&first.binding, n_rows);
                (sized.sizes, sized.shapes)
            }
            None => {
                let shapes = first.binding.inputs.iter();
                let shapes = shapes.map(|tensor| tensor.shape().to_vec());
                (first.binding.sizes().clone(), shapes.collect())
            }
        };
        let options = &self.shared.options;
        let prepared = self
            .plans
            .get(&self.graph, options, &live, &symbols, sizes, now);
        let Some(prepared) = prepared else {
            return Ok(None);
        };
        let mut commands = live
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for index in 0..prepared.plan.inputs.len() {
            write_input(&live, &prepared, &mut commands, index, callers)?;
        }
        prepared.encode(&mut commands);
        let staged = stage(&live, &prepared, &mut commands, callers, n_rows)?;
        Ok(staged.map(|staged| Begun {
            live,
            prepared,
            commands,
            staged,
        }))
    }

    /// Runs each of a batch by itself, once the scheduler is free: one of them is at fault,
    /// and nobody says which.
    fn again(self: Arc<Self>, lane: Arc<Lane>, callers: Vec<Caller>) {
        let shared = self.shared.clone();
        shared.scheduler.submit_again(move || {
            for caller in callers.into_iter().filter(Wanted::is_wanted) {
                self.clone().execute(&lane, vec![caller]);
            }
        });
    }
}

/// A batch that is encoded.
struct Begun {
    live: Arc<Live>,
    prepared: Arc<Prepared>,
    commands: wgpu::CommandEncoder,
    staged: Staged,
}

/// Brings one input of all callers into the arena, one after another. Rows that nobody asked
/// for are copies of the last caller's first: what it can be computed on, they can.
fn write_input(
    live: &Arc<Live>,
    prepared: &Prepared,
    commands: &mut wgpu::CommandEncoder,
    index: usize,
    callers: &[Caller],
) -> Result<(), TensorError> {
    let value = prepared.plan.value(prepared.plan.inputs[index].value);
    let Place::Arena(offset) = value.place else {
        return Err(internal("an input has no place"));
    };
    let n_all = value.n_elements as u64 * value.element.n_bytes();
    if n_all == 0 {
        return Ok(());
    }
    // What lies in this process goes up in one piece where nothing else is between.
    let (mut at, mut pending, mut pending_at) = (0, Vec::new(), 0);
    let flush = |pending: &mut Vec<u8>, at: u64| {
        if !pending.is_empty() {
            live.queue
                .write_buffer(&prepared.arena, offset + at, pending);
            pending.clear();
        }
    };
    let mut put = |tensor: &Tensor, n_rows: Option<usize>| -> Result<(), TensorError> {
        if let Some(bytes) = CpuStorage::bytes(tensor.storage()) {
            let bytes = device_bytes(value.element, bytes);
            let n_bytes = share(bytes.len(), n_rows, tensor);
            if pending.is_empty() {
                pending_at = at;
                pending.reserve_exact((n_all - at) as usize);
            }
            pending.extend_from_slice(&bytes[..n_bytes]);
            at += n_bytes as u64;
            return Ok(());
        }
        let Some(stored) = GpuStorage::of(tensor.storage()) else {
            return Err(internal("a tensor of another device was given"));
        };
        if !Arc::ptr_eq(&stored.live, live) {
            return Err(lost());
        }
        flush(&mut pending, pending_at);
        let size = share(stored.size() as usize, n_rows, tensor) as u64;
        let arena = &prepared.arena;
        commands.copy_buffer_to_buffer(&stored.buffer, 0, arena, offset + at, size);
        at += size;
        Ok(())
    };
    for caller in callers {
        put(&caller.binding.inputs[index], None)?;
    }
    let n_rows: usize = callers.iter().map(|caller| caller.n_rows).sum();
    if callers.len() > 1
        && let Some(last) = callers.last()
    {
        for _ in n_rows..size_for(n_rows) {
            put(&last.binding.inputs[index], Some(1))?;
        }
    }
    flush(&mut pending, pending_at);
    debug_assert_eq!(at, n_all, "the plan is for so many rows");
    Ok(())
}

/// Of `n_bytes` of a tensor, those of its first `n_rows`.
fn share(n_bytes: usize, n_rows: Option<usize>, tensor: &Tensor) -> usize {
    match (n_rows, tensor.shape().first()) {
        (Some(n_rows), Some(&of)) if of > 0 => n_bytes / of * n_rows,
        _ => n_bytes,
    }
}

impl Begun {
    fn submit(self, core: Arc<Core>, lane: Arc<Lane>, start: Instant) {
        let Self {
            live,
            prepared,
            commands,
            staged,
        } = self;
        let (staging, n_bytes, callers) = (staged.buffer, staged.n_bytes, staged.callers);
        let commands = commands.finish();
        commands.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..n_bytes as u64, |_| {});
        let tells_faults = prepared.faults.is_some();
        let (owner, flight) = (live.clone(), live.flight());
        let done = move |ending: Ending| {
            core.plans.ended(&core.graph, ending);
            let end = now();
            lane.ended(callers.len(), end.saturating_duration_since(start), end);
            // The GPU is free for the next while these are answered.
            drop((prepared, flight));
            let is_done = ending == Ending::Done;
            let bytes = is_done.then(|| read_mapped(&staging, n_bytes)).flatten();
            staging.unmap();
            if is_done {
                owner.memory.give_back(staging);
            }
            let has_fault = |bytes: &[u8]| tells_faults && bytes[..4] != [0; 4];
            match bytes {
                Some(bytes) if has_fault(&bytes) && callers.len() > 1 => {
                    let callers = callers.into_iter().map(|(caller, _)| caller);
                    core.again(lane, callers.collect());
                }
                Some(bytes) => {
                    let has_fault = has_fault(&bytes);
                    for (caller, outputs) in callers {
                        caller.give(match has_fault {
                            true => Err(TensorError::RunFailed {
                                what: "an index is outside the table it points into".to_owned(),
                            }),
                            false => outputs.tensors(&owner, &core.shared, &bytes).map(Some),
                        });
                    }
                }
                None => callers
                    .into_iter()
                    .for_each(|(caller, _)| caller.give(Err(lost()))),
            }
        };
        live.submit(commands, Box::new(done));
    }
}
