//! Why a packed package is refused.

use crate::engine::Blame;
use crate::registry::keys::KeyId;

/// A package that is not what it says, or not from whom it should be. Every message
/// names the file or blob, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Neither a plugin folder nor a packed package.
    #[error(
        "{path}: no package; give a plugin folder, an OCI image layout, or a tar file of one (`trommel plugin pack` makes it)"
    )]
    NoPackage {
        /// What was given.
        path: String,
    },
    /// The system does not let it be read.
    #[error("{place}: cannot be read: {what}")]
    Unreadable {
        /// The file.
        place: String,
        /// What the system says.
        what: String,
    },
    /// The system does not let it be written.
    #[error("{place}: cannot be written: {what}")]
    Unwritable {
        /// The file.
        place: String,
        /// Why, and how to mend it.
        what: String,
    },
    /// Not an archive that a layout may come in.
    #[error("{place}: {what}")]
    Archive {
        /// The tar file, and the entry where there is one.
        place: String,
        /// What is wrong, and how to mend it.
        what: String,
    },
    /// A file of the layout is not there.
    #[error("{place} is not there; the package is incomplete, get it again")]
    Missing {
        /// What is missing, and its file.
        place: String,
    },
    /// A file that nothing in the package names.
    #[error("{place} is no part of the package; remove it, or get the package again")]
    Stray {
        /// The file.
        place: String,
    },
    /// More bytes than may be.
    #[error("{place} has {given} bytes, at most {most} are taken")]
    TooLarge {
        /// What, and its file.
        place: String,
        /// What its descriptor says, or what is there.
        given: u64,
        /// The bound.
        most: u64,
    },
    /// Other bytes in number than its descriptor says.
    #[error(
        "{place} has {given} bytes, its descriptor says {said}; the package was changed or cut off, get it again"
    )]
    Size {
        /// What, and its file.
        place: String,
        /// What the descriptor says.
        said: u64,
        /// What is there.
        given: u64,
    },
    /// Other bytes than its descriptor says.
    #[error(
        "{place} has digest {given}, its descriptor says {said}; the package was changed, get it again"
    )]
    Digest {
        /// What, and its file.
        place: String,
        /// What the descriptor says.
        said: String,
        /// What is there.
        given: String,
    },
    /// Intact, but not what it must be.
    #[error("{place}: {what}")]
    Malformed {
        /// What, and its file.
        place: String,
        /// What is wrong, and how to mend it.
        what: String,
    },
    /// A signature over another package.
    #[error(
        "{place} signs {signed}, but this package is {package}; sign this one, or get its own signature"
    )]
    OtherPackage {
        /// The signature, and its file.
        place: String,
        /// What it signs.
        signed: String,
        /// The package's digest.
        package: String,
    },
    /// A signature by a known key that does not hold.
    #[error(
        "{place} was not made by key {key}, whose name it bears; the package was changed or the signature forged, get it again"
    )]
    BadSignature {
        /// The signature, and its file.
        place: String,
        /// The key that it names.
        key: KeyId,
    },
    /// No signature where one must be.
    #[error(
        "{package}: is not signed, and only packages signed by a trusted key load here; sign it with `trommel plugin sign`, or allow unsigned ones"
    )]
    Unsigned {
        /// The package.
        package: String,
    },
    /// Signed, but by nobody who is trusted.
    #[error(
        "{package}: is signed by {signers}, which is no trusted key; trust that key, or get the package from whom you trust"
    )]
    Untrusted {
        /// The package.
        package: String,
        /// The ids of the keys that signed it.
        signers: String,
    },
}

impl LayoutError {
    /// Who is to blame: this host when it cannot read or write, its caller for naming
    /// what is no package or for trust that was not given, the package for the rest.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Unreadable { .. } | Self::Unwritable { .. } => Blame::Host,
            Self::NoPackage { .. } | Self::Unsigned { .. } | Self::Untrusted { .. } => {
                Blame::Caller
            }
            _ => Blame::Guest,
        }
    }
}
