//! What does a shadow cost whoever is answered, and does it give way?

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use trommel::registry::bundled;
use trommel_benches::median;
use trommel_tests::plugin::{PluginFolder, Work};

use crate::admin::{self, Admin};
use crate::load::{Load, Nobody, Pace, Sample, drive};
use crate::process::Spinner;
use crate::report::{Section, micros, quantile};
use crate::scene::{DETECTOR, Rollout, Scene, WORK, capacity, items};

/// How much longer the 99th percentile may be with a shadow.
const MOST_LONGER: f64 = 1.05;

/// The part of overload that a shadow may take: shed first, it gets next to nothing.
const MOST_AT_OVERLOAD: f64 = 0.05;

/// How many times what the server answers at most.
const OVERLOAD: f64 = 3.0;

const MANIFEST: &str = "plugin.toml";

const CONNECTIONS: usize = 64;
const CONNECTIONS_AT_OVERLOAD: usize = 512;

/// Two revisions of a detector, which differ in their description alone.
struct Pair {
    name: &'static str,
    what: &'static str,
    live: tempfile::TempDir,
    shadow: Vec<u8>,
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let mut section = Section::new(
        "d. Shadows",
        format!(
            "A shadow that is the live revision in all but its description; half of what the \
             server answers at most, over {CONNECTIONS} connections, then {OVERLOAD} times as much as that, \
             over {CONNECTIONS_AT_OVERLOAD}. Medians of {} interleaved rounds.",
            scene.n_rounds()
        ),
    );
    for pair in [working(scene)?, spam_text(scene)?] {
        let rollout = scene.rollout_of(&format!("shadow-{}", pair.name), pair.live.path())?;
        of(scene, &rollout, &pair, &mut section)?;
    }
    Ok(section)
}

/// A guest that computes by itself.
fn working(scene: &Scene) -> io::Result<Pair> {
    let live = tempfile::tempdir()?;
    copy(PluginFolder::working(DETECTOR, &WORK).path(), live.path())?;
    let shadow = Work {
        description: "the shadow",
        ..WORK
    };
    Ok(Pair {
        name: DETECTOR,
        what: "a guest of a tenth of a millisecond",
        live,
        shadow: scene.packed(&shadow)?,
    })
}

/// A detector with a model.
fn spam_text(scene: &Scene) -> io::Result<Pair> {
    let name = "spam-text";
    let files = bundled::DETECTORS.iter().find(|(known, _)| *known == name);
    let (_, files) = files.ok_or_else(|| io::Error::other("spam-text is not bundled"))?;
    let (live, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for (file, bytes) in files.iter() {
        fs::write(live.path().join(file), bytes)?;
        fs::write(other.path().join(file), bytes)?;
    }
    // The model card is not among them, and a package must hold what its manifest names.
    let text = fs::read_to_string(live.path().join(MANIFEST))?;
    let lines = text.lines().filter(|line| !line.starts_with("model-card"));
    let text = lines.collect::<Vec<_>>().join("\n");
    fs::write(live.path().join(MANIFEST), &text)?;
    let text = text.replacen("description = \"", "description = \"The shadow. ", 1);
    fs::write(other.path().join(MANIFEST), text)?;
    Ok(Pair {
        name,
        what: "spam-text",
        live,
        shadow: scene.packed_of(other.path())?,
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn of(scene: &Scene, rollout: &Rollout, pair: &Pair, section: &mut Section) -> io::Result<()> {
    let (admin, name) = (rollout.admin, pair.name);
    let requests = items(512);
    let address = rollout.server.address;
    let most = capacity(address, &requests, CONNECTIONS, scene.seconds(3.0))?;
    let load = Load {
        address,
        requests: &requests,
        pace: Pace::Open(most / 2.0),
        time: scene.seconds(6.0),
        n_connections: CONNECTIONS,
        seed: 1,
        is_awake: false,
    };
    let (mut alone, mut beside, mut ratios) = (vec![], vec![], vec![]);
    let mut of_spinner = vec![];
    let (mut n_shadowed, mut n_items, mut n_failed) = (0, 0, 0);
    for nth in 0..scene.n_rounds() {
        let load = Load {
            seed: nth as u64,
            ..load
        };
        let (without, failed_without) = p99(&load)?;
        let spinner = Spinner::start()?;
        let (spun, failed_spun) = p99(&load)?;
        drop(spinner);
        let revision = shadowed(admin, pair)?;
        let before = shadows(admin)?;
        let (with, failed_with) = p99(&load)?;
        n_shadowed += shadows(admin)? - before;
        n_items += (load.time.as_secs_f64() * most / 2.0) as u64;
        admin.step(&admin::verb("abort", name, &revision))?;
        n_failed += failed_without + failed_spun + failed_with;
        alone.push(without);
        beside.push(with);
        ratios.push(with / without);
        of_spinner.push(spun / without);
    }
    let ratio = median(&mut ratios);
    let what = pair.what;
    section.bound(
        &format!(
            "{what}, {:.0} a second: 99th percentile alone and with a shadow",
            most / 2.0
        ),
        format!(
            "{:.0} µs, {:.0} µs, ratio {ratio:.3}",
            median(&mut alone),
            median(&mut beside)
        ),
        format!("at most {MOST_LONGER}"),
        ratio <= MOST_LONGER,
    );
    section.tell(
        &format!("{what}: the same with a process in the shadow's place that spins in spare time"),
        format!("ratio {:.3}", median(&mut of_spinner)),
    );
    section.must(
        &format!("{what}: answers other than 200"),
        n_failed.to_string(),
        "none",
        n_failed == 0,
    );
    section.tell(
        &format!("{what}: items that the shadow judged"),
        format!("{:.0} %", 100.0 * n_shadowed as f64 / n_items.max(1) as f64),
    );
    at_overload(scene, rollout, pair, &load, most, section)
}

fn at_overload(
    scene: &Scene,
    rollout: &Rollout,
    pair: &Pair,
    load: &Load<'_>,
    most: f64,
    section: &mut Section,
) -> io::Result<()> {
    let overload = Load {
        pace: Pace::Open(most * OVERLOAD),
        n_connections: CONNECTIONS_AT_OVERLOAD,
        time: scene.seconds(8.0),
        ..*load
    };
    let judged = |load: &Load<'_>| -> io::Result<f64> {
        let samples = drive(load, &mut Nobody)?.samples;
        let n = samples
            .iter()
            .filter(|sample| sample.status == Some(200) && sample.done <= load.time)
            .count();
        Ok(n as f64 / load.time.as_secs_f64())
    };
    let alone = judged(&overload)?;
    let revision = shadowed(rollout.admin, pair)?;
    let before = shadows(rollout.admin)?;
    let beside = judged(&overload)?;
    let n_shadowed = shadows(rollout.admin)? - before;
    rollout
        .admin
        .step(&admin::verb("abort", pair.name, &revision))?;
    let a_second = n_shadowed as f64 / overload.time.as_secs_f64();
    let part = a_second / beside.max(1.0);
    section.bound(
        &format!(
            "{}: at overload judged alone, with a shadow, and by the shadow",
            pair.what
        ),
        format!(
            "{alone:.0}, {beside:.0} and {a_second:.0} a second ({:.1} %)",
            100.0 * part
        ),
        format!("the shadow {:.0} % at most", 100.0 * MOST_AT_OVERLOAD),
        part <= MOST_AT_OVERLOAD,
    );
    Ok(())
}

/// Loads the shadow's revision and lets it stand in the shadow.
fn shadowed(admin: Admin, pair: &Pair) -> io::Result<String> {
    let revision = admin.load(&pair.shadow)?;
    admin.step(&admin::verb("shadow", pair.name, &revision))?;
    Ok(revision)
}

/// Items that shadows have judged.
fn shadows(admin: Admin) -> io::Result<u64> {
    let status = admin.status()?;
    status["n_shadowed"]
        .as_u64()
        .ok_or_else(|| io::Error::other(format!("no `n_shadowed` in {status}")))
}

/// Microseconds, and how many answers were none.
fn p99(load: &Load<'_>) -> io::Result<(f64, usize)> {
    drive(
        &Load {
            time: load.time / 10,
            ..*load
        },
        &mut Nobody,
    )?;
    let samples = drive(load, &mut Nobody)?.samples;
    let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
    let n_failed = samples
        .iter()
        .filter(|sample| sample.status != Some(200))
        .count();
    Ok((micros(quantile(&mut latencies, 0.99)), n_failed))
}
