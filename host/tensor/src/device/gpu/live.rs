//! One opened adapter: until it is lost, and then another is opened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::adapter::{
    AdapterKind, AdapterSummary, Cooperation, choose, cooperative, cooperative_features, summary,
};
use super::memory::Memory;
use super::pipelines::Pipelines;
use super::prepare::ImageKernels;
use super::{GpuOptions, internal, selftest};
use crate::TensorError;
use crate::kernels::{Cooperative, Tools};
use crate::plan::Bounds;

/// Batches that the GPU has at once: one runs while the next is made ready.
const IN_FLIGHT: usize = 2;

/// Longest time between two looks at whether a submission has ended, which tells of itself.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer a run may take in software: it is slow, and no driver hangs in it.
const SOFTWARE_PATIENCE: u32 = 12;

/// Storage buffers of a step that are no inputs: the output and the word for faults.
const OTHER_BUFFERS: u32 = 2;

/// How much less a run may compute in software, beside that patience.
pub(super) const SOFTWARE_SHARE: u64 = 40;

/// How a submission ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is computed.
    Done,
    /// It took too long, and the GPU was given up for it.
    TimedOut,
    /// The GPU was lost while it ran.
    Lost,
    /// The GPU was lost before it could begin.
    NotBegun,
}

/// How many submissions of the scheduler's the GPU has, whichever adapter is open. What is
/// read back is none of them: it must not hold up who computes.
#[derive(Debug, Default)]
pub(super) struct Flights {
    n_up: Mutex<usize>,
    landed: Condvar,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Flight(Arc<Flights>);

impl Flights {
    /// Whether the GPU has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        *self.lock() == 0
    }

    /// Waits until there is a place for one more. A batch that is cut any earlier would be
    /// smaller than it could be.
    pub(super) fn wait_for_a_place(&self) {
        let mut n_up = self.lock();
        while *n_up >= IN_FLIGHT {
            let waited = self.landed.wait_timeout(n_up, LOOK);
            n_up = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn begin(self: &Arc<Self>) -> Flight {
        *self.lock() += 1;
        Flight(self.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.n_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.landed.notify_all();
    }
}

/// Called once a submission has ended.
pub(super) type Done = Box<dyn FnOnce(Ending) + Send>;

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) summary: AdapterSummary,
    pub(super) memory: Memory,
    pub(super) pipelines: Pipelines,
    /// What kernels may use.
    pub(super) tools: Tools,
    limits: wgpu::Limits,
    lost: Arc<AtomicBool>,
    /// Whether it ever finished a submission.
    answered: Arc<AtomicBool>,
    /// None inside when the driver does not take them.
    pub(super) image_kernels: OnceLock<Option<ImageKernels>>,
    /// None once it is closed.
    submitted: Mutex<Option<mpsc::SyncSender<Submitted>>>,
    waiter: Mutex<Option<thread::JoinHandle<()>>>,
    flights: Arc<Flights>,
}

struct Submitted {
    index: wgpu::SubmissionIndex,
    done: Done,
}

impl Live {
    /// Opens the adapter. Where it offers cooperative matrices, and they are not switched off,
    /// they are tried first; an adapter that fails by them is opened without.
    pub(super) fn open(options: &GpuOptions, flights: &Arc<Flights>) -> Result<Self, TensorError> {
        let adapter = choose(options.adapter)?;
        let offered = match options.cooperative {
            true => cooperative(&adapter).ok(),
            false => None,
        };
        let Some(offered) = offered else {
            let mut live = Self::opened(&adapter, options, flights, None)?;
            if live.summary.cooperation == Cooperation::Offered {
                live.summary.cooperation = Cooperation::Off;
            }
            return Ok(live);
        };
        let why = match Self::with(&adapter, options, flights, offered) {
            Ok(live) => return Ok(live),
            Err(why) => why,
        };
        let adapter = choose(options.adapter)?;
        let mut live = Self::opened(&adapter, options, flights, None)?;
        tracing::warn!(
            adapter = %live.summary.name, why,
            "cooperative matrices failed their self-test; products are made without them"
        );
        live.summary.cooperation = Cooperation::Failed(why);
        Ok(live)
    }

    /// The adapter with its cooperative matrices; why it is not to be used with them.
    fn with(
        adapter: &wgpu::Adapter,
        options: &GpuOptions,
        flights: &Arc<Flights>,
        offered: Cooperative,
    ) -> Result<Self, String> {
        let opened = Self::opened(adapter, options, flights, Some(offered));
        let mut live = opened.map_err(|error| error.to_string())?;
        if let Err(why) = selftest::held(&live, options, offered) {
            live.close();
            return Err(why);
        }
        live.tools.cooperative = Some(offered);
        live.summary.cooperation = Cooperation::Used;
        Ok(live)
    }

    /// `offered` are cooperative matrices that it is to be opened with.
    fn opened(
        adapter: &wgpu::Adapter,
        options: &GpuOptions,
        flights: &Arc<Flights>,
        offered: Option<Cooperative>,
    ) -> Result<Self, TensorError> {
        let summary = summary(adapter);
        let own = adapter.limits();
        let limits = wgpu::Limits {
            max_buffer_size: own.max_buffer_size,
            max_storage_buffer_binding_size: own.max_storage_buffer_binding_size,
            max_storage_buffers_per_shader_stage: own.max_storage_buffers_per_shader_stage.min(16),
            max_compute_workgroup_storage_size: own.max_compute_workgroup_storage_size,
            min_storage_buffer_offset_alignment: own.min_storage_buffer_offset_alignment,
            min_uniform_buffer_offset_alignment: own.min_uniform_buffer_offset_alignment,
            ..wgpu::Limits::downlevel_defaults()
        };
        let used = wgpu::Features::PIPELINE_CACHE | wgpu::Features::SHADER_F16;
        let mut features = adapter.features() & used;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if offered.is_some() {
            features |= cooperative_features();
            experimental_features = experiments();
        }
        let opened = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("trommel"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            ..wgpu::DeviceDescriptor::default()
        });
        let opened = opened
            .now_or_never()
            .expect("native adapters answer at once");
        let (device, queue) =
            opened.map_err(|error| internal(format!("cannot open {}: {error}", summary.name)))?;
        let lost = Arc::new(AtomicBool::new(false));
        let told = lost.clone();
        device.set_device_lost_callback(move |_, _| told.store(true, Ordering::Release));
        let told = lost.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            tracing::error!(%error, "the GPU refused what it was told");
            told.store(true, Ordering::Release);
        }));
        let pipelines = Pipelines::new(
            device.clone(),
            &adapter.get_info(),
            options.checked_shaders,
            options.pipeline_cache.as_deref(),
        );
        let memory = Memory::new(device.clone(), queue.clone(), limits.max_buffer_size);
        let answered = Arc::new(AtomicBool::new(false));
        let (submitted, waiting) = mpsc::sync_channel(IN_FLIGHT);
        let waiter = Waiter {
            device: device.clone(),
            lost: lost.clone(),
            answered: answered.clone(),
            timeout: match summary.kind {
                AdapterKind::Software => SOFTWARE_PATIENCE * options.timeout,
                _ => options.timeout,
            },
        };
        let waiter = thread::Builder::new()
            .name("trommel-gpu-wait".to_owned())
            .spawn(move || waiter.work(&waiting))
            .map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            device,
            queue,
            summary,
            memory,
            pipelines,
            tools: Tools::default(),
            limits,
            lost,
            answered,
            image_kernels: OnceLock::new(),
            submitted: Mutex::new(Some(submitted)),
            waiter: Mutex::new(Some(waiter)),
            flights: flights.clone(),
        })
    }

    /// Waits for what was submitted; later submissions fail. Not from the thread that
    /// waits.
    pub(super) fn close(&self) {
        let closed = self
            .submitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(closed);
        let waiter = self
            .waiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiter) = waiter {
            // It does not panic; if it did, it has ended too.
            let _ = waiter.join();
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The same, asking the driver first.
    pub(super) fn is_found_lost(&self) -> bool {
        // What is wrong, the callback for losses is told.
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.is_lost()
    }

    /// Whether it ever finished what it was given.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    pub(super) fn destroy(&self) {
        self.device.destroy();
    }

    pub(super) fn bounds(&self, options: &GpuOptions) -> Bounds {
        let binding = self.limits.max_storage_buffer_binding_size;
        let inputs = self.limits.max_storage_buffers_per_shader_stage - OTHER_BUFFERS;
        Bounds {
            alignment: u64::from(self.limits.min_storage_buffer_offset_alignment),
            value_bytes: binding,
            arena_bytes: options.max_arena_bytes.min(self.limits.max_buffer_size),
            inputs: inputs as usize,
            halves: self.stores_halves(options),
        }
    }

    /// Whether values of a model that asks for it are stored as f16.
    pub(super) fn stores_halves(&self, options: &GpuOptions) -> bool {
        let features = self.device.features();
        options.halves && features.contains(wgpu::Features::SHADER_F16)
    }

    /// Operations that one run may take here.
    pub(super) fn max_run_operations(&self, options: &GpuOptions) -> u64 {
        match self.summary.kind {
            AdapterKind::Software => options.max_run_operations / SOFTWARE_SHARE,
            _ => options.max_run_operations,
        }
    }

    /// Between the first words of two launches in their uniform buffer.
    pub(super) fn launch_stride(&self) -> u64 {
        u64::from(self.limits.min_uniform_buffer_offset_alignment).max(16)
    }

    /// Counts one more submission as up, until that is dropped.
    pub(super) fn flight(&self) -> Flight {
        self.flights.begin()
    }

    /// Submits, and calls `done` once that is over. Waits while two are in flight.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer, done: Done) {
        let sender = self
            .submitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(sender) = sender else {
            return done(Ending::NotBegun);
        };
        let index = self.queue.submit([commands]);
        let submitted = Submitted { index, done };
        if let Err(mpsc::SendError(submitted)) = sender.send(submitted) {
            (submitted.done)(Ending::NotBegun);
        }
    }
}

/// Leave to use cooperative matrices, which wgpu calls experimental.
fn experiments() -> wgpu::ExperimentalFeatures {
    #[expect(
        unsafe_code,
        reason = "wgpu asks whoever uses what it calls experimental to know that it may hold \
                  mistakes which break memory safety"
    )]
    // SAFETY: known, and bounded: the feature is asked for only where the adapter offers it
    // and `GpuOptions::cooperative` does not forbid it. One kernel uses it
    // (`kernels/cooperative.wgsl`), whose text is this crate's own; it points matrices at
    // workgroup memory alone, by constants that lie within it, and reads and stores what is
    // bound through the same functions as every other kernel, whose offsets
    // `plan::validate` has bounded. Before any model runs, it is held to the kernel that it
    // stands for.
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

/// The thread that waits for submissions, in their order.
struct Waiter {
    device: wgpu::Device,
    lost: Arc<AtomicBool>,
    answered: Arc<AtomicBool>,
    timeout: std::time::Duration,
}

impl Waiter {
    fn work(&self, waiting: &mpsc::Receiver<Submitted>) {
        while let Ok(submitted) = waiting.recv() {
            let ending = self.wait(submitted.index);
            (submitted.done)(ending);
        }
    }

    fn wait(&self, index: wgpu::SubmissionIndex) -> Ending {
        if self.lost.load(Ordering::Acquire) {
            return Ending::NotBegun;
        }
        let waited = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(index),
            timeout: Some(self.timeout),
        });
        match waited {
            Err(wgpu::PollError::Timeout) => {
                tracing::error!(timeout = ?self.timeout, "the GPU did not finish in time");
                self.lost.store(true, Ordering::Release);
                Ending::TimedOut
            }
            Err(error) => {
                tracing::error!(%error, "the GPU cannot be waited for");
                self.lost.store(true, Ordering::Release);
                Ending::Lost
            }
            Ok(_) if self.lost.load(Ordering::Acquire) => Ending::Lost,
            Ok(_) => {
                self.answered.store(true, Ordering::Release);
                Ending::Done
            }
        }
    }
}
