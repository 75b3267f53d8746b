//! Trains the models of the guest plugins, from data kept outside the repository.
//!
//! Arguments in, files out. What a recipe writes is a function of its data and
//! its code: no clock, no network, no chance without a fixed seed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a recipe speaks to who runs it"
)]

mod augment;
mod calibrate;
mod data;
mod evasion;
mod figures;
mod folds;
mod graph;
mod image_quality;
mod logistic;
mod metrics;
mod model;
mod onnx;
mod parallel;
mod proto;
mod reliability;
mod samples;
mod spam_text;
mod toxicity_text;
mod unicode;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str =
    "usage: trommel-recipes (image-quality | spam-text | toxicity-text) --data DIR --out DIR
       trommel-recipes tables --out DIR

  --data DIR  folder of the labelled sets, each in a folder of its own
  --out DIR   folder of the plugin, where its MODEL_CARD.md is";

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let Some(args) = Args::parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    match args.recipe.as_str() {
        "image-quality" => {
            let cache = PathBuf::from("target/recipe-cache");
            std::fs::create_dir_all(&cache)?;
            image_quality::train(&args.data()?, &args.out, &cache)
        }
        "spam-text" => spam_text::train(&args.data()?, &args.out),
        "toxicity-text" => toxicity_text::train(&args.data()?, &args.out),
        "tables" => unicode::write(&args.out),
        other => {
            bail!(
                "no recipe is called `{other}`; there are: image-quality, spam-text, toxicity-text, tables"
            )
        }
    }
}

#[derive(Debug, PartialEq)]
struct Args {
    recipe: String,
    data: Option<PathBuf>,
    out: PathBuf,
}

impl Args {
    /// The folder of the labelled sets.
    fn data(&self) -> Result<PathBuf> {
        let data = self.data.clone();
        data.with_context(|| format!("--data is missing\n{USAGE}"))
    }

    /// `None` when help was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut recipe, mut data, mut out) = (None, None, None);
        while let Some(arg) = args.next() {
            let slot = match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "--data" => &mut data,
                "--out" => &mut out,
                flag if flag.starts_with('-') => bail!("unknown option `{flag}`\n{USAGE}"),
                _ if recipe.is_none() => {
                    recipe = Some(arg);
                    continue;
                }
                _ => bail!("unexpected argument `{arg}`\n{USAGE}"),
            };
            let folder = args
                .next()
                .with_context(|| format!("{arg} needs a folder\n{USAGE}"))?;
            *slot = Some(PathBuf::from(folder));
        }
        Ok(Some(Self {
            recipe: recipe.with_context(|| format!("no recipe given\n{USAGE}"))?,
            data,
            out: out.with_context(|| format!("--out is missing\n{USAGE}"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Args>> {
        Args::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn a_recipe_and_two_folders_are_read() {
        let args = parse("spam-text --out there --data here").unwrap();
        let expected = Args {
            recipe: "spam-text".into(),
            data: Some("here".into()),
            out: "there".into(),
        };
        assert_eq!(args, Some(expected));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = parse("spam-text --data here").unwrap_err();
        assert!(error.to_string().starts_with("--out is missing"), "{error}");
    }

    #[test]
    fn an_unknown_option_is_named() {
        let error = parse("spam-text --dat here").unwrap_err();
        assert!(error.to_string().contains("`--dat`"), "{error}");
    }
}
