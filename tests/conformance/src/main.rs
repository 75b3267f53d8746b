//! `trommel-conformance DIR --device cpu|gpu [--json]`; `cargo xtask
//! onnx-conformance` builds and runs it.

#![expect(clippy::print_stderr, reason = "it speaks to who runs it")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use trommel_conformance::{Kind, Outcome, Status, Target, holds_suites, list, run};

const USAGE: &str = "\
usage: trommel-conformance DIR [--device cpu|gpu] [--checked-shaders] [--json]

  DIR       the unpacked tests: folders node, simple, pytorch-operator, light
  --device  where they run; cpu unless said otherwise
  --checked-shaders
            shaders check their own indices too
  --json    the outcome of every test on standard output, and nothing else there";

struct Arguments {
    folder: PathBuf,
    device: Kind,
    checked_shaders: bool,
    json: bool,
}

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| conform(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut folder, mut device) = (None, Kind::Cpu);
        let (mut checked_shaders, mut json) = (false, false);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => json = true,
                "--checked-shaders" => checked_shaders = true,
                "--device" => device = arguments.next().ok_or(USAGE)?.parse()?,
                option if option.starts_with('-') => return Err(USAGE.to_owned()),
                _ if folder.is_some() => return Err(USAGE.to_owned()),
                path => folder = Some(PathBuf::from(path)),
            }
        }
        Ok(Self {
            folder: folder.ok_or(USAGE)?,
            device,
            checked_shaders,
            json,
        })
    }
}

fn conform(arguments: &Arguments) -> Result<(), String> {
    let folder = arguments.folder.display();
    if !holds_suites(&arguments.folder) {
        return Err(format!(
            "{folder} holds no suite of tests; name the folder that the archive unpacks to"
        ));
    }
    let target = Target::new(arguments.device, arguments.checked_shaders)?;
    // What panics is caught and answered as an error; it is a test's reason then.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| error.to_string())?;
    let mut outcomes = Vec::new();
    for test in list(&arguments.folder)? {
        outcomes.push(runtime.block_on(run(&test, &target))?);
    }
    if outcomes.is_empty() {
        return Err(format!("{folder} holds no test"));
    }
    if arguments.json {
        let said = json!({ "tests": outcomes });
        writeln!(std::io::stdout(), "{said}").map_err(|error| error.to_string())?;
    } else {
        print_misses(&outcomes);
    }
    let core: Vec<_> = outcomes.iter().filter(|it| it.is_core).collect();
    let all: Vec<_> = outcomes.iter().collect();
    let device = arguments.device;
    eprintln!("{device}, f32, i32, i64 and bool only: {}", counts(&core));
    eprintln!("{device}, all: {}", counts(&all));
    Ok(())
}

fn print_misses(outcomes: &[Outcome]) {
    for outcome in outcomes.iter().filter(|it| it.status != Status::Pass) {
        let Outcome {
            suite,
            name,
            status,
            reason,
            ..
        } = outcome;
        eprintln!("{status} {suite}/{name}: {reason}");
    }
}

fn counts(outcomes: &[&Outcome]) -> String {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.status).or_insert(0) += 1;
    }
    let of = |status| counts.get(&status).copied().unwrap_or(0);
    format!(
        "{} tests, {} pass, {} fail, {} unsupported",
        outcomes.len(),
        of(Status::Pass),
        of(Status::Fail),
        of(Status::Unsupported)
    )
}
