//! The records of a replay, file after file.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc::{Receiver, channel};
use trommel::record::{Record, Records, record_files};

/// Records with their content that wait to be judged.
const MAX_WAITING: usize = 4;

pub(super) fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in given {
        let shown = path.display();
        let files = record_files(path).with_context(|| format!("records {shown}"))?;
        if files.is_empty() {
            bail!(
                "the folder {shown} holds no records; give the folder that `record.folder` names"
            );
        }
        // A record that is not there is a mistake; a line that is not one may happen.
        for file in &files {
            let metadata = file.metadata();
            let metadata = metadata.with_context(|| format!("records {}", file.display()))?;
            if !metadata.is_file() {
                bail!("{} is no file of records", file.display());
            }
        }
        all.extend(files);
    }
    Ok(all)
}

/// Records of several files, one after the other.
pub(super) struct RecordsOf {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, Records<BufReader<File>>)>,
}

/// What a line was, and where it stands.
pub(super) struct ReadLine {
    pub(super) place: String,
    /// The outer error: a file that cannot be opened.
    pub(super) record: anyhow::Result<Result<Record, String>>,
}

impl RecordsOf {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files: files.into_iter(),
            open: None,
        }
    }
}

impl Iterator for RecordsOf {
    type Item = ReadLine;

    fn next(&mut self) -> Option<ReadLine> {
        loop {
            if let Some((path, records)) = &mut self.open
                && let Some(record) = records.next()
            {
                return Some(ReadLine {
                    place: format!("{}:{}", path.display(), records.n_lines()),
                    record: Ok(record.map_err(|bad| bad.to_string())),
                });
            }
            let path = self.files.next()?;
            match File::open(&path) {
                Ok(file) => self.open = Some((path, Records::new(BufReader::new(file)))),
                Err(error) => {
                    self.open = None;
                    let place = path.display().to_string();
                    let record = Err(error).with_context(|| format!("records {place}"));
                    return Some(ReadLine { place, record });
                }
            }
        }
    }
}

/// The same, read on a thread of its own.
pub(super) fn in_background(records: RecordsOf) -> std::io::Result<Receiver<ReadLine>> {
    let (send, receive) = channel(MAX_WAITING);
    std::thread::Builder::new()
        .name("trommel-records".to_owned())
        .spawn(move || {
            for read in records {
                // The receiver has gone: nobody wants more.
                if send.blocking_send(read).is_err() {
                    break;
                }
            }
        })?;
    Ok(receive)
}
