//! What evaders do to a text so that a detector no longer knows it and a person
//! still does. Robustness is measured with these, so they are written apart from
//! every detector's defence: nothing here looks at one, and no detector may look here.
//!
//! An attack leaves links as they are, since they must still work; the one that
//! defangs them changes nothing else.

mod appended;
mod letters;
mod links;
mod random;
mod spacing;
mod typos;

pub use random::Random;

/// One way to change a text.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its name in figures.
    pub name: &'static str,
    /// The text as an evader would send it. A text that offers nothing to change
    /// (no letters, no link) comes back as it was.
    pub apply: fn(&str, &mut Random) -> String,
}

impl Attack {
    /// Applies it with a seed of the text's own, so that a text is changed alike
    /// whatever was attacked before it.
    pub fn on(&self, text: &str, seed: u64) -> String {
        let bytes = self.name.bytes().chain(text.bytes());
        // FNV-1a (Fowler, Noll, Vo), which is plenty to tell texts apart.
        let digest = bytes.fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (self.apply)(text, &mut Random::new(seed ^ digest))
    }
}

/// Every attack, in the order that figures list them.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "homoglyphs",
        apply: letters::homoglyphs,
    },
    Attack {
        name: "homoglyphs-outside-the-table",
        apply: letters::outside_the_table,
    },
    Attack {
        name: "leetspeak",
        apply: letters::leetspeak,
    },
    Attack {
        name: "zero-width",
        apply: spacing::zero_width,
    },
    Attack {
        name: "defanged-links",
        apply: links::defanged,
    },
    Attack {
        name: "letter-spacing",
        apply: spacing::letter_spacing,
    },
    Attack {
        name: "appended-text",
        apply: appended::appended,
    },
    Attack {
        name: "typos",
        apply: typos::typos,
    },
];

/// Changes each word that is no link, and keeps everything between words.
fn by_word(text: &str, mut change: impl FnMut(&str) -> String) -> String {
    let mut changed = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        if word.is_empty() || links::is_link(word) {
            changed.push_str(piece);
        } else {
            changed.push_str(&change(word));
            changed.push_str(&piece[word.len()..]);
        }
    }
    changed
}

#[cfg(test)]
mod tests;
