//! Sequences of tokens, found in time that does not grow with how many there are: words of
//! a phrase from the first on, labels of a domain from the last.

use std::collections::HashMap;

/// Sequences of tokens, each with its entry's number.
///
/// Tokens and not characters, since only whole ones count; and hash maps, whose keys an
/// attacker cannot make collide.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trie {
    tokens: HashMap<Box<str>, u32>,
    /// From a node by a token to the next node.
    steps: HashMap<(u32, u32), u32>,
    /// For each node, the entry that is found there.
    found: Vec<Option<u32>>,
    /// For each node, once the sequences are joined: the node of the longest sequence that
    /// has begun later and is still possible there.
    later: Vec<u32>,
}

/// Where every sequence begins.
const ROOT: u32 = 0;

/// A walk along a text's tokens that looks for every sequence at once.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    trie: &'a Trie,
    node: u32,
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            tokens: HashMap::new(),
            steps: HashMap::new(),
            found: vec![None],
            later: Vec::new(),
        }
    }
}

impl Trie {
    /// Adds a sequence, unless it is there; whether it was added.
    pub(super) fn insert<'t>(
        &mut self,
        tokens: impl IntoIterator<Item = &'t str>,
        entry: u32,
    ) -> bool {
        let mut node = ROOT;
        for token in tokens {
            let token = match self.tokens.get(token) {
                Some(token) => *token,
                None => {
                    let new = number(self.tokens.len());
                    self.tokens.insert(token.into(), new);
                    new
                }
            };
            let next = number(self.found.len());
            node = *self.steps.entry((node, token)).or_insert(next);
            if node == next {
                self.found.push(None);
            }
        }
        let found = &mut self.found[node as usize];
        let is_new = found.is_none();
        found.get_or_insert(entry);
        is_new
    }

    /// Makes the trie fit for walks, once it has every sequence: where one breaks off, a
    /// walk goes on with the longest of those that began later, so that no token is
    /// looked at again (Aho and Corasick 1975, doi:10.1145/360825.360855).
    pub(super) fn join(&mut self) {
        let mut steps: Vec<(u32, u32, u32)> = self
            .steps
            .iter()
            .map(|((from, token), to)| (*from, *token, *to))
            .collect();
        // A node's number is greater than that of the one before it.
        steps.sort_unstable_by_key(|(.., to)| *to);
        let mut depths = vec![0_u32; self.found.len()];
        for (from, _, to) in &steps {
            depths[*to as usize] = depths[*from as usize] + 1;
        }
        steps.sort_by_key(|(.., to)| depths[*to as usize]);
        self.later = vec![ROOT; self.found.len()];
        for (from, token, to) in steps {
            if from != ROOT {
                let later = self.next(self.later[from as usize], token);
                self.later[to as usize] = later;
                let found = self.found[later as usize];
                let at_node = &mut self.found[to as usize];
                *at_node = at_node.or(found);
            }
        }
    }

    /// Where a walk stands after one more token.
    fn next(&self, mut node: u32, token: u32) -> u32 {
        loop {
            match self.steps.get(&(node, token)) {
                Some(next) => return *next,
                None if node == ROOT => return ROOT,
                None => node = self.later[node as usize],
            }
        }
    }

    /// The first sequence that the tokens begin with.
    pub(super) fn beginning<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> Option<u32> {
        let mut node = ROOT;
        for token in tokens {
            let token = self.tokens.get(token)?;
            node = *self.steps.get(&(node, *token))?;
            if let Some(entry) = self.found[node as usize] {
                return Some(entry);
            }
        }
        None
    }

    /// A walk that has seen nothing yet, once the sequences are joined.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk {
            trie: self,
            node: ROOT,
        }
    }
}

impl Walk<'_> {
    /// Goes on by one token; the entry of a sequence that ends with it.
    pub(super) fn step(&mut self, token: &str) -> Option<u32> {
        self.node = match self.trie.tokens.get(token) {
            Some(token) => self.trie.next(self.node, *token),
            None => ROOT,
        };
        self.trie.found[self.node as usize]
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a list is bounded")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside every sequence held against every place.
        #[test]
        fn a_walk_finds_what_a_search_without_wit_finds(
            sequences in prop::collection::vec(prop::collection::vec("[ab]", 1..5), 1..6),
            text in prop::collection::vec("[abc]", 0..24),
        ) {
            let mut trie = Trie::default();
            for (entry, sequence) in (0..).zip(&sequences) {
                trie.insert(sequence.iter().map(String::as_str), entry);
            }
            trie.join();
            let mut walk = trie.walk();
            for end in 0..text.len() {
                let ends_here = |sequence: &&Vec<String>| text[..=end].ends_with(sequence);
                let expected = sequences.iter().filter(ends_here).max_by_key(|found| found.len());
                let found = walk.step(&text[end]).map(|entry| &sequences[entry as usize]);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
