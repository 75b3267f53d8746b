//! Scores of rows by models that had not seen them, and where to cut them.
//!
//! Pure counting. It fits nothing but cuts.

use serde::Serialize;

use super::{
    model::{Model, Scores},
    samples::{CLASSES, Class, Samples, Truth},
};
use crate::{
    calibrate::HeldOut,
    figures::rounded,
    folds::N_FOLDS,
    metrics::{Confusion, auc},
    parallel,
};

/// Of comments that are not toxic, the share that the cut of `toxic` may wrong: what is
/// flagged costs its author more than what is missed costs a reader. Chosen after the spread of
/// false positives over the terms of bias-madlibs was seen at this share and at higher ones.
const FPR: f64 = 0.01;

/// Every original row with the scores of the model that was fitted without its fold.
pub(super) struct Unseen {
    pub scores: Vec<Scores>,
    pub truths: Vec<Truth>,
    pub folds: Vec<usize>,
}

/// Where the scores of each label are cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Cuts {
    #[serde(serialize_with = "rounded")]
    pub toxic: f64,
    #[serde(serialize_with = "rounded")]
    pub hate: f64,
    #[serde(serialize_with = "rounded")]
    pub offensive: f64,
}

impl Unseen {
    pub(super) fn of(samples: &Samples, models: &[Model]) -> Self {
        let originals = &samples.originals;
        Self {
            scores: parallel::map(originals, |sample| {
                models[sample.fold].score(&sample.words, &sample.features)
            }),
            truths: originals.iter().map(|sample| sample.truth).collect(),
            folds: originals.iter().map(|sample| sample.fold).collect(),
        }
    }

    /// Scores and classes of the tweets that `keep` keeps, by fold.
    pub(super) fn tweets(&self, keep: impl Fn(usize) -> bool) -> Vec<(Scores, Class)> {
        let rows = (0..self.scores.len()).filter(|&at| keep(self.folds[at]));
        let tweet = |at: usize| match self.truths[at] {
            Truth::Tweet(class) => Some((self.scores[at], class)),
            _ => None,
        };
        rows.filter_map(tweet).collect()
    }

    /// Scores of `toxic` and truths of the comments that `keep` keeps, by fold.
    pub(super) fn talk(&self, keep: impl Fn(usize) -> bool) -> (Vec<f64>, Vec<bool>) {
        let rows = (0..self.scores.len()).filter(|&at| keep(self.folds[at]));
        let comment = |at: usize| match self.truths[at] {
            Truth::Talk { toxic } => Some((self.scores[at][0], toxic)),
            _ => None,
        };
        rows.filter_map(comment).unzip()
    }

    /// The rows that a label's table is counted on: comments for the first, tweets for the
    /// others.
    pub(super) fn rows_of(&self, label: usize) -> Rows {
        let mut rows = Rows::default();
        for at in 0..self.scores.len() {
            if let Some(truth) = self.truths[at].of_label(label) {
                rows.scores.push(self.scores[at][label]);
                rows.truths.push(truth);
                rows.folds.push(self.folds[at]);
            }
        }
        rows
    }
}

/// One label's rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub scores: Vec<f64>,
    pub truths: Vec<bool>,
    folds: Vec<usize>,
}

impl Rows {
    pub(super) fn held_out(&self) -> HeldOut<'_> {
        HeldOut {
            scores: &self.scores,
            truths: &self.truths,
            folds: &self.folds,
        }
    }
}

impl Cuts {
    /// For so many false positives as [`FPR`] says on comments and the best macro-F1 on tweets,
    /// of the folds that `keep` keeps.
    pub(super) fn of(unseen: &Unseen, keep: impl Fn(usize) -> bool) -> Self {
        let toxic = cut_at(FPR, &unseen.talk(&keep));
        let tenths =
            |range: std::ops::RangeInclusive<i32>| range.map(|step| f64::from(step) / 10.0);
        let tweets = unseen.tweets(&keep);
        let pairs = tenths(-40..=20)
            .flat_map(|hate| tenths(-20..=20).map(move |offensive| (hate, offensive)));
        let cuts = |(hate, offensive)| Self {
            toxic,
            hate,
            offensive,
        };
        best(pairs.map(cuts), |cuts| {
            mean(f1_of_classes(&tweets, |scores| cuts.class(scores)))
        })
    }

    /// What a tweet is taken for.
    pub(super) fn class(self, scores: &Scores) -> Class {
        if scores[2] < self.offensive {
            Class::Neither
        } else if scores[1] >= self.hate {
            Class::Hate
        } else {
            Class::Offensive
        }
    }

    pub(super) fn of_label(self, label: usize) -> f64 {
        [self.toxic, self.hate, self.offensive][label]
    }
}

/// The lowest cut, in tenths, that wrongs at most this share of the rows that are not positive.
fn cut_at(fpr: f64, (scores, truths): &(Vec<f64>, Vec<bool>)) -> f64 {
    let tenths = (-60..=60).map(|step| f64::from(step) / 10.0);
    let is_kept = |cut: &f64| {
        let counts = Confusion::at(*cut, scores, truths);
        counts.wronged as f64 <= fpr * (counts.wronged + counts.passed) as f64
    };
    tenths.into_iter().find(is_kept).unwrap_or(6.0)
}

/// The first of those that are best.
fn best<T: Copy>(all: impl Iterator<Item = T>, worth: impl Fn(T) -> f64) -> T {
    let mut found: Option<(T, f64)> = None;
    for one in all {
        let worth = worth(one);
        if found.is_none_or(|(_, most)| worth > most) {
            found = Some((one, worth));
        }
    }
    found.expect("there is a choice").0
}

/// F1 of hate, offensive and neither.
fn f1_of_classes(rows: &[(Scores, Class)], class: impl Fn(&Scores) -> Class) -> [f64; 3] {
    let mut counts = [[0.0; 3]; 3];
    for (scores, truth) in rows {
        counts[class(scores) as usize][*truth as usize] += 1.0;
    }
    CLASSES.map(|class| {
        let class = class as usize;
        let said: f64 = counts[class].iter().sum();
        let there: f64 = counts.iter().map(|row| row[class]).sum();
        if said + there == 0.0 {
            0.0
        } else {
            2.0 * counts[class][class] / (said + there)
        }
    })
}

fn mean(all: [f64; 3]) -> f64 {
    all.iter().sum::<f64>() / 3.0
}

/// Figures of the tweets.
#[derive(Debug, Serialize)]
pub(super) struct TweetFigures {
    #[serde(serialize_with = "rounded")]
    pub macro_f1: f64,
    /// With the cuts for each fold chosen on the others.
    #[serde(serialize_with = "rounded")]
    pub macro_f1_cuts_elsewhere: f64,
    #[serde(serialize_with = "rounded")]
    pub f1_hate: f64,
    #[serde(serialize_with = "rounded")]
    pub f1_offensive: f64,
    #[serde(serialize_with = "rounded")]
    pub f1_neither: f64,
    #[serde(serialize_with = "rounded")]
    pub accuracy: f64,
    /// Hate against all else, by the score of `hate`.
    #[serde(serialize_with = "rounded")]
    pub auc_hate: f64,
    /// Hate or offensive against neither, by the score of `offensive`.
    #[serde(serialize_with = "rounded")]
    pub auc_offensive: f64,
    /// The same by the score of `toxic`.
    #[serde(serialize_with = "rounded")]
    pub auc_toxic: f64,
}

/// Figures of the comments.
#[derive(Debug, Serialize)]
pub(super) struct TalkFigures {
    #[serde(serialize_with = "rounded")]
    pub auc: f64,
    #[serde(serialize_with = "rounded")]
    pub f1: f64,
    /// With the cut for each fold chosen on the others.
    #[serde(serialize_with = "rounded")]
    pub f1_cut_elsewhere: f64,
    #[serde(serialize_with = "rounded")]
    pub precision: f64,
    #[serde(serialize_with = "rounded")]
    pub recall: f64,
}

/// Cuts for each fold that were chosen on the others.
fn cuts_elsewhere(unseen: &Unseen) -> Vec<Cuts> {
    let folds: Vec<usize> = (0..N_FOLDS).collect();
    parallel::map(&folds, |&left_out| {
        Cuts::of(unseen, |fold| fold != left_out)
    })
}

pub(super) fn figures(unseen: &Unseen, cuts: Cuts) -> (TweetFigures, TalkFigures) {
    let elsewhere = cuts_elsewhere(unseen);
    (
        tweets(unseen, cuts, &elsewhere),
        talk(unseen, cuts, &elsewhere),
    )
}

fn tweets(unseen: &Unseen, cuts: Cuts, elsewhere: &[Cuts]) -> TweetFigures {
    let rows = unseen.tweets(|_| true);
    let [f1_hate, f1_offensive, f1_neither] = f1_of_classes(&rows, |scores| cuts.class(scores));
    // Moved so that one cut of 0 fits every fold.
    let moved: Vec<(Scores, Class)> = elsewhere
        .iter()
        .enumerate()
        .flat_map(|(fold, cuts)| {
            let rows = unseen.tweets(move |of| of == fold).into_iter();
            rows.map(move |([toxic, hate, offensive], class)| {
                ([toxic, hate - cuts.hate, offensive - cuts.offensive], class)
            })
        })
        .collect();
    let zeros = Cuts {
        toxic: 0.0,
        hate: 0.0,
        offensive: 0.0,
    };
    let n_right = rows
        .iter()
        .filter(|(scores, class)| cuts.class(scores) == *class)
        .count();
    let auc_of = |label: usize, is_positive: fn(Class) -> bool| {
        let (scores, truths): (Vec<f64>, Vec<bool>) = rows
            .iter()
            .map(|(scores, class)| (scores[label], is_positive(*class)))
            .unzip();
        auc(&scores, &truths)
    };
    TweetFigures {
        macro_f1: mean([f1_hate, f1_offensive, f1_neither]),
        macro_f1_cuts_elsewhere: mean(f1_of_classes(&moved, |scores| zeros.class(scores))),
        f1_hate,
        f1_offensive,
        f1_neither,
        accuracy: n_right as f64 / rows.len() as f64,
        auc_hate: auc_of(1, |class| class == Class::Hate),
        auc_offensive: auc_of(2, |class| class != Class::Neither),
        auc_toxic: auc_of(0, |class| class != Class::Neither),
    }
}

fn talk(unseen: &Unseen, cuts: Cuts, elsewhere: &[Cuts]) -> TalkFigures {
    let (scores, truths) = unseen.talk(|_| true);
    let counts = Confusion::at(cuts.toxic, &scores, &truths);
    let (mut above, mut truths_here) = (Vec::new(), Vec::new());
    for (fold, cuts) in elsewhere.iter().enumerate() {
        let (scores, truths) = unseen.talk(|of| of == fold);
        above.extend(scores.iter().map(|score| score - cuts.toxic));
        truths_here.extend(truths);
    }
    TalkFigures {
        auc: auc(&scores, &truths),
        f1: counts.f1(),
        f1_cut_elsewhere: Confusion::at(0.0, &above, &truths_here).f1(),
        precision: counts.precision(),
        recall: counts.recall(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_of_each_class_is_what_can_be_counted_by_hand() {
        let rows = [
            ([0.0, 1.0, 1.0], Class::Hate),
            ([0.0, 1.0, 1.0], Class::Offensive),
            ([0.0, -1.0, 1.0], Class::Offensive),
            ([0.0, 1.0, -1.0], Class::Neither),
        ];
        let cuts = Cuts {
            toxic: 0.0,
            hate: 0.0,
            offensive: 0.0,
        };
        // Hate is said twice and once rightly; neither outranks the score of hate.
        let [hate, offensive, neither] = f1_of_classes(&rows, |scores| cuts.class(scores));
        for (found, expected) in [(hate, 2.0 / 3.0), (offensive, 2.0 / 3.0), (neither, 1.0)] {
            assert!(
                (found - expected).abs() < 1e-12,
                "{found} is not {expected}"
            );
        }
    }

    #[test]
    fn a_cut_wrongs_no_more_than_it_may() {
        let scores: Vec<f64> = (0..100).map(|at| f64::from(at) / 25.0).collect();
        let truths = vec![false; 100];
        let cut = cut_at(0.02, &(scores.clone(), truths));
        let n_wronged = scores.iter().filter(|score| **score >= cut).count();
        assert!(n_wronged <= 2 && cut < 4.0, "{n_wronged} at {cut}");
    }
}
