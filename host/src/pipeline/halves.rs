//! Models in f16, held to f32 before they answer anybody: each golden case is run both ways,
//! where a revision is made ready, and one whose scores move too far runs in f32 here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::verify::{SPARE_ATTEMPTS, in_the_end, judged};
use crate::engine::{Detector, Engine, LoadError, RawSignal};
use crate::registry::{Golden, GoldenCase, Loaded, PackageError};
use crate::signal::Label;

/// The longest that one case may take; its detector's own deadline is shorter.
const CASE_TIME: Duration = Duration::from_secs(60);

/// The revision with its models in f16 where its golden cases bear that, else in f32. One
/// that no device stores so is what it was. `origin` names its package in messages.
///
/// `Load` when f32 cannot be made ready, and so nothing is known.
pub(super) async fn held(
    engine: &Arc<Engine>,
    loaded: Loaded,
    origin: &str,
) -> Result<Loaded, PackageError> {
    let failed = |error| PackageError::Load {
        origin: origin.to_owned(),
        error: Box::new(error),
    };
    compared_to_single(engine, loaded).await.map_err(failed)
}

/// The same for a caller without a runtime. On a thread of its own, since the caller may
/// stand in a runtime after all, and that must not be waited in.
pub(super) fn held_blocking(
    engine: &Arc<Engine>,
    loaded: Loaded,
    origin: &str,
) -> Result<Loaded, PackageError> {
    if loaded.halved_within.is_none() {
        return Ok(loaded);
    }
    let failed = |why: String| PackageError::Load {
        origin: origin.to_owned(),
        error: Box::new(LoadError::Engine(why)),
    };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        runtime.block_on(held(engine, loaded, origin))
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(failed("holding f16 to f32 ended in a panic".to_owned())))
}

async fn compared_to_single(engine: &Arc<Engine>, loaded: Loaded) -> Result<Loaded, LoadError> {
    let Some(tolerance) = loaded.halved_within else {
        return Ok(loaded);
    };
    if !loaded.detector.halves().any(|(_, stored)| stored.is_ok()) {
        return Ok(loaded);
    }
    let single = in_single(engine, &loaded.detector, "it is being compared").await?;
    let mut n_spare = SPARE_ATTEMPTS;
    for case in &loaded.golden {
        let half = found(engine, &loaded.detector, case, &mut n_spare).await;
        let whole = found(engine, &single, case, &mut n_spare).await;
        let Err(why) = compared(&case.golden, &half, &whole, tolerance) else {
            continue;
        };
        tracing::warn!(
            detector = %loaded.detector.id(), revision = loaded.detector.revision().short(), why,
            "f16 changes what this detector says; its models run in f32 here"
        );
        return Ok(Loaded {
            detector: in_single(engine, &loaded.detector, &why).await?,
            ..loaded
        });
    }
    Ok(loaded)
}

async fn in_single(
    engine: &Arc<Engine>,
    detector: &Detector,
    why: &str,
) -> Result<Detector, LoadError> {
    let (engine, detector, why) = (engine.clone(), detector.clone(), why.to_owned());
    let made = tokio::task::spawn_blocking(move || engine.in_single(&detector, &why)).await;
    made.unwrap_or_else(|error| Err(LoadError::Engine(error.to_string())))
}

/// What was found in a case, or why nothing was.
type Found = Result<Vec<RawSignal>, String>;

async fn found(
    engine: &Engine,
    detector: &Detector,
    case: &GoldenCase,
    n_spare: &mut usize,
) -> Found {
    let found = in_the_end(engine, detector, &case.item, CASE_TIME, n_spare).await;
    found.map(|found| found.signals).map_err(|fault| fault.why)
}

/// Whether f16 says what f32 says, within the tolerance; why not, and how to mend it.
fn compared(golden: &Golden, half: &Found, whole: &Found, tolerance: f32) -> Result<(), String> {
    let name = &golden.name;
    let mend = "raise `tolerance` if the labels bear it, or leave `precision` out";
    let (half, whole) = match (half, whole) {
        (Ok(half), Ok(whole)) => (half, whole),
        // It is no matter of f16.
        (Err(_), Err(_)) => return Ok(()),
        (Err(why), Ok(_)) => {
            return Err(format!(
                "golden case `{name}`, label `{}`: answers in f32 and not in f16: {why}; {mend}",
                golden.label
            ));
        }
        (Ok(_), Err(why)) => {
            return Err(format!(
                "golden case `{name}`, label `{}`: answers in f16 and not in f32: {why}; {mend}",
                golden.label
            ));
        }
    };
    let score = |of: &[RawSignal], label: &Label| {
        let signal = of.iter().find(|signal| signal.label == *label);
        signal.map(|signal| signal.score)
    };
    let labels: BTreeSet<&Label> = half.iter().chain(whole).map(|it| &it.label).collect();
    for label in labels {
        let shown = |score: Option<f32>| score.map_or("nothing".to_owned(), |it| it.to_string());
        let (in_half, in_whole) = (score(half, label), score(whole, label));
        let apart = in_half.zip(in_whole).map(|(a, b)| (a - b).abs());
        // Written so that what is no number is too far.
        if !apart.is_some_and(|apart| apart <= tolerance) {
            return Err(format!(
                "golden case `{name}`, label `{label}`: scores {} in f16 and {} in f32, further apart than the tolerance of {tolerance}; {mend}",
                shown(in_half),
                shown(in_whole)
            ));
        }
    }
    let label = Label::from(golden.label.as_str());
    let shown = |of| score(of, &label).map_or("nothing".to_owned(), |it| it.to_string());
    let passes = |of| judged(golden, of).is_ok();
    if passes(half) != passes(whole) {
        let one = if passes(half) { "f16" } else { "f32" };
        return Err(format!(
            "golden case `{name}`, label `{label}`: scores {} in f16 and {} in f32, within the tolerance of {tolerance}, and passes in {one} alone; give the case's bounds as much room, or leave `precision` out",
            shown(half),
            shown(whole)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        Golden {
            name: "a lure".to_owned(),
            text: Some("win".to_owned()),
            image: None,
            label: "spam".to_owned(),
            at_least: Some(0.5),
            at_most: None,
        }
    }

    fn scores(of: &[(&str, f32)]) -> Found {
        let signal = |(label, score): &(&str, f32)| RawSignal {
            label: Label::from(*label),
            score: *score,
            evidence: Vec::new(),
        };
        Ok(of.iter().map(signal).collect())
    }

    fn told(half: &Found, whole: &Found) -> Option<String> {
        compared(&golden(), half, whole, 0.01).err()
    }

    #[test]
    fn scores_within_the_tolerance_are_the_same() {
        let whole = scores(&[("spam", 0.9), ("ham", 0.1)]);
        assert_eq!(
            told(&scores(&[("ham", 0.105), ("spam", 0.895)]), &whole),
            None
        );
        assert_eq!(told(&whole, &whole), None);
        let failed = || Err("no".to_owned());
        assert_eq!(told(&failed(), &failed()), None);
    }

    #[test]
    fn a_score_that_moves_is_told_with_both_and_how_to_mend_it() {
        let why = told(&scores(&[("spam", 0.875)]), &scores(&[("spam", 0.9)])).unwrap();
        assert_eq!(
            why,
            "golden case `a lure`, label `spam`: scores 0.875 in f16 and 0.9 in f32, further apart than the tolerance of 0.01; raise `tolerance` if the labels bear it, or leave `precision` out"
        );
        // Of another label than the case's, and one that is there once.
        let whole = scores(&[("spam", 0.9), ("ham", 0.1)]);
        let moved = scores(&[("spam", 0.9), ("ham", 0.2)]);
        assert!(
            told(&moved, &whole)
                .unwrap()
                .contains("label `ham`: scores 0.2")
        );
        let why = told(&scores(&[("spam", 0.9)]), &whole).unwrap();
        assert!(
            why.contains("scores nothing in f16 and 0.1 in f32"),
            "{why}"
        );
        let nan = scores(&[("spam", f32::NAN)]);
        assert!(told(&nan, &nan).is_some());
    }

    #[test]
    fn what_passes_or_answers_in_one_alone_is_told() {
        let why = told(&scores(&[("spam", 0.499)]), &scores(&[("spam", 0.501)])).unwrap();
        assert!(why.contains("passes in f32 alone"), "{why}");
        let why = told(&Err("trapped".to_owned()), &scores(&[("spam", 0.9)])).unwrap();
        assert!(
            why.contains("answers in f32 and not in f16: trapped"),
            "{why}"
        );
        let why = told(&scores(&[("spam", 0.9)]), &Err("trapped".to_owned())).unwrap();
        assert!(
            why.contains("answers in f16 and not in f32: trapped"),
            "{why}"
        );
    }
}
