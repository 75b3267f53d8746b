//! What `replay` shows: a table for people, JSON lines for programs.

use std::io::{self, BufWriter, Stdout, Write as _, stderr, stdout};

use clap::ValueEnum;
use serde_json::json;
use trommel::policy::Action;
use trommel::record::{Fate, Flip, Replay};

use super::super::output::shown;

/// How flips are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// For people: counts and examples.
    Table,
    /// One JSON object per flip, and one of all counts at the end.
    Jsonl,
}

/// What was seen beside the records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Lines that are no records.
    pub(super) n_bad_lines: u64,
    /// Items that were judged while a detector gave no answer.
    pub(super) n_degraded: u64,
    /// Whether the items were taken from the records.
    pub(super) is_stored: bool,
}

/// Examples of one pair in a table.
const EXAMPLES: usize = 4;

/// Records that are named one by one in a table.
const MAX_NAMED: usize = 20;

/// Writes in one format.
pub(super) struct Printer {
    out: BufWriter<Stdout>,
    format: Format,
}

impl Printer {
    pub(super) fn new(format: Format) -> Self {
        let out = BufWriter::new(stdout());
        Self { out, format }
    }

    pub(super) fn flips(&mut self, flips: &[Flip]) -> io::Result<()> {
        if self.format == Format::Table {
            return Ok(());
        }
        for flip in flips {
            let Flip {
                id,
                given,
                now,
                labels,
            } = flip;
            let line = json!({ "id": id, "given": given, "now": now, "labels": labels });
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, replay: &Replay, seen: Seen) -> io::Result<()> {
        match self.format {
            Format::Table => self.table(replay, seen)?,
            Format::Jsonl => self.summary(replay, seen)?,
        }
        self.out.flush()
    }

    fn table(&mut self, replay: &Replay, seen: Seen) -> io::Result<()> {
        let missing = match seen.is_stored {
            true => "without content",
            false => "missing",
        };
        let fates = [
            (Fate::Missing, missing),
            (Fate::OtherContent, "with other content"),
            (Fate::Unjudged, "not judged"),
        ];
        let all = replay.comparison().all();
        self.count("records", replay.n_records() as u64)?;
        self.count("judged again", all.n_items())?;
        for (fate, words) in fates {
            self.unless_none(words, replay.with_fate(fate).count() as u64)?;
        }
        self.unless_none("lines of no record", seen.n_bad_lines)?;
        self.unless_none("degraded here", seen.n_degraded)?;
        self.count("verdicts that change", replay.n_flips())?;
        self.count("  to a stricter one", all.n_stricter())?;
        self.count("  to a milder one", all.n_milder())?;
        self.pairs(replay)?;
        self.labels(replay)?;
        for (fate, words) in fates {
            let mut ids = replay.with_fate(fate);
            for id in ids.by_ref().take(MAX_NAMED) {
                writeln!(stderr(), "{words}: {}", shown(&id))?;
            }
            let n_more = ids.count();
            if n_more > 0 {
                writeln!(stderr(), "{words}: {n_more} more")?;
            }
        }
        Ok(())
    }

    fn count(&mut self, words: &str, n: u64) -> io::Result<()> {
        writeln!(self.out, "{words:<22}  {n:>7}")
    }

    fn unless_none(&mut self, words: &str, n: u64) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => self.count(words, n),
        }
    }

    fn pairs(&mut self, replay: &Replay) -> io::Result<()> {
        let comparison = replay.comparison();
        let row = |given: &str, now: &str, n: &str, examples: &str| {
            format!("{given:<7}  {now:<7}  {n:>9}  {examples}")
        };
        writeln!(self.out, "\n{}", row("GIVEN", "NOW", "RECORDS", "EXAMPLES"))?;
        for (given, now) in pairs() {
            let n = comparison.all().count(given, now);
            if n > 0 {
                let examples = comparison.examples(given, now).take(EXAMPLES);
                let examples: Vec<String> = examples.map(shown).collect();
                let (given, now) = (given.as_str(), now.as_str());
                let row = row(given, now, &n.to_string(), &examples.join(" · "));
                writeln!(self.out, "{}", row.trim_end())?;
            }
        }
        Ok(())
    }

    fn labels(&mut self, replay: &Replay) -> io::Result<()> {
        let comparison = replay.comparison();
        if comparison.labels().next().is_none() {
            return Ok(());
        }
        let row = |label: &str, n: &str, stricter: &str, milder: &str| {
            format!("{label:<28}  {n:>9}  {stricter:>9}  {milder:>9}")
        };
        writeln!(
            self.out,
            "\n{}",
            row("LABEL", "RECORDS", "STRICTER", "MILDER")
        )?;
        for (label, flips) in comparison.labels() {
            let (n, stricter, milder) = (flips.n_items(), flips.n_stricter(), flips.n_milder());
            let label = shown(label.as_str());
            let row = row(
                &label,
                &n.to_string(),
                &stricter.to_string(),
                &milder.to_string(),
            );
            writeln!(self.out, "{row}")?;
        }
        let (n_left_out, _) = comparison.n_left_out();
        if n_left_out > 0 {
            writeln!(
                self.out,
                "{n_left_out} records differ in labels beyond those"
            )?;
        }
        Ok(())
    }

    fn summary(&mut self, replay: &Replay, seen: Seen) -> io::Result<()> {
        let missing = match seen.is_stored {
            true => "the record holds no content",
            false => "no item has this id and content",
        };
        for (fate, error) in [
            (Fate::Missing, missing),
            (Fate::OtherContent, "the content is not what was judged"),
            (Fate::Unjudged, "it could not be judged"),
        ] {
            for id in replay.with_fate(fate) {
                writeln!(self.out, "{}", json!({ "id": id, "error": error }))?;
            }
        }
        let comparison = replay.comparison();
        let pairs = pairs().filter_map(|(given, now)| {
            let n = comparison.all().count(given, now);
            (n > 0).then(|| json!({ "given": given, "now": now, "records": n }))
        });
        let labels = comparison.labels().map(|(label, flips)| {
            json!({
                "label": label,
                "records": flips.n_items(),
                "stricter": flips.n_stricter(),
                "milder": flips.n_milder(),
            })
        });
        let n_of = |fate| replay.with_fate(fate).count();
        let summary = json!({
            "summary": {
                "records": replay.n_records(),
                "compared": comparison.all().n_items(),
                "flips": replay.n_flips(),
                "stricter": comparison.all().n_stricter(),
                "milder": comparison.all().n_milder(),
                "missing": n_of(Fate::Missing),
                "other_content": n_of(Fate::OtherContent),
                "unjudged": n_of(Fate::Unjudged),
                "bad_lines": seen.n_bad_lines,
                "degraded": seen.n_degraded,
                "pairs": pairs.collect::<Vec<_>>(),
                "labels": labels.collect::<Vec<_>>(),
            }
        });
        writeln!(self.out, "{summary}")
    }
}

fn pairs() -> impl Iterator<Item = (Action, Action)> {
    let all = Action::ALL.into_iter();
    all.flat_map(|given| Action::ALL.map(|now| (given, now)))
}
