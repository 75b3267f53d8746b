//! Slips of the finger, real or pretended.

use crate::{Random, by_word};

/// The keys beside each letter on the usual English keyboard.
const NEIGHBOURS: [&str; 26] = [
    "qwsz", "vghn", "xdfv", "ersfxc", "wrsd", "rtdgcv", "tyfhvb", "yugjbn", "uojk", "uihknm",
    "iojlm", "opk", "njk", "bhjm", "ipkl", "ol", "wa", "etdf", "weadzx", "ryfg", "yihj", "cfgb",
    "qeas", "zsdc", "tugh", "asx",
];

/// Two letters swapped, one dropped, one doubled, or a neighbouring key hit, in
/// one word of three. Words of two letters are left: no one could read them.
pub(crate) fn typos(text: &str, random: &mut Random) -> String {
    by_word(text, |word| {
        let mut letters: Vec<char> = word.chars().collect();
        let places: Vec<usize> = (0..letters.len())
            .filter(|place| letters[*place].is_alphabetic())
            .collect();
        if places.len() < 3 || !random.chance(33) {
            return word.to_owned();
        }
        slip(&mut letters, &places, random);
        letters.into_iter().collect()
    })
}

/// One slip at one of `places`, all of which hold letters.
fn slip(letters: &mut Vec<char>, places: &[usize], random: &mut Random) {
    let place = *random.pick(places);
    match random.below(4) {
        0 if places.contains(&(place + 1)) => letters.swap(place, place + 1),
        1 => {
            letters.remove(place);
        }
        2 => letters.insert(place, letters[place]),
        _ => match neighbour(letters[place], random) {
            Some(other) => letters[place] = other,
            // A letter of another keyboard is doubled.
            None => letters.insert(place, letters[place]),
        },
    }
}

fn neighbour(letter: char, random: &mut Random) -> Option<char> {
    let index = letter
        .to_ascii_lowercase()
        .is_ascii_lowercase()
        .then(|| usize::from(u8::try_from(letter.to_ascii_lowercase()).expect("ASCII") - b'a'))?;
    let other = char::from(*random.pick(NEIGHBOURS[index].as_bytes()));
    Some(if letter.is_uppercase() {
        other.to_ascii_uppercase()
    } else {
        other
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_beside_each_other_both_ways() {
        for (letter, keys) in ('a'..='z').zip(NEIGHBOURS) {
            for key in keys.bytes() {
                let back = NEIGHBOURS[usize::from(key - b'a')];
                assert!(back.contains(letter), "{letter} and {}", char::from(key));
            }
        }
    }

    #[test]
    fn about_a_third_of_the_words_change_and_by_one_letter_each() {
        let text = "message ".repeat(3000);
        let changed = typos(&text, &mut Random::new(7));
        let n_changed = changed
            .split(' ')
            .filter(|word| !word.is_empty() && *word != "message")
            .count();
        assert!((700..1300).contains(&n_changed), "{n_changed}");
        for word in changed.split_whitespace() {
            assert!((6..=8).contains(&word.len()), "{word}");
        }
    }
}
