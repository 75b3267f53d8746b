//! A host, set up step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use trommel_tensor::{CpuDevice, CpuOptions, Device, TensorError};

use super::Host;
use super::halves;
use super::hot::{Hot, HotError, unknown_label};
use super::keeper::Keeper;
use super::serving::{Revision, Serves, Serving};
use super::shadows::Shadows;
use super::swap::follow;
use super::watch::Watch;
use crate::engine::{Engine, EngineOptions, LoadError};
use crate::item::ItemBounds;
use crate::lists::{List, ListsError};
use crate::policy::{Policy, PolicyError};
use crate::registry::{
    CompileCache, HotStoreError, Package, PackageError, Settings, StateError, Trust, bundled, load,
};
use crate::revision::RevisionId;
use crate::rollout::guard::{GuardSettings, GuardSettingsError};
use crate::rollout::journal::Cause;
use crate::rollout::quarantine::QuarantineSettings;
use crate::rollout::{Lineup, LineupError, LocalAborts};
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
    state: Option<PathBuf>,
    guard: GuardSettings,
    quarantine: QuarantineSettings,
    slice: Option<String>,
    lists: Vec<(String, List)>,
    killed: BTreeSet<Label>,
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
    /// The policy names what no detector declares, or a list that was not given.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A setting of the guard cannot be meant.
    #[error(transparent)]
    Guard(#[from] GuardSettingsError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A lineup cannot hold the detectors.
    #[error(transparent)]
    Lineup(#[from] LineupError),
    /// The lineup in the state folder wants a revision whose package is not there.
    #[error("the lineup in {} wants revision {revision} of `{detector}`, and {why}; give a package of that revision as a detector, or begin with another state folder", state.display())]
    Missing {
        /// The state folder.
        state: PathBuf,
        /// Whose.
        detector: DetectorId,
        /// Which.
        revision: RevisionId,
        /// Why it cannot be had.
        why: String,
    },
    /// The hot lists cannot be so.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// The lists or switches in the state folder cannot be used.
    #[error(transparent)]
    Hot(#[from] HotStoreError),
    /// A label to be switched off that no detector declares.
    #[error(transparent)]
    Killed(HotError),
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
            state: None,
            guard: GuardSettings::default(),
            quarantine: QuarantineSettings::default(),
            slice: None,
            lists: Vec::new(),
            killed: BTreeSet::new(),
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

    /// Keeps lineup, journal, packages and the policy in the folder at `path`, made if it
    /// is missing; without this, they are forgotten when the host ends. The detectors that
    /// were named here fill a folder where none was kept; later its lineup says who
    /// answers, and only what that names is loaded.
    #[must_use]
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// What guards bear of new revisions.
    #[must_use]
    pub fn guard(mut self, settings: GuardSettings) -> Self {
        self.guard = settings;
        self
    }

    /// When a revision that keeps failing is left alone.
    #[must_use]
    pub fn quarantine(mut self, settings: QuarantineSettings) -> Self {
        self.quarantine = settings;
        self
    }

    /// Counts what shadows change by the item's attribute of this name, such as its
    /// language.
    #[must_use]
    pub fn slice_by(mut self, attribute: impl Into<String>) -> Self {
        self.slice = Some(attribute.into());
        self
    }

    /// Begins with a hot list of this name; see [`crate::lists`].
    #[must_use]
    pub fn list(mut self, name: impl Into<String>, list: List) -> Self {
        self.lists.push((name.into(), list));
        self
    }

    /// Begins with these labels switched off, beside those that were named before: no rule
    /// sees their signals.
    #[must_use]
    pub fn killed(mut self, labels: impl IntoIterator<Item = Label>) -> Self {
        self.killed.extend(labels);
        self
    }

    /// Starts the device and the engine, compiles and links every detector, and runs the
    /// golden cases of one whose models are in f16, to hold them to f32.
    /// Blocking and perhaps slow: not on an executor that serves.
    ///
    /// The first package, detector or policy that is refused; nothing of a host
    /// that could not be built is left behind.
    pub fn build(self) -> Result<Host, BuildError> {
        self.guard.check()?;
        let device = match &self.device {
            Some(device) => device.clone(),
            None => Arc::new(CpuDevice::new(&CpuOptions::default())?),
        };
        let packages = self.packages()?;
        let (keeper, kept, entries) = match &self.state {
            Some(folder) => Keeper::open(folder)?,
            None => (Keeper::none(), None, Vec::new()),
        };
        let engine = Arc::new(Engine::new(device, self.engine.clone())?);
        let (lineup, ready) = match &kept {
            Some(lineup) => (lineup.clone(), self.wanted(lineup, &packages, &keeper)?),
            None => (
                first(&packages)?,
                packages
                    .into_iter()
                    .map(|(_, package)| (package, Settings::new()))
                    .collect(),
            ),
        };
        let mut revisions: BTreeMap<DetectorId, Vec<Arc<Revision>>> = BTreeMap::new();
        for (package, settings) in &ready {
            let loaded = load(&engine, &self.cache, package, settings)?;
            let loaded = halves::held_blocking(&engine, loaded, &package.origin)?;
            let of_detector = revisions.entry(package.manifest.id.clone()).or_default();
            of_detector.push(Revision::new(loaded, self.quarantine));
        }
        let serves = lineup.detectors().map(|(id, _)| Serves {
            id: id.clone(),
            revisions: revisions.remove(id).unwrap_or_default(),
            watch: Arc::new(Mutex::new(Watch::new(self.guard))),
        });
        let given = self.policy_of(&lineup, &keeper)?;
        let mut serving = Serving {
            local: LocalAborts::recovered(&lineup, &entries),
            detectors: serves.collect(),
            lineup: Arc::new(lineup),
            is_policy_given: given.is_some(),
            policy: Arc::new(Policy::built_in()),
            policy_shadow: None,
        };
        let (lists, killed) = (self.lists.clone(), self.killed.clone());
        let hot = Hot::first(lists, killed, keeper.hot())?;
        if kept.is_none() {
            let declared = serving.labels();
            for label in &hot.killed {
                unknown_label(label, &declared).map_err(BuildError::Killed)?;
            }
        }
        serving.policy = Arc::new(match given {
            Some(policy) => serving.fit(policy, &hot.lists)?,
            None => Policy::clone(&serving.policy).resolve(&serving.calibrators())?,
        });
        for serves in &serving.detectors {
            follow(&serving, serves);
        }
        if kept.is_none() {
            self.keep_first(&keeper, &serving)?;
        }
        keeper.tidy(&serving.lineup);
        Ok(Host {
            engine,
            cache: self.cache,
            trust: self.trust,
            serving: Arc::new(ArcSwap::from_pointee(serving)),
            hot: ArcSwap::from_pointee(hot),
            steps: Arc::default(),
            loading: tokio::sync::Mutex::new(()),
            keeper: Arc::new(keeper),
            transitions: Arc::default(),
            following: Arc::default(),
            shadows: Shadows::default(),
            policy_comparison: Arc::default(),
            guard: self.guard,
            quarantine: self.quarantine,
            slice: self.slice,
            bounds: self.bounds,
            deadline: self.deadline,
        })
    }

    /// The packages that were named, with where each lies; nowhere for a bundled one and
    /// one that was opened before.
    fn packages(&self) -> Result<Vec<(Option<&Path>, Package)>, BuildError> {
        let max = &self.engine.max_limits;
        let mut packages = Vec::new();
        if self.with_bundled {
            let bundled = bundled::packages(max)?.into_iter();
            packages.extend(bundled.map(|package| (None, package)));
        }
        for path in &self.packages {
            let most = self.engine.max_component_bytes;
            let package = Package::open(path, max, most, &self.trust)?;
            packages.push((Some(path.as_path()), package));
        }
        let opened = self.opened.iter().cloned();
        packages.extend(opened.map(|package| (None, package)));
        Ok(packages)
    }

    /// Every package that a lineup wants, with what it was rolled out with: one that was named,
    /// a bundled one, or one that is kept.
    fn wanted(
        &self,
        lineup: &Lineup,
        named: &[(Option<&Path>, Package)],
        keeper: &Keeper,
    ) -> Result<Vec<(Package, Settings)>, BuildError> {
        let max = &self.engine.max_limits;
        let bundled = bundled::packages(max)?;
        let at_hand = named.iter().map(|(_, package)| package).chain(&bundled);
        let at_hand: Vec<(RevisionId, &Package)> = at_hand
            .map(|package| (package.revision(&BTreeMap::new()), package))
            .collect();
        for (path, package) in named {
            let id = &package.manifest.id;
            let revision = package.revision(&BTreeMap::new());
            let stages = lineup.detector(id.as_str());
            if path.is_some() && stages.is_none_or(|stages| stages.stage(revision).is_none()) {
                tracing::warn!(detector = %id, revision = revision.short(), "the lineup does not name this package; it is not loaded until `trommel rollout load`");
            }
        }
        let mut wanted = Vec::new();
        for (detector, stages) in lineup.detectors() {
            for revision in stages.ready() {
                let known = at_hand.iter().find(|(known, _)| *known == revision);
                if let Some((_, package)) = known {
                    wanted.push(((*package).clone(), Settings::new()));
                    continue;
                }
                wanted.push(self.kept(keeper, detector, revision)?);
            }
        }
        Ok(wanted)
    }

    /// A package that is kept in the state folder, if it is still what it was.
    fn kept(
        &self,
        keeper: &Keeper,
        detector: &DetectorId,
        revision: RevisionId,
    ) -> Result<(Package, Settings), BuildError> {
        let missing = |why: String| BuildError::Missing {
            state: self.state.clone().unwrap_or_default(),
            detector: detector.clone(),
            revision,
            why,
        };
        let store = keeper.store();
        let store = store.ok_or_else(|| missing("nothing is kept here".to_owned()))?;
        let (max, most) = (&self.engine.max_limits, self.engine.max_component_bytes);
        let package = Package::open(&store.package(revision), max, most, &self.trust);
        let package = package.map_err(|error| missing(error.to_string()))?;
        let settings = store.settings(revision);
        let settings = settings.and_then(|settings| package.settle(&settings));
        let settings = settings.map_err(|error| missing(error.to_string()))?;
        let given = package.revision(&settings);
        if given != revision || package.manifest.id != *detector {
            let id = &package.manifest.id;
            return Err(missing(format!(
                "what is kept under its name is {given} of `{id}`"
            )));
        }
        Ok((package, settings))
    }

    /// The policy that the lineup names, or else the one that was given.
    fn policy_of(&self, lineup: &Lineup, keeper: &Keeper) -> Result<Option<Policy>, BuildError> {
        let Some((digest, store)) = lineup.policy().zip(keeper.store()) else {
            return Ok(self.policy.clone());
        };
        if self.policy.is_some() {
            tracing::warn!(policy = %digest, "the policy of the state folder decides, not the one that was given");
        }
        let text = store.read_policy(digest)?;
        Ok(Some(Policy::parse(&format!("policy {digest}"), &text)?))
    }

    /// Keeps what a host begins with.
    fn keep_first(&self, keeper: &Keeper, serving: &Serving) -> Result<(), BuildError> {
        for path in &self.packages {
            let (max, most) = (&self.engine.max_limits, self.engine.max_component_bytes);
            let package = Package::open(path, max, most, &self.trust)?;
            let settings = Settings::new();
            keeper.keep(path, package.revision(&settings), &settings)?;
        }
        let origin = "the detectors that the host was started with".to_owned();
        keeper.commit(&serving.lineup, Cause::Given { origin })?;
        Ok(())
    }
}

/// The lineup of a host that begins: every package is live.
fn first(packages: &[(Option<&Path>, Package)]) -> Result<Lineup, BuildError> {
    if packages.is_empty() {
        return Err(BuildError::NoDetector);
    }
    let mut live = BTreeMap::new();
    for (_, package) in packages {
        let id = package.manifest.id.clone();
        let revision = package.revision(&BTreeMap::new());
        if live.insert(id.clone(), revision).is_some() {
            return Err(BuildError::Twice(id));
        }
    }
    Ok(Lineup::of_live(FIRST_SALT, live)?)
}

/// The salt of a lineup that nobody gave. Whoever rolls out on many hosts gives one lineup
/// to all.
const FIRST_SALT: &str = "trommel";
