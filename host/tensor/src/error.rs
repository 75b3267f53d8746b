//! What can go wrong between a file and a result.

use std::time::Duration;

/// An error of this crate. Each says what, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The file is no model that can be run.
    #[error("not a usable ONNX model: {what}{}", after_semicolon(.hint))]
    InvalidGraph {
        /// What is wrong, with node and shapes where there are any.
        what: String,
        /// How to mend it; may be empty.
        hint: String,
    },
    /// The model holds an operator that is not known here.
    #[error(
        "operator {operator} of node `{node}` is not supported; export the model with other operators"
    )]
    UnsupportedOperator {
        /// The ONNX operator, with its domain when it is not the standard one.
        operator: String,
        /// The node that asks for it.
        node: String,
    },
    /// The device does not hold elements of this type.
    #[error("device {device} does not hold {dtype} tensors; cast to one it does, such as f32")]
    UnsupportedDtype {
        /// The device.
        device: String,
        /// The element type.
        dtype: &'static str,
    },
    /// A tensor does not fit: its bytes its shape, or itself its input.
    #[error("{what}")]
    ShapeMismatch {
        /// The input or tensor concerned; may be empty.
        place: String,
        /// What was given and what is wanted.
        what: String,
    },
    /// No input or output is so called, or one is missing or given twice.
    #[error("{what}")]
    UnknownName {
        /// The name.
        name: String,
        /// What is wrong with it and which names there are.
        what: String,
    },
    /// The account would hold more than it may.
    #[error(
        "{account} would hold {wanted} {unit}, its limit is {limit}; drop tensors earlier or raise the limit"
    )]
    QuotaExceeded {
        /// Whose account.
        account: String,
        /// Held and asked for together.
        wanted: u64,
        /// The limit.
        limit: u64,
        /// `tensor bytes` or `tensors`.
        unit: &'static str,
    },
    /// A holder gives its devices more work than its quota allows.
    #[error("{account} {why}; send less, or give it a larger share of the device")]
    Throttled {
        /// Whose quota it is.
        account: String,
        /// Which bound it met.
        why: String,
    },
    /// The device's queue is full.
    #[error("device {device} already has {n_waiting} runs waiting; send less or add devices")]
    Overloaded {
        /// The device.
        device: String,
        /// Runs in its queue.
        n_waiting: usize,
    },
    /// The deadline passed before the run began.
    #[error("the deadline passed {late:?} before the run began")]
    Expired {
        /// How long before.
        late: Duration,
    },
    /// The GPU has no kernel for a part of the model; the CPU runs it.
    #[error("no plan for a GPU: {operator} of node `{node}`: {why}")]
    NoPlan {
        /// The operator.
        operator: String,
        /// The node that asks for it; may be empty.
        node: String,
        /// What is missing.
        why: String,
    },
    /// No adapter is what was asked for.
    #[error(
        "there is no {}; {}",
        .wanted.trim_start_matches("a "),
        adapters(.known)
    )]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters that there are.
        known: Vec<String>,
    },
    /// The device went away; the next call finds it rebuilt.
    #[error("device {device} was lost; try again")]
    DeviceLost {
        /// The device.
        device: String,
    },
    /// The model, run on inputs of the right shape, cannot compute: an index
    /// outside its table, for one. Whoever brought model and inputs is to blame.
    #[error("the model cannot compute this: {what}")]
    RunFailed {
        /// What the device says.
        what: String,
    },
    /// This crate failed.
    #[error("internal failure on device {device}: {what}")]
    Internal {
        /// The device.
        device: String,
        /// What happened.
        what: String,
    },
}

impl TensorError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidGraph {
            what: what.into(),
            hint: String::new(),
        }
    }
}

fn adapters(known: &[String]) -> String {
    if known.is_empty() {
        "no adapter was found: is a driver for Vulkan, Metal or DirectX 12 installed?".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    }
}

fn after_semicolon(hint: &str) -> String {
    if hint.is_empty() {
        String::new()
    } else {
        format!("; {hint}")
    }
}
