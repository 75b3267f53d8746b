//! Letters replaced by what looks or reads like them.

use crate::{Random, by_word};

/// Well-known look-alikes of the lower-case letters, `a` first: Cyrillic, Greek,
/// Armenian, fullwidth and mathematical ones.
const LOWER: [&str; 26] = [
    "аɑαａ𝐚𝖺",
    "ЬƄｂ𝐛𝖻",
    "сϲᴄⅽｃ𝐜",
    "ԁⅾｄ𝐝𝖽",
    "еҽｅ𝐞℮",
    "ſｆ𝐟𝖿",
    "ɡցｇ𝐠",
    "һհｈ𝐡",
    "іɩⅰｉ𝐢ı",
    "јϳｊ𝐣",
    "ｋ𝐤𝗄𝘬",
    "ӏⅼｌ𝐥|",
    "ｍ𝐦𝗆ⅿ",
    "ոｎ𝐧𝗇",
    "оοօｏσ𝐨",
    "рρｐ𝐩",
    "ԛգｑ𝐪",
    "гｒ𝐫𝗋",
    "ѕꜱｓ𝐬",
    "ｔ𝐭𝗍𝘵",
    "υսᴜｕ𝐮",
    "ѵνᴠⅴｖ",
    "ԝɯᴡｗ𝐰",
    "хⅹｘ𝐱×",
    "уγүｙ𝐲",
    "ᴢｚ𝐳𝗓",
];

/// The same for the capitals.
const UPPER: [&str; 26] = [
    "АΑᎪＡ𝐀",
    "ВΒᏴＢ𝐁",
    "СϹⅭᏟＣ",
    "ᎠⅮＤ𝐃",
    "ЕΕᎬＥ𝐄",
    "ϜＦ𝐅𝖥",
    "ԌᏀＧ𝐆",
    "НΗᎻＨ𝐇",
    "ІΙⅠＩ𝐈",
    "ЈᎫＪ𝐉",
    "КΚᏦＫ𝐊",
    "ᏞⅬＬ𝐋",
    "МΜⅯᎷＭ",
    "ΝＮ𝐍𝖭",
    "ОΟՕＯ𝐎",
    "РΡᏢＰ𝐏",
    "ԚＱ𝐐𝖰",
    "ᏒＲ𝐑𝖱",
    "ЅՏᏚＳ𝐒",
    "ТΤᎢＴ𝐓",
    "ՍＵ𝐔𝖴",
    "ᏙⅤＶ𝐕",
    "ԜᎳＷ𝐖",
    "ХΧⅩＸ𝐗",
    "ҮΥＹ𝐘",
    "ΖᏃＺ𝐙",
];

/// Alphabets of look-alikes that Unicode's `confusables.txt` does not give the
/// plain letter for, `a` first; `.` where an alphabet has none. An evader takes
/// such an alphabet from a generator of fancy text.
pub(crate) const ALPHABETS: [(&str, &str); 12] = [
    ("small capitals", "ᴀʙ.ᴅᴇꜰɢʜ.ᴊᴋʟᴍɴ.ᴘǫʀ.ᴛ......"),
    ("strokes", "ⱥƀȼđɇ.ǥħɨɉꝁł.ꞥøᵽꝗɍꞩŧʉⱴⱳ.ɏƶ"),
    ("hooks", "ᶏɓƈɗ.ᵮɠɦᶖ.ƙɭɱɲ.ƥʠɽʂƭᶙʋⱳᶍƴȥ"),
    ("palatal hooks and curls", "ᶏᶀɕȡᶒᶂ.ɧ.ʝᶄȴᶆȵ.ᶈ.ᶉᶊȶᶙᶌ.ᶍ.ʑ"),
    ("phonetic and turned", "ɐ..ðəʃɣɥᴉɟʞɮɰŋɵ..ɹʃʇʊʌʍ.ʎʒ"),
    ("diacritics", "ǟḇḉḓḝḟǧḩḭǰḳḽḿṋṏṕ.ṟṩṱṷṽẘẍẙẕ"),
    ("squared", "🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉"),
    ("circled", "🅐🅑🅒🅓🅔🅕🅖🅗🅘🅙🅚🅛🅜🅝🅞🅟🅠🅡🅢🅣🅤🅥🅦🅧🅨🅩"),
    ("parenthesised", "⒜⒝⒞⒟⒠⒡⒢⒣⒤⒥⒦⒧⒨⒩⒪⒫⒬⒭⒮⒯⒰⒱⒲⒳⒴⒵"),
    ("regional indicators", "🇦🇧🇨🇩🇪🇫🇬🇭🇮🇯🇰🇱🇲🇳🇴🇵🇶🇷🇸🇹🇺🇻🇼🇽🇾🇿"),
    (
        "ideographs",
        "卂乃匚刀乇千.卄丨ﾌҜㄥ爪几ㄖ卩Ɋ尺丂イㄩ√山乂.乙",
    ),
    ("Thai, Lao and Hebrew", "ค๒ς๔єŦﻮђเןкɭ๓ภ๏ק.я..ยש.אץչ"),
];

/// Well-known look-alikes for 30 to 60 % of the letters.
pub(crate) fn homoglyphs(text: &str, random: &mut Random) -> String {
    let share = random.between(30, 60);
    by_letter(text, |letter| {
        let table = if letter.is_ascii_uppercase() {
            &UPPER
        } else {
            &LOWER
        };
        let choices: Vec<char> = table[index(letter)?].chars().collect();
        random.chance(share).then(|| *random.pick(&choices))
    })
}

/// Look-alikes of one or two of the [`ALPHABETS`] for 30 to 60 % of the letters.
pub(crate) fn outside_the_table(text: &str, random: &mut Random) -> String {
    let share = random.between(30, 60);
    let alphabets = [random.pick(&ALPHABETS).1, random.pick(&ALPHABETS).1];
    by_letter(text, |letter| {
        let index = index(letter)?;
        if !random.chance(share) {
            return None;
        }
        let of = |alphabet: &str| {
            let look_alike = alphabet.chars().nth(index);
            look_alike.filter(|look_alike| *look_alike != '.')
        };
        let [first, second] = alphabets;
        // The second alphabet fills the gaps of the first.
        of(first).or_else(|| of(second))
    })
}

/// What stands for a letter in leetspeak, the usual sign first.
const LEET: [(char, &str); 14] = [
    ('a', "44@@"),
    ('b', "8"),
    ('c', "("),
    ('e', "3"),
    ('g', "9"),
    ('h', "#"),
    ('i', "11!"),
    ('l', "1|"),
    ('o', "0"),
    ('q', "9"),
    ('s', "55$$"),
    ('t', "7+"),
    ('x', "%"),
    ('z', "2"),
];

/// Letters that beginners of leetspeak already change.
const LEET_BASICS: &str = "aeiost";

/// Digits and signs for letters. Half of the texts change only the basic letters;
/// 50 to 95 % of the letters that can be changed are.
pub(crate) fn leetspeak(text: &str, random: &mut Random) -> String {
    let share = random.between(50, 95);
    let basics_only = random.chance(50);
    by_letter(text, |letter| {
        let lower = letter.to_ascii_lowercase();
        if basics_only && !LEET_BASICS.contains(lower) {
            return None;
        }
        let (_, signs) = LEET.iter().find(|(known, _)| *known == lower)?;
        let signs: Vec<char> = signs.chars().collect();
        random.chance(share).then(|| *random.pick(&signs))
    })
}

/// Where a letter stands in the English alphabet.
fn index(letter: char) -> Option<usize> {
    let lower = letter.to_ascii_lowercase();
    let is_letter = lower.is_ascii_lowercase();
    is_letter.then(|| usize::try_from(u32::from(lower) - u32::from('a')).expect("below 26"))
}

/// Replaces the letters of words that are no links, where `replacement` has one.
fn by_letter(text: &str, mut replacement: impl FnMut(char) -> Option<char>) -> String {
    by_word(text, |word| {
        word.chars()
            .map(|letter| replacement(letter).unwrap_or(letter))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `confusables.txt` takes a character for.
    fn skeleton(letter: char) -> String {
        let mut buffer = [0; 4];
        unicode_security::skeleton(letter.encode_utf8(&mut buffer)).collect()
    }

    #[test]
    fn every_alphabet_has_a_place_for_each_letter() {
        for (name, alphabet) in ALPHABETS {
            assert_eq!(alphabet.chars().count(), 26, "{name}");
        }
    }

    #[test]
    fn the_table_knows_most_homoglyphs_and_none_of_those_outside_it() {
        for (name, alphabet) in ALPHABETS {
            for (letter, look_alike) in ('a'..='z').zip(alphabet.chars()) {
                let taken_for = skeleton(look_alike).to_lowercase();
                let known = [skeleton(letter), skeleton(letter.to_ascii_uppercase())];
                let is_known = known.iter().any(|known| known.to_lowercase() == taken_for);
                assert!(!is_known, "{name}: {look_alike} is taken for {letter}");
            }
        }
        let (mut n_known, mut n_all) = (0, 0);
        let upper = ('A'..='Z').zip(UPPER);
        for (letter, look_alikes) in ('a'..='z').zip(LOWER).chain(upper) {
            for look_alike in look_alikes.chars() {
                n_all += 1;
                n_known += usize::from(skeleton(look_alike) == skeleton(letter));
            }
        }
        assert!(n_known * 10 >= n_all * 8, "{n_known} of {n_all}");
    }

    #[test]
    fn about_half_of_the_letters_are_replaced() {
        let text = "claim your prize before midnight ".repeat(20);
        for seed in 0..100 {
            let changed = homoglyphs(&text, &mut Random::new(seed));
            assert_eq!(changed.chars().count(), text.chars().count());
            let pairs = text.chars().zip(changed.chars());
            let n_changed = pairs.filter(|(before, after)| before != after).count();
            let n_letters = text.chars().filter(char::is_ascii_alphabetic).count();
            let share = n_changed * 100 / n_letters;
            assert!((24..=66).contains(&share), "{share} %");
        }
    }
}
