//! Is a bad canary taken out by itself, how soon, and does any caller notice?

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use trommel_tests::plugin::Work;

use crate::admin::{self, of_revision};
use crate::http::Answer;
use crate::judged::judged;
use crate::load::{Load, Pace, Sample, Watch, drive};
use crate::process::pause;
use crate::report::Section;
use crate::scene::{DETECTOR, Rollout, Scene, WORK, capacity, items};

/// The share of keys that a canary answers for.
const SHARE: f64 = 0.1;

/// How often it is asked whether the canary is still there.
const LOOK: Duration = Duration::from_millis(50);

/// How long a bad canary may last.
const PATIENCE: Duration = Duration::from_secs(120);

const CONNECTIONS: usize = 64;

/// What is wrong with each.
const BAD: [(&str, Work); 3] = [
    (
        "traps on 5 % of texts",
        Work {
            trap_percent: 5,
            description: "traps",
            ..WORK
        },
    ),
    (
        "works ten times as long",
        Work {
            rounds: 10 * WORK.rounds,
            description: "dawdles",
            ..WORK
        },
    ),
    (
        "blocks everything",
        Work {
            lift: 20.0,
            description: "alarms",
            ..WORK
        },
    ),
];

/// Waits until a canary is taken out, while it looks at the answers.
struct Waiting<'a> {
    admin: SocketAddr,
    revision: &'a str,
    next: Duration,
    out: Option<Duration>,
    n_answers: usize,
    n_by_canary: usize,
    failed: Vec<String>,
}

impl Watch for Waiting<'_> {
    fn answered(&mut self, _sample: &Sample, answer: Option<&Answer<'_>>) {
        self.n_answers += 1;
        match answer.and_then(|answer| judged(answer, DETECTOR)) {
            Some(told) if told.is_whole && told.is_consistent => {
                let by_canary = told.revision == self.revision.as_bytes();
                self.n_by_canary += usize::from(by_canary);
            }
            _ => {
                let body = answer.map(|answer| String::from_utf8_lossy(answer.body).into_owned());
                self.failed
                    .push(body.unwrap_or_else(|| "no answer".to_owned()));
            }
        }
    }

    fn beside_address(&self) -> Option<SocketAddr> {
        Some(self.admin)
    }

    fn beside(&mut self, now: Duration) -> Option<Vec<u8>> {
        (now >= self.next && self.out.is_none()).then(admin::status)
    }

    fn beside_answered(&mut self, sent: Duration, done: Duration, answer: &Answer<'_>) {
        let status: Value = serde_json::from_slice(answer.body).unwrap_or(Value::Null);
        let taken_out = &of_revision(&status, DETECTOR, self.revision)["taken_out"];
        if taken_out == true {
            self.out = Some(sent);
        }
        self.next = done + LOOK;
    }

    fn is_done(&self) -> bool {
        self.out.is_some()
    }
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let rollout = scene.rollout("canaries", &WORK)?;
    let requests = items(20_000);
    let most = capacity(
        rollout.server.address,
        &requests,
        CONNECTIONS,
        scene.seconds(3.0),
    )?;
    let load = Load {
        address: rollout.server.address,
        requests: &requests,
        pace: Pace::Open(most / 2.0),
        time: PATIENCE,
        n_connections: CONNECTIONS,
        seed: 1,
        is_awake: false,
    };
    let mut section = Section::new(
        "c. Bad canaries",
        format!(
            "A canary of {:.0} % of keys, {:.0} items a second (half of what the server answers \
             at most). One run each.",
            100.0 * SHARE,
            most / 2.0
        ),
    );
    for (what, work) in BAD {
        bad(scene, &rollout, &load, &mut section, (what, &work))?;
    }
    Ok(section)
}

fn bad(
    scene: &Scene,
    rollout: &Rollout,
    load: &Load<'_>,
    section: &mut Section,
    (what, work): (&str, &Work),
) -> io::Result<()> {
    let admin = rollout.admin;
    let revision = admin.load(&scene.packed(work)?)?;
    admin.step(&admin::canary(DETECTOR, &revision, SHARE))?;
    let mut waiting = Waiting {
        admin: admin.0,
        revision: &revision,
        next: Duration::ZERO,
        out: None,
        n_answers: 0,
        n_by_canary: 0,
        failed: Vec::new(),
    };
    drive(load, &mut waiting)?;
    let out = waiting.out;
    section.must(
        &format!("{what}: taken out by itself"),
        out.map_or("no".to_owned(), |out| {
            format!("after {out:.1?} and {} items", waiting.n_answers)
        }),
        &format!("within {PATIENCE:?}"),
        out.is_some(),
    );
    let first = waiting.failed.first();
    section.must(
        &format!("{what}: answers that failed"),
        first.map_or("0".to_owned(), |first| {
            format!(
                "{} (the first: {})",
                waiting.failed.len(),
                first.chars().take(300).collect::<String>()
            )
        }),
        "none",
        waiting.failed.is_empty(),
    );
    section.tell(
        &format!("{what}: answers by the canary"),
        waiting.n_by_canary.to_string(),
    );
    let breach = taken_out(&rollout.state, &revision)?;
    section.must(
        &format!("{what}: what the journal says"),
        breach.as_ref().map_or("nothing".to_owned(), said),
        "which bound, with the numbers",
        breach.is_some(),
    );
    admin.step(&admin::verb("abort", DETECTOR, &revision))?;
    Ok(())
}

/// What the journal says of a revision that was taken out. It is written after the swap.
fn taken_out(state: &Path, revision: &str) -> io::Result<Option<Value>> {
    for _ in 0..100 {
        let journal = fs::read_to_string(state.join("journal.jsonl"))?;
        let entries = journal.lines().map(serde_json::from_str::<Value>);
        let mut entries = entries.filter_map(|line| Some(line.ok()?["entry"].clone()));
        let is_it = |entry: &Value| entry["event"] == "taken-out" && entry["revision"] == revision;
        if let Some(entry) = entries.find(is_it) {
            return Ok(Some(entry["breach"].clone()));
        }
        pause(Duration::from_millis(10));
    }
    Ok(None)
}

/// A breach in words.
fn said(breach: &Value) -> String {
    let of = |key: &str| breach[key].to_string();
    let after = &breach["after"];
    let seconds =
        after["secs"].as_f64().unwrap_or(0.0) + after["nanos"].as_f64().unwrap_or(0.0) / 1e9;
    format!(
        "`{}` after {} calls of it and {} of the other, {seconds:.1} s",
        breach["bound"].to_string().replace('|', "/"),
        of("n_candidate"),
        of("n_other"),
    )
}
