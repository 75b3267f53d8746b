//! The reader of a list. It may come from anybody who reaches the admin API, so everything
//! is bounded and checked here; what is held later is valid.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::words::{MAX_WORD_BYTES, each_word};
use super::{
    Index, Kind, List, ListError, ListVersion, MAX_BYTES, MAX_ENTRIES, MAX_ENTRY_CHARS, MAX_WORDS,
    domains,
};
use crate::excerpt::{NAME_CHARS, printable};

pub(super) fn list(file: &str, kind: Kind, bytes: &[u8]) -> Result<List, ListError> {
    let error = |line: usize, what: String| ListError {
        file: file.to_owned(),
        line,
        what,
    };
    if bytes.len() > MAX_BYTES {
        let n_bytes = bytes.len();
        let what = format!("the list has {n_bytes} bytes, more than {MAX_BYTES}; make two of it");
        return Err(error(1, what));
    }
    let text = str::from_utf8(bytes).map_err(|problem| {
        let good = &bytes[..problem.valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        error(line, "this is not UTF-8; convert the list to it".to_owned())
    })?;
    let mut list = List {
        kind,
        version: ListVersion::of(bytes),
        text: bytes.into(),
        entries: Vec::new(),
        index: Index::new(kind),
    };
    // Some editors put a mark before the text.
    let text = text.trim_start_matches('\u{feff}');
    for (number, line) in (1..).zip(text.lines()) {
        let entry = entry(kind, line);
        if entry.is_empty() {
            continue;
        }
        list.add(entry).map_err(|what| error(number, what))?;
    }
    if let Index::Words(trie) = &mut list.index {
        trie.join();
    }
    Ok(list)
}

/// What a line says besides its comment; nothing for one that is a comment or blank.
fn entry(kind: Kind, line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    match (kind, line.split_once([' ', '\t'])) {
        // Neither has a space in it. In keywords `we are #1` is one entry.
        (Kind::Domains | Kind::Hashes, Some((entry, rest))) if rest.trim().starts_with('#') => {
            entry
        }
        _ => line,
    }
}

impl Index {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Keywords => Self::Words(super::Trie::default()),
            Kind::Domains => Self::Domains(super::Trie::default()),
            Kind::Hashes => Self::Hashes(HashMap::new()),
        }
    }
}

impl List {
    fn add(&mut self, entry: &str) -> Result<(), String> {
        if entry.chars().any(char::is_control) {
            return Err("the entry holds a control character; remove it".to_owned());
        }
        if entry.chars().nth(MAX_ENTRY_CHARS).is_some() {
            return Err(format!(
                "the entry has more than {MAX_ENTRY_CHARS} characters; shorten it"
            ));
        }
        let number = u32::try_from(self.entries.len()).expect("bounded below");
        let is_new = match &mut self.index {
            Index::Words(trie) => {
                let words = words(entry)?;
                trie.insert(words.iter().map(String::as_str), number)
            }
            Index::Domains(trie) => {
                let domain = domain(entry)?;
                trie.insert(domains::labels(&domain), number)
            }
            Index::Hashes(hashes) => {
                let n_before = hashes.len();
                hashes.entry(hash(entry)?).or_insert(number);
                hashes.len() > n_before
            }
        };
        if is_new {
            if self.entries.len() == MAX_ENTRIES {
                return Err(format!(
                    "more than {MAX_ENTRIES} entries; make two lists of it"
                ));
            }
            self.entries.push(entry.into());
        }
        Ok(())
    }
}

fn words(entry: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let _ = each_word::<()>(entry, |word| {
        words.push(word.to_owned());
        ControlFlow::Continue(())
    });
    let shown = printable(entry, NAME_CHARS);
    if words.is_empty() {
        return Err(format!(
            "`{shown}` holds no letter or digit, and all else counts as space; write words"
        ));
    }
    // Characters that count as words by themselves make a short entry of many.
    let n_words = words.len();
    if n_words > MAX_WORDS {
        return Err(format!(
            "`{shown}` has {n_words} words, more than {MAX_WORDS}; write those that matter"
        ));
    }
    if words.iter().any(|word| word.len() > MAX_WORD_BYTES) {
        return Err(format!("`{shown}` holds too long a word; shorten it"));
    }
    Ok(words)
}

fn domain(entry: &str) -> Result<String, String> {
    let domain = entry.strip_prefix("*.").unwrap_or(entry);
    let domain = domain.trim_start_matches('[').trim_end_matches(']');
    domains::normal(domain).ok_or_else(|| {
        let shown = printable(entry, NAME_CHARS);
        format!(
            "`{shown}` is no domain; write it alone, without scheme and path, as in `example.com`"
        )
    })
}

fn hash(entry: &str) -> Result<[u8; 32], String> {
    let digits = entry.strip_prefix("sha256:").unwrap_or(entry);
    let name = format!("sha256:{}", digits.to_ascii_lowercase());
    let revision = name.parse::<crate::revision::RevisionId>();
    revision.map(|name| *name.as_bytes()).map_err(|_| {
        let shown = printable(entry, NAME_CHARS);
        format!("`{shown}` is no sha256; write its 64 hex digits")
    })
}
