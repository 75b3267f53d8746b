//! Who signed a package, and who is trusted.

use std::fs;
use std::path::Path;

use serde_json::Value;
use trommel::engine::Blame;
use trommel::registry::{PrivateKey, PublicKey, Shape, Trust};
use trommel_tests::plugin::PluginFolder;

use super::{IMPORTS, Shop, files, folder, load, open, refused, verify};

/// Made by `openssl genpkey -algorithm ed25519`; it signs nothing but tests.
const OPENSSL_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIOuhkmxhaEejm7iry3Ydol/MqkNOUEJMg0xGzvCnJD+1
-----END PRIVATE KEY-----
";

/// `openssl pkey -pubout` of it.
const OPENSSL_PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAOAm7drxx2sLy3ZD4dS9Q2y/7PWGh2Cfhk1729lzG7Ks=
-----END PUBLIC KEY-----
";

/// `openssl pkey -pubout -outform DER | sha256sum` of it.
const OPENSSL_KEY_ID: &str = "c6ee875e6cb3bcf894449e0c5edda3b24bfb9831c51766c24d8c8b4634072d40";

#[test]
fn keys_are_openssls_and_openssls_are_keys() {
    let key = PrivateKey::from_pem(OPENSSL_KEY, "key").unwrap();
    assert_eq!(key.public().to_pem(), OPENSSL_PUBLIC_KEY);
    let public = PublicKey::from_pem(OPENSSL_PUBLIC_KEY, "pub").unwrap();
    assert_eq!(public, key.public());
    assert_eq!(public.id().to_string(), OPENSSL_KEY_ID);
    let shop = Shop::new();
    key.write(&shop.path("written")).unwrap();
    let written = fs::read_to_string(shop.path("written")).unwrap();
    assert_eq!(written, OPENSSL_KEY);
}

#[cfg(unix)]
#[test]
fn a_private_key_is_its_owners_alone_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let shop = Shop::new();
    let file = shop.path("key");
    shop.key.write(&file).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = PrivateKey::generate().unwrap().write(&file).unwrap_err();
    assert!(error.to_string().contains("never overwritten"), "{error}");
    let read = PrivateKey::read(&file).unwrap();
    assert_eq!(read.public(), shop.key.public());
}

#[test]
fn what_is_no_key_is_refused_with_what_to_do() {
    let public = |pem: &str| PublicKey::from_pem(pem, "FILE").unwrap_err().to_string();
    let private = |pem: &str| PrivateKey::from_pem(pem, "FILE").unwrap_err().to_string();
    let said = public(OPENSSL_KEY);
    assert!(said.starts_with("FILE: is a private key"), "{said}");
    for error in [
        public(""),
        public("rubbish"),
        public(&OPENSSL_PUBLIC_KEY[..60]),
    ] {
        assert!(
            error.starts_with("FILE: is no Ed25519 public key in PEM ("),
            "{error}"
        );
    }
    for error in [private(""), private(OPENSSL_PUBLIC_KEY)] {
        assert!(
            error.starts_with("FILE: is no unencrypted Ed25519 private key"),
            "{error}"
        );
    }
    // The neutral point of the curve: it verifies signatures over anything.
    let weak = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
-----END PUBLIC KEY-----
";
    let error = public(weak);
    assert!(error.contains("is a weak key"), "{error}");
}

#[test]
fn an_unsigned_package_loads_only_where_that_is_allowed() {
    let (shop, folder) = (Shop::new(), folder());
    let path = shop.unsigned(&folder, "package", Shape::Tar);
    let keys = vec![shop.key.public()];
    for package in [path.as_path(), folder.path()] {
        load(package, &Trust::Anyone).unwrap();
        load(package, &Trust::KeysOrUnsigned(keys.clone())).unwrap();
        let error = load(package, &Trust::Keys(keys.clone())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: is not signed, and only packages signed by a trusted key load here; sign it with `trommel plugin sign`, or allow unsigned ones",
                package.display()
            )
        );
    }
    let error = open(&path, &keys).unwrap().accept(&Trust::Keys(keys));
    assert_eq!(error.unwrap_err().blame(), Blame::Caller);
}

#[test]
fn a_key_that_is_not_trusted_helps_nobody() {
    let (shop, folder) = (Shop::new(), folder());
    let path = shop.signed(&folder, "package", Shape::Tar);
    let other = PrivateKey::generate().unwrap().public();
    for trust in [
        Trust::Keys(vec![]),
        Trust::Keys(vec![other.clone()]),
        Trust::KeysOrUnsigned(vec![other]),
    ] {
        assert_eq!(
            refused(&path, &trust),
            format!(
                "PKG: is signed by {}, which is no trusted key; trust that key, or get the package from whom you trust",
                shop.key.public().id()
            )
        );
    }
    load(&path, &Trust::Anyone).expect("nobody's signature counts there");
}

#[test]
fn one_trusted_signature_of_several_is_enough() {
    for shape in [Shape::Folder, Shape::Tar] {
        let (shop, folder) = (Shop::new(), folder());
        let path = shop.unsigned(&folder, "package", shape);
        let digest = open(&path, &[]).unwrap().digest().clone();
        let others: Vec<_> = (0..3).map(|_| PrivateKey::generate().unwrap()).collect();
        for key in &others {
            shop.sign(&path, key);
        }
        let before = refused(&path, &shop.trust());
        assert!(before.contains("is no trusted key"), "{before}");
        shop.sign(&path, &shop.key);
        verify(&path, &shop.trust()).unwrap();
        load(&path, &shop.trust()).unwrap();
        let layout = open(&path, &[shop.key.public()]).unwrap();
        let verified = layout.signatures().filter(|one| one.verified);
        assert_eq!(verified.count(), 1);
        assert_eq!(layout.signatures().count(), 4);
        assert_eq!(*layout.digest(), digest, "signing changes no package");
        // The same key again changes nothing at all.
        assert!(!layout.sign(&shop.key).unwrap());
    }
}

#[test]
fn signatures_draw_their_order_from_nothing_but_themselves() {
    let (shop, folder) = (Shop::new(), folder());
    let other = PrivateKey::generate().unwrap();
    let signed = |name: &str, keys: [&PrivateKey; 2]| {
        let path = shop.unsigned(&folder, name, Shape::Tar);
        for key in keys {
            shop.sign(&path, key);
        }
        fs::read(path).unwrap()
    };
    assert!(signed("a", [&shop.key, &other]) == signed("b", [&other, &shop.key]));
}

/// Writes a file of a layout as the blob that it is.
fn put(layout: &Path, bytes: &[u8]) -> String {
    let digest = trommel_tensor::Digest::of(bytes).to_string();
    let file = digest.replace("sha256:", "blobs/sha256/");
    fs::write(layout.join(file), bytes).unwrap();
    digest
}

/// Changes the envelope of a layout with one signature and makes all that names it
/// agree, as who can write to it would.
fn forge(layout: &Path, change: impl FnOnce(&mut Value, &mut Value)) {
    let blobs = files(layout);
    let json = |name: &str| -> Value { serde_json::from_slice(&blobs[name]).unwrap() };
    let mut index = json("index.json");
    let file = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        digest.replace("sha256:", "blobs/sha256/")
    };
    let manifest_file = file(&index["manifests"][1]);
    let mut manifest = json(&manifest_file);
    let envelope_file = file(&manifest["layers"][0]);
    let mut envelope = json(&envelope_file);
    for gone in [
        &manifest_file,
        &envelope_file,
        &file(&index["manifests"][2]),
    ] {
        fs::remove_file(layout.join(gone)).unwrap();
    }
    change(&mut manifest, &mut envelope);
    let envelope = envelope.to_string().into_bytes();
    manifest["layers"][0]["digest"] = put(layout, &envelope).into();
    manifest["layers"][0]["size"] = envelope.len().into();
    let manifest = manifest.to_string().into_bytes();
    let listed = index["manifests"].as_array_mut().unwrap();
    listed.truncate(2);
    listed[1]["digest"] = put(layout, &manifest).into();
    listed[1]["size"] = manifest.len().into();
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

fn forged(change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let (shop, folder) = (Shop::new(), folder());
    let path = shop.signed(&folder, "layout", Shape::Folder);
    forge(&path, change);
    refused(&path, &shop.trust())
}

#[test]
fn a_layout_written_anew_around_the_same_envelope_verifies() {
    let (shop, folder) = (Shop::new(), folder());
    let path = shop.signed(&folder, "layout", Shape::Folder);
    forge(&path, |_, _| {});
    verify(&path, &shop.trust()).expect("the forger of these tests changes what it means to");
}

#[test]
fn a_forged_envelope_is_refused_though_all_digests_agree() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let flip = |text: &Value, at: usize| -> Value {
        let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
        bytes[at] ^= 1;
        STANDARD.encode(bytes).into()
    };
    // Half of it is a point, half a number.
    for at in [0, 31, 32, 63] {
        let error = forged(|_, envelope| {
            let sig = &mut envelope["signatures"][0]["sig"];
            *sig = flip(sig, at);
        });
        assert!(
            error.starts_with("the signature's envelope (PKG/blobs/")
                && error.contains("was not made by key"),
            "{error}"
        );
    }
    let error = forged(|_, envelope| envelope["payload"] = flip(&envelope["payload"], 5));
    assert!(error.contains("was not made by key"), "{error}");
    let error = forged(|_, envelope| envelope["signatures"][0]["sig"] = "".into());
    assert!(error.contains("was not made by key"), "{error}");
    let error = forged(|_, envelope| envelope["signatures"][0]["sig"] = "!".into());
    assert!(error.contains("`sig` is no base64"), "{error}");
    let error = forged(|_, envelope| envelope["payloadType"] = "text/plain".into());
    assert!(
        error.contains("its payload is of type `text/plain`"),
        "{error}"
    );
    let error = forged(|_, envelope| envelope["signatures"][0]["keyid"] = "0".repeat(64).into());
    assert!(error.contains("is no trusted key"), "{error}");
    let error = forged(|_, envelope| {
        let one = envelope["signatures"][0].clone();
        envelope["signatures"] = vec![one.clone(), one].into();
    });
    assert!(error.contains("holds one signature"), "{error}");
    let error = forged(|_, envelope| envelope["more"] = true.into());
    assert!(error.contains("unknown field `more`"), "{error}");
    let error = forged(|manifest, _| {
        manifest["subject"]["size"] = 1.into();
    });
    assert!(error.contains(" signs sha256:"), "{error}");
    let error = forged(|manifest, _| {
        manifest.as_object_mut().unwrap().remove("subject");
    });
    assert!(
        error.contains(" signs nothing, but this package is "),
        "{error}"
    );
}

#[test]
fn a_signature_of_another_package_is_refused() {
    let (shop, one, other) = (Shop::new(), folder(), folder());
    other.edit("version = \"0.1.0\"", "version = \"0.2.0\"");
    let theirs = shop.signed(&one, "theirs", Shape::Folder);
    let ours = shop.signed(&other, "ours", Shape::Folder);
    let theirs = files(&theirs);
    let of = |index: &Value| index["manifests"].as_array().unwrap().clone();
    let their_index = of(&serde_json::from_slice(&theirs["index.json"]).unwrap());
    let their_signature = their_index[1]["digest"].as_str().unwrap();
    let their_signature = &theirs[&their_signature.replace("sha256:", "blobs/sha256/")];
    let envelope: Value = serde_json::from_slice(their_signature).unwrap();
    let envelope = envelope["layers"][0]["digest"].as_str().unwrap();
    let envelope: Value =
        serde_json::from_slice(&theirs[&envelope.replace("sha256:", "blobs/sha256/")]).unwrap();
    // Their envelope under our package's name: what was signed says whose it is.
    let name = open(&ours, &[]).unwrap().digest().to_string();
    forge(&ours, |_, of_ours| *of_ours = envelope);
    for trust in [shop.trust(), Trust::Anyone] {
        let error = refused(&ours, &trust);
        let end = format!("but this package is {name}; sign this one, or get its own signature");
        assert!(
            error.starts_with("the signature's envelope (PKG/blobs/") && error.ends_with(&end),
            "{error}"
        );
    }
}

#[test]
fn a_layer_that_the_plugins_manifest_does_not_name_is_refused() {
    let shop = Shop::new();
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    folder.edit("contract =", "model-card = \"CARD.md\"\ncontract =");
    folder.write("CARD.md", b"card");
    let path = shop.unsigned(&folder, "layout", Shape::Folder);
    // The manifest by which the card travels, under a plugin manifest that knows none.
    let blobs = files(&path);
    let index: Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
    let at = |digest: &Value| digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let manifest_file = at(&index["manifests"][0]["digest"]);
    let mut manifest: Value = serde_json::from_slice(&blobs[&manifest_file]).unwrap();
    let plugin_file = at(&manifest["layers"][0]["digest"]);
    let plugin = String::from_utf8(blobs[&plugin_file].clone()).unwrap();
    let plugin = plugin.replace("model-card = \"CARD.md\"\n", "");
    for gone in [&manifest_file, &plugin_file] {
        fs::remove_file(path.join(gone)).unwrap();
    }
    manifest["layers"][0]["digest"] = put(&path, plugin.as_bytes()).into();
    manifest["layers"][0]["size"] = plugin.len().into();
    let manifest = manifest.to_string().into_bytes();
    let mut index = index;
    index["manifests"][0]["digest"] = put(&path, &manifest).into();
    index["manifests"][0]["size"] = manifest.len().into();
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    verify(&path, &Trust::KeysOrUnsigned(vec![])).expect("its digests agree");
    let error = load(&path, &Trust::Anyone).unwrap_err().to_string();
    assert!(
        error.ends_with("CARD.md: plugin.toml does not name it; leave it out and pack again"),
        "{error}"
    );
}
