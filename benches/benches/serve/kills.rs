//! Does a host that is killed at any moment come back with what its journal confirms?

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use trommel::engine::Limits;
use trommel::registry::{Package, Trust};
use trommel::rollout::Lineup;
use trommel::rollout::journal::decode;
use trommel_tests::plugin::{PluginFolder, Work};
use trommel_tests::random::Random;

use crate::admin::{self, Admin, Told, of_detector};
use crate::http::check;
use crate::process::pause;
use crate::report::Section;
use crate::scene::{DETECTOR, Rollout, Scene, WORK};

/// How often it is killed.
const KILLS: usize = 200;

/// The latest moment of a kill, counted from the first step after a start.
const LATEST_MS: usize = 400;

/// Revisions that are rolled out.
const VARIANTS: [&str; 4] = ["one", "two", "three", "four"];

/// What happened up to a kill.
#[derive(Debug, Default)]
struct Before {
    /// The greatest generation that a step's answer named.
    acknowledged: u64,
    n_steps: usize,
    n_refused: usize,
    n_loads: usize,
}

pub(crate) fn measure(scene: &Scene) -> io::Result<Section> {
    let folder = PluginFolder::working(DETECTOR, &WORK);
    let records = scene.path("records");
    let more = format!("[record]\nfolder = {:?}\n", records.display().to_string());
    let config = scene.config("kills.toml", &[folder.path()], &more)?;
    let state = scene.path("kills");
    let packages = VARIANTS.map(|description| {
        scene.packed(&Work {
            description,
            ..WORK
        })
    });
    let packages = packages.into_iter().collect::<io::Result<Vec<_>>>()?;
    let mut random = Random::new(7);
    let (mut wrong, mut all, mut greatest) = (Vec::new(), Before::default(), 0);
    let (mut n_cut, mut n_unfinished, mut n_early, mut n_records) = (0, 0, 0, 0);
    let n_kills = scene.n(KILLS);
    for nth in 0..n_kills {
        if random.below(5) == 0 {
            // In the middle of its start.
            let time = Duration::from_millis(random.below(150) as u64);
            scene.killed_at_start(&config, &state, time)?;
            n_early += 1;
        }
        let torn = leftovers(&state)?;
        n_cut += usize::from(torn.0);
        n_unfinished += usize::from(torn.1);
        let rollout = match scene.restarted(&config, state.clone()) {
            Ok(rollout) => rollout,
            Err(error) => {
                wrong.push(format!("kill {nth}: it does not start again: {error}"));
                break;
            }
        };
        let found = looked_at(&rollout, greatest).and_then(|generation| {
            n_records = records_are_whole(&records)?;
            answers(&rollout)?;
            Ok(generation)
        });
        match found {
            Ok(generation) => greatest = generation,
            Err(error) => wrong.push(format!("kill {nth}: {error}")),
        }
        let at = Duration::from_millis(random.below(LATEST_MS) as u64);
        let before = worked(&rollout, &packages, &mut random, at);
        greatest = greatest.max(before.acknowledged);
        all.n_steps += before.n_steps;
        all.n_refused += before.n_refused;
        all.n_loads += before.n_loads;
    }
    let mut section = Section::new(
        "e. Killed at any moment",
        format!(
            "`kill -9` up to {LATEST_MS} ms after the first of random steps and loads, with \
             items between them; {n_early} times more while it started."
        ),
    );
    section.tell("kills", (n_kills + n_early).to_string());
    section.tell(
        "steps taken, refused, packages loaded",
        format!("{}, {}, {}", all.n_steps, all.n_refused, all.n_loads),
    );
    section.tell(
        "found a torn line of the journal, a lineup not in place",
        format!("{n_cut}, {n_unfinished}"),
    );
    section.tell("records of verdicts at the end", n_records.to_string());
    let first = wrong.first();
    section.must(
        "came back with a lineup that the journal confirms, nothing acknowledged lost, packages whole, no line or record torn",
        first.map_or("each time".to_owned(), |first| format!("not {} times (the first: {first})", wrong.len())),
        "each time",
        wrong.is_empty(),
    );
    Ok(section)
}

/// Whether a kill has left a line of the journal torn, and a lineup to be put in place.
fn leftovers(state: &Path) -> io::Result<(bool, bool)> {
    let journal = state.join("journal.jsonl");
    if !journal.exists() {
        return Ok((false, false));
    }
    let journal = fs::read(journal)?;
    let n_good = decode(&journal).map_or(0, |decoded| decoded.n_good_bytes);
    Ok((n_good < journal.len(), state.join("lineup.next").exists()))
}

/// Looks at everything that a restarted host says and keeps; the generation of its lineup.
fn looked_at(rollout: &Rollout, greatest: u64) -> Result<u64, String> {
    let told = |error: io::Error| error.to_string();
    let text = rollout.admin.lineup().map_err(told)?;
    let lineup = Lineup::parse("lineup", &text).map_err(|error| error.to_string())?;
    let journal = fs::read(rollout.state.join("journal.jsonl")).map_err(told)?;
    let decoded = decode(&journal).map_err(|error| error.to_string())?;
    if decoded.n_good_bytes != journal.len() {
        return Err("a torn line is left in the journal".to_owned());
    }
    let confirmed = decoded.confirmed();
    if confirmed != Some((lineup.generation(), lineup.digest())) {
        return Err(format!(
            "it serves generation {}, and the journal confirms {confirmed:?}",
            lineup.generation()
        ));
    }
    let kept = fs::read_to_string(rollout.state.join("lineup.toml")).map_err(told)?;
    if kept != text {
        return Err("lineup.toml is not the lineup that it serves".to_owned());
    }
    if lineup.generation() < greatest {
        return Err(format!(
            "generation {greatest} was acknowledged, and it serves {}",
            lineup.generation()
        ));
    }
    packages_are_whole(&rollout.state, &lineup)?;
    Ok(lineup.generation())
}

/// Each package that is kept is the one that its name says; each that is wanted is kept;
/// nothing is left of one that was coming.
fn packages_are_whole(state: &Path, lineup: &Lineup) -> Result<(), String> {
    let files = |name: &str| -> Result<Vec<std::path::PathBuf>, String> {
        let entries = fs::read_dir(state.join(name)).map_err(|error| error.to_string())?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths
            .collect::<io::Result<_>>()
            .map_err(|error| error.to_string())
    };
    if let Some(left) = files("incoming")?.first() {
        return Err(format!("{} is left over", left.display()));
    }
    let mut kept = Vec::new();
    for file in files("packages")? {
        let package = Package::open(&file, &Limits::MAX, usize::MAX, &Trust::Anyone);
        let package = package.map_err(|error| format!("half a package: {error}"))?;
        let revision = package.revision(&BTreeMap::new());
        let name = file
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned());
        if name.map(|name| format!("sha256:{name}")) != Some(revision.to_string()) {
            return Err(format!("{} holds {revision}", file.display()));
        }
        kept.push(revision);
    }
    for (id, stages) in lineup.detectors() {
        let mut ready = stages.ready();
        if let Some(revision) = ready.find(|revision| !kept.contains(revision)) {
            return Err(format!("{revision} of `{id}` is wanted and not kept"));
        }
    }
    Ok(())
}

/// How many records there are, none of them torn.
fn records_are_whole(records: &Path) -> Result<usize, String> {
    let mut n_records = 0;
    let entries = fs::read_dir(records).map_err(|error| error.to_string())?;
    for entry in entries {
        let file = entry.map_err(|error| error.to_string())?.path();
        if file
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        for line in text.split_inclusive('\n') {
            let is_whole = line.ends_with('\n')
                && serde_json::from_str::<Value>(line).is_ok_and(|line| line["record"].is_object());
            if !is_whole {
                let line: String = line.chars().take(80).collect();
                return Err(format!("a torn record in {}: {line}", file.display()));
            }
            n_records += 1;
        }
    }
    Ok(n_records)
}

/// It judges, by a revision that its lineup names as ready.
fn answers(rollout: &Rollout) -> Result<(), String> {
    let item = check(&json!({ "id": "after", "text": "see you at seven" }).to_string());
    let told = Admin(rollout.server.address).send(&item);
    let told = told.map_err(|error| error.to_string())?;
    let judgement = told.json();
    match (told.status, judgement["degraded"].as_array().map(Vec::len)) {
        (200, Some(0)) => Ok(()),
        _ => Err(format!("it answers {} {judgement}", told.status)),
    }
}

/// Steps, loads and items, one after the other, until the server is killed.
fn worked(rollout: &Rollout, packages: &[Vec<u8>], random: &mut Random, at: Duration) -> Before {
    let (mut before, is_killed) = (Before::default(), AtomicBool::new(false));
    let id = rollout.server.id().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(at);
            is_killed.store(true, Ordering::Relaxed);
            // That it fails is seen by the server's being there still.
            Command::new("kill").args(["-9", &id]).status()
        });
        // The last requests fail, for nobody is there any more.
        while !is_killed.load(Ordering::Relaxed) {
            if one(rollout, packages, random, &mut before).is_err() {
                break;
            }
        }
    });
    before
}

/// One request, of a kind that chance decides.
fn one(
    rollout: &Rollout,
    packages: &[Vec<u8>],
    random: &mut Random,
    before: &mut Before,
) -> io::Result<()> {
    let admin = rollout.admin;
    let what = random.below(10);
    let told = match what {
        0..2 => {
            let nth = random.below(packages.len());
            admin.send(&admin::authorised(
                "POST",
                "/admin/v1/revisions",
                &packages[nth],
            ))?
        }
        2..5 => {
            let item = check(&json!({ "id": "a", "text": "an item between" }).to_string());
            return Admin(rollout.server.address).send(&item).map(drop);
        }
        _ => match revision(admin, random)? {
            Some(revision) => admin.send(&admin::step(&verb(random, &revision)))?,
            None => return Ok(()),
        },
    };
    count(&told, before);
    Ok(())
}

fn count(told: &Told, before: &mut Before) {
    let answer = told.json();
    match (told.status, answer["generation"].as_u64()) {
        (200..300, Some(generation)) => {
            before.acknowledged = before.acknowledged.max(generation);
            match answer["version"].is_null() {
                true => before.n_steps += 1,
                false => before.n_loads += 1,
            }
        }
        _ => before.n_refused += 1,
    }
}

/// Some revision that the host knows of.
fn revision(admin: Admin, random: &mut Random) -> io::Result<Option<String>> {
    let status = admin.status()?;
    let revisions = of_detector(&status, DETECTOR)["revisions"].as_array();
    let revisions: Vec<&Value> = revisions.into_iter().flatten().collect();
    if revisions.is_empty() {
        return Ok(None);
    }
    let nth = random.below(revisions.len());
    Ok(revisions[nth]["revision"].as_str().map(str::to_owned))
}

/// A step, which may be one that is refused.
fn verb(random: &mut Random, revision: &str) -> Value {
    match random.below(7) {
        0 => admin::canary(DETECTOR, revision, 0.25),
        1 => json!({ "verb": "rollback", "detector": DETECTOR }),
        2 => admin::verb("shadow", DETECTOR, revision),
        3 => admin::verb("abort", DETECTOR, revision),
        4 => admin::verb("retire", DETECTOR, revision),
        _ => admin::verb("promote", DETECTOR, revision),
    }
}
