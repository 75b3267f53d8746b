//! `trommel check` as a user drives it: arguments, input, output, exit codes.

mod compiling;
mod packaging;
mod plans;
mod replaying;
mod rolling_out;
mod serving;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use trommel_tests::plugin::PluginFolder;
use trommel_tests::workspace;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.out.lines().map(parse).collect()
    }
}

fn trommel(arguments: &[&str], input: &str) -> Ran {
    trommel_with(arguments, input, &cache())
}

/// Compiled once for all runs from one target directory.
fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn trommel_with(arguments: &[&str], input: &str, cache: &Path) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_trommel"))
        .args(arguments)
        .current_dir(workspace())
        .env("XDG_CACHE_HOME", cache)
        .env_remove("TROMMEL_LOG")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // On a thread of its own: both pipes may be full at once.
    let writing = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("the writer ends");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn the_readme_shows_what_check_prints() {
    let ran = trommel(&["check", "samples"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file = workspace().join("README.md");
    let readme = fs::read_to_string(&file).expect("the README");
    let command = "$ cargo run --release -- check samples\n";
    let start = readme.find(command).expect("the README shows the command") + command.len();
    let end = start + readme[start..].find("```").expect("a closed block");
    if std::env::var_os("UPDATE_README").is_some() {
        let anew = format!("{}{}{}", &readme[..start], ran.out, &readme[end..]);
        fs::write(&file, anew).expect("the README can be written");
        return;
    }
    assert_eq!(&readme[start..end], ran.out, "run `cargo xtask readme`");
}

#[test]
fn json_lines_are_answered_one_by_one_in_their_order() {
    let mut input = String::new();
    for n in 0..2000 {
        let text = if n % 3 == 0 {
            "WINNER! Claim your free prize now, call 09061701461"
        } else {
            "see you at seven"
        };
        input.push_str(&format!("{{\"id\":\"{n}\",\"text\":\"{text}\"}}\n"));
    }
    let ran = trommel(&["check", "-", "--format", "jsonl"], &input);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let objects = ran.objects();
    assert_eq!(objects.len(), 2000);
    for (n, object) in objects.iter().enumerate() {
        assert_eq!(object["id"], n.to_string());
        let verdict = if n % 3 == 0 { "block" } else { "allow" };
        assert_eq!(object["verdict"], verdict, "{object}");
    }
}

#[test]
fn an_answer_holds_all_that_led_to_it() {
    let ran = trommel(
        &[
            "check",
            "--format",
            "jsonl",
            "--text",
            "WINNER! Claim your free prize now, call 09061701461",
        ],
        "",
    );
    let object = &ran.objects()[0];
    let rule = &object["rules"][0];
    assert!(
        rule["name"].is_string() && rule["reason"].is_string(),
        "{object}"
    );
    let signal = &object["signals"][0];
    assert_eq!(
        (signal["detector"].as_str(), signal["label"].as_str()),
        (Some("spam-text"), Some("spam"))
    );
    assert!(
        signal["revision"].as_str().unwrap().starts_with("sha256:"),
        "{object}"
    );
    assert!(
        signal["score"].is_number() && signal["probability"].as_f64().unwrap() > 0.98,
        "{object}"
    );
    let calibrator = signal["calibrator"].as_str().unwrap();
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    assert!(
        calibrator.len() == 12 && calibrator.bytes().all(is_digit),
        "{object}"
    );
    assert_eq!(signal["evidence"][0]["kind"], "span");
    assert_eq!(object["lineup"]["spam-text"], signal["revision"]);
    assert_eq!(object["degraded"], Value::Array(Vec::new()));
    assert!(
        object["timings_us"]["total"].as_u64()
            >= object["timings_us"]["detectors"]["spam-text"].as_u64()
    );
}

#[test]
fn bad_lines_are_named_with_number_and_reason_and_the_rest_goes_on() {
    let input = "{\"id\":\"a\",\"text\":\"hello\"}\n\nnot json\n{\"id\":\"b\"}\n{\"text\":\"no id\"}\n{\"id\":\"c\",\"text\":\"bye\"}";
    let ran = trommel(&["check", "-", "--format", "jsonl"], input);
    assert_eq!(ran.code, 3);
    let ids: Vec<Value> = ran
        .objects()
        .iter()
        .map(|object| object["id"].clone())
        .collect();
    assert_eq!(ids, ["a", "-:3", "-:4", "-:5", "c"]);
    let error = |n: usize| {
        ran.objects()[n]["error"]
            .as_str()
            .expect("an error")
            .to_owned()
    };
    assert!(error(1).contains("expected"), "{}", error(1));
    assert!(error(2).contains("the item is empty"), "{}", error(2));
    assert!(error(3).contains("missing field `id`"), "{}", error(3));
    assert!(ran.objects()[1].get("verdict").is_none());
    for named in [
        "not judged: -:3: ",
        "not judged: -:4: ",
        "not judged: -:5: ",
    ] {
        assert!(ran.err.contains(named), "{}", ran.err);
    }
}

#[test]
fn files_and_folders_are_walked_and_what_is_no_text_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("b/deep.txt", b"see you at seven");
    write("a.txt", b"hello there");
    write(
        "item.json",
        b"{\"id\":\"from-json\",\"title\":\"hi\",\"links\":[\"http://a.example\"]}",
    );
    write("binary.txt", b"abc\xff\xfe");
    write("photo.JPG", b"anything");
    write(".hidden", b"\xff");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).unwrap();
    let path = folder.path().to_str().unwrap();
    let ran = trommel(&["check", path, "/no/such/file", "--format", "jsonl"], "");
    assert_eq!(ran.code, 3);
    let shown: Vec<String> = ran
        .objects()
        .iter()
        .map(|object| {
            let id = object["id"].as_str().unwrap().replace(path, "DIR");
            let what = object["verdict"]
                .as_str()
                .or(object["error"].as_str())
                .unwrap();
            format!("{id}: {}", what.replace(path, "DIR"))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "DIR/a.txt: allow",
            "DIR/b/deep.txt: allow",
            "DIR/binary.txt: text is not UTF-8 at byte 3; convert it to UTF-8 first",
            "from-json: allow",
            "DIR/photo.JPG: part 0 is no image that can be judged: not an image that can be judged; give JPEG, PNG, GIF, WebP or BMP",
            "/no/such/file: cannot be opened: No such file or directory (os error 2)",
        ]
    );
    let mixed = &ran.objects()[3]["unjudged"][0];
    assert_eq!(
        (mixed["name"].as_str(), mixed["reason"].as_str()),
        (
            Some("http://a.example"),
            Some("no loaded detector reads links")
        )
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_among_the_files_is_named_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let ran = trommel(&["check", folder.path().to_str().unwrap()], "");
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("is no file"), "{}", ran.err);
}

#[test]
fn exit_codes_tell_what_happened() {
    let spam = [
        "check",
        "--text",
        "WINNER! Claim your free prize now, call 09061701461",
    ];
    let with = |more: &[&str]| trommel(&[&spam[..], more].concat(), "").code;
    assert_eq!(
        with(&[]),
        0,
        "a block is no failure unless it is asked to be"
    );
    assert_eq!(with(&["--fail-on", "block"]), 1);
    assert_eq!(with(&["--fail-on", "tag"]), 1);
    assert_eq!(
        trommel(
            &["check", "--text", "see you at seven", "--fail-on", "tag"],
            ""
        )
        .code,
        0
    );
    assert_eq!(with(&["/no/such/file"]), 3);
    assert_eq!(with(&["/no/such/file", "--fail-on", "block"]), 3);
    for usage in [
        &["check"][..],
        &["check", "--fail-on", "maybe", "-"],
        &["judge"],
        &["check", "-", "--device", "gpu:99"],
        &["check", "-", "--device", "tpu"],
    ] {
        let ran = trommel(usage, "");
        assert_eq!(ran.code, 2, "{usage:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{usage:?}");
    }
}

#[test]
fn a_policy_of_ones_own_decides_and_a_bad_one_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let rule = "[[rule]]\nname = \"all\"\nwhen = { label = \"spam\", threshold = 0.0 }\naction = \"limit\"\nreason = \"test\"\n";
    fs::write(&file, rule).unwrap();
    let check = || {
        trommel(
            &[
                "check",
                "--text",
                "hi there",
                "--format",
                "jsonl",
                "--policy",
                file.to_str().unwrap(),
            ],
            "",
        )
    };
    assert_eq!(check().objects()[0]["verdict"], "limit");
    fs::write(&file, rule.replace("0.0", "7")).unwrap();
    let ran = check();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("policy.toml:3: "), "{}", ran.err);
}

#[test]
fn the_table_shows_the_label_that_decided() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let insult = "Shut up, you pathetic idiot, nobody wants to read your garbage.";
    for (strict, mild) in [("spam", "toxic"), ("toxic", "spam")] {
        let rule = |label: &str, action: &str| {
            format!(
                "[[rule]]\nname = \"{label}\"\nwhen = {{ label = \"{label}\", threshold = 0.0 }}\naction = \"{action}\"\nreason = \"test\"\n"
            )
        };
        fs::write(&file, rule(strict, "limit") + &rule(mild, "tag")).unwrap();
        let policy = file.to_str().unwrap();
        let ran = trommel(&["check", "--text", insult, "--policy", policy], "");
        let row = ran.out.lines().nth(1).expect("a row");
        assert!(row.starts_with(&format!("limit    {strict} ")), "{row}");
    }
}

#[test]
fn a_plugin_folder_is_loaded_instead_of_the_bundled_detectors() {
    let folder = PluginFolder::of_guest("noop", &["content", "log", "results"]);
    let path = folder.path().to_str().unwrap();
    let ran = trommel(
        &[
            "check",
            "--text",
            "hi",
            "--format",
            "jsonl",
            "--detector",
            path,
        ],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let object = &ran.objects()[0];
    assert_eq!(object["signals"], Value::Array(Vec::new()));
    assert!(object["lineup"]["noop"].is_string());
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ran = trommel_with(&["check", "--text", "hi"], "", &file.path().join("below"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("the compile cache cannot be used"),
        "{}",
        ran.err
    );
}

#[test]
fn json_is_one_array_and_colours_come_when_asked_for() {
    let ran = trommel(
        &["check", "--text", "hi", "--text", "ho", "--format", "json"],
        "",
    );
    let array: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 2);
    let plain = trommel(&["check", "--text", "hi"], "").out;
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let coloured = trommel(&["check", "--text", "hi", "--color", "always"], "").out;
    assert!(coloured.contains('\u{1b}'), "{coloured}");
}

#[test]
fn what_an_item_says_cannot_steer_the_terminal() {
    let input = "{\"id\":\"\\u001b[2J\\u202eevil\",\"text\":\"see you\"}\n{\"id\":\"\\u001b]0;x\",\"links\":[\"\\u001b[31m\"]}\n";
    let ran = trommel(&["check", "-"], input);
    assert_eq!(ran.code, 3);
    for output in [&ran.out, &ran.err] {
        assert!(
            !output.contains('\u{1b}') && !output.contains('\u{202e}'),
            "{output:?}"
        );
    }
}

#[test]
fn completions_and_help_are_answers() {
    for arguments in [
        &["completions", "bash"][..],
        &["--help"],
        &["check", "--help"],
        &["--version"],
    ] {
        let ran = trommel(arguments, "");
        assert_eq!(ran.code, 0, "{arguments:?}");
        assert!(ran.out.contains("trommel"), "{arguments:?}");
    }
}

#[test]
fn a_gpu_answers_as_the_cpu_does_and_the_command_ends_well() {
    let text = "You have won! Call 09055512345 now";
    let on = |device| {
        let arguments = [
            "check",
            "--deadline-ms",
            "60000",
            "--device",
            device,
            "--text",
            text,
        ];
        trommel(&arguments, "")
    };
    let gpu = on("gpu");
    if gpu.err.contains("there is no GPU") {
        assert!(
            std::env::var_os("TROMMEL_GPU_REQUIRED").is_none(),
            "TROMMEL_GPU_REQUIRED is set: {}",
            gpu.err
        );
        return;
    }
    assert_eq!(gpu.code, 0, "{}", gpu.err);
    assert_eq!(gpu.out, on("cpu").out);
}
