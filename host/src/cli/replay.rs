//! `trommel replay`: recorded items on another lineup, and whose verdict changes.

mod answering;
mod reading;
mod show;

use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc::Receiver;
use trommel::Judgement;
use trommel::record::{Claim, ContentDigest, Fate, Replay, StoredContent};

use super::Exit;
use super::check::{Judge, TASKS_PER_CORE, progress};
use super::host::DeviceArguments;
use super::input::{Input, Sources, read};
use super::lists::ListFile;
use super::output::shown;
use answering::{host, lineup};
use reading::{ReadLine, RecordsOf, files, in_background};
use show::{Format, Printer, Seen};

/// Lines that are no records, and items that cannot be judged, which are named on standard
/// error; more are only counted.
const MAX_NAMED: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  trommel replay records --items items.jsonl --lineup lineup.toml
  trommel replay records --stored --lineup next.toml --detector spam-text-0.2.0.tar
  trommel replay records --items items.jsonl --lineup lineup.toml --policy next.toml --fail-on-flip

An item is found by its id and its content. Whoever is live in the lineup answers for all.

Exit codes: 0 done, 1 --fail-on-flip matched, 2 usage, 3 some recorded items were missing,
had other content or could not be judged (each is named; this also when --fail-on-flip
matched).";

/// Arguments of `trommel replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArguments {
    /// Files of records, or folders that hold them.
    #[arg(value_name = "RECORDS", required = true)]
    records: Vec<PathBuf>,
    /// The items: JSON lines as `trommel check -` reads them, or `-` for standard input.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "stored",
        conflicts_with = "stored"
    )]
    items: Option<PathBuf>,
    /// Take the items from the records, which hold them where the host was told so.
    #[arg(long)]
    stored: bool,
    /// Who answers: a lineup, each of whose live revisions is bundled or given with
    /// --detector.
    #[arg(long, value_name = "FILE")]
    lineup: PathBuf,
    /// A plugin folder or packed package, beside the bundled detectors; may be given more
    /// than once.
    #[arg(long, value_name = "DIR|PKG")]
    detector: Vec<PathBuf>,
    /// Load only packages that the owner of this public key signed; may be given more
    /// than once.
    #[arg(long, value_name = "FILE", requires = "detector")]
    trusted_key: Vec<PathBuf>,
    /// Decide by the rules in this file instead of the built-in policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A hot list that its rules may ask for; KIND is keywords, domains or hashes. May be
    /// given more than once.
    #[arg(long, value_name = "NAME=KIND:FILE")]
    list: Vec<ListFile>,
    #[command(flatten)]
    device: DeviceArguments,
    /// How to show what changes.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 1 when a verdict changes.
    #[arg(long)]
    fail_on_flip: bool,
    /// Time per item, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    deadline_ms: u64,
}

pub(super) fn run(arguments: &ReplayArguments) -> anyhow::Result<Exit> {
    let lineup = lineup(&arguments.lineup)?;
    let files = files(&arguments.records)?;
    // Else every record would be missing, for one reason.
    if let Some(items) = &arguments.items
        && items.as_os_str() != "-"
    {
        let items_shown = items.display();
        let metadata = items.metadata();
        let metadata = metadata.with_context(|| format!("items {items_shown} cannot be opened"))?;
        if !metadata.is_file() {
            bail!("items {items_shown} are no file; give one of JSON lines, or `-`");
        }
    }
    let judge = Arc::new(Judge::new(host(arguments, &lineup)?));
    let replay = Arc::new(Mutex::new(Replay::new(lineup.salt())));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        // As for `check`.
        .global_queue_interval(8)
        .event_interval(8)
        .build()
        .context("cannot start the worker threads")?;
    let mut bad_lines = Named::new("not read");
    runtime.block_on(async {
        if let Err(failed) = judge.host.verify().await {
            bail!(
                "a detector does not answer as its manifest says:\n  {}",
                failed.join("\n  ")
            );
        }
        let mut printer = Printer::new(arguments.format);
        let n_degraded = match &arguments.items {
            Some(items) => {
                for read in RecordsOf::new(files) {
                    match read.record? {
                        Ok(record) => _ = locked(&replay).add(record)?,
                        Err(bad) => bad_lines.name(&read.place, &bad)?,
                    }
                }
                let inputs = read(Sources {
                    lines: vec![items.clone()],
                    ..Sources::default()
                })?;
                let outcomes = of_items(&judge, &replay, inputs);
                all(outcomes, &replay, &mut printer, &mut bad_lines).await?
            }
            None => {
                let records = in_background(RecordsOf::new(files))?;
                let outcomes = of_records(&judge, &replay, records);
                all(outcomes, &replay, &mut printer, &mut bad_lines).await?
            }
        };
        let replay = locked(&replay);
        if replay.n_records() == 0 {
            bail!("nothing to replay: no line of what was given is a record");
        }
        printer.finish(
            &replay,
            Seen {
                n_bad_lines: bad_lines.n,
                n_degraded,
                is_stored: arguments.stored,
            },
        )?;
        let fates = [Fate::Missing, Fate::OtherContent, Fate::Unjudged];
        let is_whole = fates
            .iter()
            .all(|fate| replay.with_fate(*fate).next().is_none());
        Ok(
            match (is_whole, arguments.fail_on_flip && replay.n_flips() > 0) {
                (false, _) => Exit::Unjudged,
                (true, true) => Exit::Matched,
                (true, false) => Exit::Done,
            },
        )
    })
}

/// What became of one item, or of one line.
enum Outcome {
    /// No record is of it.
    Unasked,
    /// It was judged.
    Judged(Claim, Box<Judgement>),
    /// It was not.
    Unjudged { place: String, error: String },
    /// A line is no record.
    BadLine { place: String, error: String },
    /// Nothing can go on.
    Failed(anyhow::Error),
}

type Shared = Arc<Mutex<Replay>>;

/// A panic in another task ends the command by itself.
fn locked(replay: &Shared) -> MutexGuard<'_, Replay> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

fn n_tasks() -> usize {
    TASKS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from)
}

/// Judges the items of a file that records are of.
fn of_items(
    judge: &Arc<Judge>,
    replay: &Shared,
    mut inputs: Receiver<Input>,
) -> impl Stream<Item = Outcome> {
    let (judge, replay) = (judge.clone(), replay.clone());
    let inputs = stream::poll_fn(move |context| inputs.poll_recv(context));
    let outcomes = inputs.map(move |input| {
        let (judge, replay) = (judge.clone(), replay.clone());
        tokio::spawn(async move { of_item(&judge, &replay, input).await })
    });
    outcomes.buffered(n_tasks()).map(ended)
}

fn ended(outcome: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    outcome.unwrap_or_else(|error| Outcome::Failed(error.into()))
}

async fn of_item(judge: &Judge, replay: &Shared, input: Input) -> Outcome {
    let (place, item, _room) = input.into_item();
    let item = match item {
        Ok(item) => item,
        Err(error) => return Outcome::Unjudged { place, error },
    };
    // An image that was given by its path and looked at by nobody is recorded as a path.
    let id = item.id.clone();
    let unopened = item.has_unopened_images();
    let unopened = unopened.then(|| ContentDigest::of_item(&item));
    let unopened = unopened.and_then(|digest| locked(replay).claim(&id, digest));
    let opened = match judge.open(item).await {
        Ok(opened) => opened,
        Err((_, error)) => return Outcome::Unjudged { place, error },
    };
    let digest = ContentDigest::of_item(&opened.item);
    let claim = unopened.or_else(|| locked(replay).claim(&id, digest));
    let Some(claim) = claim else {
        return Outcome::Unasked;
    };
    match judge.check(&opened).await {
        Ok(judgement) => Outcome::Judged(claim, Box::new(judgement)),
        Err(error) => Outcome::Unjudged { place, error },
    }
}

/// Judges the items that records hold.
fn of_records(
    judge: &Arc<Judge>,
    replay: &Shared,
    mut records: Receiver<ReadLine>,
) -> impl Stream<Item = Outcome> {
    let (judge, replay) = (judge.clone(), replay.clone());
    let records = stream::poll_fn(move |context| records.poll_recv(context));
    let outcomes = records.map(move |read| {
        // One after the other, so that records keep their order.
        let stored = Stored::of(read, &replay);
        let (judge, replay) = (judge.clone(), replay.clone());
        tokio::spawn(async move {
            match stored {
                Ok(stored) => stored.judged(&judge, &replay).await,
                Err(outcome) => outcome,
            }
        })
    });
    outcomes.buffered(n_tasks()).map(ended)
}

/// A record that holds its item.
struct Stored {
    place: String,
    claim: Claim,
    id: String,
    digest: ContentDigest,
    content: StoredContent,
}

impl Stored {
    /// Takes the record; or what became of it.
    fn of(read: ReadLine, replay: &Shared) -> Result<Self, Outcome> {
        let place = read.place;
        let mut record = match read.record {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Err(Outcome::BadLine { place, error }),
            Err(error) => return Err(Outcome::Failed(error)),
        };
        let (digest, content) = (record.item.digest, record.content.take());
        let id = record.item.id.as_ref();
        let id = id.map_or_else(|| digest.to_string(), |id| id.shown().to_owned());
        let claim = locked(replay).add(record);
        let claim = claim.map_err(|error| Outcome::Failed(error.into()))?;
        Ok(Self {
            content: content.ok_or(Outcome::Unasked)?,
            place,
            claim,
            id,
            digest,
        })
    }

    async fn judged(self, judge: &Judge, replay: &Shared) -> Outcome {
        let (place, claim) = (self.place, self.claim);
        let judged = match self.content.into_item(self.id) {
            Ok(item) if ContentDigest::of_item(&item) != self.digest => {
                locked(replay).has_other_content(&claim);
                return Outcome::Unasked;
            }
            Ok(item) => judge.check(&judge.as_it_is(item).await).await,
            Err(error) => Err(error),
        };
        match judged {
            Ok(judgement) => Outcome::Judged(claim, Box::new(judgement)),
            Err(error) => {
                locked(replay).is_unjudged(&claim);
                Outcome::Unjudged { place, error }
            }
        }
    }
}

/// Compares what was judged, in the order in which it came. How many items were judged
/// while a detector gave no answer.
async fn all(
    outcomes: impl Stream<Item = Outcome>,
    replay: &Shared,
    printer: &mut Printer,
    bad_lines: &mut Named,
) -> anyhow::Result<u64> {
    let mut outcomes = std::pin::pin!(outcomes);
    let mut unjudged = Named::new("not judged");
    let progress = progress();
    let mut n_degraded = 0;
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Outcome::Unasked => {}
            Outcome::Judged(claim, judgement) => {
                n_degraded += u64::from(!judgement.degraded.is_empty());
                let flips = locked(replay).compare(&claim, &judgement);
                printer.flips(&flips)?;
            }
            Outcome::Unjudged { place, error } => {
                progress.suspend(|| unjudged.name(&place, &error))?;
            }
            Outcome::BadLine { place, error } => {
                progress.suspend(|| bad_lines.name(&place, &error))?;
            }
            Outcome::Failed(error) => return Err(error),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(n_degraded)
}

/// Things that went wrong: the first are named, all are counted.
struct Named {
    what: &'static str,
    n: u64,
}

impl Named {
    fn new(what: &'static str) -> Self {
        Self { what, n: 0 }
    }

    fn name(&mut self, place: &str, error: &str) -> std::io::Result<()> {
        self.n += 1;
        let what = self.what;
        if self.n <= MAX_NAMED {
            writeln!(stderr(), "{what}: {}: {}", shown(place), shown(error))?;
        } else if self.n == MAX_NAMED + 1 {
            writeln!(stderr(), "{what}: more, which are only counted")?;
        }
        Ok(())
    }
}
