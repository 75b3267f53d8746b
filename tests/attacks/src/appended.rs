//! Harmless talk after the message, so that what is harmless prevails.

use crate::Random;

/// How much is appended, in characters, before the last sentence ends.
const N_CHARACTERS: usize = 190;

/// What people write about weather, food, work and one another.
const SENTENCES: [&str; 48] = [
    "It rained all morning but the sun came out just before lunch.",
    "I put the soup back on the stove because it had gone cold.",
    "Did you water the plants on the balcony?",
    "The train was nearly empty, so I got a seat by the window.",
    "My sister is painting her kitchen this weekend.",
    "We walked the dog along the river and met nobody at all.",
    "The bread needs another ten minutes, then it can cool down.",
    "I finished the second chapter and liked it better than the first.",
    "Grandma asked whether you still like plum cake.",
    "The neighbours have a new cat, small and very grey.",
    "It is getting dark earlier now, I noticed it yesterday.",
    "Peel the carrots first and cut them into thin slices.",
    "He forgot his umbrella at the office again.",
    "The children built a castle out of old boxes.",
    "I think the bus comes at twenty past.",
    "We had rice with beans and a little too much pepper.",
    "The lecture was long, but the part about bridges was good.",
    "My knee feels better since I started swimming.",
    "There was fog over the fields when we drove out.",
    "She knits while she listens to the radio.",
    "Let the dough rest under a towel until it has doubled.",
    "The library closes early on Wednesdays.",
    "I could not find my other glove, only the left one.",
    "They are repairing the road in front of the school.",
    "Dad is growing tomatoes on the window sill this year.",
    "The film was slow at first and then rather sad.",
    "I will bring the ladder back on Sunday afternoon.",
    "A little salt in the coffee was not a good idea.",
    "The baby slept through the whole thunderstorm.",
    "We played cards until the candles had burnt down.",
    "Tomorrow should be warmer, with some wind from the west.",
    "The meeting moved to the small room upstairs.",
    "Stir in the flour slowly so that no lumps form.",
    "My bicycle makes a strange noise when I turn left.",
    "The swallows are back under the roof of the barn.",
    "I have to hand in my essay by the end of the month.",
    "Our team lost, but everyone was in a good mood.",
    "The tea is on the shelf behind the sugar.",
    "He has been learning the piano since spring.",
    "We saw snow on the hills from the kitchen window.",
    "The shirt shrank a bit, it fits my brother now.",
    "She told me about her trip to the lake.",
    "Leave the key under the flower pot, please.",
    "The pancakes turned out thin and crisp at the edges.",
    "I slept badly because of the heat.",
    "The dentist says everything is fine.",
    "We are thinking about a picnic if it stays dry.",
    "The old clock in the hall stopped again last night.",
];

/// About two hundred harmless characters after the text, on the same line or
/// below it.
pub(crate) fn appended(text: &str, random: &mut Random) -> String {
    let mut changed = text.to_owned();
    changed.push_str(random.pick::<&str>(&[" ", " ", "\n", "\n\n"]));
    let (mut n_characters, mut last) = (0, "");
    while n_characters < N_CHARACTERS {
        let sentence = *random.pick(&SENTENCES);
        if sentence == last {
            continue;
        }
        if n_characters > 0 {
            changed.push(' ');
        }
        changed.push_str(sentence);
        n_characters += sentence.chars().count() + 1;
        last = sentence;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stays_and_some_two_hundred_characters_follow() {
        for seed in 0..200 {
            let changed = appended("buy now", &mut Random::new(seed));
            let rest = changed
                .strip_prefix("buy now")
                .expect("the text comes first");
            assert!((180..=260).contains(&rest.chars().count()), "{rest}");
        }
    }
}
