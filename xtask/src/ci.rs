//! What CI runs, step by step, each named with the time it took.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

use crate::workspace;

/// Runs every check and stops at the first that fails.
pub(crate) fn run() -> Result<(), String> {
    step("formatting", &mut cargo(["fmt", "--all", "--check"]))?;
    step(
        "clippy",
        &mut cargo([
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "tests",
        &mut cargo([
            "test",
            "--release",
            "--workspace",
            "--locked",
            "--lib",
            "--bins",
            "--tests",
        ]),
    )?;
    step(
        "doctests",
        &mut cargo(["test", "--release", "--workspace", "--locked", "--doc"]),
    )?;
    // Named one by one, since the libraries' own bench harness knows no `--test`.
    step(
        "the benches, once each",
        &mut cargo([
            "bench",
            "--workspace",
            "--locked",
            "--bench",
            "call_overhead",
            "--bench",
            "items",
            "--bench",
            "kernel_attention",
            "--bench",
            "kernel_conv",
            "--bench",
            "kernel_matmul",
            "--bench",
            "serve",
            "--bench",
            "session",
            "--",
            "--test",
        ]),
    )?;
    recipe()?;
    deny()
}

/// Trains again and compares, where the data is at hand: the committed model is
/// what the committed recipe makes.
fn recipe() -> Result<(), String> {
    let data = workspace().join("../shared/data");
    let data = std::env::var_os("TROMMEL_DATA").map_or(data, Into::into);
    if !data.join("sms-spam").is_dir() {
        println!(
            "ci: SKIPPED training spam-text again: no data in {} (TROMMEL_DATA names another folder)",
            data.display()
        );
        return Ok(());
    }
    let committed = workspace().join("guest-models/spam-text");
    let out = workspace().join("target/recipe");
    let failed = |error: std::io::Error| format!("comparing with {}: {error}", committed.display());
    std::fs::create_dir_all(&out).map_err(failed)?;
    std::fs::copy(committed.join("MODEL_CARD.md"), out.join("MODEL_CARD.md")).map_err(failed)?;
    crate::train_into("spam-text", &data, &out)?;
    for file in [
        "model.onnx",
        "calibrator.toml",
        "reliability-spam.svg",
        "figures.json",
        "MODEL_CARD.md",
    ] {
        let read = |folder: &std::path::Path| std::fs::read(folder.join(file)).map_err(failed);
        if read(&committed)? != read(&out)? {
            return Err(format!(
                "ci: the recipe makes another {file} than the committed one; run `cargo xtask train spam-text --data {}`",
                data.display()
            ));
        }
    }
    Ok(())
}

fn deny() -> Result<(), String> {
    let there = Command::new("cargo").args(["deny", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!(
            "ci: SKIPPED bans, licences and sources: cargo-deny is not installed (cargo install --locked cargo-deny)"
        );
        return Ok(());
    }
    step(
        "bans, licences, sources",
        &mut cargo([
            "deny",
            "--config",
            ".deny.toml",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
    )?;
    // The advisory database is fetched; where that cannot be, its age is no fault of ours.
    let mut advisories = cargo(["deny", "--config", ".deny.toml", "check", "advisories"]);
    match advisories.output() {
        Ok(output) if output.status.success() => println!("ci: advisories: none"),
        Ok(output) if said(&output.stderr, "failed to fetch advisory database") => {
            println!("ci: SKIPPED advisories: their database cannot be reached from here");
        }
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => return Err(format!("cargo deny cannot start: {error}")),
    }
    Ok(())
}

fn said(output: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(output).contains(words)
}

/// The cargo that runs this, in the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [impl AsRef<OsStr>; N]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).args(arguments);
    command
}

/// Runs one command, its output going where ours goes.
#[expect(
    clippy::disallowed_methods,
    reason = "a step is shown with the time it took"
)]
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), String> {
    println!("ci: {name}");
    let start = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{name}: cannot start: {error}"))?;
    println!("ci: {name}: {} s", start.elapsed().as_secs());
    if status.success() {
        return Ok(());
    }
    Err(format!("ci: {name} failed ({status})"))
}
