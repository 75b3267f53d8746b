//! Kernels compiled for one opened adapter, and the driver's own cache of them on disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;

use crate::graph::Digest;
use crate::kernels::Program;
use crate::plan::{Place, Plan};

/// See the module.
#[derive(Debug)]
pub(super) struct Pipelines {
    device: wgpu::Device,
    checked_shaders: bool,
    /// By the shader's text; a pipeline lives as long as a plan that uses it.
    compiled: Mutex<HashMap<Digest, Weak<Pipeline>>>,
    cache: Option<(wgpu::PipelineCache, PathBuf)>,
    /// Whether something was compiled since the cache was written.
    is_stale: AtomicBool,
    n_refused: AtomicUsize,
}

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// `folder` keeps what the driver compiled; none, or a driver that gives nothing
    /// to keep, compiles anew at each start.
    pub(super) fn new(
        device: wgpu::Device,
        adapter: &wgpu::AdapterInfo,
        checked_shaders: bool,
        folder: Option<&Path>,
    ) -> Self {
        let cache = folder
            .filter(|_| device.features().contains(wgpu::Features::PIPELINE_CACHE))
            .and_then(|folder| open_cache(&device, adapter, folder));
        Self {
            device,
            checked_shaders,
            compiled: Mutex::default(),
            cache,
            is_stale: AtomicBool::new(false),
            n_refused: AtomicUsize::new(0),
        }
    }

    /// Kernels that the driver did not take.
    pub(super) fn n_refused(&self) -> usize {
        self.n_refused.load(Ordering::Relaxed)
    }

    /// The compiled kernel of a program whose inputs lie as `plan` says. `None` when the
    /// driver does not take it.
    pub(super) fn of_program(&self, plan: &Plan, program: &Program) -> Option<Arc<Pipeline>> {
        self.get(&program.source, &Self::is_read_only(plan, program))
    }

    /// The same, where a refusal is no mistake: why the driver does not take it.
    pub(super) fn tried(&self, plan: &Plan, program: &Program) -> Result<Arc<Pipeline>, String> {
        self.found(&program.source, &Self::is_read_only(plan, program))
            .map_err(|error| error.to_string())
    }

    /// Which storage of a program it only reads, its output first.
    fn is_read_only(plan: &Plan, program: &Program) -> Vec<bool> {
        let inputs = program.inputs.iter();
        let inputs = inputs.map(|input| matches!(plan.value(*input).place, Place::Weight(_)));
        let faults = program.tells_faults.then_some(false);
        [false].into_iter().chain(inputs).chain(faults).collect()
    }

    /// The compiled kernel of a shader whose binding 0 is a launch's words, and whose other
    /// bindings are storage that it only reads, or writes too. `None` when the driver does
    /// not take it.
    pub(super) fn get(&self, source: &str, is_read_only: &[bool]) -> Option<Arc<Pipeline>> {
        let found = self.found(source, is_read_only);
        let told = |error: &wgpu::Error| {
            tracing::error!(%error, source, "a kernel does not compile");
            self.n_refused.fetch_add(1, Ordering::Relaxed);
        };
        found.inspect_err(told).ok()
    }

    fn found(&self, source: &str, is_read_only: &[bool]) -> Result<Arc<Pipeline>, wgpu::Error> {
        let digest = Digest::of(source.as_bytes());
        if let Some(pipeline) = self.compiled().get(&digest).and_then(Weak::upgrade) {
            return Ok(pipeline);
        }
        let pipeline = Arc::new(self.compile(source, is_read_only)?);
        self.is_stale.store(true, Ordering::Relaxed);
        let mut compiled = self.compiled();
        compiled.retain(|_, weak| weak.strong_count() > 0);
        compiled.insert(digest, Arc::downgrade(&pipeline));
        Ok(pipeline)
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Pipeline>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, source: &str, is_read_only: &[bool]) -> Result<Pipeline, wgpu::Error> {
        // A driver that dies on a kernel takes the process along; the log says on which.
        tracing::trace!(source, "compiling a kernel");
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.shader(source);
        let layout = self.layout(is_read_only);
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
                cache: self.cache.as_ref().map(|(cache, _)| cache),
            });
        match scope.pop().now_or_never().flatten() {
            Some(error) => Err(error),
            None => Ok(Pipeline { pipeline, layout }),
        }
    }

    fn layout(&self, is_read_only: &[bool]) -> wgpu::BindGroupLayout {
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
        let storages = is_read_only.iter().map(|read_only| storage(*read_only));
        let types = [part].into_iter().chain(storages);
        let entries: Vec<_> = types
            .zip(0..)
            .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        self.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            })
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
            reason = "the text is this crate's own: every view, place and table of a plan is \
                      validated before it is written (`plan/validate/`), loops end by constants \
                      or by the host's own tables, and indices that come from data are clamped"
        )]
        // SAFETY: every offset that the text can compute was bounded by `plan::validate`, which
        // no `Plan` leaves `Plan::new` without: sizes and strides are constants of the text and
        // counted in 32 bits, each step fills its output once and reads what is still there.
        // Images' kernels index by what `ImageProgram::new` bounded. `tests` runs every kernel
        // checked as well.
        unsafe {
            self.device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    /// Writes what was compiled to disk, when anything was since it was written; a failure
    /// costs time at the next start only.
    pub(super) fn save(&self) {
        let Some((cache, path)) = &self.cache else {
            return;
        };
        if !self.is_stale.swap(false, Ordering::Relaxed) {
            return;
        }
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
    folder: &Path,
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
    // SAFETY: the file was written by `Pipelines::save` from `get_data`.
    let cache = unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: None,
            data: data.as_deref(),
            fallback: true,
        })
    };
    Some((cache, path))
}
