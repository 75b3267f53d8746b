//! The policy's reader, and what a policy decides on facts of any kind: raising a
//! probability never softens a verdict.
//!
//! The input is the policy, and after a line `===` bytes that choose the facts.

#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use trommel::item::{Attribute, Attributes};
use trommel::policy::{DetectorState, Facts, ListState, Policy, Verdict};
use trommel::revision::RevisionId;
use trommel::signal::{CalibratorVersion, DetectorId, Label, Probability, Signal};

fuzz_target!(|data: &[u8]| {
    const SEPARATOR: &[u8] = b"\n===\n";
    let at = data
        .windows(SEPARATOR.len())
        .position(|bytes| bytes == SEPARATOR);
    let (text, chosen) = match at {
        Some(at) => (&data[..at], &data[at + SEPARATOR.len()..]),
        None => (data, &[][..]),
    };
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    match Policy::parse("policy.toml", text) {
        // Bytes that do not suffice for facts are read as zeros, never refused.
        Ok(policy) => decide(&policy, text, &mut Unstructured::new(chosen))
            .expect("facts can be made of any bytes"),
        Err(error) => assert!(error.to_string().starts_with("policy.toml:")),
    }
});

fn decide(policy: &Policy, text: &str, bytes: &mut Unstructured<'_>) -> Result<()> {
    let attributes = attributes(text, bytes)?;
    let detectors = detectors(policy, bytes)?;
    let mut labels: Vec<Label> = policy.labels().map(|(label, _)| label.clone()).collect();
    labels.dedup();
    labels.truncate(16);
    labels.push("unheard-of".into());
    let mut listed = Vec::new();
    for (list, _) in policy.lists().take(16) {
        if bytes.ratio(1, 2)? {
            let is_found = bytes.ratio(3, 4)?;
            let state = match is_found {
                true => ListState::Found,
                false => ListState::Degraded,
            };
            listed.push((list, state));
        }
    }
    let mut signals = Vec::new();
    for label in &labels {
        if bytes.ratio(3, 4)? {
            signals.push(signal(label, bytes)?);
        }
    }
    let verdict = |signals: &[Signal]| {
        policy.decide(&Facts {
            attributes: &attributes,
            signals,
            detectors: &detectors,
            listed: &listed,
        })
    };
    let before = verdict(&signals);
    assert_eq!(
        before,
        verdict(&signals),
        "the same facts, the same verdict"
    );
    for _ in 0..4 {
        let softer = verdict(&signals);
        match bytes.choose_index(signals.len() + 1)? {
            at if at < signals.len() => {
                let more = signal(&signals[at].label, bytes)?.probability;
                if more > signals[at].probability {
                    signals[at].probability = more;
                }
            }
            _ => {
                let label = bytes.choose(&labels)?.clone();
                signals.push(signal(&label, bytes)?);
            }
        }
        not_softer(&softer, &verdict(&signals));
    }
    Ok(())
}

/// Every rule that fired fires still, so the action is as strict at least.
fn not_softer(before: &Verdict, after: &Verdict) {
    assert!(
        after.action >= before.action,
        "{before:?} and then {after:?}"
    );
    let kept = before.rules.iter().all(|rule| after.rules.contains(rule));
    assert!(kept, "{before:?} and then {after:?}");
}

fn signal(label: &Label, bytes: &mut Unstructured<'_>) -> Result<Signal> {
    // Cuts have few digits, so that both sides and the cut itself are met.
    let probability = f64::from(bytes.int_in_range(0..=100_u8)?) / 100.0;
    Ok(Signal {
        detector: "fuzzed".into(),
        revision: RevisionId::new([0; 32]),
        label: label.clone(),
        score: 0.0,
        probability: Probability::new(probability).expect("a hundredth"),
        calibrator: CalibratorVersion::of_digest([0; 32]),
        evidence: Vec::new(),
    })
}

fn detectors(
    policy: &Policy,
    bytes: &mut Unstructured<'_>,
) -> Result<Vec<(DetectorId, DetectorState)>> {
    let mut names: Vec<DetectorId> = policy.detectors().map(|(name, _)| name.clone()).collect();
    names.push("fuzzed".into());
    names.sort();
    names.dedup();
    names.truncate(16);
    let states = [
        DetectorState::Answered,
        DetectorState::Degraded,
        DetectorState::NotAsked,
    ];
    let state = |name| Ok((name, *bytes.choose(&states)?));
    names.into_iter().map(state).collect()
}

/// Values for the attributes that the policy's text names.
fn attributes(text: &str, bytes: &mut Unstructured<'_>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for rest in text.split("attribute = \"").skip(1).take(16) {
        let name = rest.split('"').next().unwrap_or_default();
        let value = match bytes.int_in_range(0..=5_u8)? {
            0 => Attribute::Flag(bytes.arbitrary()?),
            1 => Attribute::Integer(bytes.int_in_range(-4..=100)?),
            2 => Attribute::Integer(bytes.arbitrary()?),
            3 => Attribute::Number(bytes.arbitrary()?),
            4 => Attribute::Text(bytes.arbitrary()?),
            _ => continue,
        };
        attributes.insert(name.to_owned(), value);
    }
    Ok(attributes)
}
