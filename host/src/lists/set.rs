//! All lists of a host, and which of them an item is on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::trie::{Trie, Walk};
use super::words::Met;
use super::{
    Index, Kind, List, ListVersion, MAX_ALL_BYTES, MAX_LISTS, MAX_NAME_CHARS, domains, words,
};
use crate::excerpt::{NAME_CHARS, printable};
use crate::item::{Content, ImageSource, Item};

/// Lists by name. A copy shares them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lists(BTreeMap<String, Arc<List>>);

/// A list that was looked into for an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consulted {
    /// Its name.
    pub list: String,
    /// Its content then.
    pub version: ListVersion,
    /// The first thing of the item that is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Why something of the item that is on it may not have been found; none when it would
    /// have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<&'static str>,
}

/// Something of an item that is on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The part's id.
    pub part: u32,
    /// The entry, as the list has it.
    pub entry: String,
}

/// Why lists cannot be as somebody wants them. They are what they were.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ListsError {
    #[error(
        "`{name}` is no name for a list; write up to {MAX_NAME_CHARS} lower-case letters, digits and hyphens, as in `bad-domains`"
    )]
    Name { name: String },
    #[error("list `{name}` holds {is}, not {given}; give it as {is}, or under another name")]
    OtherKind { name: String, is: Kind, given: Kind },
    #[error("there are {MAX_LISTS} lists; remove one first")]
    TooMany,
    #[error(
        "all lists together would have {n_bytes} bytes, more than {MAX_ALL_BYTES}; shorten or remove one"
    )]
    TooLarge { n_bytes: usize },
}

impl Lists {
    /// The same, and `list` under `name`, in place of the one that was there.
    ///
    /// # Errors
    ///
    /// A name that is none, a list of another kind under that name, and too much of all.
    pub fn with(&self, name: &str, list: impl Into<Arc<List>>) -> Result<Self, ListsError> {
        let is_of_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.bytes().all(is_of_name) {
            let name = printable(name, NAME_CHARS);
            return Err(ListsError::Name { name });
        }
        let list = list.into();
        let given = list.kind();
        let mut next = self.clone();
        if let Some(before) = next.0.insert(name.to_owned(), list)
            && before.kind() != given
        {
            return Err(ListsError::OtherKind {
                name: name.to_owned(),
                is: before.kind(),
                given,
            });
        }
        if next.0.len() > MAX_LISTS {
            return Err(ListsError::TooMany);
        }
        let n_bytes = next.0.values().map(|list| list.text().len()).sum();
        if n_bytes > MAX_ALL_BYTES {
            return Err(ListsError::TooLarge { n_bytes });
        }
        Ok(next)
    }

    /// The same without the list of this name; none when there is no such list.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut next = self.clone();
        next.0.remove(name)?;
        Some(next)
    }

    /// The list of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&List> {
        self.0.get(name).map(|list| &**list)
    }

    /// Every list, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &List)> {
        self.0.iter().map(|(name, list)| (name.as_str(), &**list))
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks into every list for what the item holds. A text is taken apart once, and each
    /// of its words is looked up a few times per list: time grows with the item's size and
    /// the number of lists, and not with the lists' size.
    #[must_use]
    pub fn consult(&self, item: &Item) -> Vec<Consulted> {
        self.consult_while(item, || true)
    }

    /// The same, for as long as `may_go_on` says so: it is asked every few kilobytes. A list
    /// on which nothing was found by then is degraded.
    #[must_use]
    pub fn consult_while(
        &self,
        item: &Item,
        mut may_go_on: impl FnMut() -> bool,
    ) -> Vec<Consulted> {
        let mut search = Search {
            seeks: self.0.values().map(|list| Seek::new(list)).collect(),
            patience: Patience {
                may_go_on: &mut may_go_on,
                n_bytes: 0,
            },
        };
        let is_over = search.all(item).is_break();
        let lists = self.0.iter().zip(search.seeks);
        let consulted = lists.map(|((name, list), seek)| Consulted {
            list: name.clone(),
            version: list.version(),
            degraded: (is_over && seek.is_open()).then_some(OVER),
            found: seek.found.map(|(part, entry)| Found {
                part,
                entry: list.entry(entry).to_owned(),
            }),
        });
        consulted.collect()
    }
}

/// Why a search ended before its end.
const OVER: &str = "the item's time passed before all of it was looked through";

/// Bytes of an item between two looks at whether the search may go on: at the most that a
/// byte takes, with all the lists that there may be, some milliseconds.
const BYTES_AT_ONCE: usize = 2 << 10;

/// Bytes that are hashed at once, which is far quicker.
const HASHED_AT_ONCE: usize = 64 << 10;

/// The search of all lists at once, so that a text is taken apart once.
struct Search<'a> {
    seeks: Vec<Seek<'a>>,
    patience: Patience<'a>,
}

/// Asks now and then whether the search may go on.
struct Patience<'a> {
    may_go_on: &'a mut dyn FnMut() -> bool,
    /// Read since it was asked.
    n_bytes: usize,
}

impl Patience<'_> {
    fn read(&mut self, n_bytes: usize) -> ControlFlow<()> {
        self.n_bytes += n_bytes;
        match self.n_bytes < BYTES_AT_ONCE {
            true => ControlFlow::Continue(()),
            false => self.ask(),
        }
    }

    fn ask(&mut self) -> ControlFlow<()> {
        self.n_bytes = 0;
        match (self.may_go_on)() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

/// Why reading a text ends before its end.
#[derive(Clone, Copy)]
enum End {
    /// All that can be found is.
    Done,
    /// The search may not go on.
    Over,
}

/// Whether the search may go on after a text.
fn after(read: ControlFlow<End>) -> ControlFlow<()> {
    match read {
        ControlFlow::Break(End::Over) => ControlFlow::Break(()),
        ControlFlow::Break(End::Done) | ControlFlow::Continue(()) => ControlFlow::Continue(()),
    }
}

/// The search of one list.
struct Seek<'a> {
    list: &'a List,
    /// The part and the entry.
    found: Option<(u32, u32)>,
}

impl<'a> Seek<'a> {
    fn new(list: &'a List) -> Self {
        Self { list, found: None }
    }

    fn is_open(&self) -> bool {
        self.found.is_none() && self.list.n_entries() > 0
    }
}

impl<'a> Search<'a> {
    /// Breaks when it may not go on.
    fn all(&mut self, item: &Item) -> ControlFlow<()> {
        for (id, part) in (0..).zip(&item.parts) {
            match &part.content {
                Content::Text { text, .. } => {
                    self.hash(id, text.as_bytes())?;
                    self.words(id, text)?;
                    self.hosts(id, text)?;
                }
                Content::Image {
                    source: ImageSource::Bytes(bytes),
                } => self.hash(id, bytes)?,
                Content::Image { .. } => {}
                Content::Link { target } => {
                    self.patience.read(target.len())?;
                    self.link(id, target);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn hash(&mut self, part: u32, bytes: &[u8]) -> ControlFlow<()> {
        let open = self.seeks.iter_mut().filter(|seek| seek.is_open());
        let mut hashes = open.filter_map(|seek| match &seek.list.index {
            Index::Hashes(hashes) => Some((&mut seek.found, hashes)),
            _ => None,
        });
        let Some(first) = hashes.next() else {
            return ControlFlow::Continue(());
        };
        let mut hasher = Sha256::new();
        for piece in bytes.chunks(HASHED_AT_ONCE) {
            hasher.update(piece);
            if piece.len() == HASHED_AT_ONCE {
                self.patience.ask()?;
            }
        }
        let digest: [u8; 32] = hasher.finalize().into();
        for (found, hashes) in std::iter::once(first).chain(hashes) {
            *found = hashes.get(&digest).map(|entry| (part, *entry));
        }
        ControlFlow::Continue(())
    }

    fn words(&mut self, part: u32, text: &str) -> ControlFlow<()> {
        let open = self.seeks.iter_mut().filter(|seek| seek.is_open());
        let mut walks: Vec<(&mut Seek<'a>, Walk<'a>)> = open
            .filter_map(|seek| match &seek.list.index {
                Index::Words(trie) => Some((seek, trie.walk())),
                _ => None,
            })
            .collect();
        if walks.is_empty() {
            return ControlFlow::Continue(());
        }
        let patience = &mut self.patience;
        after(words::each_met(text, |met| {
            let word = match met {
                Met::Token(word) => word,
                Met::Read(n_letters) => return go_on(patience.read(n_letters)),
            };
            walks.retain_mut(|(seek, walk)| {
                seek.found = walk.step(word).map(|entry| (part, entry));
                seek.found.is_none()
            });
            until_done(walks.is_empty())
        }))
    }

    fn hosts(&mut self, part: u32, text: &str) -> ControlFlow<()> {
        let mut tries = domains(&mut self.seeks);
        if tries.is_empty() {
            return ControlFlow::Continue(());
        }
        let patience = &mut self.patience;
        after(domains::each_host(text, |met| {
            let host = match met {
                Met::Token(host) => host,
                Met::Read(n_bytes) => return go_on(patience.read(n_bytes)),
            };
            tries.retain_mut(|(seek, trie)| !seek.finds_host(trie, part, host));
            until_done(tries.is_empty())
        }))
    }

    fn link(&mut self, part: u32, target: &str) {
        let tries = domains(&mut self.seeks);
        if tries.is_empty() {
            return;
        }
        if let Some(host) = domains::host_of_link(target) {
            for (seek, trie) in tries {
                seek.finds_host(trie, part, &host);
            }
        }
    }
}

/// The lists of domains that are still to be looked into.
fn domains<'s, 'a>(seeks: &'s mut [Seek<'a>]) -> Vec<(&'s mut Seek<'a>, &'a Trie)> {
    let open = seeks.iter_mut().filter(|seek| seek.is_open());
    let tries = open.filter_map(|seek| match &seek.list.index {
        Index::Domains(trie) => Some((seek, trie)),
        _ => None,
    });
    tries.collect()
}

impl Seek<'_> {
    fn finds_host(&mut self, trie: &Trie, part: u32, host: &str) -> bool {
        let entry = trie.beginning(domains::labels(host));
        self.found = entry.map(|entry| (part, entry));
        self.found.is_some()
    }
}

fn until_done(is_done: bool) -> ControlFlow<End> {
    match is_done {
        true => ControlFlow::Break(End::Done),
        false => ControlFlow::Continue(()),
    }
}

fn go_on(patience: ControlFlow<()>) -> ControlFlow<End> {
    match patience {
        ControlFlow::Break(()) => ControlFlow::Break(End::Over),
        ControlFlow::Continue(()) => ControlFlow::Continue(()),
    }
}
