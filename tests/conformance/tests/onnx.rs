//! ONNX's own tests, where they are at hand. On the CPU each passes, or is listed in
//! `tests/cases/onnx.toml` with the reason; on a GPU nothing that the plan claims fails
//! unless the CPU is listed to fail on it too.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use trommel_conformance::{Kind, Outcome, Status, Target, list, run};

const ARCHIVE: &str = "../shared/conformance/onnx-node-tests/onnx-tests-dev.tar.xz";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    n_pass: usize,
    n_pass_on_a_gpu: usize,
    miss: Vec<Miss>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Miss {
    /// For who reads the list.
    #[serde(rename = "why")]
    _why: String,
    status: String,
    says: String,
    tests: Vec<String>,
}

/// The archive's tests, unpacked, or why they cannot be had.
fn unpacked() -> Result<tempfile::TempDir, String> {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(ARCHIVE);
    if !archive.is_file() {
        return Err(format!("there is no {ARCHIVE}"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let tar = Command::new("tar")
        .arg("-xJf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .output();
    match tar {
        Ok(said) if said.status.success() => Ok(folder),
        Ok(said) => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
        Err(error) => Err(format!("tar cannot start: {error}")),
    }
}

/// Says so where it is seen: what a test prints by `eprintln!` is shown only if it fails.
fn skipped(what: &str, why: &str) {
    writeln!(std::io::stderr(), "skipped {what}: {why}").expect("standard error is open");
}

/// The tests and the list of those that do not pass; none, with the reason printed, where
/// the tests cannot be had.
fn at_hand() -> Option<(tempfile::TempDir, Listed)> {
    let folder = unpacked().map_err(|why| skipped("ONNX's tests", &why));
    let listed = toml::from_str(include_str!("../../cases/onnx.toml")).expect("a list");
    Some((folder.ok()?, listed))
}

fn outcomes(folder: &tempfile::TempDir, target: &Target) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let tests = list(folder.path()).expect("tests");
    let outcomes = tests.iter().map(|test| runtime.block_on(run(test, target)));
    outcomes
        .collect::<Result<_, _>>()
        .expect("files that can be read")
}

#[test]
fn every_onnx_test_passes_or_is_listed_with_its_reason() {
    let Some((folder, listed)) = at_hand() else {
        return;
    };
    let mut misses = BTreeMap::new();
    for miss in &listed.miss {
        misses.extend(miss.tests.iter().map(|test| (test.clone(), miss)));
    }
    let mut n_pass = 0;
    let mut unexpected = Vec::new();
    let target = Target::new(Kind::Cpu, true).expect("a CPU");
    for outcome in outcomes(&folder, &target) {
        let test = format!("{}/{}", outcome.suite, outcome.name);
        let is_as_listed = match (misses.remove(&test), outcome.status) {
            (None, status) => status == Status::Pass,
            (Some(miss), status) => {
                miss.status == status.to_string() && outcome.reason.contains(&miss.says)
            }
        };
        n_pass += usize::from(outcome.status == Status::Pass);
        if !is_as_listed {
            unexpected.push(format!("{test}: {} {}", outcome.status, outcome.reason));
        }
    }
    unexpected.extend(
        misses
            .into_keys()
            .map(|test| format!("{test}: is not there")),
    );
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert_eq!(n_pass, listed.n_pass, "n_pass in tests/cases/onnx.toml");
}

#[test]
fn nothing_that_a_plan_claims_fails_on_a_gpu() {
    let Some((folder, listed)) = at_hand() else {
        return;
    };
    let fails = listed.miss.iter().filter(|miss| miss.status == "fail");
    let fails: Vec<&String> = fails.flat_map(|miss| &miss.tests).collect();
    for checked_shaders in [true, false] {
        let target = match Target::new(Kind::Gpu, checked_shaders) {
            Ok(target) => target,
            Err(why) => {
                let required = std::env::var_os("TROMMEL_GPU_REQUIRED").is_some();
                assert!(!required, "TROMMEL_GPU_REQUIRED is set: {why}");
                skipped("ONNX's tests on a GPU", &why);
                return;
            }
        };
        let outcomes = outcomes(&folder, &target);
        let failed = outcomes.iter().filter(|it| it.status == Status::Fail);
        let failed: Vec<String> = failed
            .map(|it| (format!("{}/{}", it.suite, it.name), &it.reason))
            .filter(|(test, _)| !fails.contains(&test))
            .map(|(test, reason)| format!("{test}: {reason}"))
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        let n_pass = outcomes
            .iter()
            .filter(|it| it.status == Status::Pass)
            .count();
        assert_eq!(n_pass, listed.n_pass_on_a_gpu, "in tests/cases/onnx.toml");
    }
}
