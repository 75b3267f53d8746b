//! What is recorded, of which items, and how much of it may lie about.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::policy::Action;
use crate::rollout::Share;

/// Hashed before an item's id, so that this choice has nothing to do with a canary's.
const DOMAIN: &[u8] = b"trommel record 1";

/// Bytes of an id that are hashed to choose: it may be megabytes long, and an answer waits.
const MAX_ID_BYTES: usize = 4096;

/// What becomes of words that a caller or a plugin chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redaction {
    /// They are kept as they are, up to a bound.
    Keep,
    /// Their sha256 is kept. It hides them from the eye, not from whoever can guess them.
    Hash,
    /// They are left out.
    Omit,
}

/// What is recorded, and with what bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSettings {
    /// How many of all items that are allowed.
    pub sample: Share,
    /// How many of all items whose verdict is stricter.
    pub sample_stricter: Share,
    /// Ids of items.
    pub ids: Redaction,
    /// Values of attributes. Names are kept with a hashed value.
    pub attributes: Redaction,
    /// Notes of evidence, and reasons why a detector gave no answer: words that a plugin
    /// chose, who may repeat the item's.
    pub words: Redaction,
    /// Whether the content is kept, so that items can be judged again without their
    /// source. It holds the attributes, whatever is said above.
    pub content: bool,
    /// Bytes of the largest content that is kept, in the form in which it is kept; at most
    /// [`Self::MAX_CONTENT_BYTES`] count.
    pub max_content_bytes: usize,
    /// Bytes of a file from which the next one is begun.
    pub max_file_bytes: u64,
    /// Files that are kept, the one that is written included; at least one.
    pub n_files: usize,
    /// Judgements that wait to be recorded; the next is dropped.
    pub max_queued: usize,
    /// Bytes of all that wait, items and judgements; one larger than this waits alone.
    pub max_queued_bytes: usize,
}

impl Default for RecordSettings {
    /// Every verdict, ids kept, attributes and words left out, no content; sixteen files
    /// of 64 MiB; 1,024 judgements and 64 MiB of items that wait.
    fn default() -> Self {
        Self {
            sample: Share::WHOLE,
            sample_stricter: Share::WHOLE,
            ids: Redaction::Keep,
            attributes: Redaction::Omit,
            words: Redaction::Omit,
            content: false,
            max_content_bytes: 256 << 10,
            max_file_bytes: 64 << 20,
            n_files: 16,
            max_queued: 1024,
            max_queued_bytes: 64 << 20,
        }
    }
}

impl RecordSettings {
    /// The most bytes of content that a record is read back with.
    pub const MAX_CONTENT_BYTES: usize = 32 << 20;

    /// The share of items like this one that are recorded, when this one is. A function
    /// of the id and the verdict alone, so that hosts agree, and so that an item that a
    /// share holds is held by every greater one.
    #[must_use]
    pub fn sampled(&self, id: &str, action: Action) -> Option<Share> {
        let share = match action {
            Action::Allow => self.sample,
            _ => self.sample_stricter,
        };
        let is_in = share == Share::WHOLE || position(id) < share.millionths();
        is_in.then_some(share)
    }
}

/// Where an id stands among all, in millionths.
fn position(id: &str) -> u32 {
    let head = &id.as_bytes()[..id.len().min(MAX_ID_BYTES)];
    let digest = Sha256::new_with_prefix(DOMAIN)
        .chain_update(head)
        .finalize();
    let first = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    let scaled = (u128::from(first) * u128::from(Share::MILLION)) >> 64;
    u32::try_from(scaled).expect("below a million")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(millionths: u32) -> Vec<u32> {
        let settings = RecordSettings {
            sample: Share::from_millionths(millionths).unwrap(),
            ..RecordSettings::default()
        };
        let is_in = |n: &u32| settings.sampled(&format!("item {n}"), Action::Allow);
        (0..20_000).filter(|n| is_in(n).is_some()).collect()
    }

    #[test]
    fn a_share_holds_about_so_many_and_a_greater_one_holds_them_too() {
        let (few, more) = (sampled(50_000), sampled(200_000));
        assert!((850..1150).contains(&few.len()), "{}", few.len());
        assert!((3800..4200).contains(&more.len()), "{}", more.len());
        assert!(few.iter().all(|n| more.contains(n)));
        assert_eq!((sampled(0).len(), sampled(1_000_000).len()), (0, 20_000));
        assert_eq!(few, sampled(50_000));
        // Another process, another machine: these do not move.
        assert_eq!(position("item 0"), 743_942);
    }

    #[test]
    fn what_is_stricter_than_allowed_has_a_share_of_its_own() {
        let settings = RecordSettings {
            sample: Share::NONE,
            ..RecordSettings::default()
        };
        assert_eq!(settings.sampled("a", Action::Allow), None);
        for stricter in &Action::ALL[1..] {
            assert_eq!(settings.sampled("a", *stricter), Some(Share::WHOLE));
        }
    }
}
