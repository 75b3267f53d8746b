//! `trommel check`: real input, a readable answer.

use std::io::{BufWriter, IsTerminal as _, Write as _, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trommel::item::{Item, ItemBounds, PartKind};
use trommel::policy::Action;
use trommel::{Host, Judgement};

use super::host::{DeviceArguments, HostArguments};
use super::input::{Input, Sources, open_images, read};
use super::lists::ListFile;
use super::output::{Answer, Format, Printer, shown};
use super::{Colour, Exit};

/// Inputs that one task judges at most.
const INPUTS_PER_TASK: usize = 16;

/// Tasks at once, for each core.
pub(super) const TASKS_PER_CORE: usize = 4;

/// Items with images that are judged at once, for each core.
const IMAGES_PER_CORE: usize = 2;

const EXAMPLES: &str = "\
Examples:
  trommel check samples                      every file below a folder
  trommel check --text 'Win a prize! Call now'
  trommel check --format jsonl - < items.jsonl
  trommel check --detector my-plugin --policy policy.toml comments.jsonl
  trommel check --detector my-plugin-0.1.0.tar --trusted-key release.pub samples

An item on `-`, in a .jsonl or in a .json file:
  {\"id\":\"1\",\"title\":\"…\",\"text\":\"…\",\"links\":[\"…\"],\"images\":[\"a.jpg\"],\"attributes\":{\"verified\":true}}

Exit codes: 0 done, 1 --fail-on matched, 2 usage, 3 some inputs could not be
judged (each is named; this also when --fail-on matched).";

/// Arguments of `trommel check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArguments {
    /// Text and image files, .json and .jsonl files, folders, or `-` for JSON lines.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Judge this text; may be given more than once.
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Load this plugin folder or packed package instead of the bundled detectors;
    /// may be given more than once.
    #[arg(long, value_name = "DIR|PKG")]
    detector: Vec<PathBuf>,
    /// Load only packages that the owner of this public key signed; may be given more
    /// than once. Plugin folders are never signed.
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
    /// How to show judgements.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 1 when a verdict is this strict or stricter.
    #[arg(long, value_name = "VERDICT")]
    fail_on: Option<Action>,
    /// Colour the table.
    #[arg(long, value_enum, default_value = "auto")]
    color: Colour,
    /// Time per item, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    deadline_ms: u64,
}

pub(super) fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    if arguments.paths.is_empty() && arguments.text.is_empty() {
        bail!("nothing to judge; give a file, a folder, --text TEXT, or - for JSON lines");
    }
    let judge = Arc::new(Judge::new(host(arguments)?));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        // Looked at often, so that a model's answer is not kept waiting behind
        // guests that compute.
        .global_queue_interval(8)
        .event_interval(8)
        .build()
        .context("cannot start the worker threads")?;
    runtime.block_on(async {
        if let Err(failed) = judge.host.verify().await {
            bail!(
                "a detector does not answer as its manifest says:\n  {}",
                failed.join("\n  ")
            );
        }
        let inputs = read(Sources {
            paths: arguments.paths.clone(),
            texts: arguments.text.clone(),
            ..Sources::default()
        })?;
        judge_all(arguments, &judge, inputs).await
    })
}

fn host(arguments: &CheckArguments) -> anyhow::Result<Host> {
    let arguments = HostArguments {
        detectors: &arguments.detector,
        trusted_keys: &arguments.trusted_key,
        policy: arguments.policy.as_deref(),
        lists: &arguments.list,
        device: &arguments.device,
        deadline: Some(Duration::from_millis(arguments.deadline_ms)),
    };
    Ok(arguments.builder()?.build()?)
}

/// Judges inputs concurrently and shows them in the order they came.
async fn judge_all(
    arguments: &CheckArguments,
    judge: &Arc<Judge>,
    mut inputs: Receiver<Input>,
) -> anyhow::Result<Exit> {
    // A task judges the few inputs that are there, so that the cost of waking
    // tasks is shared and a single input still starts at once.
    let inputs = stream::poll_fn(move |context| {
        let mut some = Vec::with_capacity(INPUTS_PER_TASK);
        let n_ready = ready!(inputs.poll_recv_many(context, &mut some, INPUTS_PER_TASK));
        Poll::Ready((n_ready > 0).then_some(some))
    });
    let judging = inputs.map(|some| {
        let judge = judge.clone();
        tokio::spawn(async move {
            let judging = stream::iter(some).map(|input| judge.judge(input));
            judging.buffered(INPUTS_PER_TASK).collect::<Vec<_>>().await
        })
    });
    let n_tasks = TASKS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from);
    let mut answers = judging.buffered(n_tasks);
    let coloured = arguments.color.on_stdout();
    let policy = judge.host.policy();
    let acted_on = policy.labels().map(|(label, _)| label.clone()).collect();
    let out = BufWriter::new(stdout());
    let mut printer = Printer::new(out, arguments.format, coloured, acted_on);
    let progress = progress();
    let mut summary = Summary::default();
    loop {
        // What is there is shown before more is waited for.
        let next = match answers.next().now_or_never() {
            Some(next) => next,
            None => {
                printer.flush()?;
                answers.next().await
            }
        };
        let Some(some) = next else { break };
        for answer in some.context("a judging task failed")? {
            summary.add(&answer);
            if let Answer::Unjudged { place, error, .. } = &answer {
                let (place, error) = (shown(place), shown(error));
                progress.suspend(|| writeln!(stderr(), "not judged: {place}: {error}"))?;
            }
            printer.write(&answer)?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    printer.finish()?;
    Ok(summary.exit(arguments.fail_on))
}

/// The host, and places for items that take long.
pub(super) struct Judge {
    pub(super) host: Host,
    /// An item's time begins when it is shown to the host. Images take so long that
    /// many at once would all come late, so few begin.
    image_places: Arc<Semaphore>,
}

/// An item whose images were read, and its place among those that take long.
pub(super) struct Opened {
    pub(super) item: Arc<Item>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Judge {
    pub(super) fn new(host: Host) -> Self {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            host,
            image_places: Arc::new(Semaphore::new(IMAGES_PER_CORE * n_cores)),
        }
    }

    async fn judge(&self, input: Input) -> Answer {
        let (place, item, _room) = input.into_item();
        let unjudged = |id, place, error| Answer::Unjudged { id, place, error };
        let item = match item {
            Ok(item) => item,
            Err(error) => return unjudged(place.clone(), place, error),
        };
        let opened = match self.reads_images() {
            true => self.open(item).await,
            false => Ok(self.as_it_is(item).await),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err((id, error)) => return unjudged(id, place, error),
        };
        match self.check(&opened).await {
            Ok(judgement) => Answer::Judged(Box::new(judgement), opened.item),
            Err(error) => unjudged(opened.item.id.clone(), place, error),
        }
    }

    /// Waits for a place if the item takes long, and reads the images that it names by
    /// their paths; or its id and what cannot be read.
    pub(super) async fn open(&self, mut item: Item) -> Result<Opened, (String, String)> {
        let _place = self.place(&item).await;
        if item.has_unopened_images() {
            item = opened(item).await?;
        }
        let item = Arc::new(item);
        Ok(Opened { item, _place })
    }

    /// Waits for a place, and opens nothing.
    pub(super) async fn as_it_is(&self, item: Item) -> Opened {
        Opened {
            _place: self.place(&item).await,
            item: Arc::new(item),
        }
    }

    async fn place(&self, item: &Item) -> Option<OwnedSemaphorePermit> {
        item.part_ids(PartKind::Image).next()?;
        let places = self.image_places.clone();
        places.acquire_owned().await.ok()
    }

    /// Judges it; or why nothing of it can be judged.
    pub(super) async fn check(&self, opened: &Opened) -> Result<Judgement, String> {
        let judgement = self.host.check(&opened.item).await;
        let judgement = judgement.map_err(|error| error.to_string())?;
        match judgement.unseen() {
            Some(error) => Err(error),
            None => Ok(judgement),
        }
    }

    fn reads_images(&self) -> bool {
        let mut detectors = self.host.detectors().into_iter();
        detectors.any(|detector| detector.reads().contains(&PartKind::Image))
    }
}

/// The item with its images read, or its id and why not.
async fn opened(mut item: Item) -> Result<Item, (String, String)> {
    let id = item.id.clone();
    let opening = tokio::task::spawn_blocking(move || {
        open_images(&mut item, &ItemBounds::default()).map(|()| item)
    });
    match opening.await {
        Ok(opened) => opened.map_err(|error| (id, error)),
        Err(error) => Err((id, format!("its images could not be read: {error}"))),
    }
}

/// What the exit code depends on.
#[derive(Default)]
struct Summary {
    strictest: Option<Action>,
    n_unjudged: usize,
}

impl Summary {
    fn add(&mut self, answer: &Answer) {
        match answer {
            Answer::Judged(judgement, _) => {
                self.strictest = self.strictest.max(Some(judgement.verdict.action));
            }
            Answer::Unjudged { .. } => self.n_unjudged += 1,
        }
    }

    fn exit(&self, fail_on: Option<Action>) -> Exit {
        if self.n_unjudged > 0 {
            return Exit::Unjudged;
        }
        match (fail_on, self.strictest) {
            (Some(fail_on), Some(strictest)) if strictest >= fail_on => Exit::Matched,
            _ => Exit::Done,
        }
    }
}

/// A counter on standard error when only that is a terminal: where the answers
/// scroll by, they are the progress.
pub(super) fn progress() -> ProgressBar {
    if !stderr().is_terminal() || stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} judged, {per_sec}") {
        bar.set_style(style);
    }
    bar
}
