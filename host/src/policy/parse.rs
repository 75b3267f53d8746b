//! From the text of a policy file to rules.
//!
//! The TOML is read into a tree with spans and walked by hand, so that every
//! refusal names its line and the way out. Everything is checked here, once;
//! deciding cannot fail.

mod condition;
mod value;

use std::collections::HashMap;

use toml::de::DeTable;

use super::{
    Action, MAX_BYTES, MAX_RULES, Policy, PolicyDigest, PolicyError, Problem, Rule,
    error::printable,
};
use crate::signal::{DetectorId, Label};
use crate::toml_text::{Lines, long_key};
use value::{Entry, Fault, Section, Value};

pub(super) use crate::toml_text::MAX_KEY_PARTS;

const RULE_KEYS: &[&str] = &["name", "when", "except", "action", "reason", "text"];

pub(super) fn policy(file: &str, text: &str) -> Result<Policy, PolicyError> {
    let lines = Lines::new(text);
    let mut reader = Reader {
        lines: &lines,
        labels: Vec::new(),
        detectors: Vec::new(),
        lists: Vec::new(),
    };
    let rules = reader.rules(text).map_err(|fault| PolicyError {
        file: file.to_owned(),
        line: lines.line(fault.at),
        problem: fault.problem,
    })?;
    let Reader {
        labels,
        detectors,
        lists,
        ..
    } = reader;
    Ok(Policy {
        file: file.to_owned(),
        digest: PolicyDigest::of_text(text),
        rules,
        labels,
        detectors,
        lists,
    })
}

fn check(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault {
            at: 0,
            problem: Problem::TooLarge {
                n_bytes: text.len(),
            },
        });
    }
    match long_key(text) {
        Some(at) => Err(Fault {
            at,
            problem: Problem::LongKey,
        }),
        None => Ok(()),
    }
}

/// Walks the file and remembers which names it came across.
struct Reader<'a> {
    lines: &'a Lines,
    labels: Vec<(Label, usize)>,
    detectors: Vec<(DetectorId, usize)>,
    lists: Vec<(String, usize)>,
}

impl Reader<'_> {
    fn rules(&mut self, text: &str) -> Result<Vec<Rule>, Fault> {
        check(text)?;
        let document = DeTable::parse(text).map_err(|error| syntax(&error))?;
        let document = Section::new(document.get_ref(), 0, "a policy");
        document.only(&["rule"])?;
        let tables = match document.get("rule") {
            Some(rules) => rules.list("`[[rule]]` above each rule")?,
            None => {
                return Err(Fault {
                    at: 0,
                    problem: Problem::NoRule,
                });
            }
        };
        if let Some(first_above) = tables.get(MAX_RULES) {
            let problem = Problem::TooManyRules {
                n_rules: tables.len(),
            };
            return Err(Fault {
                at: first_above.span().start,
                problem,
            });
        }
        self.named_rules(tables)
    }

    fn named_rules(&mut self, tables: &[Value<'_>]) -> Result<Vec<Rule>, Fault> {
        let mut lines = HashMap::new();
        let mut rules = Vec::with_capacity(tables.len());
        for table in tables {
            let entry = Entry::listed("rule", table);
            let section = entry.section("a rule", "`[[rule]]` and its keys below")?;
            let (rule, at) = self.rule(&section)?;
            if let Some(first) = lines.insert(rule.name.clone(), self.lines.line(at)) {
                let name = printable(&rule.name);
                return Err(Fault {
                    at,
                    problem: Problem::DuplicateRule { name, first },
                });
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    /// The rule, and where its name stands.
    fn rule(&mut self, section: &Section<'_, '_>) -> Result<(Rule, usize), Fault> {
        section.only(RULE_KEYS)?;
        let name = section.need("name", "a unique name, as in `name = \"spam-block\"`")?;
        let when = section.need(
            "when",
            "a condition, as in `when = { label = \"spam\", threshold = 0.9 }`",
        )?;
        let action = section.need("action", "an action, as in `action = \"review\"`")?;
        let reason = section.need("reason", "a code for programs, as in `reason = \"spam\"`")?;
        let words = name.words("a unique name in quotes")?.to_owned();
        let when = self.condition(when, 1)?;
        let rule = Rule {
            name: words,
            labels: when.labels().into_iter().cloned().collect(),
            when,
            except: section
                .get("except")
                .map(|except| self.circumstance(except, 1, "except"))
                .transpose()?,
            action: read_action(action)?,
            reason: read_reason(reason)?,
            text: section.get("text").map(read_text).transpose()?,
        };
        Ok((rule, name.at()))
    }
}

fn read_action(entry: Entry<'_, '_>) -> Result<Action, Fault> {
    let word = entry.text("tag, limit, review or block, in quotes")?;
    match word.parse() {
        Ok(Action::Allow) => Err(entry.fault(Problem::AllowAction)),
        Ok(action) => Ok(action),
        Err(_) => Err(entry.fault(Problem::UnknownAction {
            word: printable(word),
        })),
    }
}

fn read_reason(entry: Entry<'_, '_>) -> Result<String, Fault> {
    let reason = entry.words("a kebab-case code in quotes")?;
    let kebab = reason.split('-').all(|word| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if kebab {
        Ok(reason.to_owned())
    } else {
        Err(entry.fault(Problem::NotKebabCase {
            reason: printable(reason),
        }))
    }
}

fn read_text(entry: Entry<'_, '_>) -> Result<String, Fault> {
    let wanted = "words for the author in quotes, or leave it out";
    let text = entry.text(wanted)?;
    if text.trim().is_empty() {
        return Err(entry.fault(Problem::Empty {
            key: "text",
            wanted,
        }));
    }
    Ok(text.to_owned())
}

fn syntax(error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    Fault {
        at,
        problem: Problem::Syntax {
            message: error.message().to_owned(),
        },
    }
}
