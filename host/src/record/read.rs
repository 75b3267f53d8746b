//! Records read back. Whatever else is among them is named and passed over: a tail that a
//! crash left, or that is being written; a damaged line; lines of another's.

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{numbers, path};
use super::{FORM, RECORD, Record, RecordSettings};
use crate::excerpt::{NAME_CHARS, printable};
use crate::summed;

/// Bytes of the longest line that is read: the largest content, escaped or not, and what
/// else a record holds.
const MAX_LINE_BYTES: u64 = (RecordSettings::MAX_CONTENT_BYTES + (8 << 20)) as u64;

/// The files of records at `path`: the file itself, or a folder's in the order in which
/// they were written.
///
/// # Errors
///
/// A folder that cannot be listed.
pub fn record_files(at: &Path) -> io::Result<Vec<PathBuf>> {
    if !at.is_dir() {
        return Ok(vec![at.to_owned()]);
    }
    let numbers = numbers(at)?;
    Ok(numbers.into_iter().map(|number| path(at, number)).collect())
}

/// The records of one file, line by line.
#[derive(Debug)]
pub struct Records<R> {
    lines: R,
    n_lines: u64,
    /// Whether reading has failed.
    is_over: bool,
}

/// A line that is no record.
#[derive(Debug)]
pub enum BadLine {
    /// The last line has no end: a crash cut it short, or it is being written.
    Torn,
    /// Its sum is not that of its content, or it is not a line of ours.
    Damaged,
    /// It is whole, and of another version or made by hand.
    Foreign(String),
    /// It is longer than any record.
    TooLong,
    /// The file cannot be read further.
    Unreadable(io::Error),
}

impl<R: BufRead> Records<R> {
    /// Reads what `lines` gives.
    pub fn new(lines: R) -> Self {
        Self {
            lines,
            n_lines: 0,
            is_over: false,
        }
    }

    /// How many lines were read so far: the number of the last.
    pub fn n_lines(&self) -> u64 {
        self.n_lines
    }

    fn line(&mut self) -> io::Result<Option<Result<Record, BadLine>>> {
        let mut line = Vec::new();
        let mut bounded = self.lines.by_ref().take(MAX_LINE_BYTES);
        let n = bounded.read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(None);
        }
        self.n_lines += 1;
        if !line.ends_with(b"\n") {
            if n as u64 == MAX_LINE_BYTES {
                self.lines.skip_until(b'\n')?;
                return Ok(Some(Err(BadLine::TooLong)));
            }
            return Ok(Some(Err(BadLine::Torn)));
        }
        let json = summed::json(RECORD, &line).ok_or(BadLine::Damaged);
        Ok(Some(json.and_then(parse)))
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        self.line().unwrap_or_else(|error| {
            self.is_over = true;
            Some(Err(BadLine::Unreadable(error)))
        })
    }
}

fn parse(json: &str) -> Result<Record, BadLine> {
    /// What every form has.
    #[derive(Deserialize)]
    struct AnyForm {
        form: u32,
    }

    let foreign = |what: String| BadLine::Foreign(printable(&what, 2 * NAME_CHARS));
    let any: AnyForm = serde_json::from_str(json).map_err(|error| foreign(error.to_string()))?;
    if any.form != FORM {
        return Err(foreign(format!(
            "form {}, this host reads {FORM}",
            any.form
        )));
    }
    serde_json::from_str(json).map_err(|error| foreign(error.to_string()))
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn => f.write_str("is cut short: a host ended, or is writing it now"),
            Self::Damaged => f.write_str("is damaged, or is no record"),
            Self::Foreign(what) => write!(f, "is a record of another version ({what})"),
            Self::TooLong => write!(f, "is longer than {MAX_LINE_BYTES} bytes, as no record is"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::line;

    fn read(bytes: &[u8]) -> Vec<String> {
        let records = Records::new(bytes);
        let said = records.map(|record| {
            record
                .map(|_| String::new())
                .unwrap_or_else(|bad| bad.to_string())
        });
        said.collect()
    }

    #[test]
    fn what_is_no_record_is_named_and_passed_over() {
        let newer = line(RECORD, r#"{"form":2}"#);
        let strange = line(RECORD, r#"{"form":1,"at":"noon"}"#);
        let entry = line("entry", r#"{"form":1}"#);
        let text = format!("{newer}\nhello\n{strange}{entry}\u{0}\n{{\"sum\"");
        let said = read(text.as_bytes());
        assert_eq!(said.len(), 7);
        for (line, expected) in [
            (0, "form 2, this host reads 1"),
            (1, "damaged, or is no record"),
            (2, "damaged, or is no record"),
            (3, "another version"),
            (4, "damaged"),
            (5, "damaged"),
            (6, "cut short"),
        ] {
            assert!(said[line].contains(expected), "{line}: {}", said[line]);
        }
    }

    #[test]
    fn a_line_that_never_ends_is_not_held_and_the_next_is_read() {
        let long = io::repeat(b'x').take(2 * MAX_LINE_BYTES);
        let rest = b"\nhello\n".as_slice();
        let mut records = Records::new(io::BufReader::new(long.chain(rest)));
        assert!(matches!(records.next(), Some(Err(BadLine::TooLong))));
        assert!(matches!(records.next(), Some(Err(BadLine::Damaged))));
        assert!(records.next().is_none());
        assert_eq!(records.n_lines(), 2);
    }
}
