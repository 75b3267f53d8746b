//! What does a check cost the server beside a bare handler that reads the same item?

use std::io;
use std::path::Path;
use std::time::Duration;

use trommel_benches::median;
use trommel_tests::plugin::PluginFolder;

use crate::load::{Driven, Load, Nobody, Pace, Sample, drive};
use crate::process::{Running, SERVER_CORE, pinned};
use crate::report::{Section, micros, quantile};
use crate::scene::{Scene, capacity, items};

/// What a check may cost beyond the handler and one and a half calls, in microseconds.
const SLACK_US: f64 = 15.0;

/// Connections that the load keeps.
const CONNECTIONS: usize = 32;

/// One server's figures in one round.
struct Round {
    /// Microseconds of processor time per request at the given rate.
    cpu: f64,
    /// The same as fast as it answers.
    cpu_at_most: f64,
    p99: Duration,
    n_failed: usize,
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let noop = PluginFolder::of_guest("noop", &["content", "log", "results"]);
    let config = scene.config("noop.toml", &[noop.path()], "")?;
    let requests = items(512);
    let start = || scene.serve(&config, &[]);
    let rate = capacity(start()?.address, &requests, CONNECTIONS, scene.seconds(2.0))? / 2.0;
    let me = std::env::current_exe()?;
    let (mut ours, mut theirs, mut calls, mut over) = (vec![], vec![], vec![], vec![]);
    for nth in 0..scene.n_rounds() {
        let time = scene.seconds(5.0);
        let bare = Running::start(&me, &["baseline"])?;
        let bare_round = round(&bare, &requests, rate, time, nth)?;
        drop(bare);
        let call = call_overhead(&me, scene.is_quick)?;
        let server = start()?;
        let round = round(&server, &requests, rate, time, nth)?;
        over.push(round.cpu - bare_round.cpu - 1.5 * call);
        ours.push(round);
        theirs.push(bare_round);
        calls.push(call);
    }
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| {
        median(&mut rounds.iter().map(figure).collect::<Vec<_>>())
    };
    let mut section = Section::new(
        "a. What a check costs",
        format!(
            "A detector that does nothing; texts of 20 to 160 characters, {rate:.0} a second \
             (half of what the server answers at most) with exponential gaps over {CONNECTIONS} \
             connections. Medians of {} interleaved rounds.",
            scene.n_rounds()
        ),
    );
    let pair = |figure: fn(&Round) -> f64| {
        let (ours, theirs) = (of(&ours, figure), of(&theirs, figure));
        format!(
            "{ours:.1} µs, bare axum {theirs:.1} µs, ratio {:.2}",
            ours / theirs
        )
    };
    section.tell("processor time per check", pair(|round| round.cpu));
    section.tell(
        "the same as fast as it answers",
        pair(|round| round.cpu_at_most),
    );
    section.tell(
        "99th percentile of latency",
        pair(|round| micros(round.p99)),
    );
    section.tell(
        "a call through the engine alone",
        format!("{:.1} µs", median(&mut calls)),
    );
    let over = median(&mut over);
    section.bound(
        "processor time beyond bare axum and 1.5 calls",
        format!("{over:.1} µs"),
        format!("at most {SLACK_US} µs"),
        over <= SLACK_US,
    );
    let n_failed: usize = ours.iter().chain(&theirs).map(|round| round.n_failed).sum();
    section.must(
        "answers other than 200",
        n_failed.to_string(),
        "none",
        n_failed == 0,
    );
    Ok(section)
}

fn round(
    server: &Running,
    requests: &[Vec<u8>],
    rate: f64,
    time: Duration,
    seed: usize,
) -> io::Result<Round> {
    let load = Load {
        address: server.address,
        requests,
        pace: Pace::Open(rate),
        time,
        n_connections: CONNECTIONS,
        seed: seed as u64,
        is_awake: true,
    };
    drive(
        &Load {
            time: time / 10,
            ..load
        },
        &mut Nobody,
    )?;
    let (cpu, samples) = cost(server, &load)?;
    let closed = Load {
        pace: Pace::Closed,
        time: time / 4,
        ..load
    };
    let (cpu_at_most, _) = cost(server, &closed)?;
    let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
    Ok(Round {
        cpu,
        cpu_at_most,
        p99: quantile(&mut latencies, 0.99),
        n_failed: samples
            .iter()
            .filter(|sample| sample.status != Some(200))
            .count(),
    })
}

/// Microseconds of processor time per request.
fn cost(server: &Running, load: &Load<'_>) -> io::Result<(f64, Vec<Sample>)> {
    let before = server.cpu()?;
    let Driven { samples, n_unsent } = drive(load, &mut Nobody)?;
    if n_unsent > 0 {
        return Err(io::Error::other(format!(
            "{n_unsent} requests could not be sent in time; the machine is too busy"
        )));
    }
    let cpu = server.cpu()?.saturating_sub(before);
    Ok((micros(cpu) / samples.len().max(1) as f64, samples))
}

/// Microseconds of a call that does nothing, through the engine alone, on the server's core.
fn call_overhead(me: &Path, is_quick: bool) -> io::Result<f64> {
    let mut command = pinned(me, SERVER_CORE);
    command.arg("call-overhead");
    if is_quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let nanos: Option<f64> = text.trim().parse().ok();
    nanos
        .map(|nanos| nanos / 1e3)
        .ok_or_else(|| io::Error::other(format!("no nanoseconds of a call: {output:?}")))
}
