//! Who answers in a replay: whoever is live in the lineup.

use std::collections::BTreeMap;
use std::io::{Write as _, stderr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use trommel::Host;
use trommel::registry::{Package, bundled};
use trommel::rollout::{self, Lineup};

use super::super::host::{HostArguments, engine_options};
use super::super::output::shown;
use super::ReplayArguments;

pub(super) fn lineup(file: &Path) -> anyhow::Result<Lineup> {
    let shown = file.display().to_string();
    let length = file.metadata().map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > rollout::MAX_BYTES as u64) {
        bail!("lineup {shown} has more than {} bytes", rollout::MAX_BYTES);
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("lineup {shown} cannot be read"))?;
    Ok(Lineup::parse(&shown, &text)?)
}

/// A host of whoever is live in the lineup.
pub(super) fn host(arguments: &ReplayArguments, lineup: &Lineup) -> anyhow::Result<Host> {
    let file = arguments.lineup.display();
    let of_host = HostArguments {
        detectors: &arguments.detector,
        trusted_keys: &arguments.trusted_key,
        policy: arguments.policy.as_deref(),
        lists: &arguments.list,
        device: &arguments.device,
        deadline: Some(Duration::from_millis(arguments.deadline_ms)),
    };
    let options = engine_options()?;
    let (max, most, trust) = (
        &options.max_limits,
        options.max_component_bytes,
        of_host.trust()?,
    );
    let mut packages = Vec::new();
    for path in &arguments.detector {
        packages.push(Package::open(path, max, most, &trust)?);
    }
    packages.extend(bundled::packages(max)?);
    let mut builder = of_host.without_detectors()?;
    let mut n_live = 0;
    for (id, detector) in lineup.detectors() {
        let Some(live) = detector.live() else {
            continue;
        };
        let revision = |package: &Package| package.revision(&BTreeMap::new());
        let is_it = |package: &&Package| package.manifest.id == *id && revision(package) == live;
        let Some(package) = packages.iter().find(is_it) else {
            let named = packages.iter().filter(|package| package.manifest.id == *id);
            let there: Vec<String> = named.map(|package| revision(package).to_string()).collect();
            let there = match there.is_empty() {
                true => "none of that name is given".to_owned(),
                false => format!("of that name there is {}", there.join(", ")),
            };
            let id = shown(id.as_str());
            bail!(
                "{file}: `{id}` is live as {live}, and no package is that revision ({there}); give it with --detector"
            );
        };
        builder = builder.package(package.clone());
        n_live += 1;
    }
    if n_live == 0 {
        bail!("{file}: no detector is live, so nobody would answer; promote one");
    }
    let host = builder.build()?;
    let policy = host.policy().digest();
    match lineup.policy() {
        Some(named) if named != policy && arguments.policy.is_none() => bail!(
            "{file}: the lineup was rolled out with policy {named}, and the built-in one is {policy}; give its file with --policy"
        ),
        Some(named) if named != policy => {
            writeln!(
                stderr(),
                "note: the lineup names policy {named}, and {policy} decides"
            )?;
        }
        _ => {}
    }
    Ok(host)
}
