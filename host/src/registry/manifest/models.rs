//! The models and tokenizers that a manifest names.

use std::collections::BTreeMap;

use toml::Spanned;

use super::raw::{RawModel, RawPrecision, RawTokenizer};
use super::{ManifestError, ModelFile, Reader, TokenizerFile};

impl Reader<'_> {
    pub(super) fn models(
        &self,
        raw: BTreeMap<String, Spanned<RawModel>>,
        has_golden: bool,
    ) -> Result<BTreeMap<String, ModelFile>, ManifestError> {
        let mut models = BTreeMap::new();
        for (name, model) in raw {
            let span = model.span();
            let model = model.into_inner();
            self.file_name_at(&model.file, span.clone())?;
            self.digest("model", &name, &model.sha256, &model.file, span.start)?;
            let halved_within = self.precision(&name, &model, span.start)?;
            if halved_within.is_some() && !has_golden {
                return self.refuse(
                    span.start,
                    format!("model `{name}` asks for f16, and no golden case shows what that changes; add a `[[golden]]`, or leave `precision` out"),
                );
            }
            let model = ModelFile {
                file: model.file,
                sha256: model.sha256,
                batch_exact: model.batch_exact,
                halved_within,
                line: self.lines.line(span.start),
            };
            models.insert(name, model);
        }
        Ok(models)
    }

    /// The tolerance of a model that asks for f16; none for one in f32.
    fn precision(
        &self,
        name: &str,
        model: &RawModel,
        at: usize,
    ) -> Result<Option<f32>, ManifestError> {
        match (model.precision, &model.tolerance) {
            (RawPrecision::Single, None) => Ok(None),
            (RawPrecision::Single, Some(tolerance)) => self.refuse(
                tolerance.span().start,
                format!("model `{name}` is in f32, so there is nothing to tolerate; leave `tolerance` out, or write `precision = \"f16\"`"),
            ),
            (RawPrecision::Half, None) => self.refuse(
                at,
                format!("model `{name}` asks for f16 and does not say how far a score may move by it; write `tolerance = 0.01` or what your labels bear"),
            ),
            (RawPrecision::Half, Some(tolerance)) => {
                let most = *tolerance.get_ref();
                // Written so that NaN is refused too.
                if most > 0.0 && most.is_finite() {
                    return Ok(Some(most));
                }
                self.refuse(
                    tolerance.span().start,
                    "a `tolerance` is a finite number above 0, such as 0.01",
                )
            }
        }
    }

    pub(super) fn tokenizers(
        &self,
        raw: BTreeMap<String, Spanned<RawTokenizer>>,
    ) -> Result<BTreeMap<String, TokenizerFile>, ManifestError> {
        let mut tokenizers = BTreeMap::new();
        for (name, tokenizer) in raw {
            let span = tokenizer.span();
            let RawTokenizer { file, sha256 } = tokenizer.into_inner();
            self.file_name_at(&file, span.clone())?;
            self.digest("tokenizer", &name, &sha256, &file, span.start)?;
            let line = self.lines.line(span.start);
            tokenizers.insert(name, TokenizerFile { file, sha256, line });
        }
        Ok(tokenizers)
    }

    fn digest(
        &self,
        kind: &str,
        name: &str,
        sha256: &str,
        file: &str,
        at: usize,
    ) -> Result<(), ManifestError> {
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if sha256.len() == 64 && sha256.bytes().all(is_hex) {
            return Ok(());
        }
        self.refuse(at, format!("sha256 of {kind} `{name}` is 64 lower-case hex digits; take them from `sha256sum {file}`"))
    }
}
