//! The tokens that stand around a text, such as `[CLS]` and `[SEP]`.

use tokenizers::processors::template::{Piece, Sequence};

use super::raw::{Bounded, BoundedMap, Inner, Outer};
use super::steps::{flat, unknown};
use super::{MAX_SPECIAL, TokenizerError};
use crate::excerpt::{NAME_CHARS, printable};

/// A token of the frame: its id and its type.
pub(super) type Special = (u32, u32);

/// What stands around each text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    pub(super) before: Vec<Special>,
    pub(super) after: Vec<Special>,
    /// The type of the text's own tokens.
    pub(super) type_id: u32,
    /// Whether spaces at the ends of a token belong to no token.
    pub(super) trims: bool,
}

impl Frame {
    /// Tokens of the frame.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    pub(super) fn read(step: Option<Outer>) -> Result<Self, TokenizerError> {
        let mut frame = Self::default();
        for step in flat(step, PLACE)? {
            frame.apply(step)?;
        }
        if frame.len() > MAX_SPECIAL {
            return Err(refused(&format!(
                "puts {} tokens around a text, at most {MAX_SPECIAL} are taken",
                frame.len()
            )));
        }
        Ok(frame)
    }

    fn apply(&mut self, step: Inner) -> Result<(), TokenizerError> {
        let is_framed = self.len() > 0;
        match step.kind.as_str() {
            "ByteLevel" => {
                self.trims |= step.trim_offsets.unwrap_or(true);
                return Ok(());
            }
            _ if is_framed => return Err(refused("puts a frame around a frame; write one")),
            "BertProcessing" | "RobertaProcessing" => {
                let (Some((_, cls)), Some((_, sep))) = (step.cls, step.sep) else {
                    return Err(refused("names no `cls` or no `sep`"));
                };
                self.trims |= step.kind == "RobertaProcessing" && step.trim_offsets.unwrap_or(true);
                self.before.push((cls, 0));
                self.after.push((sep, 0));
            }
            "TemplateProcessing" => {
                let (Some(Bounded(pieces)), Some(BoundedMap(tokens))) =
                    (step.single, step.special_tokens)
                else {
                    return Err(refused("names no `single` or no `special_tokens`"));
                };
                let mut texts = 0;
                for piece in pieces {
                    match piece {
                        Piece::Sequence {
                            id: Sequence::A,
                            type_id,
                        } => {
                            texts += 1;
                            self.type_id = type_id;
                        }
                        Piece::Sequence { .. } => {
                            return Err(refused("`single` asks for a second text"));
                        }
                        Piece::SpecialToken { id, type_id } => {
                            let Some((_, token)) = tokens.iter().find(|(name, _)| *name == id)
                            else {
                                return Err(refused(&format!(
                                    "`single` names `{}`, which `special_tokens` does not",
                                    printable(&id, NAME_CHARS)
                                )));
                            };
                            let side = match texts {
                                0 => &mut self.before,
                                _ => &mut self.after,
                            };
                            side.extend(token.ids.0.iter().map(|&id| (id, type_id)));
                        }
                    }
                }
                if texts != 1 {
                    return Err(refused("`single` holds the text once"));
                }
            }
            kind => return Err(unknown(kind, PLACE)),
        }
        Ok(())
    }
}

const PLACE: &str = "`post_processor`";

fn refused(what: &str) -> TokenizerError {
    TokenizerError::new(PLACE, what)
}
