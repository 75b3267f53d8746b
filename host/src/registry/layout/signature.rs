//! Who says that a package is theirs: DSSE envelopes over a manifest's digest.
//!
//! See the DSSE protocol, version 1.0.2 (secure-systems-lab/dsse): what is signed is
//! the pre-authentication encoding of payload and payload type, and `keyid` is a hint
//! that says which key to try.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::LayoutError;
use super::blob::{Descriptor, Digest};
use super::index::{
    DETECTOR_TYPE, MANIFEST_TYPE, Manifest, SIGNATURE_TYPE, malformed, parse, to_json,
};
use super::listing::Listing;
use super::source::Source;
use crate::excerpt::{NAME_CHARS, printable};
use crate::registry::keys::{KeyId, PrivateKey, PublicKey};

/// The type of the blob that holds an envelope.
const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// The type of what is signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.trommel.signature.v1+json";

/// Bytes of the largest envelope.
const MAX_ENVELOPE_BYTES: u64 = 16 << 10;

/// Signatures of a package at most.
pub(super) const MAX_SIGNATURES: usize = 32;

/// A signature that stands beside a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that it names.
    pub key: KeyId,
    /// Whether that key is among those given, and made it. One that is among them and
    /// did not make it is an error, never this.
    pub verified: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: KeyId,
    sig: String,
}

/// What is signed: all that says which manifest, and what it is the manifest of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    media_type: String,
    artifact_type: String,
    digest: Digest,
    size: u64,
}

impl Payload {
    fn of(package: &Descriptor) -> Self {
        Self {
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: DETECTOR_TYPE.to_owned(),
            digest: package.digest.clone(),
            size: package.size,
        }
    }
}

/// The blobs of a new signature: its envelope, and the manifest that refers to the
/// package.
pub(super) fn sign(package: &Descriptor, key: &PrivateKey) -> (Vec<u8>, Vec<u8>) {
    let payload = to_json(&Payload::of(package));
    let signed = key.sign(&encoded(PAYLOAD_TYPE, &payload));
    let envelope = to_json(&Envelope {
        payload: STANDARD.encode(&payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![EnvelopeSignature {
            keyid: key.public().id().clone(),
            sig: STANDARD.encode(signed),
        }],
    });
    let layer = Descriptor::of(&envelope, ENVELOPE_TYPE);
    let manifest = Manifest::of(SIGNATURE_TYPE, vec![layer], Some(package.clone()));
    (envelope, to_json(&manifest))
}

/// Reads the signature that is listed and checks it against `package` and, where it
/// names one of `keys`, against that key. Gives the envelope's digest too.
pub(super) fn read(
    source: &Source,
    listing: &Listing,
    package: &Descriptor,
    keys: &[PublicKey],
) -> Result<(Signature, Digest), LayoutError> {
    let Listing {
        manifest, place, ..
    } = listing;
    let [layer] = &manifest.layers[..] else {
        return Err(malformed(place, "a signature has one layer, its envelope"));
    };
    if layer.media_type != ENVELOPE_TYPE {
        return Err(malformed(
            place,
            format!("a signature's layer is of type `{ENVELOPE_TYPE}`"),
        ));
    }
    match &manifest.subject {
        Some(subject) if subject.names_same(package) => {}
        subject => {
            return Err(LayoutError::OtherPackage {
                place: place.clone(),
                signed: subject
                    .as_ref()
                    .map_or("nothing".to_owned(), |subject| subject.digest.to_string()),
                package: package.digest.to_string(),
            });
        }
    }
    let envelope = source.blob(layer, "the signature's envelope", MAX_ENVELOPE_BYTES)?;
    let place = format!(
        "the signature's envelope ({})",
        source.place(&layer.digest.file())
    );
    let signature = check(&envelope, &place, package, keys)?;
    Ok((signature, layer.digest.clone()))
}

fn check(
    envelope: &[u8],
    place: &str,
    package: &Descriptor,
    keys: &[PublicKey],
) -> Result<Signature, LayoutError> {
    let envelope: Envelope = parse(envelope, place)?;
    let decoded = |field: &str, text: &str| {
        let bytes = STANDARD.decode(text);
        bytes.map_err(|error| malformed(place, format!("`{field}` is no base64: {error}")))
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        let given = printable(&envelope.payload_type, NAME_CHARS);
        return Err(malformed(
            place,
            format!("its payload is of type `{given}`, not `{PAYLOAD_TYPE}`"),
        ));
    }
    let [EnvelopeSignature { keyid, sig }] = &envelope.signatures[..] else {
        return Err(malformed(
            place,
            "an envelope holds one signature; give each further one an envelope of its own",
        ));
    };
    let payload = decoded("payload", &envelope.payload)?;
    let sig = decoded("sig", sig)?;
    let verified = match keys.iter().find(|key| key.id() == keyid) {
        None => false,
        Some(key) if key.verifies(&encoded(PAYLOAD_TYPE, &payload), &sig) => true,
        Some(_) => {
            return Err(LayoutError::BadSignature {
                place: place.to_owned(),
                key: keyid.clone(),
            });
        }
    };
    let payload: Payload = parse(&payload, place)?;
    if payload != Payload::of(package) {
        return Err(LayoutError::OtherPackage {
            place: place.to_owned(),
            signed: payload.digest.to_string(),
            package: package.digest.to_string(),
        });
    }
    Ok(Signature {
        key: keyid.clone(),
        verified,
    })
}

/// DSSE's pre-authentication encoding: no two pairs of type and payload are encoded
/// alike.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_protocols_own_example() {
        assert_eq!(
            encoded("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    /// `openssl pkeyutl -sign -rawin` with this key over the encoding of this payload.
    #[test]
    fn a_signature_is_the_one_that_openssl_makes() {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIOuhkmxhaEejm7iry3Ydol/MqkNOUEJMg0xGzvCnJD+1\n-----END PRIVATE KEY-----\n";
        let key = PrivateKey::from_pem(key, "key").expect("a key");
        let (envelope, _) = sign(&Descriptor::of(b"package", MANIFEST_TYPE), &key);
        let envelope: Envelope = parse(&envelope, "envelope").expect("an envelope");
        let payload = STANDARD.decode(envelope.payload).expect("base64");
        assert_eq!(
            String::from_utf8(payload).expect("UTF-8"),
            r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.trommel.detector.v1","digest":"sha256:bc4a71180870f7945155fbb02f4b0a2e3faa2a62d6d31b7039013055ed19869a","size":7}"#
        );
        assert_eq!(
            envelope.signatures[0].sig,
            "vDItFQHI2Zi1LAyNMOWlLNfF7yKDy2yogILN2wdBRAVPxA2NCkiw0m7VxzU68DtzpO9RS+X0Nvt24nBjvTMQCg=="
        );
    }
}
