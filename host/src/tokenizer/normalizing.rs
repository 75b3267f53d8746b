//! Normalizers that end when a text grows too long, or its time is up.
//!
//! A step may make sixty-four bytes of each, and steps follow each other: so what a step
//! will make is reckoned before it is done, and all pieces of a text share one room.

use std::cell::{Cell, OnceCell};

use tokenizers::normalizers::Precompiled;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
use unicode_normalization::UnicodeNormalization as _;

use super::encode::{EncodeError, shown};
use super::steps::MAX_MAPPED_BYTES;

/// How many times longer its normalizers may make a text. Unicode's own make the longest
/// of its letters eleven times longer.
const MAX_GROWTH: usize = 16;

/// Bytes that a text of any length may have when it is normalized.
const MIN_ROOM: usize = 256;

/// Pieces that a text may be cut into, for each byte that it may have: four for each that
/// it had. Each of them is worked on by all steps that follow.
const BYTES_PER_PIECE: usize = 4;

/// How many times longer Unicode's forms make the longest of its letters (U+FDFA).
const DECOMPOSED: usize = 11;

/// Bytes of the longest cluster of letters that a table of SentencePiece's is asked for.
const MAX_CLUSTER_BYTES: usize = 5;

/// One step that makes one spelling of many.
pub(super) struct Normalizing {
    pub(super) step: NormalizerWrapper,
    /// What it looks for, when it replaces.
    places: Option<Places>,
}

/// What a step replaces.
pub(super) enum Places {
    Text(String),
    Pattern(SysRegex),
}

impl From<NormalizerWrapper> for Normalizing {
    fn from(step: NormalizerWrapper) -> Self {
        Self { step, places: None }
    }
}

impl Normalizing {
    /// A step that replaces these places.
    pub(super) fn replacing(step: NormalizerWrapper, places: Places) -> Self {
        Self {
            step,
            places: Some(places),
        }
    }

    /// Bytes that it makes of `text`, reckoned upwards where they could be more than `room`.
    /// Of steps that make no text four times as long, and of those that add a few bytes, it
    /// says what `text` has: they are looked at when they are done.
    fn reckoned(&self, text: &str, room: usize) -> usize {
        use NormalizerWrapper as Built;
        let n_bytes = text.len();
        let is_over = |growth: usize| n_bytes.saturating_mul(growth) > room;
        let spelled = |letters: &mut dyn Iterator<Item = char>| -> usize {
            letters.map(char::len_utf8).sum()
        };
        match (&self.step, &self.places) {
            (Built::Replace(replace), Some(places)) if is_over(replace.content.len()) => {
                let (n_places, n_replaced) = places.found(text);
                n_bytes.saturating_sub(n_replaced) + n_places * replace.content.len()
            }
            (Built::Precompiled(table), _) if is_over(MAX_MAPPED_BYTES) => mapped(table, text),
            (Built::NFC(_) | Built::NFD(_), _) if is_over(DECOMPOSED) => spelled(&mut text.nfd()),
            (Built::NFKC(_) | Built::NFKD(_), _) if is_over(DECOMPOSED) => {
                spelled(&mut text.nfkd())
            }
            _ => n_bytes,
        }
    }
}

impl Places {
    /// How many there are, and how many bytes they have together.
    fn found(&self, text: &str) -> (usize, usize) {
        match self {
            Self::Text(wanted) => {
                let n_places = text.matches(wanted.as_str()).count();
                (n_places, n_places * wanted.len())
            }
            Self::Pattern(pattern) => pattern
                .find_iter(text)
                .fold((0, 0), |(n_places, n_bytes), (start, end)| {
                    (n_places + 1, n_bytes + end - start)
                }),
        }
    }
}

/// Bytes that a table makes of `text` at most. It is asked for short clusters of letters,
/// or else for each letter, and takes the shortest of its entries that begins there; here it
/// is asked for all letters that such a cluster could have.
fn mapped(table: &Precompiled, text: &str) -> usize {
    let of_each = text.char_indices().map(|(at, letter)| {
        let end = text.floor_char_boundary(at + MAX_CLUSTER_BYTES);
        let instead = table.transform(&text[at..end]).map_or(0, str::len);
        instead.max(letter.len_utf8())
    });
    of_each.sum()
}

/// The steps, and what is left to them of room and time. The library goes on past their
/// errors, so the first is kept, and nothing is done after it.
pub(super) struct Checked<'a> {
    steps: &'a [Normalizing],
    /// Bytes that the text may have, and what was added to it, all pieces together.
    room: usize,
    /// Bytes of the pieces that are done.
    used: Cell<usize>,
    is_late: &'a dyn Fn() -> bool,
    failed: OnceCell<EncodeError>,
}

impl<'a> Checked<'a> {
    /// For a text of `n_bytes`.
    pub(super) fn new(
        steps: &'a [Normalizing],
        n_bytes: usize,
        is_late: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            steps,
            room: n_bytes.saturating_mul(MAX_GROWTH).saturating_add(MIN_ROOM),
            used: Cell::new(0),
            is_late,
            failed: OnceCell::new(),
        }
    }

    /// Whether a text that was so long may become as long as this.
    pub(super) fn fits(&self, n_bytes: usize) -> Result<(), EncodeError> {
        if n_bytes <= self.room {
            return Ok(());
        }
        Err(EncodeError::Failed(format!(
            "it makes {n_bytes} bytes of it, more than {MAX_GROWTH} times as many as it has"
        )))
    }

    /// Whether it may be cut into so many pieces.
    pub(super) fn fits_pieces(&self, n_pieces: usize) -> Result<(), EncodeError> {
        if n_pieces <= self.room / BYTES_PER_PIECE {
            return Ok(());
        }
        Err(EncodeError::Failed(format!(
            "it makes {n_pieces} words of it, more than {} for each byte",
            MAX_GROWTH / BYTES_PER_PIECE
        )))
    }

    /// Why it gave up, if it did.
    pub(super) fn failure(&mut self) -> Option<EncodeError> {
        self.failed.take()
    }

    fn apply(&self, piece: &mut NormalizedString) -> Result<(), EncodeError> {
        let used = self.used.get();
        for step in self.steps {
            if (self.is_late)() {
                return Err(EncodeError::Late);
            }
            let room = self.room.saturating_sub(used);
            self.fits(used.saturating_add(step.reckoned(piece.get(), room)))?;
            let done = step.step.normalize(piece);
            done.map_err(|error| EncodeError::Failed(shown(&error)))?;
            self.fits(used.saturating_add(piece.get().len()))?;
        }
        self.used.set(used.saturating_add(piece.get().len()));
        Ok(())
    }
}

impl Normalizer for Checked<'_> {
    fn normalize(&self, piece: &mut NormalizedString) -> tokenizers::Result<()> {
        if self.failed.get().is_some() {
            return Err("an earlier piece failed".into());
        }
        self.apply(piece).map_err(|why| {
            let said = why.to_string();
            self.failed.get_or_init(|| why);
            said.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::normalizers::{NFKC, NFKD, Prepend, Replace, replace::ReplacePattern};

    use super::*;

    fn replace(pattern: ReplacePattern, content: &str) -> Normalizing {
        let places = match &pattern {
            ReplacePattern::String(text) => Places::Text(text.clone()),
            ReplacePattern::Regex(pattern) => {
                Places::Pattern(SysRegex::new(pattern).expect("a pattern"))
            }
        };
        let step = Replace::new(pattern, content).expect("a pattern");
        Normalizing::replacing(step.into(), places)
    }

    /// A table of one entry: `A` becomes `instead`.
    fn table(instead: &str) -> Precompiled {
        // Where the root leads, then a unit for each byte that may follow; that of `A` leads
        // to a leaf, whose value is 0: where the text stands.
        let mut units = [0_u32; 512];
        units[0] = 256 << 10;
        units[256 ^ 0x41] = (1 << 8) | 0x41 | ((256 ^ 0x41 ^ 1) << 10);
        let mut bytes = (4 * 512_u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(instead.bytes().chain([0]));
        Precompiled::from(&bytes).expect("a table")
    }

    fn steps() -> Vec<Normalizing> {
        let spaces = || ReplacePattern::Regex(r"\s+".to_owned());
        vec![
            replace("aa".into(), &"x".repeat(64)),
            replace("a".into(), ""),
            replace(spaces(), &"今".repeat(20)),
            NormalizerWrapper::from(NFKC).into(),
            NormalizerWrapper::from(NFKD).into(),
            NormalizerWrapper::Precompiled(table(&"é".repeat(30))).into(),
            NormalizerWrapper::from(Prepend::new("▁".to_owned())).into(),
        ]
    }

    const TEXTS: [&str; 6] = [
        "aaaaa a  a",
        "ﷺﷺ ㌫ ½ é e\u{301} 가",
        "A\u{301}BAA A今A",
        " \t\n  ",
        "今日は天気",
        "AaAa",
    ];

    #[test]
    fn what_a_step_makes_is_never_more_than_was_reckoned() {
        for (n, step) in steps().iter().enumerate() {
            for text in TEXTS {
                let mut made = NormalizedString::from(text);
                step.step.normalize(&mut made).expect("it can be done");
                let reckoned = step.reckoned(text, 0);
                // Some add a few bytes, and are looked at when they are done.
                let most = reckoned.max(text.len() + 3);
                let made = made.get();
                assert!(
                    made.len() <= most,
                    "step {n}: {text:?}, {reckoned}: {made:?}"
                );
            }
        }
        let table = NormalizerWrapper::Precompiled(table(&"é".repeat(30)));
        let mut made = NormalizedString::from("AbA");
        table.normalize(&mut made).expect("it can be done");
        assert_eq!(made.get().len(), 121, "the table is one");
    }

    #[test]
    fn a_step_that_would_make_too_much_is_not_done() {
        for step in [
            replace("a".into(), &"x".repeat(64)),
            replace(
                ReplacePattern::Regex(r"\p{L}+| ".to_owned()),
                &"x".repeat(64),
            ),
            NormalizerWrapper::Precompiled(table(&"x".repeat(64))).into(),
        ] {
            let text = "a A ".repeat(1000);
            let steps = [step];
            let mut checked = Checked::new(&steps, text.len() / 16, &|| false);
            let mut piece = NormalizedString::from(text.as_str());
            checked.normalize(&mut piece).expect_err("too much");
            assert_eq!(piece.get(), text, "as it was");
            let why = checked.failure().expect("it failed").to_string();
            assert!(why.contains("more than 16 times as many"), "{why}");
        }
        // Letters of eleven times their length, made of one each.
        let steps = [
            replace("a".into(), "ﷺﷺﷺﷺﷺ"),
            NormalizerWrapper::from(NFKD).into(),
        ];
        let checked = Checked::new(&steps, 1000, &|| false);
        let mut piece = NormalizedString::from("a".repeat(1000));
        checked.normalize(&mut piece).expect_err("too much");
        assert_eq!(piece.get(), "ﷺ".repeat(5000));
    }

    #[test]
    fn pieces_share_one_room_and_nothing_is_done_after_the_first_that_fails() {
        let steps = [replace("a".into(), &"x".repeat(50))];
        let mut checked = Checked::new(&steps, 100, &|| false);
        let n_done = (0..100)
            .filter(|_| checked.normalize(&mut NormalizedString::from("a")).is_ok())
            .count();
        assert_eq!(n_done, (100 * MAX_GROWTH + MIN_ROOM) / 50);
        let mut small = NormalizedString::from("b");
        checked
            .normalize(&mut small)
            .expect_err("one failed before");
        assert!(checked.failure().is_some());
    }
}
