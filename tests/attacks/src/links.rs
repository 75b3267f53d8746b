//! Links: where they are, and how they are written so that a person can mend
//! them and a scanner does not see them.

use crate::Random;

/// Endings that make a bare `name.ending` a link to a reader. Only the common
/// ones: a full stop without a space after it is no link.
const ENDINGS: [&str; 36] = [
    "biz", "cc", "club", "cn", "co", "com", "de", "edu", "eu", "fr", "gov", "in", "info", "io",
    "it", "ly", "me", "mobi", "name", "net", "nl", "online", "org", "ru", "shop", "site", "store",
    "to", "top", "tv", "uk", "us", "vip", "win", "ws", "xyz",
];

/// Whether a word without white space is, or begins with, a link.
pub(crate) fn is_link(word: &str) -> bool {
    range(word).is_some()
}

/// The bytes of `word` that are a link, quotes and full stops around it left out.
fn range(word: &str) -> Option<std::ops::Range<usize>> {
    let start = word.find(|c: char| c.is_alphanumeric())?;
    let end = word
        .trim_end_matches(|c: char| c.is_ascii_punctuation() && c != '/')
        .len();
    let link = word.get(start..end)?;
    let lower = link.to_ascii_lowercase();
    let after_scheme = lower.split_once("://").map_or(&*lower, |(_, rest)| rest);
    let has_scheme = after_scheme.len() < lower.len();
    let host = after_scheme.split(['/', '?', '#', ':']).next()?;
    let (name, ending) = host.rsplit_once('.')?;
    let is_host = !name.is_empty() && !name.contains('@');
    let is_known = has_scheme || host.starts_with("www.") || ENDINGS.contains(&ending);
    (is_host && is_known).then_some(start..end)
}

/// What stands for a dot, and for `://`.
struct Style {
    dot: &'static str,
    scheme_end: &'static str,
}

const STYLES: [Style; 9] = [
    Style {
        dot: "[.]",
        scheme_end: "://",
    },
    Style {
        dot: "[.]",
        scheme_end: "[://]",
    },
    Style {
        dot: "(.)",
        scheme_end: "://",
    },
    Style {
        dot: "[dot]",
        scheme_end: "[:]//",
    },
    Style {
        dot: "(dot)",
        scheme_end: "://",
    },
    Style {
        dot: " dot ",
        scheme_end: ":// ",
    },
    Style {
        dot: " . ",
        scheme_end: ": // ",
    },
    Style {
        dot: ". ",
        scheme_end: ":/ /",
    },
    Style {
        dot: " (dot) ",
        scheme_end: " :// ",
    },
];

/// `hxxp`, `[.]`, ` dot ` and the like, in links only. A third of the links keep
/// the scheme's name where the dots are changed.
pub(crate) fn defanged(text: &str, random: &mut Random) -> String {
    let mut changed = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        match range(word) {
            Some(range) => {
                changed.push_str(&word[..range.start]);
                changed.push_str(&defanged_link(&word[range.clone()], random));
                changed.push_str(&piece[range.end..]);
            }
            None => changed.push_str(piece),
        }
    }
    changed
}

fn defanged_link(link: &str, random: &mut Random) -> String {
    let style = random.pick(&STYLES);
    let (scheme, rest) = match link.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, link),
    };
    let mut changed = String::new();
    if let Some(scheme) = scheme {
        let hides_scheme = random.chance(67);
        changed.push_str(&if hides_scheme {
            scheme.replace(['t', 'T'], "x")
        } else {
            scheme.to_owned()
        });
        changed.push_str(style.scheme_end);
    }
    // Dots of the path mislead no scanner, so an evader leaves them.
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    changed.push_str(&rest[..host_end].replace('.', style.dot));
    changed.push_str(&rest[host_end..]);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_from_words() {
        for link in [
            "http://win.example/x",
            "HTTPS://a.b",
            "www.example.org",
            "(prizes4u.com)",
            "bit.ly/3xyz.",
            "txt-now.co.uk",
        ] {
            assert!(is_link(link), "{link}");
        }
        for word in [
            "end.Then", "e.g.", "3.50", "...", "a@b.com", "://", "www.", "ok", "",
        ] {
            assert!(!is_link(word), "{word}");
        }
    }

    #[test]
    fn only_the_link_changes() {
        for seed in 0..50 {
            let text = "go to \"http://win.example/a.html\", now";
            let changed = defanged(text, &mut Random::new(seed));
            assert!(changed.starts_with("go to \"h"), "{changed}");
            assert!(changed.ends_with("/a.html\", now"), "{changed}");
            assert!(!changed.contains("win.example"), "{changed}");
            assert!(
                changed.contains("win") && changed.contains("example"),
                "{changed}"
            );
        }
        let plain = "no link here. at all";
        assert_eq!(defanged(plain, &mut Random::new(1)), plain);
    }
}
