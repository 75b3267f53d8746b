//! Does any request notice that its detector is swapped, a thousand times, and does
//! anything stay behind?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use trommel_benches::median;
use trommel_tests::plugin::Work;

use crate::admin::{self, Admin, of_detector};
use crate::http::Answer;
use crate::judged::judged;
use crate::load::{Driven, Load, Nobody, Pace, Sample, Watch, drive};
use crate::process::Running;
use crate::report::{Section, mib, micros, quantile};
use crate::scene::{DETECTOR, Scene, WORK, capacity, items};

/// Promotions in all rounds together: far more often than anybody takes them, and far
/// more often still.
const PACES: [(Duration, usize); 2] = [(Duration::from_millis(200), 1_000), (GAP, 500)];

/// Times that a revision is loaded, tried on half of the keys, and thrown away.
const LOADS: usize = 20;

/// Between the answer to one step and the next, as short as it is tried here.
const GAP: Duration = Duration::from_millis(20);

/// How much longer the 99th percentile may be while revisions are swapped.
const MOST_LONGER: f64 = 1.2;

/// How much more memory there may be afterwards.
const MOST_MEMORY: f64 = 1.1;

const CONNECTIONS: usize = 64;

/// A promotion: until `done`, the one before it may still answer; from `sent` on, this one
/// may.
#[derive(Debug, Clone, Copy)]
struct Swap {
    sent: Duration,
    done: Duration,
    generation: u64,
    live: usize,
}

/// An answer, and what it names.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sent: Duration,
    done: Duration,
    revision: usize,
    generation: Option<u64>,
}

/// Promotes two revisions in turn while it looks at the answers.
struct Swapper<'a> {
    admin: SocketAddr,
    revisions: &'a [String; 2],
    /// Who was live at the start, and the generation then.
    first: (usize, u64),
    n_left: usize,
    gap: Duration,
    next: Duration,
    live: usize,
    swaps: Vec<Swap>,
    seen: Vec<Seen>,
    /// What no caller should see.
    failed: Vec<String>,
}

impl Watch for Swapper<'_> {
    fn answered(&mut self, sample: &Sample, answer: Option<&Answer<'_>>) {
        let Some(told) = answer.and_then(|answer| judged(answer, DETECTOR)) else {
            let what = answer.map(|answer| String::from_utf8_lossy(answer.body).into_owned());
            self.failed.push(format!("{:?}: {what:?}", sample.status));
            return;
        };
        let is_it = |revision: &String| revision.as_bytes() == told.revision;
        match self.revisions.iter().position(is_it) {
            Some(revision) if told.is_whole && told.is_consistent => self.seen.push(Seen {
                sent: sample.sent,
                done: sample.done,
                revision,
                generation: told.generation,
            }),
            _ => {
                let body = answer.map_or(&b""[..], |answer| answer.body);
                self.failed.push(String::from_utf8_lossy(body).into_owned());
            }
        }
    }

    fn beside_address(&self) -> Option<SocketAddr> {
        Some(self.admin)
    }

    fn beside(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.n_left == 0 || now < self.next {
            return None;
        }
        self.live = 1 - self.live;
        let verb = admin::verb("promote", DETECTOR, &self.revisions[self.live]);
        Some(admin::step(&verb))
    }

    fn beside_answered(&mut self, sent: Duration, done: Duration, answer: &Answer<'_>) {
        let told: Value = serde_json::from_slice(answer.body).unwrap_or(Value::Null);
        match (answer.status, told["generation"].as_u64()) {
            (200, Some(generation)) => self.swaps.push(Swap {
                sent,
                done,
                generation,
                live: self.live,
            }),
            (status, _) => self
                .failed
                .push(format!("promote: status {status}, {told}")),
        }
        self.n_left -= 1;
        self.next = done + self.gap;
    }

    fn is_done(&self) -> bool {
        self.n_left == 0
    }
}

impl Swapper<'_> {
    /// Answers by a revision that was live neither when the request was sent nor when its
    /// answer came, or that is not the one of the generation which the answer names.
    fn n_wrong(&self) -> usize {
        self.seen.iter().filter(|seen| !self.is_right(seen)).count()
    }

    fn is_right(&self, seen: &Seen) -> bool {
        let is_of_its_generation = seen.generation.is_none_or(|generation| {
            let of_swap = self.swaps.iter().find(|swap| swap.generation == generation);
            let live = match of_swap {
                Some(swap) => Some(swap.live),
                None => (self.first.1 == generation).then_some(self.first.0),
            };
            live == Some(seen.revision)
        });
        let was_live = |at| self.may_answer(seen.revision, at);
        is_of_its_generation && (was_live(seen.sent) || was_live(seen.done))
    }

    /// Whether `revision` may have been live at a moment: between the two ends of a step
    /// nobody outside can tell.
    fn may_answer(&self, revision: usize, at: Duration) -> bool {
        let n_begun = self.swaps.partition_point(|swap| swap.sent <= at);
        let n_ended = self.swaps.partition_point(|swap| swap.done < at);
        let before = match n_ended {
            0 => self.first.0,
            n => self.swaps[n - 1].live,
        };
        let begun = &self.swaps[n_ended..n_begun.max(n_ended)];
        before == revision || begun.iter().any(|swap| swap.live == revision)
    }
}

/// What must be as before once nothing is swapped any more.
#[derive(Debug, Clone, PartialEq)]
struct Level {
    /// Bytes mapped that can be run.
    code: u64,
    /// What the server tells of its pool.
    pool: Value,
    /// Bytes of weights and tensors, revision by revision.
    weights: Vec<u64>,
    memory: u64,
}

impl Level {
    fn of(server: &Running, admin: Admin) -> io::Result<Self> {
        let status = admin.status()?;
        let revisions = of_detector(&status, DETECTOR)["revisions"].as_array();
        let bytes = |one: &Value| one["device_bytes"].as_u64();
        let now = admin.server()?;
        Ok(Self {
            code: server.code()?,
            pool: serde_json::json!([now["pool"], now["judging"], now["waiting"]]),
            weights: revisions.into_iter().flatten().filter_map(bytes).collect(),
            memory: server.memory()?,
        })
    }
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let rollout = scene.rollout("swaps", &WORK)?;
    let (server, admin) = (&rollout.server, rollout.admin);
    let second = scene.packed(&Work {
        description: "the other",
        ..WORK
    })?;
    let revisions = [admin.live(DETECTOR)?, admin.load(&second)?];
    let requests = items(512);
    let most = capacity(server.address, &requests, CONNECTIONS, scene.seconds(3.0))?;
    let load = Load {
        address: server.address,
        requests: &requests,
        pace: Pace::Open(most / 2.0),
        time: scene.seconds(6.0),
        n_connections: CONNECTIONS,
        seed: 1,
        is_awake: false,
    };
    // Both have answered, so that nothing is paged in during what is measured.
    round(admin, &revisions, &Load { seed: 0, ..load }, 2, GAP)?;
    drive(&load, &mut Nobody)?;
    let before = Level::of(server, admin)?;
    let mut paces = Vec::new();
    for (gap, n) in PACES {
        let mut rounds = Rounds::default();
        let n_each = scene.n(n) / scene.n_rounds();
        for nth in 0..scene.n_rounds() {
            let load = Load {
                seed: nth as u64 + 2,
                ..load
            };
            // As long as the other: the longer one looks, the more of the machine's own
            // hiccups stand in the tail.
            let time = load
                .time
                .max(gap * u32::try_from(n_each).unwrap_or(u32::MAX));
            let steady = drive(&Load { time, ..load }, &mut Nobody)?;
            let (swapper, swapped) = round(admin, &revisions, &load, n_each, gap)?;
            rounds.add(&swapper, &steady, &swapped);
        }
        paces.push((gap, rounds));
    }
    if admin.live(DETECTOR)? != revisions[0] {
        admin.step(&admin::verb("promote", DETECTOR, &revisions[0]))?;
    }
    drive(&load, &mut Nobody)?;
    let after = Level::of(server, admin)?;
    let third = scene.packed(&Work {
        description: "a third",
        ..WORK
    })?;
    let n_loads = scene.n(LOADS);
    // What reading a package takes at first stays with the allocator: more must not come.
    let n_failed = loads(admin, &third, &load, n_loads)?;
    let once = Level::of(server, admin)?;
    let n_failed = n_failed + loads(admin, &third, &load, n_loads)?;
    let at_end = Level::of(server, admin)?;
    let mut section = Section::new(
        "b. A thousand promotions",
        format!(
            "A detector of a tenth of a millisecond with a model of 2 MiB, {:.0} items a second \
             (half of what the server answers at most) over {CONNECTIONS} connections; two \
             revisions promoted in turn, some time after the step before. {} interleaved rounds.",
            most / 2.0,
            scene.n_rounds()
        ),
    );
    for (gap, rounds) in paces {
        rounds.tell(&mut section, gap);
    }
    tell_levels(&mut section, "afterwards", &before, &after);
    section.must(
        &format!("answers that failed during twice {n_loads} loads, canaries of half and aborts"),
        n_failed.to_string(),
        "none",
        n_failed == 0,
    );
    section.tell(
        "memory after the first half of those",
        format!("{:.1} MiB", mib(once.memory)),
    );
    tell_levels(&mut section, "after the second half", &once, &at_end);
    Ok(section)
}

/// One round of promotions; the load ends with them.
fn round<'a>(
    admin: Admin,
    revisions: &'a [String; 2],
    load: &Load<'_>,
    n: usize,
    gap: Duration,
) -> io::Result<(Swapper<'a>, Driven)> {
    let status = admin.status()?;
    let live = of_detector(&status, DETECTOR)["live"].clone();
    let live = usize::from(live == revisions[1].as_str());
    let mut swapper = Swapper {
        admin: admin.0,
        revisions,
        first: (live, status["generation"].as_u64().unwrap_or(0)),
        n_left: n,
        gap,
        next: gap,
        live,
        swaps: Vec::new(),
        seen: Vec::new(),
        failed: Vec::new(),
    };
    let time = Duration::from_secs(600);
    let driven = drive(&Load { time, ..*load }, &mut swapper)?;
    Ok((swapper, driven))
}

#[derive(Default)]
struct Rounds {
    n_answers: usize,
    n_swaps: usize,
    n_wrong: usize,
    failed: Vec<String>,
    steps: Vec<Duration>,
    steady: Vec<f64>,
    swapped: Vec<f64>,
    ratios: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, swapper: &Swapper<'_>, steady: &Driven, swapped: &Driven) {
        let p99 = |driven: &Driven| {
            let mut latencies: Vec<Duration> = driven.samples.iter().map(Sample::latency).collect();
            micros(quantile(&mut latencies, 0.99))
        };
        let (steady, swapped) = (p99(steady), p99(swapped));
        self.n_answers += swapper.seen.len();
        self.n_swaps += swapper.swaps.len();
        self.n_wrong += swapper.n_wrong();
        self.failed.extend(swapper.failed.iter().cloned());
        let steps = swapper
            .swaps
            .iter()
            .map(|swap| swap.done.saturating_sub(swap.sent));
        self.steps.extend(steps);
        self.steady.push(steady);
        self.swapped.push(swapped);
        self.ratios.push(swapped / steady);
    }

    fn tell(mut self, section: &mut Section, gap: Duration) {
        let pace = format!("{gap:?} apart");
        section.tell(&format!("promotions {pace}"), self.n_swaps.to_string());
        section.tell(
            "until a step is answered (median, 99th percentile)",
            format!(
                "{:.1} ms, {:.1} ms",
                micros(quantile(&mut self.steps, 0.5)) / 1e3,
                micros(quantile(&mut self.steps, 0.99)) / 1e3
            ),
        );
        let first = self.failed.first();
        section.must(
            "answers and steps that failed",
            first.map_or("0".to_owned(), |first| {
                format!(
                    "{} (the first: {})",
                    self.failed.len(),
                    first.chars().take(400).collect::<String>()
                )
            }),
            "none",
            self.failed.is_empty(),
        );
        section.must(
            "answers by a revision that was live neither at the start nor at the end",
            format!("{} of {}", self.n_wrong, self.n_answers),
            "none",
            self.n_wrong == 0,
        );
        let ratio = median(&mut self.ratios);
        section.bound(
            &format!("99th percentile of latency, steady and while swapping {pace}"),
            format!(
                "{:.0} µs, {:.0} µs, ratio {ratio:.2}",
                median(&mut self.steady),
                median(&mut self.swapped)
            ),
            format!("at most {MOST_LONGER}"),
            ratio <= MOST_LONGER,
        );
    }
}

fn tell_levels(section: &mut Section, when: &str, before: &Level, after: &Level) {
    let is_same = before.code == after.code;
    section.must(
        &format!("code that is mapped, before and {when}"),
        format!("{:.3} MiB, {:.3} MiB", mib(before.code), mib(after.code)),
        "the same",
        is_same,
    );
    section.must(
        &format!("weights by revision {when}"),
        format!("{:?}", after.weights),
        "as before",
        before.weights == after.weights[..before.weights.len().min(after.weights.len())],
    );
    section.must(
        &format!("pool, judging and waiting {when}"),
        after.pool.to_string(),
        "as before",
        before.pool == after.pool,
    );
    let ratio = after.memory as f64 / before.memory as f64;
    section.bound(
        &format!("memory, before and {when}"),
        format!(
            "{:.1} MiB, {:.1} MiB, ratio {ratio:.2}",
            mib(before.memory),
            mib(after.memory)
        ),
        format!("at most {MOST_MEMORY}"),
        ratio <= MOST_MEMORY,
    );
}

/// Loads a revision, lets it answer for half of the keys, and aborts it, so many times
/// under load. How many answers failed.
fn loads(admin: Admin, package: &[u8], load: &Load<'_>, n: usize) -> io::Result<usize> {
    struct Loader<'a> {
        admin: Admin,
        package: &'a [u8],
        revision: String,
        n_left: usize,
        at: usize,
        next: Duration,
        n_failed: usize,
    }
    impl Watch for Loader<'_> {
        fn answered(&mut self, _sample: &Sample, answer: Option<&Answer<'_>>) {
            let told = answer.and_then(|answer| judged(answer, DETECTOR));
            let is_good = told.is_some_and(|told| told.is_whole && told.is_consistent);
            self.n_failed += usize::from(!is_good);
        }

        fn beside_address(&self) -> Option<SocketAddr> {
            Some(self.admin.0)
        }

        fn beside(&mut self, now: Duration) -> Option<Vec<u8>> {
            if now < self.next {
                return None;
            }
            Some(match self.at {
                0 => admin::authorised("POST", "/admin/v1/revisions", self.package),
                1 => admin::step(&admin::canary(DETECTOR, &self.revision, 0.5)),
                _ => admin::step(&admin::verb("abort", DETECTOR, &self.revision)),
            })
        }

        fn beside_answered(&mut self, _sent: Duration, done: Duration, answer: &Answer<'_>) {
            let told: Value = serde_json::from_slice(answer.body).unwrap_or(Value::Null);
            if !(200..300).contains(&answer.status) {
                self.n_failed += 1;
            }
            if let Some(revision) = told["revision"].as_str() {
                self.revision = revision.to_owned();
            }
            self.at = (self.at + 1) % 3;
            self.n_left -= usize::from(self.at == 0);
            self.next = done + GAP * 5;
        }

        fn is_done(&self) -> bool {
            self.n_left == 0
        }
    }
    let mut loader = Loader {
        admin,
        package,
        revision: String::new(),
        n_left: n,
        at: 0,
        next: GAP,
        n_failed: 0,
    };
    let time = Duration::from_secs(600);
    drive(&Load { time, ..*load }, &mut loader)?;
    drive(load, &mut Nobody)?;
    Ok(loader.n_failed)
}
