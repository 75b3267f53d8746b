//! What becomes of five times as much as the server can answer?

use std::io;
use std::time::Duration;

use crate::http::{Answer, find};
use crate::load::{Driven, Load, Nobody, Pace, Sample, Watch, drive};
use crate::process::Running;
use crate::report::{Section, mib, micros, quantile};
use crate::scene::{Scene, capacity, items};
use trommel_tests::plugin::{PluginFolder, Work};

/// How many times its capacity.
const TIMES: f64 = 5.0;

/// Far more than are judged (64) and wait (256) at once, for a refusal takes its time too;
/// fewer than the server takes (1,024).
const CONNECTIONS: usize = 960;

/// When it must be as before.
const RECOVERY: Duration = Duration::from_secs(2);

/// Bytes that the second half of the time may add to what the first half took.
const GROWTH: u64 = 16 << 20;

/// About a millisecond of work, so that the load's core can make five times as much.
const WORK: Work = Work {
    rounds: 600_000,
    trap_percent: 0,
    lift: 0.0,
    description: "works for a millisecond",
};

/// What is seen while it is too much.
struct Overload<'a> {
    server: &'a Running,
    /// Bytes of memory at each look.
    memory: Vec<u64>,
    /// Until when answers are counted.
    time: Duration,
    n_judged: usize,
    n_degraded: usize,
    /// Refusals that say why and when to come again, and how long each took.
    refused: Vec<Duration>,
    /// What is neither a judgement nor such a refusal.
    wrong: Vec<String>,
}

impl Watch for Overload<'_> {
    fn answered(&mut self, sample: &Sample, answer: Option<&Answer<'_>>) {
        match answer {
            Some(answer) if answer.status == 200 => {
                self.n_judged += usize::from(sample.done <= self.time);
                let is_whole = find(answer.body, b"\"degraded\":[]").is_some();
                self.n_degraded += usize::from(!is_whole);
            }
            Some(answer) if answer.status == 503 => {
                let is_honest =
                    answer.has_retry_after && find(answer.body, b"\"error\":").is_some();
                match is_honest {
                    true => self.refused.push(sample.done.saturating_sub(sample.sent)),
                    false => self
                        .wrong
                        .push("a 503 that does not say when to come again".to_owned()),
                }
            }
            Some(answer) => self.wrong.push(format!("status {}", answer.status)),
            None => self.wrong.push("no answer".to_owned()),
        }
    }

    fn tick(&mut self, _now: Duration) {
        self.memory.extend(self.server.memory());
    }
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let works = PluginFolder::working("works", &WORK);
    let config = scene.config("works.toml", &[works.path()], "")?;
    let requests = items(512);
    let server = scene.serve(&config, &[])?;
    let most = capacity(server.address, &requests, 64, scene.seconds(4.0))?;
    let half = Load {
        address: server.address,
        requests: &requests,
        pace: Pace::Open(most / 2.0),
        time: scene.seconds(5.0),
        n_connections: CONNECTIONS,
        seed: 1,
        is_awake: false,
    };
    let steady = drive(&half, &mut Nobody)?.samples;
    let before = server.memory()?;
    let time = scene.seconds(60.0);
    let mut overload = Overload {
        server: &server,
        memory: Vec::new(),
        time,
        n_judged: 0,
        n_degraded: 0,
        refused: Vec::new(),
        wrong: Vec::new(),
    };
    let pace = Pace::Open(most * TIMES);
    let cpu = server.cpu()?;
    let driven = drive(&Load { pace, time, ..half }, &mut overload)?;
    let cpu = server.cpu()?.saturating_sub(cpu);
    let after = Load { seed: 2, ..half };
    let recovery = drive(&after, &mut Nobody)?.samples;
    let mut section = Section::new(
        "f. Five times too much",
        format!(
            "A detector of a millisecond; {:.0} requests a second, {TIMES} times what the server \
             answers at most, for {time:?} over {CONNECTIONS} connections. One run.",
            most * TIMES
        ),
    );
    tell(&mut section, &overload, &driven, most, time);
    tell_memory(&mut section, &overload.memory, before);
    section.tell(
        "the server's core was busy",
        format!("{:.0} %", 100.0 * cpu.as_secs_f64() / time.as_secs_f64()),
    );
    let recovered = recovered(&steady, &recovery);
    section.bound(
        "as before the overload again",
        recovered.map_or("not within the time looked".to_owned(), |after| {
            format!("after {after:.1?}")
        }),
        format!("within {RECOVERY:?}"),
        recovered.is_some_and(|after| after <= RECOVERY),
    );
    let n_failed = recovery
        .iter()
        .filter(|sample| sample.status != Some(200))
        .count();
    section.tell("refused after it", n_failed.to_string());
    Ok(section)
}

fn tell(
    section: &mut Section,
    overload: &Overload<'_>,
    driven: &Driven,
    most: f64,
    time: Duration,
) {
    let Driven { samples, n_unsent } = driven;
    let n_asked = samples.len() + n_unsent;
    let per_second = |n: usize| n as f64 / time.as_secs_f64();
    let late = samples
        .iter()
        .map(|sample| sample.sent.saturating_sub(sample.due));
    let mut late: Vec<Duration> = late.collect();
    section.tell(
        "sent later than due, for no connection was free (99th percentile)",
        format!("{:.1} ms", micros(quantile(&mut late, 0.99)) / 1e3),
    );
    section.tell(
        "not sent, for no connection was ever free",
        n_unsent.to_string(),
    );
    section.tell(
        "judged",
        format!(
            "{:.0} a second, {:.0} % of the capacity",
            per_second(overload.n_judged),
            100.0 * per_second(overload.n_judged) / most
        ),
    );
    // A detector that got no core within its time is no mistake of the server's.
    section.bound(
        "judged without the detector",
        overload.n_degraded.to_string(),
        "none".to_owned(),
        overload.n_degraded == 0,
    );
    let mut refused = overload.refused.clone();
    section.tell(
        "refused",
        format!(
            "{:.0} a second of {:.0}",
            per_second(refused.len()),
            per_second(n_asked)
        ),
    );
    section.tell(
        "until a refusal is there (median, 99th percentile)",
        format!(
            "{:.1} ms, {:.1} ms",
            micros(quantile(&mut refused, 0.5)) / 1e3,
            micros(quantile(&mut refused, 0.99)) / 1e3
        ),
    );
    let first = overload.wrong.first();
    section.must(
        "neither a judgement nor a 503 that says when to come again",
        first.map_or("0".to_owned(), |first| {
            format!("{} (the first: {first})", overload.wrong.len())
        }),
        "none",
        overload.wrong.is_empty(),
    );
}

fn tell_memory(section: &mut Section, memory: &[u64], before: u64) {
    let (first, second) = memory.split_at(memory.len() / 2);
    let peak = |half: &[u64]| half.iter().copied().max().unwrap_or(0);
    let (first, second) = (peak(first), peak(second));
    section.bound(
        "memory: before, most in the first half, most in the second",
        format!(
            "{:.1} MiB, {:.1} MiB, {:.1} MiB",
            mib(before),
            mib(first),
            mib(second)
        ),
        format!("the second half adds {} MiB at most", GROWTH >> 20),
        second <= first + GROWTH,
    );
}

/// When answers are as they were: from then on, for half a second, all are judgements and
/// in each tenth of a second half of them come within twice the time that half of them took
/// before.
fn recovered(steady: &[Sample], after: &[Sample]) -> Option<Duration> {
    const WINDOW_MS: u128 = 100;
    const AS_BEFORE: usize = 5;
    let median = |samples: &mut Vec<Duration>| quantile(samples, 0.5);
    let usual = median(&mut steady.iter().map(Sample::latency).collect());
    let window = |sample: &Sample| (sample.due.as_millis() / WINDOW_MS) as usize;
    let n_windows = after.iter().map(window).max()? + 1;
    let mut windows: Vec<(Vec<Duration>, bool)> = vec![(Vec::new(), true); n_windows];
    for sample in after {
        let (latencies, is_good) = &mut windows[window(sample)];
        latencies.push(sample.latency());
        *is_good &= sample.status == Some(200);
    }
    let is_good: Vec<bool> = windows
        .iter_mut()
        .map(|(latencies, is_good)| *is_good && median(latencies) <= usual * 2)
        .collect();
    let n_in_a_row = AS_BEFORE.min(n_windows);
    let from = is_good
        .windows(n_in_a_row)
        .position(|row| row.iter().all(|is_good| *is_good))?;
    Some(Duration::from_millis((from as u128 * WINDOW_MS) as u64))
}
