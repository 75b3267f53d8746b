//! Which device models run on, as people write it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use trommel_tensor::{
    AdapterChoice, CpuDevice, CpuOptions, Device, GpuDevice, GpuOptions, TensorError,
};

/// `auto`, `cpu`, `gpu` or `gpu:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A discrete or integrated GPU where there is one, never a software adapter; else
    /// the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: by its place in [`trommel_tensor::adapters`], or the best, which is software
    /// where there is nothing else.
    Gpu(Option<usize>),
}

/// What was written is no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no device; use auto, cpu, gpu, or gpu:N with a number of `trommel devices`")]
pub struct NoDevice(String);

impl FromStr for DeviceChoice {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu(None)),
            other => other
                .strip_prefix("gpu:")
                .and_then(|number| number.parse().ok())
                .map(|number| Self::Gpu(Some(number)))
                .ok_or_else(|| NoDevice(other.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(number)) => write!(f, "gpu:{number}"),
        }
    }
}

impl DeviceChoice {
    /// Opens it; `options` say how a GPU is used, and their adapter is replaced. Blocking.
    ///
    /// `NoAdapter` when the GPU asked for is not there. `Auto` takes the CPU then, and
    /// also when a GPU is there and cannot be opened, which it logs.
    pub fn open(self, options: GpuOptions) -> Result<Arc<dyn Device>, TensorError> {
        let adapter = match self {
            Self::Cpu => return cpu(&options.cpu),
            Self::Auto => AdapterChoice::Hardware,
            Self::Gpu(None) => AdapterChoice::Any,
            Self::Gpu(Some(number)) => AdapterChoice::Number(number),
        };
        let cpu_options = options.cpu.clone();
        match GpuDevice::new(GpuOptions { adapter, ..options }) {
            Ok(device) => Ok(Arc::new(device)),
            Err(error) if self != Self::Auto => Err(error),
            Err(TensorError::NoAdapter { .. }) => cpu(&cpu_options),
            Err(error) => {
                tracing::warn!(%error, "the GPU cannot be used; models run on the CPU");
                cpu(&cpu_options)
            }
        }
    }
}

fn cpu(options: &CpuOptions) -> Result<Arc<dyn Device>, TensorError> {
    Ok(Arc::new(CpuDevice::new(options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "gpu", "gpu:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_device_is_told_with_what_is() {
        for text in ["tpu", "gpu:", "gpu:-1", "GPU"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("gpu:N"), "{error}");
        }
    }
}
