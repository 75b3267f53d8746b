//! Does `trommel serve` hold what it promises under load? The server runs pinned to one
//! core, what makes the load to another.
//!
//! `benches/README.md` says what each part asks.

mod admin;
mod arrivals;
mod baseline;
mod canaries;
mod check_cost;
mod http;
mod judged;
mod kills;
mod load;
mod overload;
mod process;
mod report;
mod scene;
mod shadow;
mod swaps;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use report::Section;
use scene::Scene;

/// As the server's own: what is compared must not differ in this.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A part by its letter.
type Part = (char, fn(&Scene) -> io::Result<Section>);

const PARTS: [Part; 6] = [
    ('a', check_cost::measure),
    ('b', swaps::measure),
    ('c', canaries::measure),
    ('d', shadow::measure),
    ('e', kills::measure),
    ('f', overload::measure),
];

const USAGE: &str = "\
cargo bench -p trommel-benches --bench serve -- [--only a,b,…] [--quick] [--write]
  --only    these parts alone
  --quick   once, and short: to see that it runs
  --write   write benches/SERVER.md too";

#[expect(
    clippy::print_stderr,
    reason = "whoever started it reads why it failed"
)]
fn main() -> ExitCode {
    // Cargo adds `--bench`; CI asks every bench to run once with `--test`.
    let arguments = std::env::args().skip(1).filter(|one| one != "--bench");
    let arguments: Vec<String> = arguments.collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the server did nothing wrong.
fn run(arguments: &[String]) -> io::Result<bool> {
    let is_quick = arguments
        .iter()
        .any(|one| one == "--quick" || one == "--test");
    match arguments.first().map(String::as_str) {
        Some(process::SPIN) => process::spin(),
        Some("baseline") => match baseline::serve()? {},
        Some("call-overhead") => {
            baseline::call_overhead(is_quick)?;
            Ok(true)
        }
        _ => measure(arguments, is_quick),
    }
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measure(arguments: &[String], is_quick: bool) -> io::Result<bool> {
    let (mut only, mut writes) = (None, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" | "--test" => {}
            "--write" => writes = true,
            "--only" => only = rest.next(),
            other => {
                return Err(io::Error::other(format!(
                    "`{other}` is no argument\n{USAGE}"
                )));
            }
        }
    }
    let is_wanted = |letter: char| only.is_none_or(|only| only.contains(letter));
    // Asked before this process is pinned, for then it would be told of one.
    process::n_cores();
    process::pin_myself()?;
    let scene = Scene::new(is_quick)?;
    let mut text = report::circumstances(arguments);
    let mut is_good = true;
    for (letter, part) in PARTS {
        if is_wanted(letter) {
            let (start, waited) = (Instant::now(), process::waited()?);
            let mut section = part(&scene)?;
            let waited = process::waited()?.saturating_sub(waited);
            let part_of_it = waited.as_secs_f64() / start.elapsed().as_secs_f64();
            section.tell(
                "the load waited for its core, since others were on it",
                format!("{:.1} % of the time", 100.0 * part_of_it),
            );
            println!("{}", section.text());
            is_good &= !section.is_wrong();
            text = format!("{text}\n{}", section.text());
        }
    }
    if writes {
        let file = trommel_tests::workspace().join("benches/SERVER.md");
        std::fs::write(file, format!("{HEAD}{text}"))?;
    }
    Ok(is_good)
}

const HEAD: &str = "\
# The server under load

Written by the bench `serve`; [README.md](README.md) says what its parts ask. The load is
made on one core and answered on another. Ratios are within one run.

";
