//! One opened adapter: until it is lost, and then another is opened.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;

use futures_util::FutureExt as _;

use super::adapter::{AdapterKind, AdapterSummary, choose, summary};
use super::{GpuOptions, internal};
use crate::TensorError;
use crate::graph::Digest;
use crate::kernels::Program;
use crate::plan::{Bounds, Place, Plan};

/// Batches that the GPU has at once: one runs while the next is made ready.
const IN_FLIGHT: usize = 2;

/// How much longer a run may take in software: it is slow, and no driver hangs in it.
const SOFTWARE_PATIENCE: u32 = 12;

/// Storage buffers of a step that are no inputs: the output and the word for faults.
const OTHER_BUFFERS: u32 = 2;

/// Called once a submission is done, or will not be; with whether it is.
pub(super) type Done = Box<dyn FnOnce(bool) + Send>;

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) summary: AdapterSummary,
    limits: wgpu::Limits,
    lost: Arc<AtomicBool>,
    checked_shaders: bool,
    pipelines: Mutex<HashMap<Digest, Arc<Pipeline>>>,
    pipeline_cache: Option<(wgpu::PipelineCache, PathBuf)>,
    weights: Mutex<HashMap<Digest, Weak<wgpu::Buffer>>>,
    arena: Mutex<Option<Arc<wgpu::Buffer>>>,
    staging: Mutex<Vec<wgpu::Buffer>>,
    /// None once it is closed.
    submitted: Mutex<Option<mpsc::SyncSender<Submitted>>>,
    waiter: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Submitted {
    index: wgpu::SubmissionIndex,
    done: Done,
}

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Live {
    pub(super) fn open(options: &GpuOptions) -> Result<Self, TensorError> {
        let adapter = choose(options.adapter)?;
        let summary = summary(&adapter);
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
        let features = adapter.features() & wgpu::Features::PIPELINE_CACHE;
        let opened = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("trommel"),
            required_features: features,
            required_limits: limits.clone(),
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
        let pipeline_cache = options
            .pipeline_cache
            .as_ref()
            .filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE))
            .and_then(|folder| open_cache(&device, &adapter.get_info(), folder));
        let (submitted, waiting) = mpsc::sync_channel(IN_FLIGHT);
        let waiter = Waiter {
            device: device.clone(),
            lost: lost.clone(),
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
            limits,
            lost,
            checked_shaders: options.checked_shaders,
            pipelines: Mutex::default(),
            pipeline_cache,
            weights: Mutex::default(),
            arena: Mutex::default(),
            staging: Mutex::default(),
            submitted: Mutex::new(Some(submitted)),
            waiter: Mutex::new(Some(waiter)),
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
        }
    }

    /// Between the first words of two launches in their uniform buffer.
    pub(super) fn launch_stride(&self) -> u64 {
        u64::from(self.limits.min_uniform_buffer_offset_alignment).max(16)
    }

    /// A buffer, or `None` when there is no memory for it.
    pub(super) fn buffer(
        &self,
        label: &str,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Option<wgpu::Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            // Copies and clears go by words, and an empty value is bound as one element.
            size: size.next_multiple_of(4).max(8),
            usage,
            mapped_at_creation: false,
        });
        let failed = scope.pop().now_or_never().flatten().is_some();
        (!failed).then_some(buffer)
    }

    /// The arena that every run uses, one after another, as large as the largest needed.
    /// Who bound the one before keeps it alive.
    pub(super) fn arena(&self, size: u64) -> Option<Arc<wgpu::Buffer>> {
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arena) = arena.as_ref().filter(|arena| arena.size() >= size) {
            return Some(arena.clone());
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let made = Arc::new(self.buffer("arena", size, usage)?);
        *arena = Some(made.clone());
        Some(made)
    }

    /// A weight's buffer, shared by every plan that holds the same bytes.
    pub(super) fn weight(&self, bytes: &[u8]) -> Option<Arc<wgpu::Buffer>> {
        let digest = Digest::of(bytes);
        let mut weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = weights.get(&digest).and_then(Weak::upgrade) {
            return Some(buffer);
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = Arc::new(self.buffer("weight", bytes.len() as u64, usage)?);
        self.queue.write_buffer(&buffer, 0, bytes);
        weights.retain(|_, weak| weak.strong_count() > 0);
        weights.insert(digest, Arc::downgrade(&buffer));
        Some(buffer)
    }

    /// A buffer that can be mapped, from those that were given back.
    pub(super) fn staging(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut ring = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = ring.iter().position(|buffer| buffer.size() >= size) {
            return Some(ring.swap_remove(at));
        }
        drop(ring);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.buffer("staging", size.next_power_of_two().max(4096), usage)
    }

    pub(super) fn give_back(&self, buffer: wgpu::Buffer) {
        let mut ring = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() < 2 * IN_FLIGHT {
            ring.push(buffer);
        }
    }

    /// Submits, and calls `done` once that is over. Waits while two are in flight.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer, done: Done) {
        let sender = self
            .submitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(sender) = sender else {
            return done(false);
        };
        let index = self.queue.submit([commands]);
        if let Err(mpsc::SendError(submitted)) = sender.send(Submitted { index, done }) {
            (submitted.done)(false);
        }
    }

    /// The compiled kernel of a program whose inputs lie as `plan` says. `None` when the
    /// driver does not take it.
    pub(super) fn pipeline(&self, plan: &Plan, program: &Program) -> Option<Arc<Pipeline>> {
        let digest = Digest::of(program.source.as_bytes());
        let known = |all: &HashMap<Digest, Arc<Pipeline>>| all.get(&digest).cloned();
        let pipelines = || {
            self.pipelines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(pipeline) = known(&pipelines()) {
            return Some(pipeline);
        }
        // A driver that dies on a kernel takes the process along; the log says on which.
        tracing::trace!(source = program.source, "compiling a kernel");
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.shader(&program.source);
        let storage = |read_only| wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let part = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: None,
        };
        let inputs = program
            .inputs
            .iter()
            .map(|input| storage(matches!(plan.value(*input).place, Place::Weight(_))));
        let faults = program.tells_faults.then_some(storage(false));
        let types = [part, storage(false)]
            .into_iter()
            .chain(inputs)
            .chain(faults);
        let entries: Vec<_> = types
            .zip(0..)
            .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
        let pipeline_layout = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: self.pipeline_cache.as_ref().map(|(cache, _)| cache),
            });
        if let Some(error) = scope.pop().now_or_never().flatten() {
            tracing::error!(%error, source = program.source, "a kernel does not compile");
            return None;
        }
        let pipeline = Arc::new(Pipeline { pipeline, layout });
        pipelines().insert(digest, pipeline.clone());
        Some(pipeline)
    }

    fn shader(&self, source: &str) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        if self.checked_shaders {
            return self.device.create_shader_module(descriptor);
        }
        #[expect(
            unsafe_code,
            reason = "the text is this crate's own: shapes are validated before it is written, \
                      loops end by constants, and indices that come from data are clamped"
        )]
        // SAFETY: see the reason above; `tests` runs every kernel checked as well.
        unsafe {
            self.device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    /// Writes what was compiled to disk; a failure costs time at the next start only.
    pub(super) fn save_pipelines(&self) {
        let Some((cache, path)) = &self.pipeline_cache else {
            return;
        };
        let Some(bytes) = cache.get_data() else {
            return;
        };
        // Renamed into place: an interrupted write leaves no half file.
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "cannot keep compiled pipelines");
        }
    }
}

/// The driver's cache for this adapter and driver, with what is on disk.
fn open_cache(
    device: &wgpu::Device,
    info: &wgpu::AdapterInfo,
    folder: &std::path::Path,
) -> Option<(wgpu::PipelineCache, PathBuf)> {
    let path = folder.join(wgpu::util::pipeline_cache_key(info)?);
    if let Err(error) = fs::create_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "cannot keep compiled pipelines");
        return None;
    }
    let data = fs::read(&path).ok();
    #[expect(
        unsafe_code,
        reason = "the folder is the user's own cache, as private as the program itself; the \
                  driver checks its own header and drops what it does not know"
    )]
    // SAFETY: the file was written by `save_pipelines` from `get_data`.
    let cache = unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: None,
            data: data.as_deref(),
            fallback: true,
        })
    };
    Some((cache, path))
}

/// The thread that waits for submissions, in their order.
struct Waiter {
    device: wgpu::Device,
    lost: Arc<AtomicBool>,
    timeout: std::time::Duration,
}

impl Waiter {
    fn work(&self, waiting: &mpsc::Receiver<Submitted>) {
        while let Ok(Submitted { index, done }) = waiting.recv() {
            let lost = self.lost.load(Ordering::Acquire);
            let waited = (!lost).then(|| {
                self.device.poll(wgpu::PollType::Wait {
                    submission_index: Some(index),
                    timeout: Some(self.timeout),
                })
            });
            if matches!(waited, Some(Err(_))) {
                tracing::error!(timeout = ?self.timeout, "the GPU did not finish in time");
                self.lost.store(true, Ordering::Release);
            }
            done(!self.lost.load(Ordering::Acquire));
        }
    }
}
