//! `trommel plugin` as a user drives it, and the page that shows it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps in vain has failed, as it should"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use trommel::registry::bundled;
use trommel_tests::guests::{component, from_text};
use trommel_tests::onnx::{Dim, Writer};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::{spam_model, workspace};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn trommel(here: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_trommel"))
        .args(arguments)
        .current_dir(here)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("TROMMEL_LOG")
        .env_remove("NO_COLOR")
        .output()
        .expect("the binary is built");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The plugin folder of a bundled detector, as its author has it.
fn plugin_folder(name: &str, below: &Path) {
    let folder = below.join(name);
    fs::create_dir(&folder).unwrap();
    let detectors = bundled::DETECTORS.iter();
    let (_, files) = detectors.clone().find(|(known, _)| *known == name).unwrap();
    for (file, bytes) in *files {
        fs::write(folder.join(file), bytes).unwrap();
    }
}

/// A command line without the shell's finer points: words, and words in `'`.
fn words(line: &str) -> Vec<&str> {
    let pieces = line.split('\'').enumerate();
    let words = pieces.flat_map(|(at, piece)| match at % 2 {
        0 => piece.split_whitespace().collect(),
        _ => vec![piece],
    });
    words.collect()
}

/// Without what differs from machine to machine: keys, digests, how large a compiler makes
/// the component, and what trials find.
fn alike(text: &str) -> String {
    let mut alike = String::new();
    for line in text.lines() {
        // How many rows gain something together is the machine's, too.
        let differs = ["spam-text.wasm ", "  batches "];
        if let Some(start) = differs.iter().find(|start| line.starts_with(**start)) {
            alike.push_str(start);
            alike.push('\n');
            continue;
        }
        let word = |c: char| !c.is_ascii_hexdigit();
        for piece in line.split_inclusive(word) {
            let digits = piece.trim_end_matches(word);
            match digits.len() {
                64 => alike.push_str(&piece.replace(digits, "DIGITS")),
                _ => alike.push_str(piece),
            }
        }
        alike.push('\n');
    }
    alike
}

#[test]
fn the_page_on_packages_shows_what_its_commands_print() {
    let here = tempfile::tempdir().unwrap();
    plugin_folder("spam-text", here.path());
    let file = workspace().join("docs/packages.md");
    let page = fs::read_to_string(&file).unwrap();
    let mut anew = String::new();
    let mut n_run = 0;
    let mut is_session = false;
    for line in page.lines() {
        match line.strip_prefix("$ trommel ") {
            Some(command) if is_session => {
                let ran = trommel(here.path(), &words(command));
                anew.push_str(&format!("{line}\n{}{}", ran.out, ran.err));
                n_run += 1;
            }
            // What the last command printed, then.
            _ if is_session && line != "```" => {}
            _ => anew.push_str(&format!("{line}\n")),
        }
        if line.starts_with("```") {
            is_session = line == "```console";
        }
    }
    assert_eq!(n_run, 7, "the page's session is run");
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&file, anew).unwrap();
        return;
    }
    assert_eq!(alike(&page), alike(&anew), "run `cargo xtask readme`");
}

/// A guest's folder, packed and signed by a new key, all in one place.
fn signed(guest: &PluginFolder) -> tempfile::TempDir {
    let here = tempfile::tempdir().unwrap();
    let plugin = guest.path().to_str().unwrap();
    for arguments in [
        &["plugin", "keygen", "ours"][..],
        &["plugin", "keygen", "theirs"],
        &["plugin", "pack", plugin, "-o", "package.tar"],
        &["plugin", "sign", "--key", "ours.key", "package.tar"],
        &[
            "plugin", "pack", plugin, "-o", "layout", "--layout", "folder",
        ],
    ] {
        let ran = trommel(here.path(), arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
    }
    here
}

fn noop() -> PluginFolder {
    PluginFolder::of_guest("noop", &["content", "log", "results"])
}

#[test]
fn what_is_not_from_whom_it_should_be_is_refused_by_name() {
    let here = signed(&noop());
    let check = ["check", "--text", "hi"];
    for (arguments, says) in [
        (
            &["plugin", "verify", "--trusted", "theirs.pub", "package.tar"][..],
            "is no trusted key",
        ),
        (
            &["plugin", "verify", "--trusted", "ours.key", "package.tar"],
            "is a private key",
        ),
        (&["plugin", "verify", "package.tar"], "--trusted-key <FILE>"),
        (
            &["plugin", "verify", "--trusted", "ours.pub", "layout"],
            "is not signed",
        ),
        (
            &["plugin", "verify", "--trusted", "ours.pub", "nothing"],
            "nothing: no package",
        ),
        (
            &["plugin", "sign", "--key", "ours.pub", "layout"],
            "private key in PEM",
        ),
        (&["plugin", "keygen", "ours"], "never overwritten"),
        (&["plugin", "pack", "layout"], "plugin.toml: is not there"),
        (&["plugin", "inspect", "ours.key"], "not a tar file"),
    ] {
        let ran = trommel(here.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(says), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
    for (package, key, code) in [
        ("package.tar", "ours.pub", 0),
        ("package.tar", "theirs.pub", 2),
        ("layout", "ours.pub", 2),
    ] {
        let trusted = ["--detector", package, "--trusted-key", key];
        let ran = trommel(here.path(), &[&check[..], &trusted].concat());
        assert_eq!(ran.code, code, "{package}, {key}: {}", ran.err);
        let without = ["--detector", package];
        let ran = trommel(here.path(), &[&check[..], &without].concat());
        assert_eq!(ran.code, 0, "{package}: {}", ran.err);
    }
}

fn inspected(here: &Path, arguments: &[&str]) -> Value {
    let json = ["plugin", "inspect", "--format", "json"];
    let ran = trommel(here, &[&json[..], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_package_says_the_same_packed_and_not() {
    let guest = noop();
    let here = signed(&guest);
    let folder = inspected(here.path(), &[guest.path().to_str().unwrap()]);
    let layout = inspected(here.path(), &["layout"]);
    let tar = inspected(here.path(), &["package.tar", "--trusted-key", "ours.pub"]);
    assert_eq!(folder["digest"], Value::Null);
    assert_eq!(layout["digest"], tar["digest"]);
    for key in [
        "name",
        "revision",
        "imports",
        "limits",
        "labels",
        "models",
        "tokenizers",
        "settings",
    ] {
        assert_eq!(folder[key], layout[key], "{key}");
        assert_eq!(folder[key], tar[key], "{key}");
    }
    assert_eq!(folder["incompatible"], Value::Array(vec![]));
    assert_eq!(layout["signatures"], Value::Array(vec![]));
    assert_eq!(tar["signatures"][0]["trusted"], true);
    let unknown = inspected(here.path(), &["package.tar", "--trusted-key", "theirs.pub"]);
    assert_eq!(unknown["signatures"][0]["trusted"], false);
    let [model] = &tar["models"].as_array().unwrap()[..] else {
        panic!("one model: {tar}");
    };
    assert_eq!(model["graph"]["operators"]["Gather"], 1);
    assert_eq!(model["graph"]["inputs"][0]["shape"][0], "batch");
}

/// A guest whose model takes the mean of a batch away from each row.
fn centred() -> PluginFolder {
    let mut writer = Writer::new(18, 5);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(3)]);
    let axes = writer.integers(&[0]);
    let mean = writer.node("ReduceMean", &[&x, &axes], &[]);
    let y = writer.node("Sub", &[&x, &mean], &[]);
    let model = writer.file(&[&y]);
    let guest = noop();
    let digest = |model: &[u8]| trommel_tensor::Digest::of(model).to_string();
    let (spam, own) = (digest(&spam_model()), digest(&model));
    let hexadecimal = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    guest.edit(&hexadecimal(&spam), &hexadecimal(&own));
    guest.write("model.onnx", &model);
    guest
}

#[test]
fn whether_rows_of_several_callers_share_a_batch_is_shown_with_the_model() {
    let here = tempfile::tempdir().unwrap();
    let shown = |folder: &PluginFolder| {
        let path = folder.path().to_str().unwrap();
        let table = trommel(here.path(), &["plugin", "inspect", path]);
        let line = table
            .out
            .lines()
            .find(|line| line.starts_with("  batches "));
        (inspected(here.path(), &[path]), line.unwrap().to_owned())
    };
    let (json, line) = shown(&noop());
    assert_eq!(json["models"][0]["graph"]["why_alone"], Value::Null);
    let batch = &json["batches"][0];
    assert_eq!(batch["model"], "spam");
    assert!(!batch["device"].as_str().unwrap().is_empty(), "{batch}");
    // How many rows gain something is the machine's; alone there is a reason.
    let rows = batch["rows"].as_u64().unwrap();
    assert_eq!(rows > 1, batch["why"].is_null(), "{batch}");
    assert!(
        line.contains(" of up to ") || line.contains(" alone "),
        "{line}"
    );
    let (json, line) = shown(&centred());
    let why = json["models"][0]["graph"]["why_alone"].as_str().unwrap();
    assert!(why.contains("rows cannot be told apart"), "{why}");
    assert_eq!(json["batches"][0]["rows"], 1);
    assert_eq!(json["batches"][0]["why"], why);
    let says = "  batches    none, each row runs alone: ";
    assert!(
        line.starts_with(says) && line.contains("told apart"),
        "{line}"
    );
    let newer = noop();
    newer.edit("contract = \"0.1.0\"", "contract = \"0.2.0\"");
    let (json, line) = shown(&newer);
    assert_eq!(json["batches"], Value::Array(vec![]));
    assert!(line.contains("not known"), "{line}");
}

#[test]
fn a_model_that_asks_for_f16_is_shown_with_what_it_runs_in() {
    let here = tempfile::tempdir().unwrap();
    let folder = noop();
    folder.edit(
        "\n[limits]",
        "precision = \"f16\"\ntolerance = 0.01\n\n[limits]",
    );
    folder.edit(
        "file = \"calibrator.toml\"\n",
        "file = \"calibrator.toml\"\n\n[[golden]]\nname = \"any\"\ntext = \"a\"\nlabel = \"spam\"\nat-least = 0\n",
    );
    let path = folder.path().to_str().unwrap();
    let shown = inspected(here.path(), &[path]);
    let model = &shown["models"][0];
    assert_eq!(model["precision"], "f16", "{shown}");
    assert!((model["tolerance"].as_f64().unwrap() - 0.01).abs() < 1e-6);
    assert_eq!(model["runs_in"]["stored"], "f32", "{shown}");
    let table = trommel(here.path(), &["plugin", "inspect", path]);
    assert!(
        table
            .out
            .contains("precision  f16 within 0.01, runs in f32 here: the CPU device"),
        "{}",
        table.out
    );
}

#[test]
fn a_package_of_another_host_is_shown_with_what_stands_in_its_way() {
    let here = tempfile::tempdir().unwrap();
    let shown = |folder: &PluginFolder| {
        let path = folder.path().to_str().unwrap();
        let table = trommel(here.path(), &["plugin", "inspect", path]);
        assert_eq!(table.code, 0, "{}", table.err);
        (inspected(here.path(), &[path]), table.out)
    };
    let newer = noop();
    newer.edit("contract = \"0.1.0\"", "contract = \"0.2.0\"");
    newer.edit("memory-mib = 8", "memory-mib = 80000");
    let (json, table) = shown(&newer);
    assert_eq!(json["contract"], "0.2.0");
    assert_eq!(json["limits"]["memory_bytes"], 80_000_u64 << 20);
    assert!(table.contains("\nloads here  no: "), "{table}");
    assert!(
        table.contains("speaks contract 0.2.0, this host speaks 0.1.0"),
        "{table}"
    );
    let wasi = from_text(
        r#"(component (import "wasi:cli/environment@0.2.6" (instance (export "get-arguments" (func (result (list string)))))))"#,
    );
    let (json, table) = shown(&PluginFolder::of("noop", &wasi, &["content"]));
    assert_eq!(json["imports"][0]["name"], "wasi:cli/environment@0.2.6");
    assert_eq!(json["imports"][0]["offered"], false);
    assert!(
        table.contains("imports     wasi:cli/environment@0.2.6 (not offered)"),
        "{table}"
    );
    let cut = component("noop");
    let (json, _) = shown(&PluginFolder::of("noop", &cut[..cut.len() / 2], &[]));
    let [reason] = &json["incompatible"].as_array().unwrap()[..] else {
        panic!("one reason: {json}");
    };
    assert!(
        reason.as_str().unwrap().contains("does not compile"),
        "{reason}"
    );
}

#[test]
fn what_a_package_says_cannot_steer_the_terminal() {
    let guest = noop();
    guest.edit(
        "version = \"0.1.0\"",
        "version = \"0.1.0\"\ndescription = \"\\u001b[2J\\u202eevil\"",
    );
    guest.edit("default = \"hello\"", "default = \"\\u001b]0;x\"");
    let path = guest.path().to_path_buf();
    let ran = trommel(&path, &["plugin", "inspect", "."]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        !ran.out.contains('\u{1b}') && !ran.out.contains('\u{202e}'),
        "{:?}",
        ran.out
    );
}

#[test]
fn a_package_is_packed_where_one_is_and_named_for_its_version() {
    let (here, guest) = (tempfile::tempdir().unwrap(), noop());
    let plugin = guest.path().to_str().unwrap();
    let ran = trommel(here.path(), &["plugin", "pack", plugin]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file: PathBuf = here.path().join("noop-0.1.0.tar");
    assert!(file.is_file());
    let again = trommel(here.path(), &["plugin", "pack", plugin]);
    assert_eq!(again.code, 2);
    assert!(
        again
            .err
            .contains("noop-0.1.0.tar: cannot be written: is there already"),
        "{}",
        again.err
    );
}
