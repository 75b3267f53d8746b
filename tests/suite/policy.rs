//! Policies: what loads, what is refused, what is decided.

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use trommel::{
    item::{Attribute, Attributes},
    policy::{
        Action, DetectorState, Facts, ListState, MAX_BYTES, MAX_DEPTH, MAX_RULES, Policy, Verdict,
    },
    revision::RevisionId,
    signal::{CalibratorVersion, DetectorId, Probability, Signal},
};

#[test]
fn a_policy_with_a_mistake_is_refused_with_its_line_and_the_way_out() {
    for case in cases::<Refused>("refused.toml").case {
        let text = case.text();
        let error = Policy::parse("p.toml", &text).expect_err(&case.name);
        assert_eq!(error.to_string(), case.error, "{}", case.name);
    }
}

#[test]
fn a_policy_decides_as_written() {
    for policy in cases::<Decided>("decided.toml").policy {
        let loaded = policy
            .text
            .map_or_else(Policy::built_in, |text| parse(&text));
        for case in policy.case {
            let verdict = case.facts.decided_by(&loaded);
            let fired: Vec<_> = verdict.rules.iter().map(|rule| &rule.name).collect();
            assert_eq!(verdict.action, case.action, "{}", case.name);
            assert_eq!(
                fired,
                case.rules.iter().collect::<Vec<_>>(),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn a_fired_rule_tells_programs_and_authors_why() {
    let facts = GivenFacts {
        signals: vec![[("spam".into(), 0.99)].into()],
        ..Default::default()
    };
    let verdict = facts.decided_by(&Policy::built_in());
    let [tag, .., block] = &verdict.rules[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (tag.reason.as_str(), tag.text.as_deref()),
        ("spam-suspected", None)
    );
    assert_eq!(block.reason, "spam");
    assert!(
        block
            .text
            .as_ref()
            .unwrap()
            .starts_with("This was not published")
    );
}

#[test]
fn a_policy_has_at_most_256_kib() {
    let text = format!("rule = [] #{}", "x".repeat(MAX_BYTES - 11));
    assert_eq!(text.len(), MAX_BYTES);
    parse(&text);
    let error = Policy::parse("p.toml", &(text + "x"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "p.toml:1: the policy has 262145 bytes, more than 262144; shorten it"
    );
}

#[test]
fn a_policy_has_at_most_1000_rules() {
    let rules = |n| {
        (0..n)
            .map(|i| rule(i, "{ label = 'spam', threshold = 1 }"))
            .collect::<String>()
    };
    parse(&rules(MAX_RULES));
    let error = Policy::parse("p.toml", &rules(MAX_RULES + 1))
        .unwrap_err()
        .to_string();
    let expected = "p.toml:5001: 1001 rules, more than 1000; merge some with `any` or `one_of`";
    assert_eq!(error, expected);
}

#[test]
fn conditions_nest_at_most_16_deep() {
    for (open, close) in [
        ("{ not = ", " }"),
        ("{ all = [", "] }"),
        ("{ any = [", "] }"),
    ] {
        let nested = |depth: usize| {
            let leaf = "{ attribute = 'a', present = true }";
            rule(
                0,
                &[&*open.repeat(depth - 1), leaf, &*close.repeat(depth - 1)].concat(),
            )
        };
        parse(&nested(MAX_DEPTH));
        for depth in [MAX_DEPTH + 1, 35] {
            let error = Policy::parse("p.toml", &nested(depth))
                .unwrap_err()
                .to_string();
            let expected =
                "p.toml:3: conditions nest more than 16 deep; split the rule into several";
            assert_eq!(error, expected);
        }
    }
}

proptest! {
    #[test]
    fn raising_a_probability_never_softens_a_verdict(
        conditions in prop::collection::vec(rule_body(), 1..6),
        facts in facts(),
        raised in any::<prop::sample::Index>(),
        by in 0.0..=1.0_f64,
    ) {
        let text: String = conditions.iter().enumerate().map(|(i, rule)| rule.text(i)).collect();
        let policy = parse(&text);
        let before = facts.decided_by(&policy);

        let mut facts = facts;
        let signal = raised.index(facts.signals.len());
        for probability in facts.signals[signal].values_mut() {
            *probability = (*probability + by).min(1.0);
        }
        let after = facts.decided_by(&policy);

        prop_assert!(after.action >= before.action, "{before:?}\n{after:?}\n{text}");
        for rule in &before.rules {
            prop_assert!(after.rules.contains(rule), "{rule:?} no longer fires\n{text}");
        }
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in r#"([\[\]{}=.,"'\\# \n]|a|é|0x|-1\.5|rule|when|not|all|label|'''){0,60}"#) {
        let _ = Policy::parse("p.toml", &text);
    }

    #[test]
    fn no_slip_in_a_policy_makes_the_loader_panic(
        rule in rule_body(),
        at in any::<prop::sample::Index>(),
        n_removed in 0..4_usize,
        inserted in r#"[\[\]{}=.,"'a1\\#\n]{0,3}"#,
    ) {
        let mut text: Vec<_> = rule.text(0).chars().collect();
        let at = at.index(text.len());
        let end = (at + n_removed).min(text.len());
        text.splice(at..end, inserted.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = Policy::parse("p.toml", &text) {
            prop_assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}\n{text}");
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

// Random policies and facts, over few names so that they meet.

#[derive(Debug, Clone)]
struct RuleBody {
    when: String,
    except: Option<String>,
    action: Action,
}

impl RuleBody {
    fn text(&self, i: usize) -> String {
        let Self {
            when,
            except,
            action,
        } = self;
        let except = except
            .as_ref()
            .map(|except| format!("except = {except}\n"))
            .unwrap_or_default();
        format!(
            "[[rule]]\nname = 'r{i}'\nwhen = {when}\n{except}action = '{action}'\nreason = 'r'\n"
        )
    }
}

fn rule_body() -> impl Strategy<Value = RuleBody> {
    let action = prop::sample::select(&Action::ALL[1..]);
    (condition(), prop::option::of(circumstance()), action).prop_map(|(when, except, action)| {
        RuleBody {
            when,
            except,
            action,
        }
    })
}

fn condition() -> impl Strategy<Value = String> {
    let score = ("[ab]", 0..=10_u8).prop_map(|(label, tenths)| {
        format!(
            "{{ label = '{label}', threshold = {} }}",
            f64::from(tenths) / 10.0
        )
    });
    prop_oneof![3 => score, 1 => circumstance()].prop_recursive(3, 12, 3, lists)
}

fn circumstance() -> impl Strategy<Value = String> {
    let test = prop_oneof![
        Just("equals = 1"),
        Just("one_of = [1.5, 'x', true]"),
        Just("at_least = 1"),
        Just("at_most = 1.5"),
        Just("present = true"),
    ];
    let attribute =
        ("[pq]", test).prop_map(|(name, test)| format!("{{ attribute = '{name}', {test} }}"));
    let detector = ("[de*]", "answered|degraded|not-asked")
        .prop_map(|(name, state)| format!("{{ detector = '{name}', state = '{state}' }}"));
    let list = "[lm]".prop_map(|name| format!("{{ list = '{name}' }}"));
    prop_oneof![attribute, detector, list].prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            lists(inner.clone()),
            inner.prop_map(|inner| format!("{{ not = {inner} }}"))
        ]
    })
}

fn lists(inner: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    ("all|any", prop::collection::vec(inner, 1..4))
        .prop_map(|(list, inner)| format!("{{ {list} = [{}] }}", inner.join(", ")))
}

fn facts() -> impl Strategy<Value = GivenFacts> {
    let signal = ("[ab]", 0.0..=1.0).prop_map(|signal| [signal].into());
    let value = prop_oneof![
        "[xy]".prop_map(Given::Text),
        (0..3_i64).prop_map(Given::Integer),
        (0.0..3.0).prop_map(Given::Number),
        any::<bool>().prop_map(Given::Flag),
    ];
    let state = prop_oneof![
        Just(DetectorState::Answered),
        Just(DetectorState::Degraded),
        Just(DetectorState::NotAsked)
    ];
    (
        prop::collection::vec(signal, 1..5),
        prop::collection::btree_map("[pq]", value, 0..3),
        prop::collection::btree_map("[de]", state, 0..3),
        prop::collection::vec("[lm]", 0..3),
    )
        .prop_map(|(signals, attributes, detectors, lists)| GivenFacts {
            attributes,
            signals,
            detectors,
            lists,
            degraded_lists: Vec::new(),
        })
}

// Case files.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    case: Vec<RefusedCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedCase {
    name: String,
    policy: Option<String>,
    when: Option<String>,
    except: Option<String>,
    error: String,
}

impl RefusedCase {
    fn text(&self) -> String {
        if let Some(policy) = &self.policy {
            return policy.clone();
        }
        let when = self
            .when
            .as_deref()
            .unwrap_or("{ label = 'spam', threshold = 0.9 }");
        let except = self
            .except
            .as_ref()
            .map(|except| format!("except = {except}\n"));
        let head = format!("[[rule]]\nname = 'spam'\nwhen = {when}\n");
        head + &except.unwrap_or_default() + "action = 'block'\nreason = 'spam'\n"
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    policy: Vec<DecidedPolicy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecidedPolicy {
    text: Option<String>,
    case: Vec<DecidedCase>,
}

#[derive(Deserialize)]
struct DecidedCase {
    name: String,
    #[serde(flatten)]
    facts: GivenFacts,
    action: Action,
    #[serde(default)]
    rules: Vec<String>,
}

/// Facts as case files write them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct GivenFacts {
    attributes: BTreeMap<String, Given>,
    signals: Vec<BTreeMap<String, f64>>,
    detectors: BTreeMap<String, DetectorState>,
    lists: Vec<String>,
    /// Lists that were not looked into to the end.
    degraded_lists: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Given {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl GivenFacts {
    fn listed(&self) -> Vec<(&str, ListState)> {
        let found = self
            .lists
            .iter()
            .map(|list| (list.as_str(), ListState::Found));
        let degraded = self.degraded_lists.iter();
        let degraded = degraded.map(|list| (list.as_str(), ListState::Degraded));
        found.chain(degraded).collect()
    }

    fn decided_by(&self, policy: &Policy) -> Verdict {
        let attributes: Attributes = self
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.attribute()))
            .collect();
        let signals: Vec<_> = self
            .signals
            .iter()
            .flatten()
            .map(|(label, p)| signal(label, *p))
            .collect();
        let detectors: Vec<_> = self
            .detectors
            .iter()
            .map(|(id, state)| (DetectorId::from(id.as_str()), *state))
            .collect();
        let facts = Facts {
            attributes: &attributes,
            signals: &signals,
            detectors: &detectors,
            listed: &self.listed(),
        };
        policy.decide(&facts)
    }
}

impl Given {
    fn attribute(&self) -> Attribute {
        match self {
            Self::Flag(flag) => Attribute::Flag(*flag),
            Self::Integer(integer) => Attribute::Integer(*integer),
            Self::Number(number) => Attribute::Number(*number),
            Self::Text(text) => Attribute::Text(text.clone()),
        }
    }
}

fn signal(label: &str, probability: f64) -> Signal {
    Signal {
        detector: "spam-text".into(),
        revision: RevisionId::new([0; 32]),
        label: label.into(),
        score: 0.0,
        probability: Probability::new(probability).unwrap(),
        calibrator: CalibratorVersion::of_digest([0; 32]),
        evidence: Vec::new(),
    }
}

fn rule(i: usize, when: &str) -> String {
    format!("[[rule]]\nname = 'r{i}'\nwhen = {when}\naction = 'tag'\nreason = 'r'\n")
}

fn parse(text: &str) -> Policy {
    Policy::parse("p.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn cases<T: DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cases/policy")
        .join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
