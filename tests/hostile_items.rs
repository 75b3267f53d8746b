//! Hostile items through the command: each gets its verdict or its error, the good
//! ones between them are judged, and memory stays bounded.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that unwraps in vain has failed, as it should, and shows what it measured"
)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use trommel_tests::hostile_items::{Outcome, all};
use trommel_tests::plugin::PluginFolder;

/// What a run over all of them may hold at its peak.
const MAX_KIB: i64 = 1_000_000;

#[test]
fn each_hostile_item_has_its_outcome_and_all_together_fit_into_a_gigabyte() {
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = BTreeMap::new();
    for item in all() {
        fs::write(folder.path().join(item.name), &item.bytes).unwrap();
        outcomes.insert(item.name, item.outcome);
    }
    let n_hostile = outcomes.len();
    // Good items among them: the next one is judged as if nothing had been.
    for name in ["a-good.txt", "m-good.txt", "z-good.txt"] {
        fs::write(folder.path().join(name), "see you at seven").unwrap();
        outcomes.insert(name, Outcome::Judged);
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();

    let imports = ["content", "images", "log", "results", "tensors"];
    let detector = PluginFolder::of_guest("looks", &imports).reading("[\"image\", \"text\"]");
    // However slow the machine is.
    detector.edit("deadline-ms = 200", "deadline-ms = 10000");
    let command = Command::new(env!("CARGO_BIN_EXE_trommel"))
        .args([
            "check",
            "--format",
            "jsonl",
            "--deadline-ms",
            "60000",
            "--detector",
        ])
        .args([detector.path(), folder.path()])
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(3), "{command:?}");
    let prefix = format!("{}/", folder.path().display());
    let (mut n_answers, mut wrong) = (0, Vec::new());
    for line in String::from_utf8(command.stdout).unwrap().lines() {
        n_answers += 1;
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = answer["id"].as_str().unwrap();
        // A JSON item goes by its id, which is its file's name, once it is read.
        let outcome = &outcomes[id.strip_prefix(&prefix).unwrap_or(id)];
        let is_so = match outcome {
            Outcome::Judged => answer["verdict"].is_string(),
            Outcome::Refused(why) => {
                let error = answer["error"].as_str();
                error.is_some_and(|error| error.contains(why))
            }
        };
        if !is_so {
            wrong.push(format!("{answer} is not {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(n_answers, outcomes.len());
    let peak = peak_kib_of_children();
    println!("{n_hostile} hostile items: peak memory {} MiB", peak >> 10);
    assert!(peak < MAX_KIB, "{peak} KiB");
}

/// The most that any child which has ended held at once.
#[expect(unsafe_code, reason = "the system's own call")]
fn peak_kib_of_children() -> i64 {
    // SAFETY: all numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is there to be written.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(answer, 0);
    usage.ru_maxrss
}
