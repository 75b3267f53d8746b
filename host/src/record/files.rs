//! The files that records lie in: one is written, the ones before it are kept up to a
//! number.
//!
//! ```text
//! lock                     held by the one host that writes here
//! records-00000041.jsonl   what came before
//! records-00000042.jsonl   what is written now
//! ```
//!
//! A file never gets another name and none is written but the last, so whoever ships them
//! may follow them by name. Each line is one write call; what a crash left of one is cut off
//! at the next start, and what a full disk left of one is cut off at once.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::registry::make_folder;

const LOCK: &str = "lock";
const BEFORE_NUMBER: &str = "records-";
const AFTER_NUMBER: &str = ".jsonl";

/// Bytes that are looked at at once for the end of the last line.
const CHUNK_BYTES: usize = 64 << 10;

/// Why records cannot be written at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another host writes there.
    #[error("{}: another host writes its records here; give each a folder of its own", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused something.
    #[error("{}: cannot {what}: {error}; make room and grant access, or choose another folder", file.display())]
    Io {
        /// On which file.
        file: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The thread that writes cannot start.
    #[error("the thread that writes records cannot start: {0}")]
    Thread(io::Error),
}

/// One write call; how many bytes it took. A test puts a disk that fails in its place.
pub(super) type Write = Box<dyn FnMut(&File, &[u8]) -> io::Result<usize> + Send>;

/// The files of one folder, open at the end of the last.
pub(super) struct RecordFiles {
    folder: PathBuf,
    max_bytes: u64,
    n_files: usize,
    write: Write,
    file: File,
    number: u64,
    /// Bytes of whole lines in the file.
    n_bytes: u64,
    /// Whether something that is no whole line may stand behind them.
    is_torn: bool,
    /// Unlocked when it is closed, as the system does when the process ends.
    _lock: File,
}

impl RecordFiles {
    /// Takes the folder, made if it is missing, and cuts off what a crash left of a line;
    /// also how many bytes that were.
    pub(super) fn open(
        folder: &Path,
        max_bytes: u64,
        n_files: usize,
    ) -> Result<(Self, u64), RecordError> {
        let write = |mut file: &File, line: &[u8]| file.write(line);
        Self::open_on(Box::new(write), folder, max_bytes, n_files)
    }

    pub(super) fn open_on(
        write: Write,
        folder: &Path,
        max_bytes: u64,
        n_files: usize,
    ) -> Result<(Self, u64), RecordError> {
        let failed = |what, file: &Path| {
            let file = file.to_owned();
            move |error| RecordError::Io { file, what, error }
        };
        make_folder(folder).map_err(failed("make the folder", folder))?;
        let lock = lock(folder)?;
        let numbers = numbers(folder).map_err(failed("list the folder", folder))?;
        let number = numbers.last().copied().unwrap_or(1);
        let path = path(folder, number);
        let mut file = opened(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        let n_bytes = end_of_last_line(&mut file, length).map_err(failed("read", &path))?;
        if n_bytes < length {
            file.set_len(n_bytes)
                .map_err(failed("cut off a torn line", &path))?;
        }
        let files = Self {
            folder: folder.to_owned(),
            max_bytes,
            n_files: n_files.max(1),
            write,
            file,
            number,
            n_bytes,
            is_torn: false,
            _lock: lock,
        };
        files.remove_old();
        Ok((files, length - n_bytes))
    }

    /// Writes one line, its end included, whole or not at all.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.mend()?;
        if self.n_bytes > 0 && self.n_bytes + line.len() as u64 > self.max_bytes {
            self.begin_next()?;
        }
        let written = loop {
            match (self.write)(&self.file, line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => break written,
            }
        };
        self.is_torn = !matches!(written, Ok(n) if n == line.len());
        if !self.is_torn {
            self.n_bytes += line.len() as u64;
            return Ok(());
        }
        // Now, since a reader may be looking; when it cannot be done now, before the next.
        let _ = self.mend();
        let n = written?;
        let what = format!("{n} of {} bytes were taken", line.len());
        Err(io::Error::new(ErrorKind::StorageFull, what))
    }

    /// Cuts off what a failed write left.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.n_bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn begin_next(&mut self) -> io::Result<()> {
        // Only the last file may lose lines when the machine loses power.
        self.file.sync_data()?;
        let number = self.number + 1;
        self.file = opened(&path(&self.folder, number))?;
        self.number = number;
        self.n_bytes = 0;
        self.remove_old();
        Ok(())
    }

    /// Removes the oldest files beyond those that are kept. A file that cannot be removed
    /// costs room and no record.
    fn remove_old(&self) {
        let removed = numbers(&self.folder).and_then(|numbers| {
            let n_old = numbers.len().saturating_sub(self.n_files);
            let mut old = numbers[..n_old].iter();
            old.try_for_each(|number| fs::remove_file(path(&self.folder, *number)))
        });
        if let Err(error) = removed {
            let folder = self.folder.display();
            tracing::warn!(%error, "old records in {folder} cannot be removed");
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The numbers of a folder's files, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(BEFORE_NUMBER))
            .and_then(|name| name.strip_suffix(AFTER_NUMBER))
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        // Another spelling of a number is another's file.
        numbers.extend(number.filter(|number| path(folder, *number).ends_with(&name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{BEFORE_NUMBER}{number:08}{AFTER_NUMBER}"))
}

/// Opened to write behind what is there; made for nobody else's eyes.
fn opened(path: &Path) -> io::Result<File> {
    // A link that somebody planted is never written through.
    if let Ok(metadata) = path.symlink_metadata()
        && !metadata.is_file()
    {
        return Err(io::Error::other("it is no plain file; move it away"));
    }
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn lock(folder: &Path) -> Result<File, RecordError> {
    let file = folder.join(LOCK);
    let failed = |what| {
        let file = file.clone();
        move |error| RecordError::Io { file, what, error }
    };
    let lock = opened(&file).map_err(failed("open"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(RecordError::Held {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock")(error)),
    }
}

/// Bytes up to the end of the last line.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut end = length;
    while end > 0 {
        let n = end.min(CHUNK_BYTES as u64);
        let start = end - n;
        let chunk = &mut chunk[..usize::try_from(n).expect("a chunk's length")];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
