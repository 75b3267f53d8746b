//! What the model is trained and measured on: which pictures, spoilt how.
//!
//! A plan is made of names and numbers first; pictures are made one by one
//! when they are measured, since all together would not fit in memory.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{chance::Chance, degrade::Kind, made, photo::Photo};

/// The strengths at which rising is measured.
pub(crate) const LADDER: [f32; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

/// Kinds of the ladder: one for each demand, exposure both ways.
pub(crate) const LADDER_KINDS: [Kind; 6] = [
    Kind::Blur,
    Kind::Noise,
    Kind::Jpeg,
    Kind::Over,
    Kind::Under,
    Kind::Rescale,
];

/// Photos of live-itw from this opinion on are spoilt for training, too.
pub(crate) const GOOD_MOS: f32 = 58.0;

/// File numbers of live-itw that stand together; one photographer's scenes do.
const BLOCK: u32 = 8;

/// Where a picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    Live,
    Pristine,
    Screenshot,
    Blank,
}

impl Set {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Live => "live-itw-quality",
            Self::Pristine => "pristine-photos",
            Self::Screenshot => "screenshots",
            Self::Blank => "blank",
        }
    }
}

/// One picture to measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub set: Set,
    /// File name, or the name of what is made.
    pub name: String,
    /// What must not be divided between training and measuring: a block of
    /// file numbers, a photo with all that is made of it, a repository.
    pub group: String,
    /// What was done to it, and how strongly; none for an original.
    pub spoilt: Option<(Kind, f32)>,
    /// Whether it is a step of the [`LADDER`].
    pub on_ladder: bool,
    /// Mean opinion of live-itw's originals, 0 to 100.
    pub opinion: Option<f32>,
    /// Which cut of a screenshot; 0 for the whole.
    pub cut: usize,
    seed: u64,
}

/// Every sample, in an order that the data alone decides.
pub(crate) fn plan(data: &Path) -> Result<Vec<Sample>> {
    let mut plan = Vec::new();
    for (name, opinion) in opinions(data)? {
        let number: u32 = name
            .split('.')
            .next()
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("{name} of live-itw-quality has no number"))?;
        let original = Sample {
            set: Set::Live,
            group: format!("live {}", number / BLOCK),
            spoilt: None,
            on_ladder: false,
            opinion: Some(opinion),
            cut: 0,
            seed: seed(&name, "original"),
            name,
        };
        if opinion >= GOOD_MOS {
            plan.extend(Kind::ALL.map(|kind| original.spoilt_by_chance(kind)));
        }
        plan.push(original);
    }
    for name in files(data, Set::Pristine)? {
        let original = Sample {
            set: Set::Pristine,
            group: format!("pristine {name}"),
            spoilt: None,
            on_ladder: false,
            opinion: None,
            cut: 0,
            seed: seed(&name, "original"),
            name,
        };
        for kind in LADDER_KINDS {
            plan.extend(LADDER.map(|strength| Sample {
                on_ladder: true,
                ..original.spoilt(kind, strength)
            }));
        }
        for kind in [Kind::Motion, Kind::Shot] {
            let mut chance = Chance::new(seed(&original.name, kind.name()));
            plan.extend((0..2).map(|_| original.spoilt(kind, chance.uniform())));
        }
        plan.push(original);
    }
    let repositories = repositories(data)?;
    for name in files(data, Set::Screenshot)? {
        let repository = repositories
            .get(&name)
            .with_context(|| format!("screenshots/sources.csv does not name {name}"))?;
        plan.extend((0..3).map(|cut| Sample {
            set: Set::Screenshot,
            name: name.clone(),
            group: format!("screenshots {repository}"),
            spoilt: None,
            on_ladder: false,
            opinion: None,
            cut,
            seed: seed(&name, &format!("cut {cut}")),
        }));
    }
    plan.extend((0..made::N_BLANK).map(|at| {
        let name = format!("blank {at}");
        Sample {
            set: Set::Blank,
            group: name.clone(),
            spoilt: None,
            on_ladder: false,
            opinion: None,
            cut: 0,
            seed: seed(&name, "made"),
            name,
        }
    }));
    Ok(plan)
}

impl Sample {
    fn spoilt(&self, kind: Kind, strength: f32) -> Self {
        Self {
            spoilt: Some((kind, strength)),
            opinion: None,
            seed: seed(&self.name, &format!("{} {strength}", kind.name())),
            ..self.clone()
        }
    }

    fn spoilt_by_chance(&self, kind: Kind) -> Self {
        let mut chance = Chance::new(seed(&self.name, kind.name()));
        self.spoilt(kind, chance.uniform())
    }

    /// Makes the picture.
    pub(crate) fn photo(&self, data: &Path) -> Result<Photo> {
        if self.set == Set::Blank {
            return Ok(made::blank(self.seed));
        }
        let path = data.join(self.set.folder()).join("images").join(&self.name);
        let photo = Photo::open(&path)?;
        let photo = match self.cut {
            0 => photo,
            _ => photo.cut_by_chance(self.seed),
        };
        match self.spoilt {
            None => Ok(photo),
            Some((kind, strength)) => kind.apply(&photo, strength, self.seed),
        }
    }
}

/// A seed of its own for each picture and purpose.
fn seed(name: &str, purpose: &str) -> u64 {
    let digest = Sha256::digest(format!("image-quality|{name}|{purpose}"));
    let first = digest.first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}

fn opinions(data: &Path) -> Result<Vec<(String, f32)>> {
    let path = data.join(Set::Live.folder()).join("mos.csv");
    let text = read(&path)?;
    let row = |line: &str| -> Option<(String, f32)> {
        let mut fields = line.split(',');
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    text.lines()
        .skip(1)
        .map(|line| row(line).with_context(|| format!("`{line}` in {}", path.display())))
        .collect()
}

/// Repository of each screenshot.
fn repositories(data: &Path) -> Result<BTreeMap<String, String>> {
    let text = read(&data.join(Set::Screenshot.folder()).join("sources.csv"))?;
    let row = |line: &str| {
        let fields = fields(line);
        Some((fields.first()?.clone(), fields.get(5)?.clone()))
    };
    Ok(text.lines().skip(1).filter_map(row).collect())
}

/// The fields of a line of CSV, some of them quoted.
fn fields(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            _ => all.last_mut().expect("one field at least").push(letter),
        }
    }
    all
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read {}; --data must name the folder that holds {}",
            path.display(),
            [Set::Live, Set::Pristine, Set::Screenshot]
                .map(Set::folder)
                .join(", ")
        )
    })
}

fn files(data: &Path, set: Set) -> Result<Vec<String>> {
    let folder = data.join(set.folder()).join("images");
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("{name:?} is no text"))?;
        names.push(name.to_owned());
    }
    names.sort();
    if names.is_empty() {
        bail!("{} holds no images; fetch the set again", folder.display());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_quotes_divides_nothing() {
        assert_eq!(
            fields("a.png,1,\"resized from 4, PNG\",r"),
            ["a.png", "1", "resized from 4, PNG", "r"]
        );
    }

    #[test]
    fn missing_data_is_named_with_what_belongs_there() {
        let error = format!("{:#}", plan(Path::new("/nowhere")).unwrap_err());
        assert!(
            error.contains("/nowhere/live-itw-quality/mos.csv"),
            "{error}"
        );
        assert!(error.contains("--data"), "{error}");
    }
}
