//! The rollout through the admin surface: steps, lineups, packages and policies, good and
//! bad.

use serde_json::{Value, json};
use trommel::Host;
use trommel::registry::{Packed, Shape};
use trommel_tests::guests;
use trommel_tests::plugin::PluginFolder;

use super::{Answer, JSON, Running, TOKEN, post, send};
use trommel::server::ServerOptions;

pub(super) fn plugin(guest: &str, note: &str) -> PluginFolder {
    let imports = ["content", "log", "results"];
    let folder = PluginFolder::of("watched", guests::component(guest), &imports);
    folder.edit("for tests", note);
    folder
}

/// The package in one tar file.
pub(super) fn packed(folder: &PluginFolder) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let tar = place.path().join("package.tar");
    let limits = trommel::engine::Limits::MAX;
    let packed = Packed::of(folder.path(), &limits, 1 << 20).unwrap();
    packed.write(&tar, Shape::Tar).unwrap();
    std::fs::read(tar).unwrap()
}

async fn running() -> Running {
    let host = Host::builder()
        .detector(plugin("noop", "old").path())
        .build();
    Running::of(host.unwrap(), ServerOptions::default()).await
}

impl Running {
    pub(super) async fn admin(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("authorization: Bearer {TOKEN}");
        send(&self.admin, method, path, &[&bearer], body).await
    }

    pub(super) async fn step(&self, verb: &Value) -> Answer {
        let body = verb.to_string();
        self.admin("POST", "/admin/v1/rollout", body.as_bytes())
            .await
    }

    pub(super) async fn load(&self, package: &[u8]) -> Answer {
        self.admin("POST", "/admin/v1/revisions", package).await
    }

    async fn lineup(&self) -> String {
        self.admin("GET", "/admin/v1/lineup", b"").await.text
    }
}

#[tokio::test]
async fn a_package_is_loaded_tried_promoted_and_taken_back() {
    let running = running().await;
    let loaded = running.load(&packed(&plugin("noop", "new"))).await;
    assert_eq!(loaded.status, 201, "{loaded:?}");
    let revision = loaded.json()["revision"].as_str().unwrap().to_owned();
    let verb = |verb: &str| json!({"verb": verb, "detector": "watched", "revision": revision});
    let mut canary = verb("canary");
    canary["share"] = json!(0.05);
    for (step, stage) in [
        (verb("shadow"), "shadow"),
        (canary, "canary"),
        (verb("promote"), "live"),
    ] {
        let taken = running.step(&step).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        let status = running.admin("GET", "/admin/v1/rollout", b"").await.json();
        let revisions = status["detectors"][0]["revisions"].as_array().unwrap();
        let ours = |status: &&Value| status["revision"] == revision.as_str();
        assert_eq!(revisions.iter().find(ours).unwrap()["stage"], stage);
    }
    let judged = post(
        &running.public,
        "/v1/check",
        &[JSON],
        br#"{"id":"1","text":"a"}"#,
    )
    .await;
    assert_eq!(judged.json()["lineup"]["watched"], revision.as_str());
    let back = running
        .step(&json!({"verb": "rollback", "detector": "watched"}))
        .await;
    assert_eq!(back.status, 200, "{back:?}");
    let judged = post(
        &running.public,
        "/v1/check",
        &[JSON],
        br#"{"id":"1","text":"a"}"#,
    )
    .await;
    assert_ne!(judged.json()["lineup"]["watched"], revision.as_str());
    assert_eq!(judged.json()["generation"], 6);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_way_out_and_changes_nothing() {
    let running = running().await;
    let before = running.lineup().await;
    let unknown = format!("sha256:{}", "07".repeat(32));
    let generation = |text: &str| text.replace("generation = 1", "generation = 5");
    let live = running.host.detectors()[0].revision().to_string();
    let policy = "[[rule]]\nname = \"a\"\nwhen = { label = \"spam\", threshold = 0.5 }\naction = \"block\"\nreason = \"a\"\n\naction = \"twice\"\n";
    for (method, path, body, status, why) in [
        (
            "POST",
            "/admin/v1/rollout",
            json!({"verb": "promote", "detector": "watched", "revision": unknown}).to_string(),
            409,
            "load it first",
        ),
        (
            "POST",
            "/admin/v1/rollout",
            json!({"verb": "rollback", "detector": "watched"}).to_string(),
            409,
            "no previous live revision",
        ),
        (
            "POST",
            "/admin/v1/rollout",
            json!({"verb": "load", "detector": "watched", "revision": unknown}).to_string(),
            422,
            "/admin/v1/revisions",
        ),
        (
            "POST",
            "/admin/v1/rollout",
            "{".to_owned(),
            422,
            "the body is no step",
        ),
        (
            "PUT",
            "/admin/v1/lineup",
            generation(&before).replace(&live, &unknown),
            422,
            "load its package first",
        ),
        ("PUT", "/admin/v1/lineup", before.clone(), 409, "not newer"),
        (
            "PUT",
            "/admin/v1/lineup",
            generation(&before).replace("stage", "stages"),
            422,
            "lineup:",
        ),
        (
            "PUT",
            "/admin/v1/policy",
            policy.to_owned(),
            422,
            "policy:7",
        ),
        (
            "POST",
            "/admin/v1/revisions",
            "no tar".to_owned(),
            422,
            "not a tar file",
        ),
    ] {
        let refused = running.admin(method, path, body.as_bytes()).await;
        assert_eq!(refused.status, status, "{path} {body}: {refused:?}");
        assert!(refused.error().contains(why), "{why}: {refused:?}");
        assert_eq!(running.lineup().await, before, "{path} {body}");
    }
}

#[tokio::test]
async fn a_package_that_is_too_large_or_broken_leaves_nothing_behind() {
    let state = tempfile::tempdir().unwrap();
    let old = plugin("noop", "old");
    let host = Host::builder().detector(old.path()).state(state.path());
    let package = packed(&plugin("noop", "new"));
    let options = ServerOptions {
        max_package_bytes: package.len() as u64 - 1,
        ..ServerOptions::default()
    };
    let running = Running::of(host.build().unwrap(), options).await;
    let refused = running.load(&package).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    let refused = running.load(&package[..package.len() / 2]).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let n_files = |folder: &str| {
        std::fs::read_dir(state.path().join(folder))
            .unwrap()
            .count()
    };
    assert_eq!((n_files("incoming"), n_files("packages")), (0, 1));
}

#[tokio::test]
async fn a_request_may_name_its_key_and_its_revision() {
    let running = running().await;
    let loaded = running.load(&packed(&plugin("noop", "new"))).await.json();
    let revision = loaded["revision"].as_str().unwrap();
    let pin = format!("trommel-pin: watched={revision}");
    let body = br#"{"id":"1","text":"a"}"#;
    let pinned = post(&running.public, "/v1/check", &[JSON, &pin], body).await;
    assert_eq!(pinned.json()["lineup"]["watched"], revision, "{pinned:?}");
    let unknown = format!("trommel-pin: watched=sha256:{}", "07".repeat(32));
    let refused = post(&running.public, "/v1/check", &[JSON, &unknown], body).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.error().contains("not ready"), "{refused:?}");
    let key = "trommel-key: one user";
    let keyed = post(&running.public, "/v1/check", &[JSON, key], body).await;
    assert_eq!(keyed.status, 200, "{keyed:?}");
}

#[tokio::test]
async fn a_package_is_loaded_with_settings_of_its_own() {
    let running = running().await;
    let package = packed(&plugin("noop", "old"));
    let load = async |settings: &str| {
        let bearer = format!("authorization: Bearer {TOKEN}");
        let settings = format!("trommel-settings: {settings}");
        let head = [bearer.as_str(), settings.as_str()];
        post(&running.admin, "/admin/v1/revisions", &head, &package).await
    };
    // Half of what was asked for would be rolled out.
    let twice = load("{\"greeting\":\"hi\"}\r\ntrommel-settings: {}").await;
    assert_eq!(twice.status, 422, "{twice:?}");
    assert!(twice.error().contains("is given twice"), "{twice:?}");
    for (settings, why) in [
        ("greeting=hi", "is no JSON object of settings"),
        ("[1]", "is no JSON object of settings"),
        (r#"{"greeting":null}"#, "is no JSON object of settings"),
        (
            r#"{"greting":"hi"}"#,
            "setting `greting` is not declared; write one of `greeting`",
        ),
        (
            r#"{"greeting":7}"#,
            "setting `greeting` is `7`; give a text",
        ),
    ] {
        let refused = load(settings).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.error().contains(why), "{why}: {refused:?}");
    }
    // The same package is another revision with them, and the same with its defaults.
    let same = load(r#"{"greeting":"hello"}"#).await;
    assert_eq!(same.status, 409, "{same:?}");
    let loaded = load(r#"{"greeting":"grüß dich"}"#).await;
    assert_eq!(loaded.status, 201, "{loaded:?}");
    assert_eq!(loaded.json()["settings"], json!({"greeting": "grüß dich"}));
    let status = running.admin("GET", "/admin/v1/rollout", b"").await.json();
    let revisions = status["detectors"][0]["revisions"].as_array().unwrap();
    assert_eq!(revisions.len(), 2, "{status}");
    assert_eq!(revisions[0].get("settings"), None, "{status}");
    assert_eq!(revisions[1]["settings"]["greeting"], "grüß dich");
}
