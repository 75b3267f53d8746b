//! Runs detectors: contract types in, tensor calls and checked findings out.
//!
//! The only seam between wasm and the rest. Each call gets a fresh store from
//! the pool with every limit of [`Limits`] in force, and whatever happens to it
//! (trap, deadline, dropped future) the store is gone afterwards. This module
//! reads no files and never decides a verdict.

mod bindings;
mod call;
pub mod compiler;
mod decoder;
mod detector;
mod exhibit;
mod fault;
mod findings;
mod host;
mod import;
mod limits;
mod load;
mod prepare;
mod shared_runs;
mod ticker;
mod tokenizing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
pub use trommel_tensor::Precision;
use trommel_tensor::{Device, Weights};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

pub use call::Call;
use call::CallState;
pub use compiler::Compiler;
use decoder::Decoder;
pub use decoder::DecoderOptions;
pub use detector::{Batchable, Detector, DetectorParts, ModelParts, TokenizerParts};
pub use exhibit::Exhibit;
pub use fault::{Blame, Failure, Fault};
pub use findings::{Findings, LogLine, RawSignal};
pub use import::{Import, imports};
pub use limits::Limits;
pub(crate) use load::speaks;
pub use load::{Component, LoadError};
pub(crate) use prepare::{FREEZER, preparation};
use tokenizing::{Tokenizers, Tokenizing};

/// The contract version that this host speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// How large the engine is.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Calls that may run at once, over all detectors; more wait for a place
    /// until their deadline.
    pub max_calls: u32,
    /// The most that any plugin may ask for; also the size of the pool's slots.
    pub max_limits: Limits,
    /// Bytes of the largest component taken.
    pub max_component_bytes: usize,
    /// How images are decoded.
    pub decoder: DecoderOptions,
    /// Who compiles components, and what that may cost.
    pub compiler: Compiler,
    /// Wall-clock time that a component's `prepare` may take.
    pub prepare_time: Duration,
    /// Bytes that `prepare` may leave, all memories together, counted in pages of 4 KiB that
    /// are not all zero. Up to 16 MiB are mapped into each call without being copied; more
    /// would be copied, where they lie thinly. Freezing may take fifteen times as many.
    pub max_snapshot_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_calls: 256,
            max_limits: Limits::MAX,
            max_component_bytes: 32 << 20,
            decoder: DecoderOptions::default(),
            compiler: Compiler::in_process(),
            prepare_time: Duration::from_secs(10),
            max_snapshot_bytes: 16 << 20,
        }
    }
}

/// What of an engine's pool is taken at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolUse {
    /// Places for calls; a call takes one from its start to its end.
    pub calls: u64,
    /// Core instances.
    pub instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Tables.
    pub tables: u64,
    /// Fiber stacks.
    pub stacks: u64,
}

/// Compiles, holds and runs components on one pool and one device.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Linker<CallState>,
    device: Arc<dyn Device>,
    decoder: Arc<Decoder>,
    tokenizing: Arc<Tokenizing>,
    weights: Weights,
    tokenizers: Tokenizers,
    places: Semaphore,
    options: EngineOptions,
    _ticker: ticker::Ticker,
}

impl Engine {
    /// An engine over `device`. Reserves address space for the pool and starts
    /// the epoch ticker's thread.
    pub fn new(device: Arc<dyn Device>, options: EngineOptions) -> Result<Self, LoadError> {
        let wasmtime = wasmtime::Engine::new(&config(&options))
            .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let mut linker = Linker::new(&wasmtime);
        bindings::Detector::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)
            .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        Ok(Self {
            _ticker: ticker::Ticker::start(&wasmtime)?,
            decoder: Arc::new(Decoder::start(&options.decoder)?),
            tokenizing: Arc::new(Tokenizing::start(&options.decoder)?),
            places: Semaphore::new(options.max_calls as usize),
            weights: Weights::default(),
            tokenizers: Tokenizers::default(),
            wasmtime,
            linker,
            device,
            options,
        })
    }

    /// The device that models run on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The most that a plugin may ask for.
    pub fn max_limits(&self) -> &Limits {
        &self.options.max_limits
    }

    /// Bytes of the largest component taken.
    pub fn max_component_bytes(&self) -> usize {
        self.options.max_component_bytes
    }

    /// Whether at least half of the places for calls are free.
    pub(crate) fn is_spare(&self) -> bool {
        2 * self.places.available_permits() >= self.options.max_calls as usize
    }

    /// What of the pool is taken now: all zero when no call runs.
    pub fn pool_use(&self) -> PoolUse {
        let n_free = self.places.available_permits();
        let n_calls = (self.options.max_calls as usize).saturating_sub(n_free);
        let pool = self.wasmtime.pooling_allocator_metrics();
        let pool = pool.expect("every engine of ours allocates from a pool");
        PoolUse {
            calls: n_calls as u64,
            instances: pool.core_instances(),
            memories: pool.memories() as u64,
            tables: pool.tables() as u64,
            stacks: pool.stacks() as u64,
        }
    }

    /// What makes code compiled elsewhere fit this engine.
    pub(crate) fn compatibility(&self) -> impl std::hash::Hash {
        self.wasmtime.precompile_compatibility_hash()
    }
}

impl Engine {
    /// Only the pool that an engine of this size would have: what a bench or a
    /// test compares the engine with.
    #[doc(hidden)]
    pub fn pool_config(options: &EngineOptions) -> Config {
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
        config
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("device", &self.device)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The clock that deadlines are read from.
#[expect(
    clippy::disallowed_methods,
    reason = "the engine enforces wall-clock deadlines"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let limits = &options.max_limits;
    // What every call may use at once, and a detector that is being loaded.
    let n_calls = options.max_calls.saturating_add(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(n_calls);
    pool.total_core_instances(n_calls.saturating_mul(limits.instances));
    pool.total_memories(n_calls.saturating_mul(limits.memories));
    pool.total_tables(n_calls.saturating_mul(limits.tables));
    pool.total_stacks(n_calls);
    pool.max_core_instances_per_component(limits.instances);
    pool.max_memories_per_component(limits.memories);
    pool.max_tables_per_component(limits.tables);
    pool.table_elements(limits.table_elements);
    pool.max_memory_size(limits.memory_bytes);
    // Kept and put back by hand rather than given back to the system, which would stop
    // all threads of the process for a moment at each call (a TLB shootdown), and cost
    // page faults after. Where the kernel tells which pages were touched (Linux 6.7),
    // those alone are put back.
    pool.linear_memory_keep_resident(1 << 20);
    pool.pagemap_scan(Enabled::Auto);
    pool.table_keep_resident(64 << 10);
    pool
}

fn config(options: &EngineOptions) -> Config {
    let mut config = Engine::pool_config(options);
    set(&mut config);
    config
}

/// For an engine that only compiles, and so reserves no pool. Its code fits the
/// engines of [`config`].
fn compiler_config() -> Config {
    let mut config = Config::new();
    set(&mut config);
    config
}

/// What decides the code that is compiled.
fn set(config: &mut Config) {
    config.epoch_interruption(true);
    // Halves the cost of a call; the contract has no async functions.
    config.concurrency_support(false);
    // Backtraces of guests go to logs that their authors may read, not to
    // verdicts; the trap's code says enough, and unwinding costs.
    config.wasm_backtrace_max_frames(None);
    config.wasm_memory64(false);
    config.wasm_relaxed_simd(false);
}
