//! A host as the commands that judge set it up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use trommel::engine::{Compiler, EngineOptions};
use trommel::pipeline::DeviceChoice;
use trommel::policy::Policy;
use trommel::registry::{CompileCache, Trust, pipeline_folder};
use trommel::{Host, HostBuilder};
use trommel_tensor::{Device, GpuOptions};

use super::lists::ListFile;
use super::plugin::public_keys;

/// Where models run, and how.
#[derive(Debug, Args)]
pub(super) struct DeviceArguments {
    /// Where models run: auto, cpu, gpu, or gpu:N as `trommel devices` numbers them.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Make products of f16 without cooperative matrices, also where the GPU has them.
    #[arg(long)]
    no_cooperative_matrices: bool,
}

impl DeviceArguments {
    /// On the processor alone.
    pub(super) const CPU: Self = Self {
        device: DeviceChoice::Cpu,
        no_cooperative_matrices: false,
    };

    /// Opens the device. Blocking.
    pub(super) fn open(&self) -> anyhow::Result<Arc<dyn Device>> {
        let gpu = GpuOptions {
            cooperative: !self.no_cooperative_matrices,
            pipeline_cache: pipeline_folder(),
            ..GpuOptions::default()
        };
        let opened = self.device.open(gpu);
        opened.with_context(|| format!("--device {}", self.device))
    }
}

/// What the user said of it.
pub(super) struct HostArguments<'a> {
    /// Packages; none means the bundled detectors.
    pub(super) detectors: &'a [PathBuf],
    /// Public keys, one of which must have signed every package; none takes any package.
    pub(super) trusted_keys: &'a [PathBuf],
    /// A file of rules; none means the built-in policy.
    pub(super) policy: Option<&'a Path>,
    /// Hot lists that rules may ask for.
    pub(super) lists: &'a [ListFile],
    /// Where models run, and how.
    pub(super) device: &'a DeviceArguments,
    /// Time per item; none means the host's own.
    pub(super) deadline: Option<Duration>,
}

impl HostArguments<'_> {
    /// A builder that has all of it. This program compiles components, in a child.
    pub(super) fn builder(&self) -> anyhow::Result<HostBuilder> {
        let mut builder = self.without_detectors()?;
        if self.detectors.is_empty() {
            builder = builder.bundled_detectors();
        }
        for package in self.detectors {
            builder = builder.detector(package);
        }
        Ok(builder.trust(self.trust()?))
    }

    /// Whose packages load.
    pub(super) fn trust(&self) -> anyhow::Result<Trust> {
        if self.trusted_keys.is_empty() {
            return Ok(Trust::Anyone);
        }
        Ok(Trust::Keys(public_keys(self.trusted_keys)?))
    }

    /// A builder that has opened the device and read the policy, for a caller with packages
    /// of its own.
    pub(super) fn without_detectors(&self) -> anyhow::Result<HostBuilder> {
        let mut builder = Host::builder()
            .device(self.device.open()?)
            .engine_options(engine_options()?)
            .compile_cache(CompileCache::user());
        if let Some(deadline) = self.deadline {
            builder = builder.deadline(deadline);
        }
        for list in self.lists {
            builder = builder.list(&list.name, list.read()?);
        }
        if let Some(file) = self.policy {
            let shown = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("policy {shown} cannot be read"))?;
            builder = builder.policy(Policy::parse(&shown, &text)?);
        }
        Ok(builder)
    }
}

/// An engine that compiles in children of this program.
pub(super) fn engine_options() -> anyhow::Result<EngineOptions> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(EngineOptions {
        compiler: Compiler::program(program),
        ..EngineOptions::default()
    })
}
