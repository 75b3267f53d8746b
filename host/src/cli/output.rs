//! What `check` shows: a table for people, JSON for programs.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;
use trommel::Judgement;
use trommel::excerpt::printable;
use trommel::item::Item;
use trommel::policy::Action;
use trommel::signal::{Evidence, Label, Probability, Signal};

/// How judgements are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON array.
    Json,
    /// One JSON object per line.
    Jsonl,
}

/// One input's answer.
pub(super) enum Answer {
    /// It was judged.
    Judged(Box<Judgement>, Arc<Item>),
    /// It could not be.
    Unjudged {
        /// The item's id where it has one, else where the input came from.
        id: String,
        /// Where the input came from.
        place: String,
        /// Why.
        error: String,
    },
}

/// Writes answers in one format.
pub(super) struct Printer<W> {
    out: W,
    format: Format,
    coloured: bool,
    /// The labels that the policy acts on.
    acted_on: BTreeSet<Label>,
    n_written: usize,
}

#[derive(Serialize)]
struct Unjudged<'a> {
    id: &'a str,
    error: &'a str,
}

/// Width of the evidence shown in a table.
const EXCERPT_CHARS: usize = 48;

/// The probability from which a reason is shown.
const LIKELY: f64 = 0.5;

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, format: Format, coloured: bool, acted_on: BTreeSet<Label>) -> Self {
        Self {
            out,
            format,
            coloured,
            acted_on,
            n_written: 0,
        }
    }

    pub(super) fn write(&mut self, answer: &Answer) -> io::Result<()> {
        let first = self.n_written == 0;
        self.n_written += 1;
        match self.format {
            Format::Table => self.row(answer, first),
            Format::Jsonl => {
                self.object(answer)?;
                self.out.write_all(b"\n")
            }
            Format::Json => {
                self.out.write_all(if first { b"[\n" } else { b",\n" })?;
                self.object(answer)
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            let end: &[u8] = if self.n_written == 0 {
                b"[]\n"
            } else {
                b"\n]\n"
            };
            self.out.write_all(end)?;
        }
        self.out.flush()
    }

    fn object(&mut self, answer: &Answer) -> io::Result<()> {
        let written = match answer {
            Answer::Judged(judgement, _) => serde_json::to_writer(&mut self.out, judgement),
            Answer::Unjudged { id, error, .. } => {
                serde_json::to_writer(&mut self.out, &Unjudged { id, error })
            }
        };
        written.map_err(Into::into)
    }

    fn row(&mut self, answer: &Answer, first: bool) -> io::Result<()> {
        if first {
            self.line(
                Style::new().bold(),
                "VERDICT",
                &columns("LABEL", "ITEM", "EVIDENCE"),
            )?;
        }
        match answer {
            Answer::Unjudged { id, error, .. } => {
                let row = columns("", &shown(id), &shown(error));
                self.line(AnsiColor::Magenta.on_default(), "?", &row)
            }
            Answer::Judged(judgement, item) => self.judged(judgement, item),
        }
    }

    fn judged(&mut self, judgement: &Judgement, item: &Item) -> io::Result<()> {
        let strongest = self.strongest(judgement);
        let label = strongest.map_or_else(String::new, |signal| {
            format!("{} {:.2}", signal.label, signal.probability.get())
        });
        let evidence =
            strongest.map_or_else(String::new, |signal| excerpt(signal, judgement, item));
        let action = judgement.verdict.action;
        let row = columns(&label, &shown(&judgement.id), &evidence);
        self.line(style(action), action.as_str(), &row)?;
        for degraded in &judgement.degraded {
            let what = format!(
                "{} gave no answer: {}",
                degraded.detector,
                shown(&degraded.reason)
            );
            self.line(AnsiColor::Yellow.on_default(), "", &what)?;
        }
        for unjudged in &judgement.unjudged {
            let what = format!("{}: {}", shown(&unjudged.name), unjudged.reason);
            self.line(AnsiColor::Yellow.on_default(), "", &what)?;
        }
        Ok(())
    }

    /// The signal that tells most: of a label that a strictest rule is about, or else of
    /// one that the policy acts on, if there is one.
    fn strongest<'a>(&self, judgement: &'a Judgement) -> Option<&'a Signal> {
        let verdict = &judgement.verdict;
        let rank = |signal: &&Signal| {
            let mut strictest = verdict
                .rules
                .iter()
                .filter(|rule| rule.action == verdict.action);
            let decided = strictest.any(|rule| rule.labels.contains(&signal.label));
            let is_acted_on = self.acted_on.contains(&signal.label);
            ((decided, is_acted_on), signal.probability)
        };
        let order = |a: &((bool, bool), Probability), b: &((bool, bool), Probability)| {
            a.0.cmp(&b.0).then(a.1.get().total_cmp(&b.1.get()))
        };
        let signals = judgement.signals.iter();
        signals.max_by(|a, b| order(&rank(a), &rank(b)))
    }

    /// The first column in its style, then the rest.
    fn line(&mut self, style: Style, first: &str, rest: &str) -> io::Result<()> {
        let row = if self.coloured {
            format!("{style}{first:<7}{style:#}  {rest}")
        } else {
            format!("{first:<7}  {rest}")
        };
        writeln!(self.out, "{}", row.trim_end())
    }
}

fn columns(label: &str, item: &str, evidence: &str) -> String {
    format!("{label:<16}  {item:<28}  {evidence}")
}

fn style(action: Action) -> Style {
    match action {
        Action::Allow => AnsiColor::Green.on_default(),
        Action::Tag => AnsiColor::Cyan.on_default(),
        Action::Limit => AnsiColor::Blue.on_default(),
        Action::Review => AnsiColor::Yellow.on_default(),
        Action::Block => AnsiColor::Red.on_default().bold(),
    }
}

/// The words that the evidence points at, strongest first; where it points at none,
/// the same detector's other likely labels, which are its reasons.
fn excerpt(signal: &Signal, judgement: &Judgement, item: &Item) -> String {
    let mut words: Vec<String> = signal
        .evidence
        .iter()
        .filter_map(|evidence| words_of(evidence, item))
        .collect();
    if words.is_empty() && signal.probability.get() >= LIKELY {
        words = reasons(signal, judgement);
    }
    let words = words.join(" · ");
    match words.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

fn words_of(evidence: &Evidence, item: &Item) -> Option<String> {
    match evidence {
        Evidence::Span { part, start, end } => {
            let text = item.text(*part)?;
            text.get(*start as usize..*end as usize).map(shown)
        }
        Evidence::Note { text } => Some(shown(text)),
        Evidence::Region { .. } => None,
    }
}

fn reasons(signal: &Signal, judgement: &Judgement) -> Vec<String> {
    let others = judgement.signals.iter().filter(|other| {
        other.detector == signal.detector
            && other.label != signal.label
            && other.probability.get() >= LIKELY
    });
    let mut others: Vec<&Signal> = others.collect();
    others.sort_by(|a, b| b.probability.get().total_cmp(&a.probability.get()));
    let reason = |other: &&Signal| format!("{} {:.2}", other.label, other.probability.get());
    others.iter().map(reason).collect()
}

/// Safe on a terminal: whoever wrote an item chose its characters.
pub(super) fn shown(text: &str) -> String {
    printable(text, 1000)
}
