//! Keys that packages are signed with, and whose packages a host loads.
//!
//! Ed25519 (RFC 8032) in PEM: PKCS#8 for private keys, SubjectPublicKeyInfo for public
//! ones, both as `openssl genpkey -algorithm ed25519` and `openssl pkey` write them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    KeypairBytes,
};
use ed25519_dalek::{SecretKey, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::package::hex;

/// Bytes of the largest key file.
const MAX_BYTES: u64 = 16 << 10;

/// Names a public key: sha256 of its DER form (SubjectPublicKeyInfo), 64 lower-case
/// hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        Err("a key's id is 64 lower-case hex digits")
    }
}

/// A key file that cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct KeyError {
    /// The file.
    pub file: String,
    /// Why, and how to mend it.
    pub what: String,
}

/// A key that tells whether a signature is its owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    /// Reads a public key's PEM file.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read(file)?, &file.display().to_string())
    }

    /// A public key from its PEM form; `file` is only the name that messages use.
    pub fn from_pem(pem: &str, file: &str) -> Result<Self, KeyError> {
        let refused = |what: &str| KeyError {
            file: file.to_owned(),
            what: what.to_owned(),
        };
        if pem.contains("PRIVATE KEY") {
            return Err(refused(
                "is a private key, which belongs on no other machine than its owner's; give the public key that `trommel plugin keygen` wrote beside it",
            ));
        }
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|error| {
            refused(&format!(
                "is no Ed25519 public key in PEM ({error}); `trommel plugin keygen` makes one, and `openssl pkey -in KEY -pubout` shows that of a private key"
            ))
        })?;
        // Such a key verifies signatures that nobody made.
        if key.is_weak() {
            return Err(refused("is a weak key, which proves nothing; make another"));
        }
        Ok(Self::of(key))
    }

    fn of(key: VerifyingKey) -> Self {
        let der = key
            .to_public_key_der()
            .expect("a public key has a DER form");
        Self {
            key,
            id: KeyId(hex(&Sha256::digest(der.as_bytes()))),
        }
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its PEM form.
    pub fn to_pem(&self) -> String {
        let pem = self.key.to_public_key_pem(LineEnding::LF);
        pem.expect("a public key has a PEM form")
    }

    /// Whether its owner signed `message`. Signatures and keys that RFC 8032 leaves to
    /// the implementation are refused.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// A key that signs.
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

impl PrivateKey {
    /// A new key, from the system's randomness.
    pub fn generate() -> io::Result<Self> {
        let mut secret = SecretKey::default();
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Reads a private key's PEM file, and warns when others may read it too.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let key = Self::from_pem(&read(file)?, &file.display().to_string())?;
        if is_open_to_others(file) {
            tracing::warn!(file = %file.display(), "others may read this private key; close it with `chmod 600`");
        }
        Ok(key)
    }

    /// A private key from its PEM form; `file` is only the name that messages use.
    pub fn from_pem(pem: &str, file: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8_pem(pem.trim());
        key.map(Self).map_err(|error| KeyError {
            file: file.to_owned(),
            what: format!(
                "is no unencrypted Ed25519 private key in PEM ({error}); `trommel plugin keygen` makes one"
            ),
        })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.verifying_key())
    }

    /// Writes its PEM form to a new file that only this user may read.
    pub fn write(&self, file: &Path) -> Result<(), KeyError> {
        // Without the public half, which OpenSSL did not read there before 3.
        let pair = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = pair.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.expect("a private key has a PEM form");
        write_new(file, pem.as_bytes(), 0o600)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl PublicKey {
    /// Writes its PEM form to a new file.
    pub fn write(&self, file: &Path) -> Result<(), KeyError> {
        write_new(file, self.to_pem().as_bytes(), 0o644)
    }
}

/// Whose packages a host loads.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use trommel::registry::{PublicKey, Trust};
///
/// let key = PublicKey::read("release.pub".as_ref())?;
/// let host = trommel::Host::builder()
///     .trust(Trust::Keys(vec![key]))
///     .detector("spam-text-0.1.0.tar")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Everybody's, signed or not. Signatures are not verified, since there is no key
    /// to do it with.
    #[default]
    Anyone,
    /// Only those that one of these keys signed. A plugin folder is never signed.
    Keys(Vec<PublicKey>),
    /// Those that one of these keys signed, and unsigned ones. Signed ones by others
    /// are refused: a guard against mistakes, and no more, since a signature is easily
    /// taken off.
    KeysOrUnsigned(Vec<PublicKey>),
}

impl Trust {
    /// The keys that signatures are verified with.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Anyone => &[],
            Self::Keys(keys) | Self::KeysOrUnsigned(keys) => keys,
        }
    }
}

fn read(file: &Path) -> Result<String, KeyError> {
    let refused = |what: String| KeyError {
        file: file.display().to_string(),
        what,
    };
    let unreadable = |error: io::Error| refused(format!("cannot be read: {error}"));
    // Asked first: opening a pipe waits for its writer.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(refused(
            "is no plain file; give a key's PEM file".to_owned(),
        ));
    }
    let mut text = String::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(refused(format!(
            "has more than {MAX_BYTES} bytes; give a key's PEM file"
        )));
    }
    Ok(text)
}

/// Never over a file that is there: it may be somebody's only key.
fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| KeyError {
        file: file.display().to_string(),
        what: match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "is there already, and a key is never overwritten; give another name".to_owned()
            }
            _ => format!("cannot be written: {error}"),
        },
    })
}

#[cfg(unix)]
fn is_open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_file: &Path) -> bool {
    false
}
