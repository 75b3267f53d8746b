//! A state folder that no host holds.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use trommel::pipeline::{LoadedRevision, RolloutStatus, moment};
use trommel::registry::{PackageStore, Recovered, Settings, StateFolder, spelled};
use trommel::rollout::journal::Cause;
use trommel::rollout::{Lineup, Stage, Transition, Verb};

use crate::cli::host::{DeviceArguments, HostArguments};

pub(super) struct Folder {
    path: PathBuf,
    /// None while a host that this command started holds it.
    state: Option<(StateFolder, Recovered)>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.is_dir() {
            bail!(
                "{} is no state folder; a host makes one with `trommel serve --state`",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_owned(),
            state: Some(StateFolder::open(path)?),
        })
    }

    fn held(&mut self) -> anyhow::Result<&mut (StateFolder, Recovered)> {
        self.state.as_mut().context("the state folder is closed")
    }

    pub(super) fn lineup(&mut self) -> anyhow::Result<Lineup> {
        let path = self.path.display().to_string();
        let lineup = self.held()?.0.lineup().cloned();
        lineup.with_context(|| format!("{path} holds no lineup; start a host on it first"))
    }

    pub(super) fn status(&mut self) -> anyhow::Result<RolloutStatus> {
        let lineup = self.lineup()?;
        let path = self.path.display().to_string();
        let entries = self.held()?.1.entries.clone();
        let mut status = RolloutStatus::kept(&lineup, path, entries);
        let store = PackageStore::open(&self.path)?;
        for detector in &mut status.detectors {
            for revision in &mut detector.revisions {
                revision.settings = spelled(&store.settings(revision.revision)?);
            }
        }
        Ok(status)
    }

    pub(super) fn step(&mut self, verb: &Verb) -> anyhow::Result<Transition> {
        let (next, transition) = verb.apply(&self.lineup()?)?;
        let cause = Cause::Verb {
            step: verb.clone(),
            transition: transition.clone(),
        };
        self.held()?.0.commit(&next, cause, moment())?;
        Ok(transition)
    }

    pub(super) fn give(&mut self, lineup: &Lineup, origin: &str) -> anyhow::Result<()> {
        let current = self.lineup()?;
        for (id, stages) in lineup.detectors() {
            let known = current.detector(id.as_str());
            let known = |revision| known.and_then(|known| known.stage(revision));
            let is_kept = |revision| known(revision).is_some_and(|stage| stage != Stage::Retired);
            if let Some(missing) = stages.ready().find(|revision| !is_kept(*revision)) {
                bail!(
                    "revision {} of `{}` is not kept in {}; load its package first",
                    missing.short(),
                    crate::cli::output::shown(id.as_str()),
                    self.path.display()
                );
            }
        }
        let cause = Cause::Given {
            origin: origin.to_owned(),
        };
        self.held()?.0.commit(lineup, cause, moment())?;
        Ok(())
    }

    /// By a host that runs for as long as that takes: what it does not load, no other will.
    pub(super) fn load(
        &mut self,
        package: &Path,
        settings: &Settings,
        keys: &[PathBuf],
    ) -> anyhow::Result<LoadedRevision> {
        self.lineup()?;
        self.state = None;
        let arguments = HostArguments {
            detectors: &[],
            trusted_keys: keys,
            policy: None,
            lists: &[],
            device: &DeviceArguments::CPU,
            deadline: None,
        };
        let host = arguments.builder()?.state(&self.path).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the worker threads")?;
        let loading = host.load_with(package.to_owned(), settings.clone());
        Ok(runtime.block_on(loading)?)
    }
}
