//! `trommel rollout` as a user drives it: the README's session, and a state folder that no
//! host holds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that unwraps in vain has failed, and one that is skipped says so"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use trommel_tests::plugin::PluginFolder;
use trommel_tests::workspace;

use super::trommel;

/// Between the outputs of commands.
const MARK: &str = "--- that was it ---";

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The command lines of the README's section on rollouts.
fn commands(section: &str) -> Vec<&str> {
    let lines = section.lines();
    lines.filter_map(|line| line.strip_prefix("$ ")).collect()
}

fn section(readme: &str) -> &str {
    let (_, rest) = readme.split_once("\n## Roll out a detector\n").unwrap();
    rest.split_once("\n## ").unwrap().0
}

/// What each command printed, all of them in one shell.
fn run(here: &Path, commands: &[&str]) -> Vec<String> {
    let (public, admin) = (free_port(), free_port());
    // Whatever happens, the server ends with the shell.
    let mut script = "trap 'kill $(jobs -p) 2> /dev/null' EXIT\n".to_owned();
    for command in commands {
        let command = command
            .replace(
                "trommel serve",
                &format!("trommel serve --listen 127.0.0.1:{public}"),
            )
            .replace("127.0.0.1:8080/", &format!("127.0.0.1:{public}/"))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{admin}"));
        writeln!(script, "{command}\necho \"{MARK}\"").unwrap();
    }
    fs::write(here.join("session.sh"), script).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_trommel")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("bash")
        .args(["-c", "exec bash session.sh 2>&1"])
        .current_dir(here)
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("TROMMEL_ADMIN", format!("http://127.0.0.1:{admin}"))
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("TROMMEL_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pieces = text
        .split(MARK)
        .map(|piece| piece.trim_matches('\n').to_owned());
    pieces.take(commands.len()).collect()
}

/// Without what differs from run to run: digests, times, and how many calls it took.
fn alike(text: &str) -> String {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == 'µ');
    let mut alike = String::new();
    for piece in text.split_inclusive(word) {
        let digits = piece.trim_end_matches(word);
        let is_digest = digits.len() >= 12 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        // On a busy machine it takes seconds.
        let is_time = ["ms", "µs", "s"].into_iter().any(|unit| {
            let number = digits.strip_suffix(unit).map(str::parse::<f64>);
            matches!(number, Some(Ok(_)))
        });
        let is_count = digits.ends_with(|c: char| c.is_ascii_digit())
            && digits.starts_with(|c: char| c.is_ascii_digit())
            && !digits.starts_with("0.");
        match (is_digest, is_time || is_count) {
            (true, _) => alike.push_str(&piece.replace(digits, "DIGITS")),
            (_, true) => alike.push_str(&piece.replace(digits, "N")),
            _ => alike.push_str(piece),
        }
    }
    alike
}

#[test]
fn the_readme_shows_what_a_rollout_prints() {
    for tool in ["bash", "curl", "sed"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} is not here");
            return;
        }
    }
    let file = workspace().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let section = section(&readme);
    let commands = commands(section);
    let here = tempfile::tempdir().unwrap();
    let printed = run(here.path(), &commands);
    let mut anew = String::new();
    let mut printed = printed.iter();
    let mut is_session = false;
    for line in section.lines() {
        if line.starts_with("$ ") {
            let said = printed.next().map_or("", String::as_str);
            let newline = if said.is_empty() { "" } else { "\n" };
            anew.push_str(&format!("{line}\n{said}{newline}"));
        } else if !is_session || line == "```" {
            anew.push_str(&format!("{line}\n"));
        }
        if line.starts_with("```") {
            is_session = line == "```console";
        }
    }
    assert!(anew.contains("TAKEN OUT by its guard"), "{anew}");
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&file, readme.replace(section, &anew)).unwrap();
        return;
    }
    assert_eq!(alike(section), alike(&anew), "run `cargo xtask readme`");
    let answers = fs::read_to_string(here.path().join("answers")).unwrap();
    assert_eq!(answers.matches("\"verdict\"").count(), 200);
}

#[test]
fn a_state_folder_that_no_host_holds_is_steered_too() {
    let here = tempfile::tempdir().unwrap();
    let state = here.path().join("state").display().to_string();
    let refused = trommel(&["rollout", "status", "--state", &state], "");
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("is no state folder"),
        "{}",
        refused.err
    );
    let imports = ["content", "log", "results"];
    let old = PluginFolder::of_guest("noop", &imports);
    drop(
        trommel::Host::builder()
            .detector(old.path())
            .state(&state)
            .build()
            .unwrap(),
    );
    let new = PluginFolder::of_guest("noop", &imports);
    new.edit("version = \"0.1.0\"", "version = \"0.2.0\"");
    let new = new.path().to_str().unwrap();
    let rollout = |arguments: &[&str]| {
        let arguments = [&["rollout", "--state", &state], arguments].concat();
        trommel(&arguments, "")
    };
    let loaded = rollout(&["load", new, "--json"]);
    assert_eq!(loaded.code, 0, "{}", loaded.err);
    let loaded: serde_json::Value = serde_json::from_str(&loaded.out).unwrap();
    let digits = &loaded["revision"].as_str().unwrap()["sha256:".len()..][..8];
    let canary = rollout(&["canary", "noop", digits, "5%"]);
    assert!(
        canary.out.contains("loaded → canary 0.05"),
        "{}{}",
        canary.out,
        canary.err
    );
    let status = rollout(&["status"]);
    assert!(
        status.out.contains("canary") && status.out.contains("5 %"),
        "{}",
        status.out
    );
    let set = rollout(&["load", new, "--set", "greeting=good day", "--json"]);
    assert_eq!(set.code, 0, "{}", set.err);
    let set: serde_json::Value = serde_json::from_str(&set.out).unwrap();
    assert_eq!(set["settings"]["greeting"], "good day");
    assert_ne!(set["revision"], loaded["revision"]);
    let status = rollout(&["status"]);
    assert!(status.out.contains("greeting=good day"), "{}", status.out);
    let twice = rollout(&["load", new, "--set", "greeting=a", "--set", "greeting=b"]);
    assert!(twice.err.contains("is given twice"), "{}", twice.err);
    let again = rollout(&["settle", "noop"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("nothing to settle"), "{}", again.err);
    let stranger = rollout(&["promote", "noop", "abcd"]);
    assert!(
        stranger.err.contains("names no revision"),
        "{}",
        stranger.err
    );
    let lineup = rollout(&["lineup"]);
    assert!(lineup.out.contains("stage = \"canary\""), "{}", lineup.out);
}
