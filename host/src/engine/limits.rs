//! Everything that one call may cost, in one place.

use std::time::Duration;

/// What one call of a detector may take. A manifest asks, the host's own bound
/// answers at load; at run time every one of these is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of each linear memory.
    pub memory_bytes: usize,
    /// Linear memories.
    pub memories: u32,
    /// Elements of each table.
    pub table_elements: usize,
    /// Tables.
    pub tables: u32,
    /// Core instances.
    pub instances: u32,
    /// Bytes that the host holds for the call in all: tensors, findings, log.
    pub host_bytes: u64,
    /// Bytes of tensors held at once, the models' own intermediate values
    /// included.
    pub tensor_bytes: u64,
    /// Tensors held at once.
    pub tensors: u64,
    /// Handles held at once: tensors and models.
    pub handles: usize,
    /// Bytes that one host call may carry out of the sandbox.
    pub hostcall_bytes: usize,
    /// Bytes that all host calls together may carry out of the sandbox.
    pub carried_bytes: usize,
    /// Bytes of log lines; what comes after is dropped and counted.
    pub log_bytes: usize,
    /// Signals, evidence and embeddings together.
    pub findings: usize,
    /// Bytes of the findings: labels, notes, names, the numbers of embeddings.
    pub findings_bytes: usize,
    /// Wall-clock time from the call's start, over wasm, host calls, queueing
    /// and model work. The item's own deadline may end the call sooner.
    pub deadline: Duration,
    /// Bytes of weights that the plugin holds on the device, over all its
    /// calls.
    pub weight_bytes: u64,
    /// Runs of models that wait or are computed at once, over all its calls.
    pub runs: u64,
    /// Operations a second that its models take, over all its calls, as
    /// [`Graph::n_operations`](trommel_tensor::Graph::n_operations) counts them.
    pub operations_per_second: u64,
}

impl Limits {
    /// What a plugin gets that asks for nothing.
    pub const DEFAULT: Self = Self {
        memory_bytes: 16 << 20,
        memories: 4,
        table_elements: 10_000,
        tables: 2,
        instances: 8,
        host_bytes: 48 << 20,
        tensor_bytes: 32 << 20,
        tensors: 256,
        handles: 512,
        hostcall_bytes: 16 << 20,
        carried_bytes: 64 << 20,
        log_bytes: 8 << 10,
        findings: 256,
        findings_bytes: 256 << 10,
        deadline: Duration::from_millis(500),
        weight_bytes: 64 << 20,
        runs: 256,
        operations_per_second: 10_000_000_000_000,
    };

    /// What a host grants at most unless it is told otherwise.
    pub const MAX: Self = Self {
        memory_bytes: 256 << 20,
        memories: 4,
        table_elements: 20_000,
        tables: 2,
        instances: 8,
        host_bytes: 1 << 30,
        tensor_bytes: 1 << 30,
        tensors: 4096,
        handles: 8192,
        hostcall_bytes: 128 << 20,
        carried_bytes: 1 << 30,
        log_bytes: 64 << 10,
        findings: 4096,
        findings_bytes: 4 << 20,
        deadline: Duration::from_secs(10),
        weight_bytes: 1 << 30,
        runs: 4096,
        operations_per_second: 1_000_000_000_000_000,
    };
}

impl Limits {
    /// Each limit, or `max`'s where that is less.
    #[must_use]
    pub fn at_most(&self, max: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(max.memory_bytes),
            memories: self.memories.min(max.memories),
            table_elements: self.table_elements.min(max.table_elements),
            tables: self.tables.min(max.tables),
            instances: self.instances.min(max.instances),
            host_bytes: self.host_bytes.min(max.host_bytes),
            tensor_bytes: self.tensor_bytes.min(max.tensor_bytes),
            tensors: self.tensors.min(max.tensors),
            handles: self.handles.min(max.handles),
            hostcall_bytes: self.hostcall_bytes.min(max.hostcall_bytes),
            carried_bytes: self.carried_bytes.min(max.carried_bytes),
            log_bytes: self.log_bytes.min(max.log_bytes),
            findings: self.findings.min(max.findings),
            findings_bytes: self.findings_bytes.min(max.findings_bytes),
            deadline: self.deadline.min(max.deadline),
            weight_bytes: self.weight_bytes.min(max.weight_bytes),
            runs: self.runs.min(max.runs),
            operations_per_second: self.operations_per_second.min(max.operations_per_second),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
