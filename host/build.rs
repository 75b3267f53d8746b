//! Builds the bundled detectors into components for `registry::bundled` to
//! include. Packagers who build without a wasm toolchain point
//! `TROMMEL_PREBUILT_DETECTORS` at a folder of `<detector>.wasm` files.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use trommel_guest_builder::{Artifact, build, rerun_if_changed, shared_target_dir};

const BUNDLED: [&str; 3] = ["spam-text", "image-quality", "toxicity-text"];
const PREBUILT: &str = "TROMMEL_PREBUILT_DETECTORS";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    match components() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn components() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set; run cargo")?);
    for detector in BUNDLED {
        let component = match env::var_os(PREBUILT) {
            Some(directory) => prebuilt(Path::new(&directory), detector)?,
            None => built(&out_dir, detector)?,
        };
        let to = out_dir.join(format!("{detector}.wasm"));
        std::fs::copy(&component, &to).map_err(|error| {
            format!(
                "copying {} to {}: {error}",
                component.display(),
                to.display()
            )
        })?;
    }
    Ok(())
}

fn prebuilt(directory: &Path, detector: &str) -> Result<PathBuf, String> {
    let component = directory.join(format!("{detector}.wasm"));
    println!("cargo::rerun-if-changed={}", component.display());
    if component.is_file() {
        return Ok(component);
    }
    Err(format!(
        "{PREBUILT} is set, but {} is not there; put the component there or unset the variable",
        component.display()
    ))
}

fn built(out_dir: &Path, detector: &str) -> Result<PathBuf, String> {
    let manifest_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let workspace = manifest_dir
        .parent()
        .ok_or("the host crate stands in its workspace")?;
    let own = ["src", "Cargo.toml"].map(|source| format!("guest-models/{detector}/{source}"));
    rerun_if_changed(workspace, &own.each_ref().map(String::as_str));
    let mut files = build(
        workspace,
        &shared_target_dir(out_dir),
        detector,
        Artifact::Library,
    )?;
    files
        .pop()
        .ok_or_else(|| format!("guest package `{detector}` built no component"))
}
