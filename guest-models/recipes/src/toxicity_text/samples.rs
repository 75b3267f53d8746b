//! From labelled sets to rows that the model learns from or is tried on.
//!
//! Decides what is read and what it teaches. Fits nothing.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toxicity_text::{
    features::{self, Features},
    words::Words,
};
use trommel_reading::normalise::Normalised;

use super::{
    encoder::N_LABELS,
    sentences::{self, Kind},
};
use crate::{
    augment::{self, Random},
    data::{self, Row, hex},
    folds::{N_FOLDS, fold},
    parallel,
};

/// The sets that are learnt from and tried on.
pub(super) const TWEETS: &str = "davidson-tweets";
pub(super) const TALK: &str = "wiki-toxicity";

/// Sets whose rows that are no spam are ordinary messages. Nobody judged them; they are
/// learnt from as if none were toxic.
pub(super) const CHAT: [&str; 2] = ["sms-spam", "youtube-spam"];

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Tweet,
    Talk,
    /// An ordinary message, of the set of this place in [`CHAT`].
    Chat(usize),
    /// A sentence of our own.
    Made(Kind),
}

/// What most coders called a tweet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Hate,
    Offensive,
    Neither,
}

pub(super) const CLASSES: [Class; 3] = [Class::Hate, Class::Offensive, Class::Neither];

/// What a row is known to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Truth {
    Tweet(Class),
    Talk { toxic: bool },
    Chat,
    Made,
}

impl Truth {
    /// Whether the row is positive for a label; none where the label is not judged by rows of
    /// its kind: the first one is by comments, the others are by tweets.
    pub(super) fn of_label(self, label: usize) -> Option<bool> {
        match (label, self) {
            (0, Self::Talk { toxic }) => Some(toxic),
            (1, Self::Tweet(class)) => Some(class == Class::Hate),
            (2, Self::Tweet(class)) => Some(class != Class::Neither),
            _ => None,
        }
    }
}

/// A row made ready.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub source: Source,
    pub truth: Truth,
    /// In step with the model's labels: the share of coders who say so.
    pub labels: [Option<f32>; N_LABELS],
    pub fold: usize,
    pub text: String,
    pub words: Words,
    pub features: Features,
    /// Whether this is a changed copy of another row.
    pub is_copy: bool,
}

/// A set and the digest of its file.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub name: &'static str,
    pub sha256: String,
    pub n_rows: usize,
}

pub(super) struct Samples {
    pub sets: Vec<Read>,
    /// Rows as they are.
    pub originals: Vec<Sample>,
    /// Ordinary messages.
    pub chat: Vec<Sample>,
    /// What is learnt from beside them.
    pub others: Vec<Sample>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    label: String,
    cluster: String,
    votes: Option<Votes>,
}

#[derive(Deserialize)]
struct Votes {
    n: f32,
    hate: f32,
    offensive: f32,
}

/// The lines of `DIR/NAME/dev.jsonl`, and what identifies them.
pub(super) fn lines<T: for<'a> Deserialize<'a>>(
    data: &Path,
    name: &'static str,
) -> Result<(Vec<T>, Read)> {
    let path = data.join(name).join("dev.jsonl");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read set `{name}` at {}; --data must name the folder that holds {name}/dev.jsonl",
            path.display()
        )
    })?;
    let line = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("in {}, line {}", path.display(), at + 1))
    };
    let lines = text
        .lines()
        .enumerate()
        .map(line)
        .collect::<Result<Vec<T>>>()?;
    ensure!(
        !lines.is_empty(),
        "{} holds no rows; fetch the set again",
        path.display()
    );
    let read = Read {
        name,
        sha256: hex(&Sha256::digest(text.as_bytes())),
        n_rows: lines.len(),
    };
    Ok((lines, read))
}

/// Which rows get a changed copy, as a share.
const COPIED: f64 = 0.4;

/// Share of the copies that are the text as it is with harmless text around it.
const DILUTED: f64 = 0.3;

const SEED: u64 = 11;

impl Samples {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let (tweets, tweets_read) = lines::<Line>(folder, TWEETS)?;
        let (talk, talk_read) = lines::<Line>(folder, TALK)?;
        let mut bare = Vec::new();
        for line in tweets {
            bare.push(tweet(&line)?);
        }
        for line in talk {
            bare.push(comment(&line)?);
        }
        let originals = parallel::map(&bare, Sample::of);
        let made: Vec<Bare> = sentences::all(SEED).into_iter().map(sentence).collect();
        let donors = Donors::of(&bare, &made);
        let copies: Vec<Bare> = bare
            .iter()
            .chain(&made)
            .enumerate()
            .filter_map(|(at, bare)| copy(at, bare, &donors))
            .collect();
        let others = parallel::map(&[made, copies].concat(), Sample::of);
        let mut sets = vec![tweets_read, talk_read];
        let mut chat = Vec::new();
        for (at, name) in CHAT.into_iter().enumerate() {
            let set = data::read(folder, name)?;
            let kept = set.rows.iter().filter(|row| !row.spam);
            let messages: Vec<Bare> = kept.map(|row| message(at, row)).collect();
            sets.push(Read {
                name,
                sha256: set.sha256,
                n_rows: messages.len(),
            });
            chat.extend(messages);
        }
        Ok(Self {
            sets,
            originals,
            chat: parallel::map(&chat, Sample::of),
            others,
        })
    }

    /// What a model learns from that may not see `left_out`.
    pub(super) fn without(&self, left_out: Option<usize>) -> Vec<&Sample> {
        let all = self.originals.iter().chain(&self.others);
        all.chain(&self.chat)
            .filter(|sample| match sample.source {
                Source::Made(_) => true,
                _ => Some(sample.fold) != left_out,
            })
            .collect()
    }
}

/// A row before it is read.
#[derive(Debug, Clone)]
struct Bare {
    source: Source,
    truth: Truth,
    labels: [Option<f32>; N_LABELS],
    fold: usize,
    text: String,
    is_copy: bool,
}

impl Sample {
    fn of(bare: &Bare) -> Self {
        let words = words(&bare.text);
        Self {
            source: bare.source,
            truth: bare.truth,
            labels: bare.labels,
            fold: bare.fold,
            text: bare.text.clone(),
            features: features::extract(&words),
            words,
            is_copy: bare.is_copy,
        }
    }
}

/// How the plugin reads a text.
pub(super) fn words(text: &str) -> Words {
    Words::of(&Normalised::of(&[text]))
}

fn tweet(line: &Line) -> Result<Bare> {
    let class = match line.label.as_str() {
        "hate" => Class::Hate,
        "offensive" => Class::Offensive,
        "neither" => Class::Neither,
        other => bail!("{TWEETS} has a row of unknown label `{other}`"),
    };
    let votes = line
        .votes
        .as_ref()
        .with_context(|| format!("{TWEETS} has a row without votes"))?;
    let (hate, offensive) = (votes.hate / votes.n, votes.offensive / votes.n);
    Ok(Bare {
        source: Source::Tweet,
        truth: Truth::Tweet(class),
        labels: [Some(hate + offensive), Some(hate), Some(hate + offensive)],
        fold: fold(&line.cluster),
        text: strip(&line.text),
        is_copy: false,
    })
}

fn comment(line: &Line) -> Result<Bare> {
    let toxic = match line.label.as_str() {
        "toxic" => true,
        "non-toxic" => false,
        other => bail!("{TALK} has a row of unknown label `{other}`"),
    };
    Ok(Bare {
        source: Source::Talk,
        truth: Truth::Talk { toxic },
        // Nobody said what a toxic comment is beside that; one that is not is neither.
        labels: if toxic {
            [Some(1.0), None, None]
        } else {
            [Some(0.0); N_LABELS]
        },
        fold: fold(&line.cluster),
        text: strip(&line.text),
        is_copy: false,
    })
}

fn message(set: usize, row: &Row) -> Bare {
    Bare {
        source: Source::Chat(set),
        truth: Truth::Chat,
        labels: [Some(0.0); N_LABELS],
        fold: fold(&row.cluster),
        text: row.text.clone(),
        is_copy: false,
    }
}

fn sentence((text, kind): (String, Kind)) -> Bare {
    Bare {
        source: Source::Made(kind),
        truth: Truth::Made,
        labels: kind.labels(),
        fold: 0,
        text,
        is_copy: false,
    }
}

fn copy(at: usize, bare: &Bare, donors: &Donors<'_>) -> Option<Bare> {
    let mut random = Random::new(SEED ^ (at as u64) << 8);
    if !random.chance(COPIED) {
        return None;
    }
    let texts = donors.for_copies_of(bare);
    let donate = |random: &mut Random| match texts.len() {
        0 => String::new(),
        n_texts => texts[random.below(n_texts)].to_owned(),
    };
    let text = if random.chance(DILUTED) {
        augment::diluted(&bare.text, &mut random, donate)
    } else {
        augment::copy(&bare.text, &mut random, donate)
    };
    Some(Bare {
        text,
        is_copy: true,
        ..bare.clone()
    })
}

/// Harmless texts that copies are diluted with.
struct Donors<'a> {
    of_folds: [Vec<&'a str>; N_FOLDS],
    made: Vec<&'a str>,
}

impl<'a> Donors<'a> {
    fn of(rows: &'a [Bare], made: &'a [Bare]) -> Self {
        let is_harmless = |bare: &&Bare| bare.labels == [Some(0.0); N_LABELS];
        let is_friendly =
            |bare: &&Bare| matches!(bare.source, Source::Made(Kind::Neutral | Kind::Support));
        let text = |bare: &'a Bare| bare.text.as_str();
        let of_fold = |fold| {
            let rows = rows.iter().filter(|bare| bare.fold == fold);
            rows.filter(is_harmless).map(text).collect()
        };
        Self {
            of_folds: std::array::from_fn(of_fold),
            made: made.iter().filter(is_friendly).map(text).collect(),
        }
    }

    /// Those of the row's own fold, so that a model meets no text of the fold that it is
    /// tried on. A sentence of ours is learnt from in every fold: others like it.
    fn for_copies_of(&self, bare: &Bare) -> &[&'a str] {
        match bare.source {
            Source::Made(_) => &self.made,
            _ => &self.of_folds[bare.fold],
        }
    }
}

/// Takes out what stands where an address stood.
fn strip(text: &str) -> String {
    text.replace("<email>", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_tweet_is_learnt_as_its_coders_voted() {
        let line = line(
            r#"{"text": "a", "label": "offensive", "cluster": "c", "votes": {"n": 4, "hate": 1, "offensive": 2}}"#,
        );
        let bare = tweet(&line).unwrap();
        assert_eq!(bare.labels, [Some(0.75), Some(0.25), Some(0.75)]);
        assert_eq!(bare.truth, Truth::Tweet(Class::Offensive));
    }

    #[test]
    fn of_a_toxic_comment_nothing_else_is_known() {
        let toxic = comment(&line(r#"{"text": "a", "label": "toxic", "cluster": "c"}"#)).unwrap();
        assert_eq!(toxic.labels, [Some(1.0), None, None]);
        let plain = comment(&line(
            r#"{"text": "a", "label": "non-toxic", "cluster": "c"}"#,
        ))
        .unwrap();
        assert_eq!(plain.labels, [Some(0.0); N_LABELS]);
    }

    fn row(fold: usize, text: &str, label: f32) -> Bare {
        Bare {
            source: Source::Tweet,
            truth: Truth::Tweet(Class::Neither),
            labels: [Some(label); N_LABELS],
            fold,
            text: text.into(),
            is_copy: false,
        }
    }

    #[test]
    fn copies_are_diluted_with_harmless_texts_of_their_own_fold() {
        let rows = [
            row(0, "the sky", 0.0),
            row(0, "an insult", 1.0),
            row(1, "the sea", 0.0),
        ];
        let made = [("a friend", Kind::Neutral), ("a curse", Kind::Hate)]
            .map(|(text, kind)| sentence((text.into(), kind)));
        let donors = Donors::of(&rows, &made);
        assert_eq!(donors.for_copies_of(&rows[1]), ["the sky"]);
        assert_eq!(donors.for_copies_of(&rows[2]), ["the sea"]);
        assert_eq!(donors.for_copies_of(&made[1]), ["a friend"]);
        let copies: Vec<Bare> = (0..200)
            .filter_map(|at| copy(at, &rows[1], &donors))
            .collect();
        let is_diluted = |copy: &&Bare| copy.text.contains("an insult the sky the sky");
        let n_diluted = copies.iter().filter(is_diluted).count();
        assert!(
            copies.iter().all(|copy| copy.is_copy) && (10..40).contains(&n_diluted),
            "{n_diluted} of {}",
            copies.len()
        );
    }

    #[test]
    fn a_message_is_taken_for_harmless() {
        let row = Row {
            text: "see you at 8".into(),
            spam: false,
            cluster: "c".into(),
        };
        let bare = message(1, &row);
        assert_eq!(bare.labels, [Some(0.0); N_LABELS]);
        assert_eq!((bare.source, bare.truth), (Source::Chat(1), Truth::Chat));
        assert_eq!(bare.fold, fold("c"));
        // No label's figures count it.
        assert!((0..N_LABELS).all(|label| bare.truth.of_label(label).is_none()));
    }

    #[test]
    fn an_unknown_label_is_refused() {
        let odd = line(r#"{"text": "a", "label": "odd", "cluster": "c"}"#);
        assert!(tweet(&odd).is_err() && comment(&odd).is_err());
    }
}
