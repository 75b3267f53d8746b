//! The rollout as an on-call engineer wants it at night.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use trommel::excerpt::printable;
use trommel::pipeline::{
    DetectorStatus, GuardStatus, LineupFileStatus, RevisionStatus, RolloutStatus, ShadowStatus,
    TransitionCount,
};
use trommel::rollout::journal::{Cause, Entry, Event};
use trommel::rollout::quarantine::QuarantineChange;
use trommel::rollout::{Effect, Moment};

/// Entries of the journal that are shown.
const N_RECENT: usize = 10;

/// Characters of a name that somebody else chose.
const NAME_CHARS: usize = 80;

/// Characters of a path, or of what is wrong with a file.
const LINE_CHARS: usize = 400;

pub(super) fn status(out: &mut impl Write, status: &RolloutStatus) -> io::Result<()> {
    let policy = status.policy.map(|policy| policy.to_string());
    let state = status.state.as_deref().unwrap_or("kept nowhere");
    writeln!(
        out,
        "generation {}, state {}",
        status.generation,
        name(state)
    )?;
    let policy = policy.as_deref().unwrap_or("as the host was started with");
    writeln!(out, "policy {policy}")?;
    if let Some(followed) = &status.lineup_file {
        lineup_file(out, followed)?;
    }
    for detector in &status.detectors {
        writeln!(out)?;
        self::detector(out, detector)?;
    }
    if let Some(comparison) = &status.policy_shadow {
        writeln!(out, "\npolicy in the shadow")?;
        shadow(out, comparison)?;
    }
    if status.n_shadowed + status.n_shed > 0 {
        let (n_shadowed, n_shed) = (status.n_shadowed, status.n_shed);
        writeln!(
            out,
            "\nshadows judged {n_shadowed} items, {n_shed} were shed"
        )?;
    }
    if !status.transitions.is_empty() {
        writeln!(out, "\nsince the start")?;
    }
    for TransitionCount { verb, by, n } in &status.transitions {
        writeln!(out, "  {n:>3} {} by {}", name(verb), name(by))?;
    }
    writeln!(out, "\nlast")?;
    let recent = &status.recent;
    for entry in &recent[recent.len().saturating_sub(N_RECENT)..] {
        writeln!(out, "  {}  {}", at(entry.at), what(entry))?;
    }
    Ok(())
}

fn lineup_file(out: &mut impl Write, followed: &LineupFileStatus) -> io::Result<()> {
    let LineupFileStatus {
        file,
        generation,
        problem,
    } = followed;
    write!(out, "lineup file {}, ", printable(file, LINE_CHARS))?;
    match (generation, problem) {
        (Some(generation), _) => writeln!(out, "generation {generation} is in effect"),
        (None, None) => writeln!(out, "not read yet"),
        (None, Some(why)) => writeln!(out, "NOT FOLLOWED\n  {}", printable(why, LINE_CHARS)),
    }
}

fn detector(out: &mut impl Write, detector: &DetectorStatus) -> io::Result<()> {
    writeln!(out, "{}", name(detector.detector.as_str()))?;
    for revision in &detector.revisions {
        self::revision(out, detector, revision)?;
    }
    Ok(())
}

fn revision(
    out: &mut impl Write,
    detector: &DetectorStatus,
    revision: &RevisionStatus,
) -> io::Result<()> {
    let id = revision.revision;
    let version = revision.version.as_deref().unwrap_or("");
    write!(
        out,
        "  {:<8} {}  {:<10}",
        revision.stage.stage,
        id.short(),
        name(version)
    )?;
    let settings = revision.settings.iter();
    let mut notes: Vec<String> = settings
        .map(|(key, value)| format!("{}={}", name(key), name(value)))
        .collect();
    if let Some(share) = revision.stage.share {
        notes.push(format!("{} %", f64::from(share.millionths()) / 1e4));
    }
    if detector.live == Some(id) {
        notes.push(format!("answers, {} calls", detector.n_live_calls));
    }
    if detector.previous == Some(id) {
        notes.push("answers after a rollback".to_owned());
    }
    if revision.taken_out {
        notes.push("TAKEN OUT by its guard".to_owned());
    }
    if revision.left_alone {
        notes.push("LEFT ALONE, it keeps failing".to_owned());
    }
    for model in &revision.precision {
        notes.push(format!("{} in {}", name(&model.model), name(&model.stored)));
    }
    writeln!(out, " {}", notes.join("; "))?;
    for why in revision.precision.iter().filter_map(|it| it.why.as_ref()) {
        writeln!(out, "    no f16: {}", printable(why, LINE_CHARS))?;
    }
    for guard in &revision.guards {
        self::guard(out, guard)?;
    }
    if let Some(comparison) = &revision.shadow {
        shadow(out, comparison)?;
    }
    Ok(())
}

fn guard(out: &mut impl Write, guard: &GuardStatus) -> io::Result<()> {
    let beside = match guard.beside {
        Some(other) => format!("{} of {}", guard.n_other_calls, other.short()),
        None => format!("{} from before it was live", guard.n_other_calls),
    };
    writeln!(
        out,
        "    {}: {} calls beside {beside}; {} failed by host or caller",
        guard.standing, guard.n_calls, guard.n_of_others
    )?;
    if let Some(breach) = &guard.breach {
        return writeln!(out, "      passed {breach}");
    }
    for reading in &guard.bounds {
        let sure = (reading.ln_evidence / reading.ln_enough).clamp(0.0, 1.0);
        let (bound, sure) = (&reading.bound, (100.0 * sure).floor());
        writeln!(out, "      {:<16} {sure:>3} %  {bound}", bound.name())?;
    }
    Ok(())
}

fn shadow(out: &mut impl Write, shadow: &ShadowStatus) -> io::Result<()> {
    writeln!(
        out,
        "    {} items: {} stricter, {} milder, {} failed",
        shadow.n_items, shadow.n_stricter, shadow.n_milder, shadow.n_failed
    )?;
    if let Some(why) = &shadow.last_failure {
        writeln!(out, "      last failure: {}", printable(why, 200))?;
    }
    for flip in &shadow.flips {
        let examples: Vec<String> = flip.examples.iter().map(|id| name(id)).collect();
        let (given, shadow, n_items) = (flip.given, flip.shadow, flip.n_items);
        let examples = examples.join(", ");
        writeln!(
            out,
            "      {given} → {shadow}  {n_items}, such as {examples}"
        )?;
    }
    for (title, counts) in [("label", &shadow.labels), ("slice", &shadow.slices)] {
        for (of, n_items) in counts.iter().filter(|(_, n_items)| *n_items > 0) {
            writeln!(out, "      {title} {}  {n_items} differ", name(of))?;
        }
    }
    Ok(())
}

fn what(entry: &Entry) -> String {
    match &entry.event {
        Event::Lineup {
            generation, cause, ..
        } => match cause {
            Cause::Given { origin } => format!("generation {generation}: given, {}", name(origin)),
            Cause::File { file } => {
                let file = printable(file, LINE_CHARS);
                format!("generation {generation}: from the lineup file {file}")
            }
            Cause::Policy { policy } => format!("generation {generation}: policy {policy}"),
            Cause::Verb { transition, .. } => transition.to_string(),
        },
        Event::TakenOut {
            detector,
            revision,
            effect,
            breach,
            ..
        } => {
            let effect = match effect {
                Effect::Aborted => "aborted".to_owned(),
                Effect::RolledBack { to } => format!("rolled back to {}", to.short()),
                Effect::Stays => "stays, nobody else can answer".to_owned(),
            };
            let (detector, revision) = (name(detector.as_str()), revision.short());
            format!("guard: `{detector}` {revision} {effect}: {breach}")
        }
        Event::Quarantine {
            detector,
            revision,
            change,
        } => {
            let change = match change {
                QuarantineChange::Left { backoff_ms, .. } => {
                    format!("is left alone for {:?}", Duration::from_millis(*backoff_ms))
                }
                QuarantineChange::Returned => "serves again".to_owned(),
            };
            let (detector, revision) = (name(detector.as_str()), revision.short());
            format!("quarantine: `{detector}` {revision} {change}")
        }
    }
}

fn at(moment: Moment) -> String {
    let since = Duration::from_micros(moment.as_micros());
    let at = SystemTime::UNIX_EPOCH.checked_add(since);
    at.map_or_else(
        || "?".to_owned(),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

fn name(text: &str) -> String {
    printable(text, NAME_CHARS)
}
