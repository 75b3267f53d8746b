//! Keeps what must outlive the process: lineup, journal, packages and policies, in a state
//! folder, or nowhere where a host has none.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::serving::{locked, moment};
use crate::registry::{HotStore, PackageError, PackageStore, Settings, StateError, StateFolder};
use crate::revision::RevisionId;
use crate::rollout::journal::{Cause, Entry, Event};
use crate::rollout::{Lineup, LineupDigest, PolicyDigest};

/// Entries that are kept at hand for whoever asks what happened last.
pub(super) const MAX_RECENT: usize = 64;

/// Whatever a host keeps of its rollout. All of it blocks.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: Option<PathBuf>,
    /// None after a write that failed, until it is opened again.
    state: Mutex<Option<StateFolder>>,
    store: Option<PackageStore>,
    hot: Option<HotStore>,
    recent: Mutex<VecDeque<Entry>>,
    /// The lineups that the one in effect has all of, itself among them.
    standing: Mutex<Vec<LineupDigest>>,
}

impl Keeper {
    /// Keeps nothing on disk.
    pub(super) fn none() -> Self {
        Self {
            folder: None,
            state: Mutex::new(None),
            store: None,
            hot: None,
            recent: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    /// Takes a state folder; the lineup in effect, and what happened before.
    pub(super) fn open(folder: &Path) -> Result<(Self, Option<Lineup>, Vec<Entry>), StateError> {
        let (state, recovered) = StateFolder::open(folder)?;
        if recovered.n_cut_bytes > 0 || recovered.finished {
            let n_cut_bytes = recovered.n_cut_bytes;
            let finished = recovered.finished;
            tracing::warn!(
                n_cut_bytes,
                finished,
                "the state was put in order after a crash"
            );
        }
        let lineup = state.lineup().cloned();
        let store = PackageStore::open(folder)?;
        let last = recovered.entries.len().saturating_sub(MAX_RECENT);
        let recent = recovered.entries[last..].iter().cloned().collect();
        let mut standing = Vec::new();
        for entry in &recovered.entries {
            stand(&mut standing, entry);
        }
        let keeper = Self {
            folder: Some(folder.to_owned()),
            state: Mutex::new(Some(state)),
            store: Some(store),
            hot: Some(HotStore::open(folder)?),
            recent: Mutex::new(recent),
            standing: Mutex::new(standing),
        };
        Ok((keeper, lineup, recovered.entries))
    }

    /// Where it keeps things.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The packages and policies that are kept.
    pub(super) fn store(&self) -> Option<&PackageStore> {
        self.store.as_ref()
    }

    /// The lists and switches that are kept.
    pub(super) fn hot(&self) -> Option<&HotStore> {
        self.hot.as_ref()
    }

    /// A name for a package that comes, which nobody else has.
    pub(super) fn incoming(&self) -> std::io::Result<PathBuf> {
        let random = getrandom::u64().map_err(std::io::Error::other)?;
        let name = format!("trommel-{random:016x}.tar");
        Ok(match &self.store {
            Some(store) => store.incoming().join(name),
            None => std::env::temp_dir().join(name),
        })
    }

    /// Keeps the package that lies at `package`, and what it is rolled out with.
    pub(super) fn keep(
        &self,
        package: &Path,
        revision: RevisionId,
        settings: &Settings,
    ) -> Result<(), PackageError> {
        match &self.store {
            Some(store) => store.keep(package, revision, settings),
            None => Ok(()),
        }
    }

    /// Puts a lineup into effect on disk; only then may it take effect.
    pub(super) fn commit(&self, lineup: &Lineup, cause: Cause) -> Result<(), StateError> {
        let at = moment();
        if let Some(folder) = &self.folder {
            let mut state = locked(&self.state);
            let committed = opened(&mut state, folder)?.commit(lineup, cause.clone(), at);
            if let Err(error) = committed {
                // What reached the disk decides, and that is told by looking.
                let is_in_effect = reopened(&mut state, folder)?.lineup() == Some(lineup);
                if !is_in_effect {
                    return Err(error);
                }
                tracing::warn!(%error, "a write failed after it had taken effect");
            }
        }
        self.remember(Entry {
            at,
            event: Event::Lineup {
                generation: lineup.generation(),
                lineup: lineup.digest(),
                cause,
            },
        });
        Ok(())
    }

    /// Writes down what changed no lineup. That it cannot be written is said, and takes
    /// nothing back.
    pub(super) fn note(self: &Arc<Self>, event: Event) {
        let entry = Entry {
            at: moment(),
            event,
        };
        self.remember(entry.clone());
        if self.folder.is_none() {
            return;
        }
        let keeper = self.clone();
        // Syncing takes milliseconds, and whoever saw this has an item to answer.
        let write = move || keeper.write(&entry);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }

    fn write(&self, entry: &Entry) {
        let Some(folder) = &self.folder else { return };
        let mut state = locked(&self.state);
        let written = opened(&mut state, folder).and_then(|state| state.note(entry));
        if let Err(error) = written {
            tracing::error!(%error, "the journal could not be written");
            *state = None;
        }
    }

    fn remember(&self, entry: Entry) {
        stand(&mut locked(&self.standing), &entry);
        let mut recent = locked(&self.recent);
        if recent.len() == MAX_RECENT {
            recent.pop_front();
        }
        recent.push_back(entry);
    }

    /// What happened last, oldest first.
    pub(super) fn recent(&self) -> Vec<Entry> {
        locked(&self.recent).iter().cloned().collect()
    }

    /// Whether the lineup in effect has all that the one of this digest has.
    pub(super) fn stands_on(&self, lineup: LineupDigest) -> bool {
        locked(&self.standing).contains(&lineup)
    }

    /// Throws away packages and policies that the lineup has no use for.
    pub(super) fn tidy(&self, lineup: &Lineup) {
        let Some(store) = &self.store else { return };
        let ready = lineup.detectors().flat_map(|(_, stages)| stages.ready());
        let revisions: BTreeSet<RevisionId> = ready.collect();
        let policies: BTreeSet<PolicyDigest> = lineup.policy().into_iter().collect();
        store.retain(&revisions, &policies);
    }
}

/// Goes on to the lineup that an entry tells of.
fn stand(standing: &mut Vec<LineupDigest>, entry: &Entry) {
    if let Event::Lineup { lineup, cause, .. } = &entry.event {
        if !cause.adds_only() {
            standing.clear();
        }
        standing.push(*lineup);
    }
}

/// The state folder, opened again if a write had failed.
fn opened<'a>(
    state: &'a mut Option<StateFolder>,
    folder: &Path,
) -> Result<&'a mut StateFolder, StateError> {
    if state.is_none() {
        return reopened(state, folder);
    }
    Ok(state.as_mut().expect("looked at above"))
}

fn reopened<'a>(
    state: &'a mut Option<StateFolder>,
    folder: &Path,
) -> Result<&'a mut StateFolder, StateError> {
    // Before it is taken again: the lock is its own.
    *state = None;
    Ok(state.insert(StateFolder::open(folder)?.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rollout::Verb;
    use crate::rollout::quarantine::QuarantineChange;
    use crate::signal::DetectorId;

    #[test]
    fn what_a_lineup_stands_on_outlives_the_entries_at_hand() {
        let detector = DetectorId::from("spam-text");
        let revision: RevisionId = format!("sha256:{}", "07".repeat(32)).parse().unwrap();
        let live = BTreeMap::from([(detector.clone(), revision)]);
        let given = Lineup::of_live("s", live).unwrap();
        let keeper = Keeper::none();
        let whole = Cause::Given {
            origin: "a test".to_owned(),
        };
        keeper.commit(&given, whole.clone()).unwrap();
        // A detector that trips again and again.
        for _ in 0..MAX_RECENT {
            let event = Event::Quarantine {
                detector: detector.clone(),
                revision,
                change: QuarantineChange::Returned,
            };
            keeper.remember(Entry {
                at: moment(),
                event,
            });
        }
        let step = Verb::Load {
            detector,
            revision: format!("sha256:{}", "08".repeat(32)).parse().unwrap(),
        };
        let (next, transition) = step.apply(&given).unwrap();
        keeper
            .commit(&next, Cause::Verb { step, transition })
            .unwrap();
        let of_given = |entry: &Entry| match &entry.event {
            Event::Lineup { lineup, .. } => *lineup == given.digest(),
            _ => false,
        };
        assert!(!keeper.recent().iter().any(of_given));
        assert!(keeper.stands_on(given.digest()) && keeper.stands_on(next.digest()));
        keeper.commit(&next, whole).unwrap();
        assert!(!keeper.stands_on(given.digest()) && keeper.stands_on(next.digest()));
    }
}
