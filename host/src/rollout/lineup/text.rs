//! The text of a lineup: the same for equal lineups, to the byte.

use std::fmt::Write as _;

use super::{DetectorLineup, End, Lineup, Stage};

pub(super) fn of(lineup: &Lineup) -> String {
    let mut text = String::new();
    line(&mut text, "generation", lineup.generation);
    line(&mut text, "salt", quoted(&lineup.salt));
    if let Some(policy) = lineup.policy {
        line(&mut text, "policy", quoted(&policy.to_string()));
    }
    for (id, detector) in &lineup.detectors {
        text.push_str("\n[[detector]]\n");
        line(&mut text, "id", quoted(id.as_str()));
        revisions(&mut text, detector);
        pins(&mut text, detector);
    }
    text
}

fn pins(text: &mut String, detector: &DetectorLineup) {
    for (key, revision) in detector.pins() {
        text.push_str("\n[[detector.pin]]\n");
        line(text, "key", quoted(key));
        line(text, "revision", quoted(&revision.to_string()));
    }
}

fn revisions(text: &mut String, detector: &DetectorLineup) {
    if let Some(previous) = detector.previous {
        line(text, "previous", quoted(&previous.to_string()));
    }
    for staged in &detector.revisions {
        text.push_str("\n[[detector.revision]]\n");
        line(text, "revision", quoted(&staged.revision.to_string()));
        line(text, "stage", quoted(staged.stage.as_str()));
        if let Stage::Canary { share, end } = staged.stage {
            line(text, "share", share);
            if end == End::High {
                line(text, "end", quoted("high"));
            }
        }
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key} = {value}").expect("a string takes all that is written");
}

/// A TOML basic string; the parser lets no control character into a lineup.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
