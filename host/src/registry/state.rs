//! The state folder: the lineup that is in effect and the journal of what led to it, both
//! on disk before anything takes effect.
//!
//! ```text
//! lock           held by the one host that uses the folder
//! lineup.toml    the lineup in effect
//! lineup.next    the one that is about to be
//! journal.jsonl  one line per event, each with a checksum
//! journal.old    what was in the journal before it grew too long
//! ```
//!
//! A commit writes `lineup.next`, then the journal's line that names it by its digest, then
//! renames; each step is synced before the next begins. **The journal's line is the
//! moment**: a crash before it leaves the old lineup, a crash after it the new one. What a
//! host finds when it starts is therefore always a lineup that the journal confirms, or a
//! folder that somebody else has changed, which it refuses.

mod disk;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::rollout::journal::{Cause, Decoded, Entry, Event, JournalError, decode, encode};
use crate::rollout::{self, Lineup, LineupDigest, LineupError, Moment};
use disk::{Disk, RealDisk};

/// Bytes of the longest journal that is read.
const MAX_JOURNAL_BYTES: u64 = 256 << 20;
/// Bytes from which a journal is put aside when a host starts.
const LONG_JOURNAL_BYTES: u64 = 8 << 20;

const LINEUP: &str = "lineup.toml";
const NEXT_LINEUP: &str = "lineup.next";
const JOURNAL: &str = "journal.jsonl";
const NEXT_JOURNAL: &str = "journal.next";
const OLD_JOURNAL: &str = "journal.old";
const LOCK: &str = "lock";

/// A folder that holds a host's state, and the lock on it.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    journal: File,
    lineup: Option<Lineup>,
    disk: Box<dyn Disk>,
    /// Whether a write has failed, so that what is on disk is not known.
    failed: bool,
    /// Unlocked when it is closed, as the system does when the process ends.
    _lock: File,
}

/// What was found in the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// What the journal holds; at least the last lineup's entry where there was one.
    pub entries: Vec<Entry>,
    /// Bytes of a line that a crash had cut short; it never took effect.
    pub n_cut_bytes: u64,
    /// A lineup that the journal confirmed had not been put into place, and now is.
    pub finished: bool,
}

/// Why the folder cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another host holds it.
    #[error(
        "{}: another host uses this state folder; speak to it through its admin API, or end it first", folder.display()
    )]
    Held {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused something.
    #[error("{}: cannot {what}: {error}; make room and grant access, then open the folder again", file.display())]
    Io {
        /// On which file.
        file: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// A write has failed before.
    #[error(
        "{}: an earlier write has failed, so what is on disk is not known; open the folder again", folder.display()
    )]
    Failed {
        /// The folder.
        folder: PathBuf,
    },
    /// The journal was damaged.
    #[error("{}: {error}", file.display())]
    Journal {
        /// The file.
        file: PathBuf,
        /// What is wrong and how to mend it.
        error: JournalError,
    },
    /// A file is longer than it can have become.
    #[error("{} has more than {max} bytes; move it away to begin anew", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Bytes that it may have.
        max: u64,
    },
    /// The lineup that the journal confirms is not there.
    #[error(
        "{}: the journal confirms generation {generation} as {lineup}, and no lineup here is that one; put the file back as it was, or move both away and give the lineup anew", file.display()
    )]
    NotConfirmed {
        /// The file.
        file: PathBuf,
        /// Which generation it should be.
        generation: u64,
        /// Which content it should have.
        lineup: LineupDigest,
    },
    /// There is a lineup and no journal that confirms any.
    #[error(
        "{}: no journal confirms this lineup; move it away, and give it to the host as a new one", file.display()
    )]
    NoJournal {
        /// The file.
        file: PathBuf,
    },
    /// The confirmed lineup does not read.
    #[error(transparent)]
    Lineup(#[from] LineupError),
    /// The new lineup does not follow the one in effect.
    #[error(
        "generation {given} is not newer than {current}, which is in effect; give one from {} on", current + 1
    )]
    NotNewer {
        /// The generation in effect.
        current: u64,
        /// The one that was given.
        given: u64,
    },
}

impl StateError {
    /// Whether nothing is wrong with the folder, only with what it was given.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::NotNewer { .. })
    }
}

impl StateFolder {
    /// Takes the folder, made if it is missing, and brings it to what the journal
    /// confirms. Blocking.
    ///
    /// # Errors
    ///
    /// `Held` while another host has it. `Journal`, `NotConfirmed`, `NoJournal`, `Lineup`
    /// and `TooLong` for a folder that somebody else has changed: nothing is guessed.
    pub fn open(folder: &Path) -> Result<(Self, Recovered), StateError> {
        Self::open_on(Box::new(RealDisk), folder, LONG_JOURNAL_BYTES)
    }

    /// The lineup in effect; none in a folder where none was ever committed.
    #[must_use]
    pub const fn lineup(&self) -> Option<&Lineup> {
        self.lineup.as_ref()
    }

    /// Puts a lineup into effect on disk. Only after this may it take effect in the
    /// host. Blocking: some milliseconds to sync.
    ///
    /// # Errors
    ///
    /// `NotNewer`, and then nothing has changed. `Io`, and then the folder must be opened
    /// again to learn which lineup is in effect.
    pub fn commit(&mut self, lineup: &Lineup, cause: Cause, at: Moment) -> Result<(), StateError> {
        self.check()?;
        let (given, current) = (lineup.generation(), self.lineup.as_ref());
        if let Some(current) = current
            .map(Lineup::generation)
            .filter(|current| given <= *current)
        {
            return Err(StateError::NotNewer { current, given });
        }
        let text = lineup.text();
        let event = Event::Lineup {
            generation: given,
            lineup: LineupDigest::of_text(&text),
            cause,
        };
        self.failed = true;
        self.write_new(NEXT_LINEUP, text.as_bytes())?;
        self.append(&Entry { at, event })?;
        self.put_in_place(NEXT_LINEUP, LINEUP)?;
        self.failed = false;
        self.lineup = Some(lineup.clone());
        Ok(())
    }

    /// Writes down an event that changes no lineup.
    ///
    /// # Errors
    ///
    /// `Io`, and then the folder must be opened again.
    ///
    /// # Panics
    ///
    /// When the event is a lineup: that takes a [`StateFolder::commit`].
    pub fn note(&mut self, entry: &Entry) -> Result<(), StateError> {
        assert!(
            !matches!(entry.event, Event::Lineup { .. }),
            "a lineup takes a commit"
        );
        self.check()?;
        self.failed = true;
        self.append(entry)?;
        self.failed = false;
        Ok(())
    }

    fn open_on(
        disk: Box<dyn Disk>,
        folder: &Path,
        long_journal: u64,
    ) -> Result<(Self, Recovered), StateError> {
        let doing = |what, file: &Path| {
            let file = file.to_owned();
            move |error| StateError::Io { file, what, error }
        };
        super::cache::make_folder(folder).map_err(doing("make the folder", folder))?;
        let lock = lock(folder)?;
        let path = folder.join(JOURNAL);
        if !path.exists() && folder.join(NEXT_JOURNAL).exists() {
            // The old one was put aside, and the new one not yet in its place.
            disk.rename(&folder.join(NEXT_JOURNAL), &path)
                .map_err(doing("put into place", &path))?;
        }
        let options = File::options().read(true).append(true).create(true).clone();
        let journal = options.open(&path).map_err(doing("open", &path))?;
        let mut state = Self {
            folder: folder.to_owned(),
            journal,
            lineup: None,
            disk,
            failed: true,
            _lock: lock,
        };
        let (decoded, n_cut_bytes) = state.read_journal()?;
        let finished = state.settle(decoded.confirmed())?;
        if decoded.n_good_bytes as u64 > long_journal {
            state.put_journal_aside(&decoded)?;
        }
        state.sync_folder()?;
        state.failed = false;
        let entries = decoded.entries;
        Ok((
            state,
            Recovered {
                entries,
                n_cut_bytes,
                finished,
            },
        ))
    }

    fn check(&self) -> Result<(), StateError> {
        if self.failed {
            let folder = self.folder.clone();
            return Err(StateError::Failed { folder });
        }
        Ok(())
    }

    /// The journal's entries, and how many bytes were cut off behind them.
    fn read_journal(&mut self) -> Result<(Decoded, u64), StateError> {
        let file = self.folder.join(JOURNAL);
        let bytes = read(&file, MAX_JOURNAL_BYTES)?.unwrap_or_default();
        let decoded = decode(&bytes).map_err(|error| StateError::Journal {
            file: file.clone(),
            error,
        })?;
        let n_cut = (bytes.len() - decoded.n_good_bytes) as u64;
        if n_cut > 0 {
            let cut = self
                .disk
                .truncate(&self.journal, decoded.n_good_bytes as u64);
            let cut = cut.and_then(|()| self.disk.sync(&self.journal));
            cut.map_err(|error| StateError::Io {
                file,
                what: "cut off a torn line",
                error,
            })?;
        }
        Ok((decoded, n_cut))
    }

    /// Brings the lineup to what is confirmed. Whether that took a rename.
    fn settle(&mut self, confirmed: Option<(u64, LineupDigest)>) -> Result<bool, StateError> {
        let (file, next) = (self.folder.join(LINEUP), self.folder.join(NEXT_LINEUP));
        let max = rollout::MAX_BYTES as u64;
        let (current, staged) = (read(&file, max)?, read(&next, max)?);
        let Some((generation, lineup)) = confirmed else {
            if current.is_some() {
                return Err(StateError::NoJournal { file });
            }
            self.discard(&next)?;
            return Ok(false);
        };
        let is_it = |text: &Option<Vec<u8>>| {
            let text = text.as_ref().and_then(|text| str::from_utf8(text).ok());
            text.filter(|text| LineupDigest::of_text(text) == lineup)
                .map(str::to_owned)
        };
        let (text, finished) = match (is_it(&current), is_it(&staged)) {
            (Some(text), _) => {
                self.discard(&next)?;
                (text, false)
            }
            (None, Some(text)) => {
                self.put_in_place(NEXT_LINEUP, LINEUP)?;
                (text, true)
            }
            (None, None) => {
                return Err(StateError::NotConfirmed {
                    file,
                    generation,
                    lineup,
                });
            }
        };
        self.lineup = Some(Lineup::parse(&file.display().to_string(), &text)?);
        Ok(finished)
    }

    /// Begins the journal anew with the entry of the lineup in effect.
    fn put_journal_aside(&mut self, decoded: &Decoded) -> Result<(), StateError> {
        let is_lineup = |entry: &&Entry| matches!(entry.event, Event::Lineup { .. });
        let last = decoded.entries.iter().rfind(is_lineup);
        self.write_new(
            NEXT_JOURNAL,
            last.map(encode).unwrap_or_default().as_bytes(),
        )?;
        self.put_in_place(JOURNAL, OLD_JOURNAL)?;
        self.put_in_place(NEXT_JOURNAL, JOURNAL)?;
        let file = self.folder.join(JOURNAL);
        let journal = File::options().read(true).append(true).open(&file);
        self.journal = journal.map_err(|error| StateError::Io {
            file,
            what: "open",
            error,
        })?;
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), StateError> {
        let line = encode(entry);
        let written = self.disk.write(&self.journal, line.as_bytes());
        let written = written.and_then(|()| self.disk.sync(&self.journal));
        written.map_err(|error| self.io(JOURNAL, "write", error))
    }

    /// Writes a whole file under a name of its own; both are synced.
    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.folder.join(name);
        let create = || {
            // A leftover, or a link that somebody planted, is never written through.
            remove(&*self.disk, &path)?;
            let file = File::options().write(true).create_new(true).open(&path)?;
            self.disk.write(&file, bytes)?;
            self.disk.sync(&file)
        };
        create().map_err(|error| self.io(name, "write", error))?;
        self.sync_folder()
    }

    fn put_in_place(&self, from: &str, to: &str) -> Result<(), StateError> {
        let renamed = self
            .disk
            .rename(&self.folder.join(from), &self.folder.join(to));
        renamed.map_err(|error| self.io(to, "put into place", error))?;
        self.sync_folder()
    }

    fn discard(&self, path: &Path) -> Result<(), StateError> {
        remove(&*self.disk, path).map_err(|error| StateError::Io {
            file: path.to_owned(),
            what: "remove",
            error,
        })
    }

    fn sync_folder(&self) -> Result<(), StateError> {
        let synced = self.disk.sync_folder(&self.folder);
        synced.map_err(|error| self.io("", "sync the folder", error))
    }

    fn io(&self, name: &str, what: &'static str, error: io::Error) -> StateError {
        let file = self.folder.join(name);
        StateError::Io { file, what, error }
    }
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let file = folder.join(LOCK);
    let options = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .clone();
    let failed = |what| {
        let file = file.clone();
        move |error| StateError::Io { file, what, error }
    };
    let lock = options.open(&file).map_err(failed("open"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::Held {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock")(error)),
    }
}

/// The bytes of a file, or nothing where there is none.
fn read(file: &Path, max: u64) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |error| StateError::Io {
        file: file.to_owned(),
        what: "read",
        error,
    };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    opened
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(StateError::TooLong {
            file: file.to_owned(),
            max,
        });
    }
    Ok(Some(bytes))
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => disk.remove(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
