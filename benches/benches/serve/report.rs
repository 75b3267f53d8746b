//! What was found: figures beside their bounds, as a table.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: String,
    /// Empty where there is none.
    pub(crate) bound: String,
    pub(crate) kept: Kept,
}

/// Whether a bound is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There is none.
    NoBound,
    Yes,
    /// It is slower or larger than it should be: a finding, and on a shared machine
    /// perhaps not the server's.
    Missed,
    /// The server did something wrong, on whatever machine.
    Wrong,
}

/// What one part of the bench found.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// The load, in words.
    pub(crate) load: String,
    pub(crate) rows: Vec<Row>,
}

impl Section {
    pub(crate) fn new(title: &'static str, load: String) -> Self {
        Self {
            title,
            load,
            rows: Vec::new(),
        }
    }

    /// A figure for orientation.
    pub(crate) fn tell(&mut self, what: &str, figure: String) {
        self.row(what, figure, String::new(), Kept::NoBound);
    }

    /// A figure that the machine has a part in.
    pub(crate) fn bound(&mut self, what: &str, figure: String, bound: String, is_kept: bool) {
        let kept = if is_kept { Kept::Yes } else { Kept::Missed };
        self.row(what, figure, bound, kept);
    }

    /// Something that must be so on any machine.
    pub(crate) fn must(&mut self, what: &str, figure: String, bound: &str, is_so: bool) {
        let kept = if is_so { Kept::Yes } else { Kept::Wrong };
        self.row(what, figure, bound.to_owned(), kept);
    }

    fn row(&mut self, what: &str, figure: String, bound: String, kept: Kept) {
        self.rows.push(Row {
            what: what.to_owned(),
            figure,
            bound,
            kept,
        });
    }

    pub(crate) fn is_wrong(&self) -> bool {
        self.rows.iter().any(|row| row.kept == Kept::Wrong)
    }

    /// As Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.load);
        text.push_str("| what | figure | bound | kept |\n|---|---|---|---|\n");
        for row in &self.rows {
            let kept = match row.kept {
                Kept::NoBound => "",
                Kept::Yes => "yes",
                Kept::Missed => "**missed**",
                Kept::Wrong => "**wrong**",
            };
            let Row {
                what,
                figure,
                bound,
                ..
            } = row;
            writeln!(text, "| {what} | {figure} | {bound} | {kept} |")
                .expect("a string takes all that is written");
        }
        text
    }
}

/// The machine, the commit and the command, as Markdown.
pub(crate) fn circumstances(arguments: &[String]) -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rows = [
        (
            "machine",
            format!(
                "{} cores of {}, Linux {}",
                super::process::n_cores(),
                model.map_or("a processor without a name", |(_, name)| name),
                kernel.trim()
            ),
        ),
        ("Rust", said("rustc", &["--version"])),
        (
            "commit",
            said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        ),
        ("date", said("date", &["-u", "+%F"])),
        (
            "command",
            format!(
                "`cargo bench -p trommel-benches --bench serve -- {}`",
                arguments.join(" ")
            ),
        ),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (what, is) in rows {
        writeln!(text, "| {what} | {is} |").expect("a string takes all that is written");
    }
    text
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|error| format!("not known ({error})"))
}

/// `part` of all latencies are no longer than this; `part` is within 0..=1.
pub(crate) fn quantile(latencies: &mut [Duration], part: f64) -> Duration {
    latencies.sort_unstable();
    let last = latencies.len().saturating_sub(1);
    // A cast keeps to what there is.
    let at = (part * last as f64).round() as usize;
    latencies.get(at).copied().unwrap_or_default()
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
