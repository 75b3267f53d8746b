//! What operators change from one item to the next without a new package or policy: hot
//! lists, and labels that are switched off. One snapshot of both, swapped as one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument as _;

use super::{BuildError, Host};
use crate::engine::now;
use crate::excerpt::{NAME_CHARS, printable};
use crate::item::{Item, Part};
use crate::lists::{Consulted, List, Lists, ListsError};
use crate::policy::ListState;
use crate::registry::{HotStore, StateError};
use crate::signal::{Label, Signal};
use crate::spans;

/// Bytes of an item up to which its search keeps nobody waiting; it takes some
/// milliseconds.
const FEW_BYTES: usize = 64 << 10;

/// The lists, and the labels that are switched off.
#[derive(Debug, Clone, Default)]
pub(super) struct Hot {
    pub(super) lists: Lists,
    pub(super) killed: BTreeSet<Label>,
}

/// Why a list or a switch is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HotError {
    /// The lists cannot be so.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// There is no such list.
    #[error("no list is called `{name}`; `GET /admin/v1/lists` names those that there are")]
    UnknownList {
        /// Its name, fit to be shown.
        name: String,
    },
    /// A rule asks for the list.
    #[error(
        "the policy names the list `{name}` on line {line}; replace the policy first, or make the list empty"
    )]
    InUse {
        /// Its name.
        name: String,
        /// The line of the policy.
        line: usize,
    },
    /// A switch that would switch nothing.
    #[error("no loaded detector declares the label `{name}`; {known}")]
    UnknownLabel {
        /// What was given, fit to be shown.
        name: String,
        /// What there is.
        known: String,
    },
    /// It cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Keeping it was ended from outside.
    #[error("the change was given up: {0}")]
    GivenUp(String),
}

impl Hot {
    /// The signals that rules see: those of labels that are not switched off.
    pub(super) fn heard<'a>(&self, signals: &'a [Signal]) -> Cow<'a, [Signal]> {
        let is_heard = |signal: &&Signal| !self.killed.contains(&signal.label);
        match signals.iter().all(|signal| is_heard(&signal)) {
            true => Cow::Borrowed(signals),
            false => signals.iter().filter(is_heard).cloned().collect(),
        }
    }

    /// Looks into every list, until `by`. A large item is searched on a thread where that keeps no
    /// other item waiting.
    pub(super) async fn consult(self: &Arc<Self>, item: &Arc<Item>, by: Instant) -> Vec<Consulted> {
        if self.lists.is_empty() {
            return Vec::new();
        }
        let span = spans::lists(self.lists.iter().count());
        let n_searched: usize = item.parts.iter().map(Part::content_bytes).sum();
        if n_searched <= FEW_BYTES {
            return span.in_scope(|| self.lists.consult_while(item, || now() < by));
        }
        let (hot, searched) = (self.clone(), item.clone());
        let search =
            tokio::task::spawn_blocking(move || hot.lists.consult_while(&searched, || now() < by));
        match search.instrument(span).await {
            Ok(consulted) => consulted,
            // The runtime ends: then nobody else is kept waiting here.
            Err(_) => self.lists.consult_while(item, || now() < by),
        }
    }
}

/// What rules see of the lists that were looked into: those that the item is on, and those
/// that were not looked into to the end.
pub(super) fn listed(consulted: &[Consulted]) -> Vec<(&str, ListState)> {
    let state = |each: &Consulted| match (&each.found, each.degraded) {
        (Some(_), _) => Some(ListState::Found),
        (None, Some(_)) => Some(ListState::Degraded),
        (None, None) => None,
    };
    let listed = consulted.iter();
    listed
        .filter_map(|each| Some((each.list.as_str(), state(each)?)))
        .collect()
}

impl Host {
    /// Every hot list, as it is now.
    pub fn lists(&self) -> Lists {
        self.hot.load().lists.clone()
    }

    /// The labels that are switched off.
    pub fn killed(&self) -> BTreeSet<Label> {
        self.hot.load().killed.clone()
    }

    /// Puts a list under a name, in place of the one that was there, from the next item on;
    /// where the host has a state folder, also after a restart.
    ///
    /// # Errors
    ///
    /// A name that is none, a list of another kind under it, too much of all lists, and one
    /// that cannot be kept. Nothing changes then.
    pub async fn replace_list(&self, name: &str, list: List) -> Result<(), HotError> {
        let _step = self.steps.lock().await;
        let mut hot = Hot::clone(&self.hot.load());
        let list = Arc::new(list);
        hot.lists = hot.lists.with(name, list.clone())?;
        let name = name.to_owned();
        self.keep(move |store| store.keep_list(&name, &list))
            .await?;
        self.hot.store(Arc::new(hot));
        Ok(())
    }

    /// Removes a list that no rule asks for.
    ///
    /// # Errors
    ///
    /// There is no such list, a policy names it, or it cannot be forgotten.
    pub async fn remove_list(&self, name: &str) -> Result<(), HotError> {
        let _step = self.steps.lock().await;
        let mut hot = Hot::clone(&self.hot.load());
        let kind = hot.lists.get(name).map(List::kind);
        let (lists, kind) =
            hot.lists
                .without(name)
                .zip(kind)
                .ok_or_else(|| HotError::UnknownList {
                    name: printable(name, NAME_CHARS),
                })?;
        let serving = self.serving.load_full();
        for policy in [Some(&serving.policy), serving.policy_shadow.as_ref()] {
            let mut used = policy.into_iter().flat_map(|policy| policy.lists());
            if let Some((_, line)) = used.find(|(used, _)| *used == name) {
                let name = name.to_owned();
                return Err(HotError::InUse { name, line });
            }
        }
        let name = name.to_owned();
        self.keep(move |store| store.forget_list(&name, kind))
            .await?;
        hot.lists = lists;
        self.hot.store(Arc::new(hot));
        Ok(())
    }

    /// Switches a label off, or on again, from the next item on: no rule sees a signal of a
    /// label that is off. It stays in the judgement. Whether that was a change.
    ///
    /// # Errors
    ///
    /// A label to be switched off that no revision declares, and a switch that cannot be
    /// kept.
    pub async fn kill(&self, label: &Label, killed: bool) -> Result<bool, HotError> {
        let _step = self.steps.lock().await;
        let mut hot = Hot::clone(&self.hot.load());
        let changed = match killed {
            true => {
                unknown_label(label, &self.serving.load().labels())?;
                hot.killed.insert(label.clone())
            }
            false => hot.killed.remove(label),
        };
        let all = hot.killed.clone();
        self.keep(move |store| store.keep_killed(&all)).await?;
        self.hot.store(Arc::new(hot));
        Ok(changed)
    }

    /// Keeps a change before it takes effect, where there is a place for it.
    async fn keep(
        &self,
        change: impl FnOnce(&HotStore) -> Result<(), StateError> + Send + 'static,
    ) -> Result<(), HotError> {
        let keeper = self.keeper.clone();
        let kept = tokio::task::spawn_blocking(move || keeper.hot().map_or(Ok(()), change));
        match kept.await {
            Ok(kept) => Ok(kept?),
            Err(error) => Err(HotError::GivenUp(error.to_string())),
        }
    }
}

impl Hot {
    /// What a host begins with: what was given, and in its place what is kept.
    pub(super) fn first(
        given: Vec<(String, List)>,
        killed: BTreeSet<Label>,
        kept: Option<&HotStore>,
    ) -> Result<Self, BuildError> {
        let mut hot = Self {
            lists: Lists::default(),
            killed,
        };
        for (name, list) in given {
            hot.lists = hot.lists.with(&name, list)?;
        }
        let Some(store) = kept else { return Ok(hot) };
        for (name, list) in store.lists()? {
            if hot.lists.get(&name).is_some_and(|given| *given != list) {
                tracing::warn!(
                    list = name,
                    "the list of the state folder decides, not the one that was given"
                );
            }
            hot.lists = hot.lists.without(&name).unwrap_or(hot.lists);
            hot.lists = hot.lists.with(&name, list)?;
        }
        if let Some(killed) = store.killed()? {
            if killed != hot.killed && !hot.killed.is_empty() {
                tracing::warn!("the switches of the state folder count, not those that were given");
            }
            hot.killed = killed;
        }
        Ok(hot)
    }
}

/// Refuses a label that is not among those that detectors declare.
pub(super) fn unknown_label(label: &Label, declared: &BTreeSet<Label>) -> Result<(), HotError> {
    const SHOWN: usize = 12;
    if declared.contains(label) {
        return Ok(());
    }
    let shown = |label: &Label| format!("`{}`", printable(label.as_str(), NAME_CHARS));
    let labels: Vec<String> = declared.iter().take(SHOWN).map(shown).collect();
    Err(HotError::UnknownLabel {
        name: printable(label.as_str(), NAME_CHARS),
        known: match declared.len().saturating_sub(SHOWN) {
            0 => format!("write one of {}", labels.join(", ")),
            more => format!("write one of {} or {more} others", labels.join(", ")),
        },
    })
}
