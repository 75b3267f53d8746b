//! Writes records on a thread of its own, behind a bounded queue: an answer never waits
//! for a disk, nor for a digest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::files::RecordFiles;
use super::{Origin, Record, RecordError, RecordSettings, encode};
use crate::Judgement;
use crate::engine::now;
use crate::item::Item;
use crate::pipeline::moment;
use crate::rollout::Share;
use crate::signal::Evidence;

/// After a write failed nothing is tried for this long; doubled each time, up to the
/// longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Writes the record of what it is offered, if the settings want it. When it is dropped,
/// what waits is written first.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{path::Path, sync::Arc};
/// use trommel::record::{Origin, Recorder, RecordSettings};
///
/// let host = trommel::Host::builder().bundled_detectors().build()?;
/// let recorder = Recorder::start(Path::new("records"), Origin::of(&host), RecordSettings::default())?;
/// let item = Arc::new(trommel::item::Item::from_text("1", "You have won! Call now"));
/// let judgement = host.check(&item).await?;
/// recorder.offer(&item, &judgement);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recorder {
    /// None once it is being dropped.
    queue: Option<SyncSender<Offered>>,
    thread: Option<JoinHandle<()>>,
    settings: Arc<RecordSettings>,
    counters: Arc<Counters>,
}

/// What became of the judgements that were to be recorded. What the sample leaves out is
/// counted nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordCounts {
    /// Records that were written.
    pub written: u64,
    /// Judgements that came while too much waited.
    pub dropped: u64,
    /// Records that could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Bytes of the items and judgements that wait.
    queued_bytes: AtomicUsize,
}

/// A judgement that waits to be recorded.
struct Offered {
    item: Arc<Item>,
    judgement: Judgement,
    share: Share,
    bytes: usize,
}

impl Recorder {
    /// Takes the folder, made if it is missing, and starts the thread.
    ///
    /// # Errors
    ///
    /// `Held` while another host writes there; `Io` when the folder or its last file
    /// cannot be used.
    pub fn start(
        folder: &Path,
        origin: Origin,
        settings: RecordSettings,
    ) -> Result<Self, RecordError> {
        let (files, n_cut) = RecordFiles::open(folder, settings.max_file_bytes, settings.n_files)?;
        if n_cut > 0 {
            let folder = folder.display();
            tracing::warn!(n_bytes = n_cut, "a torn record in {folder} was cut off");
        }
        Self::start_on(files, origin, settings)
    }

    fn start_on(
        files: RecordFiles,
        origin: Origin,
        settings: RecordSettings,
    ) -> Result<Self, RecordError> {
        let (queue, offered) = sync_channel(settings.max_queued.max(1));
        let settings = Arc::new(settings);
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            files,
            origin,
            settings: settings.clone(),
            counters: counters.clone(),
            outage: None,
        };
        let thread = std::thread::Builder::new()
            .name("trommel-record".to_owned())
            .spawn(move || writer.run(&offered))
            .map_err(RecordError::Thread)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            settings,
            counters,
        })
    }

    /// Records a judgement, if its item is in the sample and there is room among those
    /// that wait. Never blocks.
    pub fn offer(&self, item: &Arc<Item>, judgement: &Judgement) {
        let action = judgement.verdict.action;
        let Some(share) = self.settings.sampled(&item.id, action) else {
            return;
        };
        let bytes = item.held_bytes() + judgement_bytes(judgement);
        if !self.counters.take(bytes, self.settings.max_queued_bytes) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let offered = Offered {
            item: item.clone(),
            judgement: judgement.clone(),
            share,
            bytes,
        };
        let queue = self.queue.as_ref().expect("it is there until the drop");
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(offered)
        {
            self.counters.give_back(bytes);
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of the judgements so far.
    #[must_use]
    pub fn counts(&self) -> RecordCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecordCounts {
            written: of(&self.counters.written),
            dropped: of(&self.counters.dropped),
            failed: of(&self.counters.failed),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The thread ends with the queue's end.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes records has failed");
        }
    }
}

impl Counters {
    /// Room for so many bytes, if there is any; an item is let in alone whatever its
    /// size, for it would never be recorded otherwise.
    fn take(&self, bytes: usize, most: usize) -> bool {
        let taken = |queued: usize| {
            let sum = queued.saturating_add(bytes);
            (queued == 0 || sum <= most).then_some(sum)
        };
        let order = Ordering::Relaxed;
        self.queued_bytes.fetch_update(order, order, taken).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of what plugins made of it, roughly; how many they are is a matter of manifests.
fn judgement_bytes(judgement: &Judgement) -> usize {
    let evidence = judgement.signals.iter().flat_map(|signal| &signal.evidence);
    let evidence = evidence.map(|evidence| {
        let words = match evidence {
            Evidence::Note { text } => text.len(),
            _ => 0,
        };
        size_of::<Evidence>() + words
    });
    let reasons = judgement.degraded.iter();
    let reasons = reasons.map(|degraded| degraded.reason.len());
    let signals = size_of_val(judgement.signals.as_slice());
    size_of::<Judgement>() + signals + evidence.chain(reasons).sum::<usize>()
}

/// The thread's side.
struct Writer {
    files: RecordFiles,
    origin: Origin,
    settings: Arc<RecordSettings>,
    counters: Arc<Counters>,
    outage: Option<Outage>,
}

/// Since a write has failed.
struct Outage {
    n_lost: u64,
    pause: Duration,
    until: Instant,
}

impl Writer {
    fn run(mut self, offered: &Receiver<Offered>) {
        for offered in offered.iter() {
            let bytes = offered.bytes;
            self.record(&offered, now());
            drop(offered);
            self.counters.give_back(bytes);
        }
        // What was written is the system's by now, and lives when the process ends. This
        // is for the machine's end.
        if let Err(error) = self.files.sync() {
            tracing::warn!(%error, "the last records may not be on disk");
        }
    }

    fn record(&mut self, offered: &Offered, now: Instant) {
        if let Some(outage) = &mut self.outage
            && now < outage.until
        {
            outage.n_lost += 1;
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Offered {
            item,
            judgement,
            share,
            ..
        } = offered;
        let written_at = (*share, moment());
        let record = Record::of(item, judgement, &self.origin, &self.settings, written_at);
        match self.files.append(encode(&record).as_bytes()) {
            Ok(()) => {
                self.counters.written.fetch_add(1, Ordering::Relaxed);
                if let Some(outage) = self.outage.take() {
                    let n_lost = outage.n_lost;
                    tracing::warn!(n_lost, "records are written again");
                }
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                self.outage = Some(Outage::after(self.outage.take(), &error, now));
            }
        }
    }
}

impl Outage {
    /// Said once, when it begins.
    fn after(before: Option<Self>, error: &std::io::Error, now: Instant) -> Self {
        let (n_lost, pause) = match before {
            Some(before) => (before.n_lost, (2 * before.pause).min(LONGEST_PAUSE)),
            None => {
                tracing::error!(%error, "records cannot be written; make room; it is tried again from time to time");
                (0, FIRST_PAUSE)
            }
        };
        Self {
            n_lost: n_lost + 1,
            pause,
            until: now + pause,
        }
    }
}

#[cfg(test)]
mod tests;
