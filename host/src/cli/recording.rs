//! `[record]` of the configuration file: where verdicts are recorded, and how.

use std::path::PathBuf;

use anyhow::bail;
use serde::Deserialize;
use trommel::record::{RecordSettings, Redaction};
use trommel::rollout::Share;

/// The section. Its keys stand in `docs/record.md`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RecordConfiguration {
    /// Where to.
    pub(super) folder: PathBuf,
    sample: Option<Share>,
    sample_stricter: Option<Share>,
    ids: Option<Redaction>,
    attributes: Option<Redaction>,
    words: Option<Redaction>,
    content: Option<bool>,
    content_kib: Option<usize>,
    file_mib: Option<u64>,
    files: Option<usize>,
    queue: Option<usize>,
    queue_mib: Option<usize>,
}

/// The largest bounds that a configuration may set: room for the queue is taken at start.
const MAX_QUEUED: usize = 1 << 16;
const MAX_MIB: u64 = 1 << 20;
const MAX_FILES: usize = 100_000;

impl RecordConfiguration {
    /// What is out of bounds, and the bounds.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let content_kib = RecordSettings::MAX_CONTENT_BYTES >> 10;
        let bounds: [(&str, Option<u64>, u64); 5] = [
            ("content-kib", wide(self.content_kib), content_kib as u64),
            ("file-mib", self.file_mib, MAX_MIB),
            ("files", wide(self.files), MAX_FILES as u64),
            ("queue", wide(self.queue), MAX_QUEUED as u64),
            ("queue-mib", wide(self.queue_mib), MAX_MIB),
        ];
        for (key, given, most) in bounds {
            if let Some(given) = given
                && !(1..=most).contains(&given)
            {
                bail!("`record.{key}` is from 1 to {most}, not {given}");
            }
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> RecordSettings {
        let default = RecordSettings::default();
        let sample = self.sample.unwrap_or(default.sample);
        RecordSettings {
            sample,
            // Whoever thins out all records does not mean to keep every block by that.
            sample_stricter: self.sample_stricter.unwrap_or(sample),
            ids: self.ids.unwrap_or(default.ids),
            attributes: self.attributes.unwrap_or(default.attributes),
            words: self.words.unwrap_or(default.words),
            content: self.content.unwrap_or(default.content),
            max_content_bytes: self
                .content_kib
                .map_or(default.max_content_bytes, |kib| kib << 10),
            max_file_bytes: self
                .file_mib
                .map_or(default.max_file_bytes, |mib| mib << 20),
            n_files: self.files.unwrap_or(default.n_files),
            max_queued: self.queue.unwrap_or(default.max_queued),
            max_queued_bytes: self
                .queue_mib
                .map_or(default.max_queued_bytes, |mib| mib << 20),
        }
    }
}

fn wide(number: Option<usize>) -> Option<u64> {
    number.map(|number| number as u64)
}
