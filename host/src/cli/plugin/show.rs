//! A package as a table for people. Its author chose most of the words in it.

use std::fmt::Display;
use std::io::{self, Write};

use super::super::output::shown;
use super::inspect::{
    BatchShown, FileShown, GraphShown, Inspection, ModelShown, PortShown, SizeShown, TokenizerShown,
};

/// Writes all of it; `has_keys` says whether signatures could be checked.
pub(super) fn table(
    inspection: &Inspection,
    has_keys: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let Inspection { name, version, .. } = inspection;
    writeln!(out, "{name} {version}  {}", shown(&inspection.description))?;
    writeln!(out)?;
    let mut row = |key: &str, value: &dyn Display| {
        let text = format!("{key:<11} {value}");
        writeln!(out, "{}", text.trim_end())
    };
    let digest = inspection.digest.as_deref();
    row("package", &digest.unwrap_or("a plugin folder, not packed"))?;
    row("revision", &inspection.revision)?;
    let contract = &inspection.contract;
    row(
        "contract",
        &format!("{contract}, this host speaks {}", inspection.host_contract),
    )?;
    let reads = inspection.reads.iter().map(|kind| (*kind).to_owned());
    row("reads", &list(reads))?;
    let imports = inspection.imports.iter().map(|import| {
        let name = shown(&import.name);
        match import.offered {
            true => short(&name).to_owned(),
            false => format!("{name} (not offered)"),
        }
    });
    row("imports", &list(imports))?;
    let limits = &inspection.limits;
    let limits = format!(
        "memory {}, tensors {}, weights {}, {} ms",
        size(limits.memory_bytes as u64),
        size(limits.tensor_bytes),
        size(limits.weight_bytes),
        limits.deadline_ms
    );
    row("limits", &limits)?;
    for (key, texts) in [
        ("labels", &inspection.labels),
        ("settings", &inspection.settings),
    ] {
        let lines = texts
            .iter()
            .map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
        rows(key, lines, "none", &mut row)?;
    }
    let signatures = inspection.signatures.iter().map(|signature| {
        let standing = match (signature.trusted, has_keys) {
            (true, _) => "trusted",
            (false, true) => "not trusted",
            (false, false) => "not checked; give --trusted-key",
        };
        format!("{}, {standing}", signature.key)
    });
    rows("signed by", signatures, "nobody", &mut row)?;
    let reasons = inspection.incompatible.iter();
    let reasons = reasons.map(|reason| format!("no: {}", shown(reason)));
    let yes = match inspection.n_golden_cases {
        0 => "yes".to_owned(),
        1 => "yes, and answers its golden case".to_owned(),
        n => format!("yes, and answers its {n} golden cases"),
    };
    rows("loads here", reasons, &yes, &mut row)?;
    for model in &inspection.models {
        let batch = inspection.batches.iter();
        let batch = batch.clone().find(|batch| batch.model == model.name);
        write_model(model, batch, out)?;
    }
    for tokenizer in &inspection.tokenizers {
        write_tokenizer(tokenizer, out)?;
    }
    write_files(&inspection.files, out)
}

/// A row for each line, the key before the first; or `none`.
fn rows(
    key: &str,
    lines: impl Iterator<Item = String>,
    none: &str,
    row: &mut impl FnMut(&str, &dyn Display) -> io::Result<()>,
) -> io::Result<()> {
    let mut key = Some(key);
    for line in lines {
        row(key.take().unwrap_or_default(), &line)?;
    }
    key.map_or(Ok(()), |key| row(key, &none))
}

/// `content` of `trommel:detector/content@0.1.0`.
fn short(import: &str) -> &str {
    let name = import.split_once('/').map_or(import, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn write_model(
    model: &ModelShown,
    batch: Option<&BatchShown>,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "\nMODEL {}  {}, {}",
        shown(&model.name),
        model.file,
        size(model.bytes as u64)
    )?;
    if let Some(tolerance) = model.tolerance {
        let here = match &model.runs_in {
            None => "not loaded here".to_owned(),
            Some(it) => match &it.why {
                None => format!("runs in {} here", shown(&it.stored)),
                Some(why) => format!("runs in {} here: {}", shown(&it.stored), shown(why)),
            },
        };
        let precision = model.precision;
        writeln!(out, "  precision  {precision} within {tolerance}, {here}")?;
    }
    let Some(graph) = &model.graph else {
        return Ok(());
    };
    write_ports("input", &graph.inputs, out)?;
    write_ports("output", &graph.outputs, out)?;
    let GraphShown { operators, .. } = graph;
    let operators = operators
        .iter()
        .map(|(operator, n)| format!("{} {n}", shown(operator)));
    writeln!(out, "  operators  {}", list(operators))?;
    writeln!(out, "  weights    {}", size(graph.weight_bytes))?;
    writeln!(out, "  batches    {}", shown(&batches(graph, batch)))
}

/// Whether rows of several callers share a batch, as far as it is known.
fn batches(graph: &GraphShown, batch: Option<&BatchShown>) -> String {
    match (&graph.why_alone, batch) {
        (Some(why), _) => format!("none, each row runs alone: {why}"),
        (
            None,
            Some(BatchShown {
                device,
                rows,
                why: None,
                ..
            }),
        ) => {
            format!("of up to {rows} rows of several callers on this {device}")
        }
        (
            None,
            Some(BatchShown {
                device,
                why: Some(why),
                ..
            }),
        ) => {
            format!("none, each row runs alone on this {device}: {why}")
        }
        (None, None) => "not known: tried where the package loads".to_owned(),
    }
}

fn write_tokenizer(tokenizer: &TokenizerShown, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nTOKENIZER {}  {}, {}",
        shown(&tokenizer.name),
        tokenizer.file,
        size(tokenizer.bytes as u64)
    )?;
    let Some(words) = &tokenizer.words else {
        return Ok(());
    };
    writeln!(out, "  kind       {}, {} words", words.kind, words.n_words)?;
    writeln!(out, "  memory     {}", size(words.memory_bytes))
}

fn write_ports(key: &str, ports: &[PortShown], out: &mut impl Write) -> io::Result<()> {
    ports.iter().try_for_each(|port| {
        let sizes = port.shape.iter().map(|size| match size {
            SizeShown::Fixed(size) => size.to_string(),
            SizeShown::Symbol(name) => shown(name),
        });
        let name = shown(&port.name);
        writeln!(out, "  {key:<10} {name} {} [{}]", port.dtype, list(sizes))
    })
}

fn write_files(files: &[FileShown], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{:<20} {:>10}  DIGEST", "FILE", "SIZE")?;
    files.iter().try_for_each(|file| {
        let digest = file.digest.as_deref().unwrap_or_default();
        let row = format!("{:<20} {:>10}  {digest}", file.file, size(file.bytes));
        writeln!(out, "{}", row.trim_end())
    })
}

fn list(of: impl Iterator<Item = String>) -> String {
    of.collect::<Vec<_>>().join(", ")
}

/// Bytes in the unit that suits them: `991 B`, `174.5 KiB`, `8 MiB`.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => (1, "B"),
        1024..1_048_576 => (1024, "KiB"),
        _ => (1_048_576, "MiB"),
    };
    let (whole, tenths) = (bytes / unit, bytes % unit * 10 / unit);
    match tenths {
        0 => format!("{whole} {name}"),
        _ => format!("{whole}.{tenths} {name}"),
    }
}
