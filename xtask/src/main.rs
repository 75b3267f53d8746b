//! Chores that need code. `cargo xtask` lists them.
//!
//! Stands on nothing but the guest builder, so that it is ready at once.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore speaks to who runs it"
)]

mod ci;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use trommel_guest_builder::{Artifact, build};

const USAGE: &str = "\
usage: cargo xtask CHORE

  ci                             what CI runs: fmt, clippy, tests, doctests, deny, benches
  train MODEL --data DIR         trains image-quality, spam-text or toxicity-text again
                                 from the sets below DIR
  tables                         makes the text detectors' table of look-alikes again
  onnx-conformance DIR [--device cpu|gpu] [--json]
                                 runs ONNX's own operator tests, unpacked in DIR
  detector PACKAGE OUT_DIR       builds a guest crate into OUT_DIR/PACKAGE.wasm
  readme                         writes the output in README.md and docs/packages.md anew";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["ci"] => ci::run(),
        ["tables"] => recipe("tables", None, &workspace().join("guest-models/reading")),
        [
            "train",
            model @ ("image-quality" | "spam-text" | "toxicity-text"),
            "--data",
            data,
        ] => train(model, Path::new(data)),
        ["onnx-conformance", arguments @ ..] => conformance(arguments),
        ["detector", package, out_dir] => detector(package, Path::new(out_dir)),
        ["readme"] => ci::step(
            "the output in README.md and docs/packages.md",
            ci::cargo([
                "test",
                "--release",
                "--workspace",
                "--test",
                "cli",
                "shows_what",
                "--",
                // Each writes the file anew with what it printed, and nothing of the others'.
                "--test-threads=1",
            ])
            .env("UPDATE_README", "1"),
        ),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout that this was built from.
fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

fn train(model: &str, data: &Path) -> Result<(), String> {
    let out = workspace().join("guest-models").join(model);
    train_into(model, data, &out)?;
    write_model_digest(&out)
}

/// Runs the recipe; `out` holds the model card whose figures it rewrites.
fn train_into(model: &str, data: &Path, out: &Path) -> Result<(), String> {
    recipe(model, Some(data), out)
}

fn recipe(name: &str, data: Option<&Path>, out: &Path) -> Result<(), String> {
    let mut build = building("trommel-recipes");
    ci::step("building the recipes", &mut build)?;
    let mut recipe = built("trommel-recipes")?;
    recipe.arg(name).arg("--out").arg(out);
    if let Some(data) = data {
        recipe.arg("--data").arg(data);
    }
    ci::step(&format!("recipe {name}"), &mut recipe)
}

/// Passes its arguments on. Standard output is the runner's alone, for it may be
/// read by a program.
fn conformance(arguments: &[&str]) -> Result<(), String> {
    for command in [
        &mut building("trommel-conformance"),
        built("trommel-conformance")?.args(arguments),
    ] {
        let status = command
            .status()
            .map_err(|error| format!("onnx-conformance: cannot start: {error}"))?;
        if !status.success() {
            return Err(format!("onnx-conformance failed ({status})"));
        }
    }
    Ok(())
}

/// The command that builds one binary of the workspace.
fn building(binary: &str) -> Command {
    // With the whole workspace's features, so that the importer is not compiled
    // a second time with fewer.
    ci::cargo(["build", "--release", "--workspace", "--bin", binary])
}

/// A binary that was built beside this one.
fn built(binary: &str) -> Result<Command, String> {
    let here = std::env::current_exe().map_err(|error| format!("where this runs: {error}"))?;
    Ok(Command::new(here.with_file_name(binary)))
}

/// The manifest names the model by its digest, so a new model needs a new line.
fn write_model_digest(plugin: &Path) -> Result<(), String> {
    let model = plugin.join("model.onnx");
    let said = Command::new("sha256sum")
        .arg(&model)
        .output()
        .map_err(|error| {
            format!(
                "sha256sum cannot start: {error}; write the digest of {} into plugin.toml by hand",
                model.display()
            )
        })?;
    let digest = String::from_utf8_lossy(&said.stdout);
    let digest = digest
        .split_whitespace()
        .next()
        .ok_or("sha256sum printed nothing")?;
    let manifest = plugin.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest)
        .map_err(|error| format!("{}: {error}", manifest.display()))?;
    let with_digest = |line: &str| match line.starts_with("sha256 = ") {
        true => format!("sha256 = \"{digest}\"\n"),
        false => format!("{line}\n"),
    };
    let text: String = text.lines().map(with_digest).collect();
    std::fs::write(&manifest, text).map_err(|error| format!("{}: {error}", manifest.display()))
}

fn detector(package: &str, out_dir: &Path) -> Result<(), String> {
    let target_dir = workspace().join("target/guests");
    let files = build(&workspace(), &target_dir, package, Artifact::Library)?;
    std::fs::create_dir_all(out_dir).map_err(|error| format!("{}: {error}", out_dir.display()))?;
    let to = out_dir.join(format!("{package}.wasm"));
    for file in files {
        std::fs::copy(&file, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    println!("{}", to.display());
    Ok(())
}
