//! What a layout lists: one package, its signatures, and the index of referrers.

use std::collections::BTreeMap;

use super::LayoutError;
use super::blob::{Descriptor, Digest};
use super::index::{
    DETECTOR_TYPE, INDEX_TYPE, Index, MANIFEST_TYPE, MAX_JSON_BYTES, Manifest, REF_NAME,
    SIGNATURE_TYPE, fallback_tag, malformed,
};
use super::signature::MAX_SIGNATURES;
use super::source::{INDEX, Source};
use crate::excerpt::printable;

/// Characters of a foreign type in a message.
const TYPE_CHARS: usize = 80;

/// A manifest that is listed, read and checked against its descriptor.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Manifest,
    /// What messages call it.
    pub(super) place: String,
}

/// What an index lists.
pub(super) struct Listed {
    pub(super) package: Listing,
    /// By digest.
    pub(super) signatures: Vec<Listing>,
    /// The index of referrers, where there is one.
    pub(super) fallback: Option<Digest>,
}

/// Reads the index, and every manifest that it or the index of referrers lists.
pub(super) fn listed(source: &Source) -> Result<Listed, LayoutError> {
    let place = source.place(INDEX);
    let index = Index::parse(&source.read(INDEX, MAX_JSON_BYTES)?, &place)?;
    let mut reader = Reader {
        source,
        seen: BTreeMap::new(),
        packages: Vec::new(),
        signatures: Vec::new(),
    };
    let is_index = |one: &Descriptor| one.media_type == INDEX_TYPE;
    let (fallbacks, manifests): (Vec<_>, Vec<_>) = index.manifests.into_iter().partition(is_index);
    for descriptor in manifests {
        reader.add(descriptor, &place)?;
    }
    let n_packages = reader.packages.len();
    if n_packages != 1 {
        return Err(malformed(
            &place,
            format!("lists {n_packages} packages, where a layout holds one"),
        ));
    }
    let tag = fallback_tag(&reader.packages[0].descriptor.digest);
    if fallbacks.len() > 1
        || fallbacks
            .iter()
            .any(|one| one.annotations.get(REF_NAME) != Some(&tag))
    {
        return Err(malformed(
            &place,
            format!("lists an index other than the one of referrers, which is tagged `{tag}`"),
        ));
    }
    for fallback in &fallbacks {
        reader.add_referrers(fallback)?;
    }
    let [package] = <[_; 1]>::try_from(reader.packages).map_err(|_| {
        malformed(
            &place,
            "lists a package among the referrers, where signatures stand",
        )
    })?;
    let mut signatures = reader.signatures;
    signatures.sort_by(|a, b| a.descriptor.digest.cmp(&b.descriptor.digest));
    Ok(Listed {
        package,
        signatures,
        fallback: fallbacks.into_iter().next().map(|one| one.digest),
    })
}

struct Reader<'a> {
    source: &'a Source,
    /// A signature stands in two indexes, which must say the same of it.
    seen: BTreeMap<Digest, Descriptor>,
    packages: Vec<Listing>,
    signatures: Vec<Listing>,
}

impl Reader<'_> {
    /// What the index lists that stands for referrers where a registry has none.
    fn add_referrers(&mut self, fallback: &Descriptor) -> Result<(), LayoutError> {
        let role = "the index of referrers";
        let json = self.source.blob(fallback, role, MAX_JSON_BYTES)?;
        let place = format!("{role} ({})", self.source.place(&fallback.digest.file()));
        for descriptor in Index::parse(&json, &place)?.manifests {
            self.add(descriptor, &place)?;
        }
        Ok(())
    }

    fn add(&mut self, descriptor: Descriptor, place: &str) -> Result<(), LayoutError> {
        let digest = &descriptor.digest;
        if descriptor.media_type != MANIFEST_TYPE {
            let given = printable(&descriptor.media_type, TYPE_CHARS);
            return Err(malformed(
                place,
                format!("{digest} is of type `{given}`, which no manifest of a package has"),
            ));
        }
        if let Some(before) = self.seen.get(digest) {
            if before.names_same(&descriptor) && before.artifact_type == descriptor.artifact_type {
                return Ok(());
            }
            return Err(malformed(
                place,
                format!("lists {digest} otherwise than it stands elsewhere in this package"),
            ));
        }
        if self.seen.len() > MAX_SIGNATURES {
            return Err(malformed(
                place,
                format!("lists more than a package and {MAX_SIGNATURES} signatures"),
            ));
        }
        self.seen.insert(digest.clone(), descriptor.clone());
        self.read(descriptor, place)
    }

    fn read(&mut self, descriptor: Descriptor, place: &str) -> Result<(), LayoutError> {
        let role = match descriptor.artifact_type.as_deref() {
            Some(SIGNATURE_TYPE) => "the signature",
            _ => "the manifest",
        };
        let json = self.source.blob(&descriptor, role, MAX_JSON_BYTES)?;
        let here = format!("{role} ({})", self.source.place(&descriptor.digest.file()));
        let manifest = Manifest::parse(&json, &here)?;
        let said = descriptor.artifact_type.as_ref();
        if said.is_some_and(|said| *said != manifest.artifact_type) {
            let digest = &descriptor.digest;
            return Err(malformed(
                place,
                format!("says another `artifactType` of {digest} than that says itself"),
            ));
        }
        let listed = match manifest.artifact_type.as_str() {
            DETECTOR_TYPE => &mut self.packages,
            SIGNATURE_TYPE => &mut self.signatures,
            other => {
                let given = printable(other, TYPE_CHARS);
                return Err(malformed(
                    &here,
                    format!(
                        "is of type `{given}`; a package is `{DETECTOR_TYPE}`, a signature `{SIGNATURE_TYPE}`"
                    ),
                ));
            }
        };
        listed.push(Listing {
            descriptor,
            manifest,
            place: here,
        });
        Ok(())
    }
}
