//! Where the tests run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use trommel_tensor::{CpuDevice, CpuOptions, Device, Graph};

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
    kind: Kind,
}

impl Target {
    /// Starts the device. Says why when there is none.
    pub fn new(kind: Kind) -> Result<Self, String> {
        Ok(Self {
            device: device(kind)?,
            kind,
        })
    }

    /// Why the device does not claim this graph, where it does not. A device that
    /// would hand such a graph to another is not what is tested.
    pub(crate) fn covers(&self, _graph: &Graph) -> Result<(), String> {
        match self.kind {
            // It claims every graph that could be read.
            Kind::Cpu => Ok(()),
            Kind::Gpu => Err(NO_GPU.to_owned()),
        }
    }
}

const NO_GPU: &str = "this build has no GPU device";

fn device(kind: Kind) -> Result<Arc<dyn Device>, String> {
    match kind {
        Kind::Cpu => {
            let device = CpuDevice::new(&CpuOptions::default());
            Ok(Arc::new(device.map_err(|error| error.to_string())?))
        }
        Kind::Gpu => Err(NO_GPU.to_owned()),
    }
}
