//! Which adapters there are, and which one is taken.

use futures_util::FutureExt as _;

use crate::TensorError;

/// As WebGPU names it.
const HALVES: &str = "shader-f16";

/// What an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory, or one behind a virtual machine.
    Integrated,
    /// A program that computes as a GPU would; slow.
    Software,
}

/// An adapter as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The card or the program.
    pub name: String,
    /// Its driver and the driver's version.
    pub driver: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// What it is.
    pub kind: AdapterKind,
    /// What plans are held to.
    pub limits: AdapterLimits,
    /// Features of it that are used, as WebGPU names them; nothing needs any.
    pub features: Vec<&'static str>,
}

impl AdapterSummary {
    /// Whether values of a model that asks for it can be stored as f16.
    pub fn stores_halves(&self) -> bool {
        self.features.contains(&HALVES)
    }
}

/// What of an adapter bounds a plan. How much memory it has in all, drivers do not tell
/// alike; a plan that finds none runs on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterLimits {
    /// Bytes of one buffer, and so of all values of a run together.
    pub buffer_bytes: u64,
    /// Bytes of one value.
    pub binding_bytes: u64,
    /// Values that one step may read and write.
    pub storage_buffers: u32,
    /// Bytes that the threads of a group share.
    pub workgroup_bytes: u32,
}

/// Which adapter to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best that is no software.
    Hardware,
    /// The best, software if there is nothing else.
    Any,
    /// By its place in [`adapters`].
    Number(usize),
}

/// Every adapter, the best first. Blocking.
pub fn adapters() -> Vec<AdapterSummary> {
    found().iter().map(summary).collect()
}

/// The adapter chosen.
pub(super) fn choose(choice: AdapterChoice) -> Result<wgpu::Adapter, TensorError> {
    let mut all = match choice {
        AdapterChoice::Hardware if !has_hardware() => Vec::new(),
        _ => found(),
    };
    let kind = |adapter: &wgpu::Adapter| summary(adapter).kind;
    let at = match choice {
        AdapterChoice::Hardware => all.iter().position(|it| kind(it) != AdapterKind::Software),
        AdapterChoice::Any => (!all.is_empty()).then_some(0),
        AdapterChoice::Number(number) => (number < all.len()).then_some(number),
    };
    let Some(at) = at else {
        let known: Vec<String> = all.iter().map(|it| summary(it).name).collect();
        let wanted = match choice {
            AdapterChoice::Hardware => "a GPU that is no software".to_owned(),
            AdapterChoice::Any => "a GPU".to_owned(),
            AdapterChoice::Number(number) => format!("adapter {number}"),
        };
        return Err(TensorError::NoAdapter { wanted, known });
    };
    Ok(all.swap_remove(at))
}

/// Whether there can be hardware at all. Asking the drivers takes tens of milliseconds at
/// each start, and some of them print when they find none.
fn has_hardware() -> bool {
    // What Linux's drivers, NVIDIA's and Windows' subsystem open.
    let nodes = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"];
    !cfg!(target_os = "linux") || nodes.iter().any(|node| std::path::Path::new(node).exists())
}

fn found() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    // Native adapters are told at once; nothing waits.
    let all = instance.enumerate_adapters(wgpu::Backends::all());
    let mut all: Vec<wgpu::Adapter> = all.now_or_never().unwrap_or_default();
    // Stable, so that numbers mean the same adapters every time.
    all.sort_by_key(|adapter| summary(adapter).kind);
    all
}

pub(super) fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let used = [
        (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
        (wgpu::Features::SHADER_F16, HALVES),
    ];
    AdapterSummary {
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        backend: format!("{:?}", info.backend),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::VirtualGpu => {
                AdapterKind::Integrated
            }
            wgpu::DeviceType::Cpu | wgpu::DeviceType::Other => AdapterKind::Software,
        },
        name: info.name,
        limits: AdapterLimits {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        },
        features: used
            .into_iter()
            .filter_map(|(feature, name)| adapter.features().contains(feature).then_some(name))
            .collect(),
    }
}
