//! Hot lists and switched labels: what a verdict makes of them, while items are judged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trommel::Host;
use trommel::item::{Item, ItemBounds};
use trommel::lists::{Kind, List, Lists, MAX_LISTS};
use trommel::policy::{Action, Policy};

const RULES: &str = r#"
[[rule]]
name = "bad-link"
when = { list = "bad-domains" }
action = "block"
reason = "bad-link"

[[rule]]
name = "spam"
when = { label = "spam", threshold = 0.5 }
action = "review"
reason = "spam"
"#;

const SPAM: &str = "You have won! Call 09061701461 now";

fn list(kind: Kind, text: &str) -> List {
    List::parse("list", kind, text.as_bytes()).unwrap()
}

fn host() -> Host {
    Host::builder()
        .bundled_detectors()
        .list("bad-domains", list(Kind::Domains, ""))
        .policy(Policy::parse("p.toml", RULES).unwrap())
        .build()
        .unwrap()
}

async fn judged(host: &Host, text: &str) -> trommel::Judgement {
    host.check(&Arc::new(Item::from_text("1", text)))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_list_decides_from_the_next_item_on_and_its_version_is_in_the_judgement() {
    let host = host();
    let text = "see you at https://evil.example/a";
    let before = judged(&host, text).await;
    assert_eq!(before.verdict.action, Action::Allow);
    assert_eq!(before.lists[0].found, None);
    let evil = list(Kind::Domains, "evil.example\n");
    let version = evil.version();
    host.replace_list("bad-domains", evil).await.unwrap();
    let after = judged(&host, text).await;
    assert_eq!(after.verdict.action, Action::Block);
    assert_eq!(after.lists[0].version, version);
    assert_ne!(before.lists[0].version, version);
    let json = serde_json::to_value(&after).unwrap();
    assert_eq!(
        json["lists"],
        serde_json::json!([{
            "list": "bad-domains",
            "version": version,
            "found": { "part": 0, "entry": "evil.example" },
        }])
    );
    assert_eq!(json.get("killed"), None);
}

#[tokio::test]
async fn no_rule_sees_a_label_that_is_switched_off_and_the_judgement_says_so() {
    let host = host();
    assert_eq!(judged(&host, SPAM).await.verdict.action, Action::Review);
    assert!(host.kill(&"spam".into(), true).await.unwrap());
    assert!(!host.kill(&"spam".into(), true).await.unwrap());
    let judgement = judged(&host, SPAM).await;
    assert_eq!(judgement.verdict.action, Action::Allow);
    assert_eq!(judgement.killed, ["spam".into()]);
    let signal = judgement
        .signals
        .iter()
        .find(|signal| signal.label == "spam".into());
    assert!(signal.unwrap().probability.get() > 0.5);
    assert!(host.kill(&"spam".into(), false).await.unwrap());
    assert_eq!(judged(&host, SPAM).await.verdict.action, Action::Review);
    let misspelt = host
        .kill(&"spma".into(), true)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        misspelt.starts_with("no loaded detector declares the label `spma`; write one of"),
        "{misspelt}"
    );
}

#[tokio::test]
async fn a_list_that_a_rule_asks_for_is_always_there() {
    let missing = Host::builder()
        .bundled_detectors()
        .policy(Policy::parse("p.toml", RULES).unwrap())
        .build()
        .unwrap_err()
        .to_string();
    assert_eq!(
        missing,
        "p.toml:4: no list is called `bad-domains`; give the list first, an empty one will do"
    );
    let host = host();
    let used = host
        .remove_list("bad-domains")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        used,
        "the policy names the list `bad-domains` on line 4; replace the policy first, or make the list empty"
    );
    let misspelt = RULES.replace("bad-domains", "bad-domain");
    for refused in [
        host.give_policy("p.toml", &misspelt).await,
        host.shadow_policy("p.toml", Some(&misspelt)).await,
    ] {
        let refused = refused.unwrap_err().to_string();
        assert_eq!(
            refused,
            "p.toml:4: no list is called `bad-domain`; did you mean `bad-domains`?"
        );
    }
    host.replace_list("other", list(Kind::Hashes, ""))
        .await
        .unwrap();
    host.remove_list("other").await.unwrap();
    let gone = host.remove_list("other").await.unwrap_err().to_string();
    assert!(gone.starts_with("no list is called `other`"), "{gone}");
    assert_eq!(
        host.lists().names().into_iter().collect::<Vec<_>>(),
        ["bad-domains"]
    );
}

#[tokio::test]
async fn what_was_given_is_kept_with_the_state_and_goes_before_the_configuration() {
    let state = tempfile::tempdir().unwrap();
    let begin = async |text: &str| {
        for _ in 0..100 {
            let host = Host::builder()
                .bundled_detectors()
                .state(state.path())
                .list("bad-domains", list(Kind::Domains, text))
                .build();
            match host {
                Ok(host) => return host,
                // The one before may still be letting go.
                Err(error) if error.to_string().contains("another host uses") => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the folder stays held");
    };
    let host = begin("configured.example").await;
    let evil = list(Kind::Domains, "evil.example");
    host.replace_list("bad-domains", evil.clone())
        .await
        .unwrap();
    host.replace_list("words", list(Kind::Keywords, "x"))
        .await
        .unwrap();
    host.give_policy("p.toml", RULES).await.unwrap();
    host.kill(&"spam".into(), true).await.unwrap();
    drop(host);
    let host = begin("configured.example").await;
    assert_eq!(host.lists().get("bad-domains"), Some(&evil));
    let judgement = judged(&host, &format!("{SPAM} evil.example")).await;
    assert_eq!(judgement.verdict.rules.len(), 1, "{judgement:?}");
    assert_eq!(judgement.verdict.rules[0].name, "bad-link");
    host.remove_list("words").await.unwrap();
    host.kill(&"spam".into(), false).await.unwrap();
    drop(host);
    let host = begin("").await;
    assert_eq!(host.lists().names().len(), 1);
    assert!(host.killed().is_empty());
}

/// A large item is searched on another thread; the verdict is the same.
#[tokio::test]
async fn a_list_is_looked_into_for_items_of_any_size() {
    let host = host();
    let evil = list(Kind::Domains, "evil.example");
    host.replace_list("bad-domains", evil).await.unwrap();
    let text = "so much to say ".repeat(20_000) + "evil.example";
    let judgement = judged(&host, &text).await;
    assert_eq!(judgement.verdict.action, Action::Block);
}

#[tokio::test]
async fn an_item_that_lists_have_no_time_for_is_judged_in_time_and_says_so() {
    const RULE: &str = "\n[[rule]]\nname = \"nobody-knows\"\nwhen = { list = \"bad-domains\", state = \"degraded\" }\naction = \"limit\"\nreason = \"nobody-knows\"\n";
    let policy = format!("{RULES}{RULE}");
    let names: String = (0..1000)
        .map(|n| format!("w{n}{}\n", ".a".repeat(100)))
        .collect();
    let mut builder = Host::builder()
        .bundled_detectors()
        .deadline(Duration::from_millis(100))
        .policy(Policy::parse("p.toml", &policy).unwrap())
        .list("bad-domains", list(Kind::Domains, "evil.example"));
    for n in 2..MAX_LISTS {
        builder = builder.list(format!("d{n}"), list(Kind::Domains, &names));
    }
    let host = builder
        .list("none", list(Kind::Domains, ""))
        .build()
        .unwrap();
    // The last of it is on a list; without a deadline it takes some seconds to get there.
    let n_bytes = ItemBounds::default().text_bytes - 100;
    let text = "a.b ".repeat(n_bytes / 4) + "evil.example";
    let judgement = judged(&host, &text).await;
    let took = judgement.timings.total;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(judgement.verdict.action, Action::Limit);
    let json = serde_json::to_value(&judgement).unwrap();
    let lists = json["lists"].as_array().unwrap();
    let of = |name: &str| lists.iter().find(|list| list["list"] == name).unwrap();
    let why = "the item's time passed before all of it was looked through";
    assert_eq!(of("bad-domains")["degraded"], why, "{json}");
    assert_eq!(of("bad-domains").get("found"), None);
    assert_eq!(of("none").get("degraded"), None);
}

#[expect(clippy::print_stdout, reason = "the times are worth knowing")]
#[test]
fn an_items_size_alone_bounds_the_time_that_lists_take() {
    // A part of the largest item: it takes a core, which the tests beside this one need.
    let n_bytes = ItemBounds::default().text_bytes / 16;
    let words: String = (0..1000)
        .map(|n| "a ".repeat(15) + &format!("w{n}\n"))
        .collect();
    let names: String = (0..1000)
        .map(|n| format!("w{n}{}\n", ".a".repeat(100)))
        .collect();
    let mut lists = Lists::default();
    for n in 0..MAX_LISTS / 2 {
        for (name, kind, text) in [("w", Kind::Keywords, &words), ("d", Kind::Domains, &names)] {
            lists = lists.with(&format!("{name}{n}"), list(kind, text)).unwrap();
        }
    }
    for piece in [
        "a ",
        "a.",
        "://",
        "\u{300}",
        "é",
        "a.b ",
        "例",
        "\u{fdfa}",
        "http://a.a.a@a.a/%61",
    ] {
        let item = Item::from_text("1", piece.repeat(n_bytes / piece.len()));
        #[expect(clippy::disallowed_methods, reason = "a bound on time is measured")]
        let start = Instant::now();
        let consulted = lists.consult(&item);
        let took = start.elapsed();
        println!("{piece:?}: {took:?}");
        assert!(consulted.iter().all(|each| each.found.is_none()));
        assert!(took < Duration::from_secs(20), "{piece:?}: {took:?}");
    }
}
