//! Where the tests run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use trommel_tensor::{AdapterChoice, CpuDevice, CpuOptions, Device, GpuDevice, GpuOptions, Graph};

/// A device by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `cpu`.
    Cpu,
    /// `gpu`.
    Gpu,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            other => Err(format!("no device is called `{other}`; use cpu or gpu")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        })
    }
}

/// A device, and what it claims to run.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) device: Arc<dyn Device>,
    /// The same device, where it is a GPU.
    gpu: Option<Arc<GpuDevice>>,
}

impl Target {
    /// Starts the device; of GPUs the best there is, which may be software. Shaders check
    /// themselves where `checked_shaders` says so. Says why when there is none.
    pub fn new(kind: Kind, checked_shaders: bool) -> Result<Self, String> {
        match kind {
            Kind::Cpu => {
                let device = CpuDevice::new(&CpuOptions::default());
                Ok(Self {
                    device: Arc::new(device.map_err(|error| error.to_string())?),
                    gpu: None,
                })
            }
            Kind::Gpu => {
                let device = GpuDevice::new(GpuOptions {
                    adapter: AdapterChoice::Any,
                    checked_shaders,
                    // Software computes a large model in its own time.
                    timeout: Duration::from_secs(300),
                    ..GpuOptions::default()
                });
                let device = Arc::new(device.map_err(|error| error.to_string())?);
                Ok(Self {
                    device: device.clone(),
                    gpu: Some(device),
                })
            }
        }
    }

    /// Why the device does not claim this graph, where it does not. A device that
    /// would hand such a graph to another is not what is tested.
    pub(crate) fn covers(&self, graph: &Graph) -> Result<(), String> {
        // The CPU claims every graph that could be read.
        let why = self.gpu.as_ref().and_then(|gpu| gpu.uncovered(graph));
        why.map_or(Ok(()), Err)
    }

    /// Kernels that were refused when a graph was made ready, so that another device ran it.
    pub(crate) fn n_refused_kernels(&self) -> usize {
        let gpu = self.gpu.as_ref();
        gpu.map_or(0, |gpu| gpu.n_refused_kernels())
    }
}
