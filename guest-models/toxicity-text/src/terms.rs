//! Words that name people by what they are: a closed list of this detector's own.
//!
//! Each of them is read as one and the same word, so a text scores the same whichever of
//! them it names: what the model has learnt of one it has learnt of all. The list holds
//! majorities beside minorities on purpose. Slurs are not on it, since a slur says
//! something of its own.

/// Whether a word of [`words`](crate::words), with `l` read as `i`, is on the list, or would
/// be without the `s` it ends with: `women's` is read as `womens`.
pub fn names_a_group(word: &str) -> bool {
    let is_term = |term: &str, word: &str| {
        let term = term.bytes().map(|b| if b == b'l' { b'i' } else { b });
        term.eq(word.bytes())
    };
    // Short and long words are most of what comes by.
    let is_listed =
        |word: &str| (3..=14).contains(&word.len()) && terms().any(|term| is_term(term, word));
    is_listed(word) || word.strip_suffix('s').is_some_and(is_listed)
}

/// The list, in plain spelling.
pub fn terms() -> impl Iterator<Item = &'static str> {
    TERMS.iter().flat_map(|line| line.split_ascii_whitespace())
}

/// One line for each ground.
const TERMS: [&str; 5] = [
    // Faith.
    "muslim muslims moslem moslems islamic jew jews jewish christian christians catholic \
     catholics protestant protestants hindu hindus sikh sikhs buddhist buddhists mormon mormons \
     atheist atheists taoist taoists baptist baptists quaker quakers pagan pagans shia sunni \
     evangelical evangelicals agnostic agnostics rastafarian rastafarians",
    // Descent and origin.
    "black blacks white whites asian asians african africans latino latinos latina latinas latinx \
     hispanic hispanics mexican mexicans arab arabs arabian arabians chinese japanese korean \
     koreans vietnamese filipino filipinos indian indians pakistani pakistanis bangladeshi \
     bangladeshis turk turks turkish kurd kurds kurdish iranian iranians persian persians iraqi \
     iraqis syrian syrians afghan afghans somali somalis nigerian nigerians kenyan kenyans \
     ethiopian ethiopians moroccan moroccans algerian algerians egyptian egyptians palestinian \
     palestinians israeli israelis american americans canadian canadians european europeans \
     british irish scottish welsh french german germans italian italians spanish russian russians \
     ukrainian ukrainians romanian romanians bulgarian bulgarians greek greeks roma romani swedish \
     dutch cuban cubans colombian colombians brazilian brazilians haitian haitians jamaican \
     jamaicans dominican dominicans rican ricans aboriginal aboriginals indigenous maori caucasian \
     caucasians foreigner foreigners immigrant immigrants migrant migrants refugee refugees",
    // Sex and love.
    "woman women female females male males men gay gays lesbian lesbians bisexual bisexuals \
     homosexual homosexuals heterosexual heterosexuals straight transgender transgendered trans \
     transsexual transsexuals queer queers nonbinary cisgender lgbt lgbtq intersex asexual \
     asexuals pansexual pansexuals",
    // Health.
    "disabled deaf blind autistic handicapped paralyzed paralysed amputee amputees epileptic \
     epileptics dyslexic dyslexics schizophrenic schizophrenics",
    // Age.
    "old older young younger elderly teenage teenager teenagers millennial millennials millenial \
     millenials pensioner pensioners aged",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_known_as_words_are_read() {
        for term in terms() {
            assert!(names_a_group(&term.replace('l', "i")), "{term}");
        }
        assert!(!names_a_group("people") && !names_a_group("") && !names_a_group("s"));
    }

    #[test]
    fn what_belongs_to_a_group_names_it_too() {
        for owner in ["womens", "mens", "musiims", "bisexuais"] {
            assert!(names_a_group(owner), "{owner}");
        }
    }

    #[test]
    fn each_term_stands_once() {
        let mut all: Vec<&str> = terms().collect();
        let n_all = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n_all);
    }
}
