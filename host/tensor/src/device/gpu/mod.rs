//! A GPU as a device, through wgpu: static plans, on one thread that submits and one
//! that waits.
//!
//! Whatever happens to the GPU, callers are answered: a graph without a plan, a GPU that
//! is out of memory and one that does not come back run on the CPU device behind this
//! one, which is said once. A lost GPU fails the runs it had begun with `DeviceLost` and
//! is opened anew for the next.

mod adapter;
mod live;
mod memory;
mod outputs;
mod pipelines;
mod plans;
mod prepare;
mod prepared;
mod recovery;
mod selftest;
mod session;
mod storage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::batch::{Batching, Style, Threads};
use crate::graph::Digest;
use crate::{
    CpuDevice, CpuOptions, Device, Dtype, Graph, Precision, Preparation, Session, Storage, Tensor,
    TensorError,
};
pub use adapter::{
    AdapterChoice, AdapterKind, AdapterLimits, AdapterSummary, Cooperation, adapters,
};
use live::{Flights, Live, SOFTWARE_SHARE};
use recovery::Recovery;
use session::GpuSession;

/// Which GPU, and how it is used.
#[derive(Debug, Clone)]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Whether shaders check their own indices too. The host has validated every shape,
    /// and kernels clamp what data says, so it costs speed and finds nothing; tests run
    /// both ways.
    pub checked_shaders: bool,
    /// How long a run may take on the GPU before the GPU is given up as lost; on a software
    /// adapter twelve times as long.
    pub timeout: Duration,
    /// Operations of one launch at most, roughly: running work cannot be interrupted, and
    /// a display or another process waits for it.
    pub max_launch_operations: u64,
    /// Operations of one run at most, roughly; in software a fortieth of it. A larger one
    /// runs on the CPU: it would end by [`Self::timeout`], and take everybody's GPU along.
    pub max_run_operations: u64,
    /// Operations of one batch of several callers at most, roughly; in software a fortieth of
    /// it. The next batch waits as long as they take.
    pub max_batch_operations: u64,
    /// Bytes that all values of one run, or an image with its tensor, may take.
    pub max_arena_bytes: u64,
    /// Runs of one model on inputs of one shape that may wait, and four times as many in all;
    /// one more is refused at once.
    pub max_waiting: usize,
    /// When rows of several callers run as one batch.
    pub batching: Batching,
    /// The longest that an idle GPU waits for more callers when some came together a moment
    /// ago.
    pub patience: Duration,
    /// Whether values may be stored as f16, where a model asks for it and the adapter can.
    pub halves: bool,
    /// Whether products of f16 may be made by cooperative matrices, where the adapter has
    /// them and they pass a self-test when it is opened.
    pub cooperative: bool,
    /// A folder for compiled pipelines; none keeps them in memory.
    pub pipeline_cache: Option<PathBuf>,
    /// The CPU device behind it.
    pub cpu: CpuOptions,
}

impl Default for GpuOptions {
    /// The best hardware adapter, unchecked shaders, ten seconds, two thousand million
    /// operations a launch, four million million a run, a tenth of a million million a batch,
    /// 2 GiB, 1,024 waiting runs, half a millisecond, f16 where it is asked for, cooperative matrices, no folder.
    fn default() -> Self {
        Self {
            adapter: AdapterChoice::Hardware,
            checked_shaders: false,
            timeout: Duration::from_secs(10),
            max_launch_operations: 2_000_000_000,
            max_run_operations: 4_000_000_000_000,
            max_batch_operations: 100_000_000_000,
            max_arena_bytes: 2 << 30,
            max_waiting: 1024,
            batching: Batching::default(),
            patience: Duration::from_micros(500),
            halves: true,
            cooperative: true,
            pipeline_cache: None,
            cpu: CpuOptions::default(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct GpuDevice {
    shared: Arc<Shared>,
    sessions: Mutex<HashMap<Key, Arc<Place>>>,
}

/// What makes two sessions one: the graph, whether its rows are exact, and how its values
/// are stored.
type Key = (Digest, bool, Precision);

/// Where a graph's session stands. It is locked while that is made, which may take
/// seconds, so that nobody makes it twice and no other graph waits.
type Place = Mutex<Weak<GpuSession>>;

/// What sessions share with their device.
#[derive(Debug)]
struct Shared {
    options: GpuOptions,
    /// One thread: plans, encodes, submits.
    scheduler: Threads,
    cpu: CpuDevice,
    gpu: Recovery,
    /// Said that images go to the CPU.
    told_of_images: Once,
}

impl GpuDevice {
    /// Opens an adapter and starts the threads. Blocking. `NoAdapter` when there is none
    /// of the kind asked for.
    pub fn new(options: GpuOptions) -> Result<Self, TensorError> {
        let flights: Arc<Flights> = Arc::default();
        let live = Live::open(&options, &flights)?;
        let style = style(&options, live.summary.kind);
        let (gate, idle) = (flights.clone(), flights.clone());
        let scheduler = Threads::start(
            "gpu",
            style,
            move || gate.wait_for_a_place(),
            Some(Box::new(move || idle.is_idle())),
        );
        let scheduler =
            scheduler.map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        let shared = Shared {
            scheduler,
            cpu: CpuDevice::new(&options.cpu)?,
            gpu: Recovery::new(live, flights),
            told_of_images: Once::new(),
            options,
        };
        Ok(Self {
            shared: Arc::new(shared),
            sessions: Mutex::default(),
        })
    }

    /// What it runs on; none when the GPU is gone and the CPU answers.
    pub fn adapter(&self) -> Option<AdapterSummary> {
        self.shared.gpu.peek().map(|live| live.summary.clone())
    }

    /// Why a graph runs on the CPU; none when the GPU runs it.
    pub fn uncovered(&self, graph: &Graph) -> Option<String> {
        let live = self.shared.gpu.peek()?;
        let plan = crate::plan::Plan::probe(graph, &live.bounds(&self.shared.options));
        plan.err().map(|why| why.to_string())
    }

    /// Kernels that the driver did not take since the GPU was opened: their models run on the
    /// CPU, and a test would compare that with itself.
    pub fn n_refused_kernels(&self) -> usize {
        let live = self.shared.gpu.peek();
        live.map_or(0, |live| live.pipelines.n_refused())
    }

    fn place(&self, key: Key) -> Arc<Place> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever makes a session holds its place; the others are left by sessions that ended.
        sessions.retain(|_, place| {
            let is_used = Arc::strong_count(place) > 1;
            is_used || place.lock().is_ok_and(|session| session.strong_count() > 0)
        });
        sessions.entry(key).or_default().clone()
    }

    /// Loses the GPU on purpose, as a driver would: for tests.
    pub fn lose(&self) {
        if let Some(live) = self.shared.gpu.peek() {
            live.destroy();
        }
    }
}

impl Drop for GpuDevice {
    /// Waits for the threads: a driver that is unloaded while one of them is in it, as at
    /// the end of a process, takes the process down.
    fn drop(&mut self) {
        self.shared.scheduler.join();
        self.shared.gpu.close();
    }
}

impl Shared {
    fn live(&self, now: Instant) -> Option<Arc<Live>> {
        self.gpu.live(&self.options, now)
    }
}

impl Device for GpuDevice {
    fn name(&self) -> &'static str {
        "gpu"
    }

    /// Keeps the bytes on this side: they go up with the run that reads them.
    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError> {
        self.shared.cpu.upload(dtype, shape, bytes)
    }

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        let digest = graph.digest();
        let place = self.place((digest, graph.rows_are_exact(), graph.precision()));
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = place.upgrade() {
            return Ok(session);
        }
        let uncovered = self.uncovered(graph);
        if let Some(why) = &uncovered {
            tracing::warn!(model = %digest, why, "a model runs on the CPU");
        }
        let cpu = self.shared.cpu.session(graph)?;
        let session = GpuSession::new(graph.clone(), self.shared.clone(), cpu, uncovered.is_none());
        let session = Arc::new(session);
        // A graph of one size is made ready now, so that no item waits for it.
        session.make_ready();
        *place = Arc::downgrade(&session);
        Ok(session)
    }

    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        prepare::prepare(&self.shared, work)
    }
}

fn style(options: &GpuOptions, kind: AdapterKind) -> Style {
    let share = match kind {
        AdapterKind::Software => SOFTWARE_SHARE,
        _ => 1,
    };
    let batch_operations = options.max_batch_operations / share;
    Style {
        batching: options.batching,
        // A plan is made for each number of rows: there are to be few.
        pads: true,
        answers_at_once: false,
        n_threads: 1,
        batch_operations,
        batch_bytes: options.max_arena_bytes / 2,
        trial_operations: batch_operations,
        // One after another is how a GPU computes, whatever waits for it.
        light_operations: 0,
        patience: options.patience,
        max_waiting: options.max_waiting,
    }
}

fn internal(what: impl Into<String>) -> TensorError {
    TensorError::Internal {
        device: "gpu".to_owned(),
        what: what.into(),
    }
}

fn lost() -> TensorError {
    TensorError::DeviceLost {
        device: "gpu".to_owned(),
    }
}
