//! Builds guest crates of this workspace into components.
//!
//! Called from build scripts (the bundled detectors, the tests' guests) and from
//! `xtask`. Runs a nested cargo, so it stands on nothing but `std`: a build
//! script should be ready at once. It never touches the outer build's target
//! directory, which cargo holds locked while a build script runs.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The only target guests are built for: no WASI, so no import beyond the contract.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What the outer build may have set that would leak into the guests: flags of
/// the native target, and wrappers such as clippy's driver.
const CLEANED: [&str; 9] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
];

/// Which artifacts of a package become components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifact<'a> {
    /// The package's own `cdylib`.
    Library,
    /// These examples, each a `cdylib`.
    Examples(&'a [&'a str]),
}

/// Builds `artifact` of `package` and answers the component files, in order.
///
/// `target_dir` is the nested build's own; builds that share one wait for each
/// other and compile shared dependencies once. Errors say what to do.
pub fn build(
    workspace: &Path,
    target_dir: &Path,
    package: &str,
    artifact: Artifact<'_>,
) -> Result<Vec<PathBuf>, String> {
    ensure_target_installed()?;
    let mut cargo = nested_cargo(workspace, target_dir);
    cargo.args(["--package", package]);
    let out = target_dir.join(TARGET).join("guest");
    let files = match artifact {
        Artifact::Library => {
            cargo.arg("--lib");
            vec![out.join(file_name(package))]
        }
        Artifact::Examples(names) => {
            for name in names {
                cargo.args(["--example", name]);
            }
            let file = |name: &&str| out.join("examples").join(file_name(name));
            names.iter().map(file).collect()
        }
    };
    run(&mut cargo, &format!("building guest package `{package}`"))?;
    Ok(files)
}

/// What every guest's build stands on, below the workspace.
const SHARED_SOURCES: [&str; 6] = [
    "wit",
    "Cargo.toml",
    "Cargo.lock",
    "guest-models/sdk",
    "guest-models/reading",
    "guest-models/builder",
];

/// Tells cargo to run the build script again when what every guest stands on
/// changes, or one of the guests' own `sources`, named below the workspace.
#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
pub fn rerun_if_changed(workspace: &Path, sources: &[&str]) {
    for source in SHARED_SOURCES.iter().chain(sources) {
        let source = workspace.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
    }
}

/// The nested target directory beside the outer one, found from a build
/// script's `OUT_DIR`, so that all build scripts of a checkout share it.
pub fn shared_target_dir(out_dir: &Path) -> PathBuf {
    // OUT_DIR is <target>/<profile>/build/<package>-<hash>/out.
    out_dir
        .ancestors()
        .nth(4)
        .map_or_else(|| out_dir.join("guests"), |target| target.join("guests"))
}

/// Cargo names artifacts after crates, which have no hyphens.
fn file_name(target: &str) -> String {
    format!("{}.wasm", target.replace('-', "_"))
}

fn nested_cargo(workspace: &Path, target_dir: &Path) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(workspace);
    for name in CLEANED {
        command.env_remove(name);
    }
    // The linker shipped with the toolchain makes a component of the module.
    command.env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
        "wasm-component-ld",
    );
    command.env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
        guest_flags(workspace),
    );
    command.args([
        "build",
        "--locked",
        "--profile",
        "guest",
        "--target",
        TARGET,
    ]);
    command.arg("--target-dir").arg(target_dir);
    command
}

/// A small stack, since the host resets the memory of every call and with
/// Rust's default of 1 MiB that costs more than the call; and no paths of this
/// machine, so that the same source gives the same component everywhere.
fn guest_flags(workspace: &Path) -> String {
    let mut flags = String::from("-Clink-arg=-zstack-size=65536");
    let mut remap = |from: &Path, to: &str| {
        // Cargo splits this variable at spaces; a path that holds one stays.
        if !from.to_string_lossy().contains(' ') {
            flags.push_str(&format!(" --remap-path-prefix={}={to}", from.display()));
        }
    };
    remap(workspace, ".");
    if let Some(home) = cargo_home() {
        remap(&home.join("registry/src"), "registry");
    }
    flags
}

fn cargo_home() -> Option<PathBuf> {
    let from_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(from_home)
}

/// Adds the wasm target to the toolchain in use where it is missing, and says so.
#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn ensure_target_installed() -> Result<(), String> {
    if target_is_installed() {
        return Ok(());
    }
    println!(
        "cargo::warning=adding {TARGET} to the Rust toolchain in use: rustup target add {TARGET}"
    );
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        rustup.arg("--toolchain").arg(toolchain);
    }
    run(&mut rustup, "adding the wasm target with rustup").map_err(|error| {
        format!("{error}\nthe detectors need the Rust target {TARGET}; install it (with rustup: `rustup target add {TARGET}`) and build again")
    })
}

fn target_is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let Ok(output) = output else { return false };
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success()
        && std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

fn run(command: &mut Command, doing: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{doing}: cannot start `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{doing} failed ({}):\n{said}", output.status))
}
