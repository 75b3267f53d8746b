//! The known name that somebody probably meant.

/// The name that is fewest edits away, if few enough; the first of equals.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word: `span` may mean `spam`, `hate` never means `spam`.
    let most = (name.chars().count() / 3).clamp(1, 4);
    let rated = known.map(|known| (edits(name, known, most), known));
    rated
        .filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance without regard to case, or any number above `most`.
fn edits(a: &str, b: &str, most: usize) -> usize {
    let [a, b] = [a, b].map(|word| word.to_lowercase().chars().collect::<Vec<_>>());
    // Bounds the work: names may be as long as the file.
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let known = ["hate", "self-harm/intent", "spam"];
        for (name, meant) in [
            ("span", Some("spam")),
            ("SPAM", Some("spam")),
            ("self-harm/intend", Some("self-harm/intent")),
            ("self_harm_intent", Some("self-harm/intent")),
            ("nudity", None),
            ("", None),
        ] {
            assert_eq!(closest(name, known.into_iter()), meant, "{name}");
        }
    }
}
