//! Copies of training texts as an evader or a hasty hand would write them.
//!
//! The recipe's own, made for learning alone. What a detector withstands is
//! measured with `trommel-attacks`, which this neither uses nor resembles on
//! purpose.

use crate::folds::mix;

/// Chance from a fixed seed: SplitMix64, Steele, Lea & Flood 2014.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `n`, which is above 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub(crate) fn chance(&mut self, share: f64) -> bool {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }
}

/// Longer texts are cut to a piece of themselves in half of the copies.
const LONG: usize = 400;

/// Share of copies that harmless text is added to.
const DILUTED: f64 = 0.1;

/// One changed copy of `text`; `donate` gives harmless text.
pub(crate) fn copy(
    text: &str,
    random: &mut Random,
    donate: impl FnMut(&mut Random) -> String,
) -> String {
    let mut text = text.to_owned();
    if text.chars().count() > LONG && random.chance(0.5) {
        let n_chars = 100 + random.below(300);
        text = piece(&text, random, n_chars);
    }
    if random.chance(DILUTED) {
        return diluted(&text, random, donate);
    }
    match random.below(6) {
        0 => masked(&text, random, 0.5),
        1 => masked(&text, random, 1.0),
        2 => text.chars().flat_map(|c| [c, ' ']).collect(),
        3 | 4 => mistyped(&text, random, 0.08),
        _ => {
            // A few letters leave words to know; many leave only pieces of them.
            let share = if random.chance(0.5) { 0.1 } else { 0.4 };
            foreign(&text, random, share)
        }
    }
}

/// `text` with harmless text that `donate` gives behind it or, seldom, before it.
pub(crate) fn diluted(
    text: &str,
    random: &mut Random,
    mut donate: impl FnMut(&mut Random) -> String,
) -> String {
    let n_chars = 150 + random.below(150);
    let added = added(n_chars, || donate(random));
    if random.chance(0.2) {
        format!("{added} {text}")
    } else {
        format!("{text} {added}")
    }
}

/// So many characters of what `donate` gives.
fn added(n_chars: usize, mut donate: impl FnMut() -> String) -> String {
    let mut added = String::new();
    // A donor may be blank; ten of them give up.
    for _ in 0..10 {
        let missing = n_chars.saturating_sub(added.chars().count());
        if missing == 0 {
            break;
        }
        added.extend(donate().chars().take(missing));
        added.push(' ');
    }
    added
}

fn piece(text: &str, random: &mut Random, n_chars: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let start = random.below(chars.len() - n_chars);
    chars[start..start + n_chars].iter().collect()
}

/// Digits and signs in letters' places.
fn masked(text: &str, random: &mut Random, share: f64) -> String {
    let mask = |c: char| {
        let masks: &[char] = match c.to_ascii_lowercase() {
            'a' => &['4', '@'],
            'b' => &['8'],
            'e' => &['3'],
            'g' => &['9'],
            'i' => &['1', '!'],
            'l' => &['1'],
            'o' => &['0'],
            's' => &['5', '$'],
            't' => &['7'],
            'z' => &['2'],
            _ => return c,
        };
        if random.chance(share) {
            masks[random.below(masks.len())]
        } else {
            c
        }
    };
    text.chars().map(mask).collect()
}

/// Letters left out, doubled, exchanged with the next, or replaced.
fn mistyped(text: &str, random: &mut Random, share: f64) -> String {
    let mut typed = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_alphabetic() || !random.chance(share) {
            typed.push(c);
            continue;
        }
        match random.below(4) {
            0 => {}
            1 => typed.extend([c, c]),
            2 => {
                typed.extend(chars.next());
                typed.push(c);
            }
            _ => typed.push(char::from(b'a' + random.below(26) as u8)),
        }
    }
    typed
}

/// Letters that no table reads as what they stand for.
fn foreign(text: &str, random: &mut Random, share: f64) -> String {
    let replace = |c: char| {
        if c.is_alphabetic() && random.chance(share) {
            let ideograph = 0x4e00 + random.below(2_000) as u32;
            char::from_u32(ideograph).expect("ideographs stand there")
        } else {
            c
        }
    };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(text: &str) -> Vec<String> {
        (0..200)
            .map(|seed| {
                copy(text, &mut Random::new(seed), |_| {
                    "a walk by the lake".into()
                })
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_copies() {
        assert_eq!(copies("win a prize now"), copies("win a prize now"));
    }

    #[test]
    fn every_kind_of_change_is_made() {
        let copies = copies("win a prize now");
        let some = |made: &str| copies.iter().any(|copy| copy.contains(made));
        let is_first = copies.iter().any(|copy| copy.starts_with("a walk"));
        assert!(some("w i n") && some("pr1z3") && some("now a walk") && is_first);
    }

    #[test]
    fn strange_texts_are_copied_too() {
        for text in ["", " ", "é", &"ü".repeat(401), &"\u{200b}".repeat(500)] {
            assert_eq!(copies(text).len(), 200);
        }
    }
}
