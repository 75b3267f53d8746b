//! Which adapters there are, and which one is taken.

use std::fmt;

use futures_util::FutureExt as _;

use crate::TensorError;
use crate::kernels::{Cooperative, SHARED_BYTES, n_threads};

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
    /// Whether products of f16 are made by cooperative matrices.
    pub cooperation: Cooperation,
}

/// Whether products of f16 are made by cooperative matrices, which is what a GPU's matrix
/// units are called in shaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cooperation {
    /// The adapter does not have what is needed; what is missing.
    NotOffered(String),
    /// It says that it has; only opening it tells whether they can be used.
    Offered,
    /// They are switched off.
    Off,
    /// They failed their self-test when the adapter was opened, and how.
    Failed(String),
    /// They passed it, and are used.
    Used,
}

impl fmt::Display for Cooperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(why) => write!(f, "not offered: {why}"),
            Self::Offered => f.write_str("offered"),
            Self::Off => f.write_str("switched off"),
            Self::Failed(why) => write!(f, "failed their self-test: {why}"),
            Self::Used => f.write_str("used"),
        }
    }
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

/// Features that cooperative matrices take.
pub(super) fn cooperative_features() -> wgpu::Features {
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SUBGROUP
        | wgpu::Features::SHADER_F16
}

/// The cooperative matrices that kernels are written for; else what the adapter lacks.
pub(super) fn cooperative(adapter: &wgpu::Adapter) -> Result<Cooperative, String> {
    let offer = Offer {
        missing: cooperative_features() - adapter.features(),
        matrices: adapter.cooperative_matrix_properties(),
        lanes: {
            let info = adapter.get_info();
            [info.subgroup_min_size, info.subgroup_max_size]
        },
        shared_bytes: adapter.limits().max_compute_workgroup_storage_size,
    };
    offer.cooperative()
}

/// What an adapter says of them.
struct Offer {
    /// Of the features.
    missing: wgpu::Features,
    matrices: Vec<wgpu::CooperativeMatrixProperties>,
    /// Threads of a subgroup, at least and at most.
    lanes: [u32; 2],
    /// Bytes that the threads of a group may share.
    shared_bytes: u32,
}

impl Offer {
    fn cooperative(&self) -> Result<Cooperative, String> {
        if !self.missing.is_empty() {
            let names: Vec<&str> = self.missing.iter_names().map(|(name, _)| name).collect();
            return Err(format!("it has no {}", names.join(", ").to_lowercase()));
        }
        let fits = |it: &wgpu::CooperativeMatrixProperties| {
            [it.m_size, it.n_size, it.k_size] == [16; 3]
                && it.ab_type == wgpu::CooperativeScalarType::F16
                && it.cr_type == wgpu::CooperativeScalarType::F32
        };
        if !self.matrices.iter().any(fits) {
            return Err("it multiplies no 16 by 16 of f16 into f32".to_owned());
        }
        let [least, most] = self.lanes;
        // A group is of whole subgroups, and its text says of how many threads.
        if least != most {
            return Err(format!("its subgroups have from {least} to {most} threads"));
        }
        let n_threads = n_threads(least);
        if least == 0 || n_threads > MAX_THREADS {
            return Err(format!("four of its subgroups have {n_threads} threads"));
        }
        if self.shared_bytes < SHARED_BYTES {
            return Err(format!("its groups share {} bytes", self.shared_bytes));
        }
        Ok(Cooperative { lanes: least })
    }
}

/// Threads of a group at most, on every adapter.
const MAX_THREADS: u64 = 256;

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
        cooperation: match cooperative(adapter) {
            Ok(_) => Cooperation::Offered,
            Err(why) => Cooperation::NotOffered(why),
        },
    }
}

#[cfg(test)]
mod tests {
    use wgpu::CooperativeScalarType::{F16, F32};

    use super::*;

    fn matrix(
        [m_size, n_size, k_size]: [u32; 3],
        ab_type: wgpu::CooperativeScalarType,
        cr_type: wgpu::CooperativeScalarType,
    ) -> wgpu::CooperativeMatrixProperties {
        wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        }
    }

    /// What is done to an offer, and what is said of it.
    type Damage = (fn(&mut Offer), &'static str);

    /// As a driver may answer that has what is needed, among other things.
    fn whole() -> Offer {
        Offer {
            missing: wgpu::Features::empty(),
            matrices: vec![
                matrix([16, 16, 16], F16, F16),
                matrix([16, 8, 16], F16, F32),
                matrix([16, 16, 16], F16, F32),
            ],
            lanes: [32, 32],
            shared_bytes: 48 << 10,
        }
    }

    #[test]
    fn an_adapter_offers_matrices_when_it_has_all_that_kernels_take() {
        assert_eq!(whole().cooperative(), Ok(Cooperative { lanes: 32 }));
        let cases: [Damage; 7] = [
            (
                |it| it.missing = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                "it has no experimental_cooperative_matrix",
            ),
            (|it| it.missing = wgpu::Features::SUBGROUP, "no subgroup"),
            (|it| it.matrices.truncate(2), "no 16 by 16 of f16 into f32"),
            (|it| it.lanes = [32, 64], "from 32 to 64 threads"),
            (|it| it.lanes = [128, 128], "have 512 threads"),
            (|it| it.lanes = [0, 0], "have 0 threads"),
            (|it| it.shared_bytes = 8 << 10, "share 8192 bytes"),
        ];
        for (damage, says) in cases {
            let mut offer = whole();
            damage(&mut offer);
            let why = offer.cooperative().unwrap_err();
            assert!(why.contains(says), "expected `{says}`: {why}");
        }
    }
}
