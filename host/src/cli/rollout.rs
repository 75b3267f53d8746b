//! `trommel rollout`: how a revision comes to answer, and is taken back; on a running host
//! through its admin API, or on a state folder that no host holds.

mod folder;
mod remote;
mod show;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use trommel::pipeline::{DetectorStatus, LoadedRevision, RevisionStatus, RolloutStatus};
use trommel::registry::{SettingValue, Settings};
use trommel::revision::RevisionId;
use trommel::rollout::{Lineup, Share, Transition, Verb};
use trommel::signal::DetectorId;

use self::folder::Folder;
use self::remote::Remote;
use super::Exit;
use super::output::shown;

const EXAMPLES: &str = "\
Examples:
  trommel rollout status
  trommel rollout load spam-text-0.2.0.tar
  trommel rollout load my-plugin --set least-letters=12
  trommel rollout shadow spam-text 3f2a91
  trommel rollout canary spam-text 0.2.0 5%
  trommel rollout promote spam-text 0.2.0
  trommel rollout rollback spam-text

A revision is named by its version, or by the first digits of its digest. The token of the admin API is taken
from TROMMEL_ADMIN_TOKEN.";

/// The shortest part of a digest that names a revision.
const MIN_DIGITS: usize = 4;

/// Arguments of `trommel rollout`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RolloutArguments {
    /// The admin API of a running host.
    #[arg(
        long,
        value_name = "URL",
        env = "TROMMEL_ADMIN",
        default_value = "http://127.0.0.1:8081",
        conflicts_with = "state",
        global = true
    )]
    admin: String,
    /// The state folder of a host that does not run.
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Write what comes back as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, Subcommand)]
enum RolloutCommand {
    /// Show stages, shares, counts, flips, guards, and what happened last.
    Status,
    /// Verify and load a package as a revision that nobody is asked of yet.
    Load {
        /// A plugin folder or a packed package.
        package: PathBuf,
        /// Roll it out with this setting in the place of its manifest's default, which makes
        /// it another revision; may be given more than once.
        #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
        set: Vec<(String, SettingValue)>,
        /// With `--state`: a public key, one of which must have signed the package.
        #[arg(long, value_name = "FILE")]
        trusted_key: Vec<PathBuf>,
    },
    /// Ask a revision after the answer is decided, and compare verdicts.
    Shadow(Named),
    /// Let a revision answer for a share of keys.
    Canary {
        #[command(flatten)]
        named: Named,
        /// How many of all keys, such as 5% or 0.05.
        #[arg(value_parser = share)]
        share: Share,
    },
    /// Let a revision answer for everybody.
    Promote {
        #[command(flatten)]
        named: Named,
        /// The share that who was live keeps, so that both can be compared.
        #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
        control: Share,
    },
    /// End the control that a promotion had kept.
    Settle {
        /// The detector's name.
        detector: String,
    },
    /// Let who was live before answer again, at once.
    Rollback {
        /// The detector's name.
        detector: String,
    },
    /// Retire a shadow or canary that was found wanting.
    Abort(Named),
    /// Retire a revision that is not needed any more.
    Retire(Named),
    /// Let a revision answer for one key, whatever the rollout says.
    Pin {
        #[command(flatten)]
        named: Named,
        /// The key: an item's id, or what callers give in its place.
        key: String,
    },
    /// Let the rollout decide for a key again.
    Unpin {
        /// The detector's name.
        detector: String,
        /// The key.
        key: String,
    },
    /// Write the lineup in effect, or give another one.
    Lineup {
        /// A lineup of a newer generation.
        file: Option<PathBuf>,
    },
}

/// A revision as a user names it.
#[derive(Debug, Args)]
struct Named {
    /// The detector's name.
    detector: String,
    /// The revision's version, its digest, or the digest's first digits.
    revision: String,
}

/// Where the lineup is.
enum Place {
    Host(Remote),
    Folder(Folder),
}

pub(super) fn run(arguments: &RolloutArguments) -> anyhow::Result<Exit> {
    let mut place = match &arguments.state {
        Some(folder) => Place::Folder(Folder::open(folder)?),
        None => Place::Host(Remote::new(&arguments.admin)?),
    };
    let json = arguments.json;
    match &arguments.command {
        RolloutCommand::Status => {
            let status = place.status()?;
            match json {
                true => print(&serde_json::to_string_pretty(&status)?)?,
                false => show::status(&mut stdout().lock(), &status)?,
            }
        }
        RolloutCommand::Load {
            package,
            set,
            trusted_key,
        } => {
            let loaded = place.load(package, &settings(set)?, trusted_key)?;
            match json {
                true => print(&serde_json::to_string(&loaded)?)?,
                false => print(&format!(
                    "loaded `{}` {} ({}), {} golden cases passed; generation {}",
                    shown(loaded.detector.as_str()),
                    loaded.revision.short(),
                    shown(&loaded.version),
                    loaded.n_golden,
                    loaded.generation
                ))?,
            }
        }
        RolloutCommand::Lineup { file: None } => print(place.lineup()?.text().trim_end())?,
        RolloutCommand::Lineup { file: Some(file) } => {
            let shown = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("lineup {shown} cannot be read"))?;
            // A mistake is told with the file's own name.
            let lineup = Lineup::parse(&shown, &text)?;
            place.give(&lineup, &shown)?;
            print(&format!("generation {} is in effect", lineup.generation()))?;
        }
        command => {
            let verb = verb(command, &mut place)?;
            let transition = place.step(&verb)?;
            match json {
                true => print(&serde_json::to_string(&transition)?)?,
                false => print(&shown(&transition.to_string()))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn verb(command: &RolloutCommand, place: &mut Place) -> anyhow::Result<Verb> {
    let id = |name: &String| DetectorId::from(name.as_str());
    let mut named = |named: &Named| -> anyhow::Result<(DetectorId, RevisionId)> {
        let revision = revision(&place.status()?, named)?;
        Ok((id(&named.detector), revision))
    };
    Ok(match command {
        RolloutCommand::Shadow(shadow) => {
            let (detector, revision) = named(shadow)?;
            Verb::Shadow { detector, revision }
        }
        RolloutCommand::Canary {
            named: canary,
            share,
        } => {
            let (detector, revision) = named(canary)?;
            Verb::Canary {
                detector,
                revision,
                share: *share,
            }
        }
        RolloutCommand::Promote {
            named: promoted,
            control,
        } => {
            let (detector, revision) = named(promoted)?;
            Verb::Promote {
                detector,
                revision,
                control: *control,
            }
        }
        RolloutCommand::Settle { detector } => Verb::Settle {
            detector: id(detector),
        },
        RolloutCommand::Rollback { detector } => Verb::Rollback {
            detector: id(detector),
        },
        RolloutCommand::Abort(aborted) => {
            let (detector, revision) = named(aborted)?;
            Verb::Abort { detector, revision }
        }
        RolloutCommand::Retire(retired) => {
            let (detector, revision) = named(retired)?;
            Verb::Retire { detector, revision }
        }
        RolloutCommand::Pin { named: pinned, key } => {
            let (detector, revision) = named(pinned)?;
            Verb::Pin {
                detector,
                revision,
                key: key.clone(),
            }
        }
        RolloutCommand::Unpin { detector, key } => Verb::Unpin {
            detector: id(detector),
            key: key.clone(),
        },
        RolloutCommand::Status | RolloutCommand::Load { .. } | RolloutCommand::Lineup { .. } => {
            unreachable!("these are no steps, and were taken care of")
        }
    })
}

/// The one revision whose digest begins so, or whose author calls it so.
fn revision(status: &RolloutStatus, named: &Named) -> anyhow::Result<RevisionId> {
    if let Ok(revision) = named.revision.parse() {
        return Ok(revision);
    }
    let (detector, given) = (shown(&named.detector), shown(&named.revision));
    let is_it = |status: &&DetectorStatus| status.detector.as_str() == named.detector;
    let Some(status) = status.detectors.iter().find(is_it) else {
        bail!("the lineup has no detector `{detector}`; `trommel rollout status` lists them");
    };
    let digits = named.revision.trim_start_matches("sha256:");
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_digits = digits.len() >= MIN_DIGITS && is_hex;
    let digits = format!("sha256:{}", digits.to_ascii_lowercase());
    let is_meant = |status: &&RevisionStatus| {
        (is_digits && status.revision.to_string().starts_with(&digits))
            || status.version.as_ref() == Some(&named.revision)
    };
    let mut meant = status.revisions.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(meant), None) => Ok(meant.revision),
        (None, _) => bail!(
            "`{given}` names no revision of `{detector}`; give its version, or at least {MIN_DIGITS} digits of its digest, and load it first"
        ),
        _ => bail!("`{given}` names several revisions of `{detector}`; give more digits of one"),
    }
}

/// `KEY=VALUE`; what the value means is the manifest's word.
fn setting(text: &str) -> Result<(String, SettingValue), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), SettingValue::Text(value.to_owned())))
        }
        _ => Err("write it like least-letters=12".to_owned()),
    }
}

fn settings(given: &[(String, SettingValue)]) -> anyhow::Result<Settings> {
    let mut settings = Settings::new();
    for (key, value) in given {
        if settings.insert(key.clone(), value.clone()).is_some() {
            bail!("setting `{}` is given twice; keep one", shown(key));
        }
    }
    Ok(settings)
}

/// A share as people write it: `5%`, or a fraction.
fn share(text: &str) -> Result<Share, String> {
    let wrong = || format!("`{text}` is no share; write it like 5% or 0.05");
    let Some(percent) = text.strip_suffix('%') else {
        return text.parse().map_err(|_| wrong());
    };
    // Moved by two places in the text, since a quotient would be another number.
    let (whole, rest) = percent
        .trim()
        .split_once('.')
        .unwrap_or((percent.trim(), ""));
    if whole.is_empty() || !whole.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits = format!("{whole:0>3}");
    let (before, after) = digits.split_at(digits.len() - 2);
    format!("{before}.{after}{rest}")
        .parse()
        .map_err(|_| wrong())
}

fn print(line: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{line}").map_err(Into::into)
}

impl Place {
    fn status(&mut self) -> anyhow::Result<RolloutStatus> {
        match self {
            Self::Host(host) => host.status(),
            Self::Folder(folder) => folder.status(),
        }
    }

    fn lineup(&mut self) -> anyhow::Result<Lineup> {
        match self {
            Self::Host(host) => host.lineup(),
            Self::Folder(folder) => folder.lineup(),
        }
    }

    fn step(&mut self, verb: &Verb) -> anyhow::Result<Transition> {
        match self {
            Self::Host(host) => host.step(verb),
            Self::Folder(folder) => folder.step(verb),
        }
    }

    fn give(&mut self, lineup: &Lineup, origin: &str) -> anyhow::Result<()> {
        match self {
            Self::Host(host) => host.give(lineup),
            Self::Folder(folder) => folder.give(lineup, origin),
        }
    }

    fn load(
        &mut self,
        package: &Path,
        settings: &Settings,
        keys: &[PathBuf],
    ) -> anyhow::Result<LoadedRevision> {
        match self {
            Self::Host(_) if !keys.is_empty() => {
                bail!("a running host has its own keys; leave `--trusted-key` out")
            }
            Self::Host(host) => host.load(package, settings),
            Self::Folder(folder) => folder.load(package, settings, keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_read_as_people_write_it() {
        for (text, millionths) in [
            ("5%", 50_000),
            ("0.05", 50_000),
            ("100%", 1_000_000),
            ("0.01%", 100),
            ("12.5 %", 125_000),
            ("1", 1_000_000),
            ("0", 0),
        ] {
            assert_eq!(
                share(text).map(|share| share.millionths()),
                Ok(millionths),
                "{text}"
            );
        }
        for text in ["", "%", "-1%", "101%", "five", "0.00001%"] {
            share(text).unwrap_err();
        }
    }
}
