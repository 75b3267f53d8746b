//! A lineup's file that a server watches.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use trommel::Host;
use trommel::pipeline::RolloutStatus;
use trommel::server::{Beside, LineupFile, ServerOptions};

use super::Running;
use super::admin::{packed, plugin};

/// Far more looks than any test needs.
const LONG: Duration = Duration::from_secs(30);

/// A server that watches a file in a folder of its own.
struct Watching {
    running: Running,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Watching {
    async fn start() -> Self {
        let old = plugin("noop", "old");
        let host = Host::builder().detector(old.path());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lineup.toml");
        let beside = Beside {
            lineup: Some(LineupFile {
                path: file.clone(),
                period: Duration::from_millis(10),
            }),
            ..Beside::default()
        };
        let options = ServerOptions::default();
        let running = Running::with(host.build().unwrap(), options, beside).await;
        let follows = running.server.clone();
        tokio::spawn(async move { follows.follow_lineup().await });
        Self {
            running,
            file,
            _folder: folder,
        }
    }

    /// The lineup in effect, with some of its words replaced.
    fn lineup(&self, replaced: &[(&str, &str)]) -> String {
        let text = self.running.host.lineup().text();
        replaced.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "no `{from}` in {text}");
            text.replace(from, to)
        })
    }

    /// Writes it whole, as whoever means it well does.
    fn give(&self, text: &str) {
        let next = self.file.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    async fn status(&self) -> RolloutStatus {
        let status = self.running.admin("GET", "/admin/v1/rollout", b"").await;
        serde_json::from_str(&status.text).unwrap()
    }

    /// Waits until the file's state is such.
    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let file = self.status().await.lineup_file.unwrap();
                let file = serde_json::to_value(file).unwrap();
                if is_so(&file) {
                    return file;
                }
            }
        };
        let waited = tokio::time::timeout(LONG, waiting).await;
        match waited {
            Ok(file) => file,
            Err(_) => panic!("{:?}", self.status().await.lineup_file),
        }
    }

    /// Waits until it is refused for this.
    async fn refused(&self, why: &str) -> String {
        let has = |file: &Value| file["problem"].as_str().is_some_and(|is| is.contains(why));
        let file = self.until(has).await;
        assert_eq!(file["generation"], Value::Null);
        file["problem"].as_str().unwrap().to_owned()
    }

    async fn followed(&self, generation: u64) {
        self.until(|file| file["generation"] == generation).await;
        assert_eq!(self.running.host.lineup().generation(), generation);
    }
}

#[tokio::test]
async fn a_lineup_file_takes_effect_whenever_it_says_something_new() {
    let watching = Watching::start().await;
    watching.refused("is not there; put a lineup there").await;
    let metrics = watching.running.metrics().await;
    assert!(
        metrics.contains("trommel_lineup_file_followed 0"),
        "{metrics}"
    );
    watching.give(&watching.lineup(&[("generation = 1", "generation = 3")]));
    watching.followed(3).await;
    let salt = [("generation = 3", "generation = 10"), ("trommel", "spring")];
    watching.give(&watching.lineup(&salt));
    watching.followed(10).await;
    assert_eq!(watching.running.host.lineup().salt(), "spring");
    let status = watching.status().await;
    let last = serde_json::to_value(status.recent.last().unwrap()).unwrap();
    assert_eq!(last["cause"]["by"], "file", "{last}");
    let metrics = watching.running.metrics().await;
    for expected in [
        "trommel_lineup_file_followed 1",
        "trommel_transitions_total{verb=\"lineup\",by=\"file\"} 2",
    ] {
        assert!(metrics.contains(expected), "no {expected} in {metrics}");
    }
}

#[tokio::test]
async fn a_bad_a_stale_and_a_vanished_file_change_nothing_and_say_why() {
    let watching = Watching::start().await;
    watching.give(&watching.lineup(&[("generation = 1", "generation = 5")]));
    watching.followed(5).await;
    let before = watching.running.host.lineup();
    let unknown = format!("sha256:{}", "07".repeat(32));
    let live = watching.running.host.detectors()[0].revision().to_string();
    for (text, why) in [
        (
            watching.lineup(&[("generation = 5", "generation = 6"), ("stage", "stages")]),
            "lineup.toml:9: unknown field `stages`",
        ),
        (
            watching.lineup(&[("generation = 5", "generation = 4")]),
            "generation 4 is not newer than 5, which is in effect; give one from 6 on",
        ),
        (
            watching.lineup(&[("generation = 5", "generation = 6"), (&live, &unknown)]),
            "of `watched` is not loaded here; load its package first",
        ),
    ] {
        watching.give(&text);
        let problem = watching.refused(why).await;
        assert!(problem.contains("lineup.toml"), "{problem}");
        assert_eq!(watching.running.host.lineup(), before);
    }
    fs::write(&watching.file, b"salt = \"\xff\"").unwrap();
    watching.refused("not UTF-8 at byte 8").await;
    fs::remove_file(&watching.file).unwrap();
    watching.refused("is not there").await;
    fs::create_dir(&watching.file).unwrap();
    watching.refused("is no file").await;
    assert_eq!(watching.running.host.lineup(), before);
    // What was in effect may come back.
    fs::remove_dir(&watching.file).unwrap();
    watching.give(&before.text());
    watching.followed(5).await;
}

#[tokio::test]
async fn what_a_file_lacks_may_come_and_verbs_are_left_to_the_file() {
    let watching = Watching::start().await;
    let running = &watching.running;
    watching.give(&watching.lineup(&[("generation = 1", "generation = 2")]));
    watching.followed(2).await;
    let live = running.host.detectors()[0].revision();
    let new = plugin("noop", "new");
    let package = packed(&new);
    let limits = trommel::engine::Limits::MAX;
    let opened = trommel::registry::Package::read(new.path(), &limits, 1 << 20).unwrap();
    let revision = opened.revision(&Default::default());
    watching.give(&watching.lineup(&[
        ("generation = 2", "generation = 9"),
        (&live.to_string(), &revision.to_string()),
    ]));
    watching.refused("is not loaded here").await;
    let loaded = running.load(&package).await;
    assert_eq!(loaded.status, 201, "{loaded:?}");
    watching.followed(9).await;
    assert_eq!(running.host.detectors()[0].revision(), revision);
    // A load after it takes nothing from what the file says.
    let third = running.load(&packed(&plugin("noop", "third"))).await;
    assert_eq!(third.status, 201, "{third:?}");
    assert_eq!(third.json()["generation"], 10);
    watching.until(|file| file["generation"] == 9).await;
    let rollback = json!({"verb": "rollback", "detector": "watched"});
    let lineup = watching.lineup(&[("generation = 10", "generation = 11")]);
    let refusals = [
        running.step(&rollback).await,
        running
            .admin("PUT", "/admin/v1/lineup", lineup.as_bytes())
            .await,
    ];
    for refused in refusals {
        assert_eq!(refused.status, 409, "{refused:?}");
        let file = watching.file.display().to_string();
        assert!(refused.error().contains(&file), "{refused:?}");
    }
    assert_eq!(running.host.lineup().generation(), 10);
}
