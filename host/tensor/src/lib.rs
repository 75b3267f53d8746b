//! From an ONNX file to tensors on a device.
//!
//! A [`Graph`] is read once and knows nothing of devices. A [`Device`] makes a
//! [`Session`] of it; the session runs [`Tensor`]s, which stay on their device
//! until they are read. What a holder may keep is bounded by its [`Account`].
//!
//! This crate has never heard of wasm, detectors or verdicts.

mod account;
mod batch;
pub mod device;
mod error;
mod graph;
mod kernels;
mod patience;
mod plan;
pub mod preprocess;
mod quota;
mod shape;
mod tensor;
mod weights;
mod workers;

pub use account::{Account, Charge, RunPlace};
pub use batch::{BatchCounts, Batching};
pub use device::cpu::{CpuDevice, CpuOptions};
pub use device::gpu::{
    AdapterChoice, AdapterKind, AdapterLimits, AdapterSummary, Cooperation, GpuDevice, GpuOptions,
    adapters,
};
pub use device::{Device, Run, Session, Storage};
pub use error::TensorError;
pub use graph::{Digest, Fixed, Graph, Precision};
pub use plan::{PlanSummary, plan_summary, plan_text};
pub use preprocess::{Pixels, Preparation, Preprocess};
pub use quota::WorkQuota;
pub use shape::{Dimension, Dtype, Port};
pub use tensor::Tensor;
pub use weights::Weights;
pub use workers::{QueueFull, Workers};
