//! Reading labelled sets: JSON lines in, texts with labels out.
//!
//! The first step of every recipe. It never writes, and never lets a row pass
//! that it did not understand.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One labelled text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub text: String,
    pub spam: bool,
    /// Near-duplicates share a cluster; they must never be split over folds.
    pub cluster: String,
}

/// One labelled set, with what identifies the file it came from.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub name: &'static str,
    pub rows: Vec<Row>,
    pub sha256: String,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    label: Label,
    cluster: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Label {
    Ham,
    Spam,
    // What sets about other things than spam call their rows.
    Toxic,
    #[serde(rename = "non-toxic")]
    NonToxic,
    Hate,
    Offensive,
    Neither,
    Clickbait,
    News,
}

/// Reads `DIR/<name>/dev.jsonl`.
pub(crate) fn read(dir: &Path, name: &'static str) -> Result<Set> {
    let path = dir.join(name).join("dev.jsonl");
    let bytes = fs::read(&path).with_context(|| {
        format!(
            "cannot read set `{name}` at {}; --data must name the folder that holds {name}/dev.jsonl",
            path.display()
        )
    })?;
    let text =
        str::from_utf8(&bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let rows = parse(text).with_context(|| format!("in {}", path.display()))?;
    if rows.is_empty() {
        bail!("{} holds no rows; fetch the set again", path.display());
    }
    Ok(Set {
        name,
        rows,
        sha256: hex(&Sha256::digest(&bytes)),
    })
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let row = |(at, line): (usize, &str)| -> Result<Row> {
        let line: Line = serde_json::from_str(line).with_context(|| {
            format!(
                "line {} is not {{text, label, cluster, …}} with a label that is known",
                at + 1
            )
        })?;
        Ok(Row {
            text: strip_placeholders(&line.text),
            spam: matches!(line.label, Label::Spam),
            cluster: line.cluster,
        })
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(row)
        .collect()
}

/// Placeholders that whoever collected the sets put where something private stood.
// `<#>` stands in ham only and would be learnt as proof of ham. No text that
// the plugin meets holds either, so weights spent on them would be wasted.
const PLACEHOLDERS: [&str; 2] = ["<#>", "<email>"];

/// Takes the placeholders out, and the doubled whitespace they leave.
fn strip_placeholders(text: &str) -> String {
    if !PLACEHOLDERS
        .iter()
        .any(|placeholder| text.contains(placeholder))
    {
        return text.to_owned();
    }
    let bare = PLACEHOLDERS
        .iter()
        .fold(text.to_owned(), |text, placeholder| {
            text.replace(placeholder, " ")
        });
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lower-case hexadecimal of a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_row() {
        let rows =
            parse(r#"{"id": "a", "text": "Hi there", "label": "ham", "cluster": "c1"}"#).unwrap();
        assert_eq!(
            rows,
            [Row {
                text: "Hi there".into(),
                spam: false,
                cluster: "c1".into()
            }]
        );
    }

    #[test]
    fn placeholders_leave_no_trace() {
        assert_eq!(
            strip_placeholders("send <#> to <<email>> now"),
            "send to < > now"
        );
        assert_eq!(strip_placeholders("  as it  was "), "  as it  was ");
    }

    #[test]
    fn an_unknown_label_is_refused_with_its_line() {
        let text = "{\"text\": \"a\", \"label\": \"ham\", \"cluster\": \"c\"}\n{\"text\": \"b\", \"label\": \"odd\", \"cluster\": \"c\"}";
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_missing_file_says_where_it_was_sought_and_how_to_mend_it() {
        let error = format!("{:#}", read(Path::new("/nowhere"), "sms-spam").unwrap_err());
        assert!(error.contains("/nowhere/sms-spam/dev.jsonl"), "{error}");
        assert!(error.contains("--data"), "{error}");
    }
}
