//! A host, set up step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use trommel_tensor::{CpuDevice, CpuOptions, Device, TensorError};

use super::Host;
use crate::engine::{Engine, EngineOptions, LoadError};
use crate::item::ItemBounds;
use crate::policy::{Policy, PolicyError};
use crate::registry::{CompileCache, Package, PackageError, Trust, bundled, load};
use crate::signal::{DetectorId, Label};

/// Nobody waits longer, and sums of times stay far from their bounds.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);

/// What a host is made of; see [`Host::builder`].
#[derive(Debug)]
pub struct HostBuilder {
    device: Option<Arc<dyn Device>>,
    engine: EngineOptions,
    cache: CompileCache,
    with_bundled: bool,
    packages: Vec<PathBuf>,
    opened: Vec<Package>,
    trust: Trust,
    policy: Option<Policy>,
    bounds: ItemBounds,
    deadline: Duration,
}

/// Why a host cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No detector was named.
    #[error("no detector; add the bundled ones or a package")]
    NoDetector,
    /// Two packages have one name.
    #[error("detector `{0}` is loaded twice; leave one out or rename it in its manifest")]
    Twice(DetectorId),
    /// The device cannot start.
    #[error("the device cannot start: {0}")]
    Device(#[from] TensorError),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// A package was refused.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The policy names what no detector declares.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Default for HostBuilder {
    fn default() -> Self {
        Self {
            device: None,
            engine: EngineOptions::default(),
            cache: CompileCache::none(),
            with_bundled: false,
            packages: Vec::new(),
            opened: Vec::new(),
            trust: Trust::Anyone,
            policy: None,
            bounds: ItemBounds::default(),
            deadline: Duration::from_secs(2),
        }
    }
}

impl HostBuilder {
    /// Runs models on `device`; without this, on a CPU device of its own.
    #[must_use]
    pub fn device(mut self, device: Arc<dyn Device>) -> Self {
        self.device = Some(device);
        self
    }

    /// How large the sandbox pool is and what plugins may ask for.
    #[must_use]
    pub fn engine_options(mut self, options: EngineOptions) -> Self {
        self.engine = options;
        self
    }

    /// Keeps compiled components in `cache`; without this, nowhere.
    #[must_use]
    pub fn compile_cache(mut self, cache: CompileCache) -> Self {
        self.cache = cache;
        self
    }

    /// Loads the detectors that come with the host.
    #[must_use]
    pub fn bundled_detectors(mut self) -> Self {
        self.with_bundled = true;
        self
    }

    /// Loads the package at `path`, beside what was named before: a plugin folder, or
    /// what `trommel plugin pack` made of one.
    #[must_use]
    pub fn detector(mut self, path: impl Into<PathBuf>) -> Self {
        self.packages.push(path.into());
        self
    }

    /// Loads a package that was opened before, beside what was named. Whoever opened it
    /// has judged whether it is trusted.
    #[must_use]
    pub fn package(mut self, package: Package) -> Self {
        self.opened.push(package);
        self
    }

    /// Whose packages load; without this, everybody's. The bundled detectors are part
    /// of the host and load in any case.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Decides by `policy`, which may name only what the loaded detectors
    /// declare; without this, by [`Policy::built_in`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Refuses items larger than `bounds`.
    #[must_use]
    pub fn item_bounds(mut self, bounds: ItemBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Gives every item this long, from item to verdict, an hour at most. 2 s
    /// unless it is set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(MAX_DEADLINE);
        self
    }

    /// Starts the device and the engine, and compiles and links every detector.
    /// Blocking and perhaps slow: not on an executor that serves.
    ///
    /// The first package, detector or policy that is refused; nothing of a host
    /// that could not be built is left behind.
    pub fn build(self) -> Result<Host, BuildError> {
        let device = match self.device {
            Some(device) => device,
            None => Arc::new(CpuDevice::new(&CpuOptions::default())?),
        };
        let max = self.engine.max_limits.clone();
        let mut packages = match self.with_bundled {
            true => bundled::packages(&max)?,
            false => Vec::new(),
        };
        for path in &self.packages {
            let most = self.engine.max_component_bytes;
            packages.push(Package::open(path, &max, most, &self.trust)?);
        }
        packages.extend(self.opened);
        if packages.is_empty() {
            return Err(BuildError::NoDetector);
        }
        check_names(&packages, self.policy.as_ref())?;
        let engine = Engine::new(device, self.engine)?;
        let mut detectors = Vec::with_capacity(packages.len());
        for package in &packages {
            detectors.push(load(&engine, &self.cache, package, &BTreeMap::new())?);
        }
        let policy = self.policy.unwrap_or_else(Policy::built_in);
        let calibrators = detectors
            .iter()
            .map(|loaded| (loaded.detector.id(), &loaded.calibrator));
        let policy = policy.resolve(&calibrators.collect::<Vec<_>>())?;
        Ok(Host {
            engine,
            detectors,
            policy: ArcSwap::from_pointee(policy),
            bounds: self.bounds,
            deadline: self.deadline,
        })
    }
}

fn check_names(packages: &[Package], policy: Option<&Policy>) -> Result<(), BuildError> {
    let mut ids = BTreeSet::new();
    let mut labels: BTreeSet<Label> = BTreeSet::new();
    for package in packages {
        let id = package.manifest.id.clone();
        if !ids.insert(id.clone()) {
            return Err(BuildError::Twice(id));
        }
        labels.extend(package.manifest.labels.keys().cloned());
    }
    // The built-in policy speaks of labels that need not be there.
    policy.map_or(Ok(()), |policy| Ok(policy.check_names(&labels, &ids)?))
}
