//! The drawing of dependencies, held by a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use trommel_tests::workspace;

/// The host's modules, each with the ones below it that it may use. What is not
/// listed for a module is above it or beside it.
const DRAWING: [(&str, &[&str]); 21] = [
    ("blame", &[]),
    ("excerpt", &[]),
    ("summed", &[]),
    ("toml_text", &[]),
    ("revision", &[]),
    ("decode", &["excerpt"]),
    ("tokenizer", &["excerpt"]),
    ("item", &["decode", "excerpt"]),
    ("signal", &["revision"]),
    ("spans", &["revision", "signal"]),
    ("lists", &["excerpt", "item", "revision"]),
    ("calibrator", &["excerpt", "signal", "toml_text"]),
    (
        "policy",
        &[
            "calibrator",
            "excerpt",
            "item",
            "revision",
            "signal",
            "toml_text",
        ],
    ),
    (
        "rollout",
        &[
            "blame",
            "calibrator",
            "excerpt",
            "policy",
            "revision",
            "signal",
            "summed",
            "toml_text",
        ],
    ),
    (
        "engine",
        &[
            "blame",
            "decode",
            "excerpt",
            "item",
            "signal",
            "spans",
            "revision",
            "tokenizer",
        ],
    ),
    (
        "registry",
        &[
            "engine",
            "rollout",
            "excerpt",
            "calibrator",
            "item",
            "lists",
            "signal",
            "revision",
            "tokenizer",
            "toml_text",
        ],
    ),
    (
        "pipeline",
        &[
            "registry",
            "engine",
            "rollout",
            "blame",
            "excerpt",
            "lists",
            "policy",
            "calibrator",
            "item",
            "signal",
            "spans",
            "revision",
        ],
    ),
    (
        "record",
        &[
            "pipeline", "registry", "engine", "rollout", "blame", "excerpt", "policy", "item",
            "lists", "signal", "revision", "summed",
        ],
    ),
    (
        "server",
        &[
            "record", "pipeline", "registry", "rollout", "engine", "excerpt", "item", "lists",
            "policy", "revision", "signal", "spans",
        ],
    ),
    ("cli", &[]),
    ("main", &[]),
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Code without comments: what they speak of is not a dependency.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable source");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn module_of(file: &Path) -> String {
    let below = file
        .strip_prefix(workspace().join("host/src"))
        .expect("a host source");
    let first = below.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that `use crate::…` or `crate::…` paths name.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut named = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            // A group names one module at the start of each of its lines or commas.
            Some(group) => {
                let group = group.split("};").next().unwrap_or(group);
                named.extend(group.split([',', '\n']).map(|part| word(part.trim())));
            }
            None => {
                named.insert(word(rest));
            }
        }
    }
    named
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let modules: BTreeSet<&str> = DRAWING.iter().map(|(module, _)| *module).collect();
    let mut seen = BTreeSet::new();
    for file in rust_files(&workspace().join("host/src")) {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let (_, below) = DRAWING
            .iter()
            .find(|(known, _)| *known == module)
            .unwrap_or_else(|| {
                panic!(
                    "module `{module}` is not in the drawing; add it there and in ARCHITECTURE.md"
                )
            });
        for used in named(&code(&file)) {
            let allowed = used == module
                || !modules.contains(used.as_str())
                || below.contains(&used.as_str());
            assert!(
                allowed,
                "{}: `{module}` uses `{used}`, which does not stand below it",
                file.display()
            );
        }
        seen.insert(module);
    }
    assert_eq!(
        seen.len(),
        modules.len(),
        "the drawing names a module that is gone"
    );
}

#[test]
fn the_pure_modules_do_no_io_and_read_no_clock() {
    let banned = [
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::thread",
        "std::process",
        "std::time",
        "tokio",
        "Instant",
        "SystemTime",
        "wasmtime",
        "trommel_tensor",
        "println!",
        "tracing::",
    ];
    for module in [
        "policy",
        "rollout",
        "blame.rs",
        "item.rs",
        "lists.rs",
        "lists",
        "signal.rs",
        "revision.rs",
        "calibrator.rs",
        "calibrator",
        "../calibration/src",
        "excerpt.rs",
        "summed.rs",
        "toml_text.rs",
    ] {
        let path = workspace().join("host/src").join(module);
        let files = if path.is_dir() {
            rust_files(&path)
        } else {
            vec![path]
        };
        for file in files {
            let code = code(&file);
            for word in banned {
                assert!(
                    !code.contains(word),
                    "{}: a pure module names `{word}`",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn only_the_engine_and_the_bindings_know_wasmtime() {
    for file in rust_files(&workspace().join("host/src")) {
        if module_of(&file) != "engine" {
            assert!(
                !code(&file).contains("wasmtime::"),
                "{}: only `engine` speaks to wasmtime",
                file.display()
            );
        }
    }
}

/// Every package that `package` stands on, itself included.
fn stands_on(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let name_of = |id: &Value| {
        let package = packages.iter().find(|package| package["id"] == *id);
        package.expect("a resolved package is listed")["name"]
            .as_str()
            .expect("a name")
            .to_owned()
    };
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let mut todo: Vec<&Value> = nodes
        .iter()
        .filter(|node| name_of(&node["id"]) == package)
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(node) = todo.pop() {
        if !seen.insert(name_of(&node["id"])) {
            continue;
        }
        for dependency in node["deps"].as_array().expect("deps") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                todo.extend(nodes.iter().find(|node| node["id"] == dependency["pkg"]));
            }
        }
    }
    seen
}

#[test]
fn crates_stand_only_on_what_the_drawing_allows() {
    // What other systems need is not there without a network.
    let rustc = Command::new("rustc").arg("-vV").output();
    let rustc = String::from_utf8(rustc.expect("rustc runs").stdout).expect("UTF-8");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("rustc says what it builds for");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", host])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    for (package, never) in [
        (
            "trommel-tensor",
            &["wasmtime", "trommel", "trommel-sdk", "wit-bindgen"][..],
        ),
        (
            "trommel-calibration",
            &["wasmtime", "trommel", "trommel-tensor", "serde", "toml"],
        ),
        (
            "trommel-sdk",
            &["wasmtime", "trommel", "trommel-tensor", "tract-onnx"],
        ),
        (
            "spam-text",
            &["wasmtime", "trommel", "trommel-tensor", "tract-onnx"],
        ),
        (
            "toxicity-text",
            &[
                "wasmtime",
                "trommel",
                "trommel-tensor",
                "tract-onnx",
                "spam-text",
            ],
        ),
        ("trommel-reading", &["wasmtime", "trommel", "trommel-sdk"]),
        ("trommel-guest-builder", &["wasmtime", "serde", "toml"]),
        ("xtask", &["wasmtime", "tract-onnx", "trommel"]),
        ("trommel", &["wasmtime-wasi", "trommel-sdk"]),
    ] {
        let stands_on = stands_on(&metadata, package);
        assert!(stands_on.contains(package), "{package} is a member");
        for banned in never {
            assert!(!stands_on.contains(*banned), "{package} stands on {banned}");
        }
    }
}

#[test]
fn the_contracts_version_is_the_same_everywhere() {
    let wit = fs::read_to_string(workspace().join("wit/detector.wit")).expect("the contract");
    let package = format!(
        "package trommel:detector@{};",
        trommel::engine::CONTRACT_VERSION
    );
    assert!(
        wit.contains(&package),
        "wit/detector.wit does not say `{package}`"
    );
}

#[test]
fn an_edited_contract_bumps_its_version_or_its_digest_here() {
    let mut names: Vec<PathBuf> = fs::read_dir(workspace().join("wit"))
        .expect("wit")
        .map(|entry| entry.expect("a file").path())
        .collect();
    names.sort();
    // Comments may change freely; what they speak of may not.
    let text: String = names
        .iter()
        .map(|file| code(file))
        .collect::<Vec<_>>()
        .join("\n");
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("contract-{}", trommel::engine::CONTRACT_VERSION), text);
    });
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    for folder in [
        "host",
        "guest-models",
        "tests",
        "benches",
        "fuzz/fuzz_targets",
        "xtask",
    ] {
        for file in rust_files(&workspace().join(folder)) {
            let text = fs::read_to_string(&file).expect("a readable source");
            assert!(
                text.starts_with("//!"),
                "{}: open with `//!` and the module's job",
                file.display()
            );
        }
    }
}
