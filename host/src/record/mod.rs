//! The record: every verdict can be explained later, and judged again.
//!
//! A [`Record`] is made of an item, its judgement, this host and the settings, and of
//! nothing else. It holds digests of what was judged, never the content itself unless that
//! is asked for, and words that a plugin or a caller chose only as [`RecordSettings`] lets
//! them through. [`Recorder`] writes records as JSON lines on a thread of its own, and
//! never holds up an answer: what comes too fast is dropped and counted. [`Records`] reads
//! them back, and [`Replay`] says what another lineup makes of the same items.

mod bounded;
mod content;
mod digest;
mod files;
mod form;
mod read;
mod replay;
mod settings;
mod writer;

pub use bounded::RecordedText;
pub use content::StoredContent;
pub use digest::ContentDigest;
pub use files::RecordError;
pub use form::{
    Asked, Origin, Record, RecordedDegraded, RecordedEvidence, RecordedItem, RecordedList,
    RecordedPart, RecordedRule, RecordedSignal, RecordedTimings, RecordedUnjudged,
};
pub use read::{BadLine, Records, record_files};
pub use replay::{Claim, Fate, Flip, MAX_RECORDS, Replay, TooManyRecords};
pub use settings::{RecordSettings, Redaction};
pub use writer::{RecordCounts, Recorder};

/// Which form of a record this host writes and reads.
pub const FORM: u32 = 1;

/// What the content of a line is called.
const RECORD: &str = "record";

/// The line of a record, its end included.
fn encode(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("names and numbers are JSON");
    crate::summed::line(RECORD, &json)
}
