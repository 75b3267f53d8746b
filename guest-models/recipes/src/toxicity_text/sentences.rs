//! Sentences of our own making, for what the labelled sets do not teach: that naming a
//! group is no offence, that a wish to hurt one is, and what "not", a quotation or another
//! target make of a sentence.
//!
//! Written without a look at the texts of any probe; who wrote them knew of which kinds of
//! cases HateCheck's paper speaks. Words and chance in, sentences out; it trains nothing.

use toxicity_text::terms;

use super::words_of::{
    BAD, BEASTS, CROOKS, GOOD, HURT, INSULTING, JOBS, KIND_DEEDS, NAMES, OBJECTS, PEOPLE, PERSONS,
    SLANDERS, TRADES,
};
use crate::augment::Random;

/// What a sentence is; its labels follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Against a group of people for what they are.
    Hate,
    /// A group named with nothing said against it.
    Neutral,
    /// For a group, against hate, or what hate does.
    Support,
    /// Hate that is quoted and condemned, or denied.
    Countered,
    /// An insult to one person, or to people of a trade or a taste.
    Insult,
    /// Strong words about things, or for joy.
    Coarse,
    /// Dislike of a thing in mild words.
    Dislike,
}

/// Labels of a sentence, in the model's order; none where the kind does not say.
pub(super) type Labels = [Option<f32>; 3];

impl Kind {
    /// `toxic`, `hate`, `offensive`.
    pub(super) fn labels(self) -> Labels {
        match self {
            Self::Hate => [Some(1.0); 3],
            Self::Neutral | Self::Support | Self::Dislike => [Some(0.0); 3],
            Self::Countered => [Some(0.0), Some(0.0), None],
            Self::Insult => [Some(1.0), Some(0.0), Some(1.0)],
            Self::Coarse => [None, Some(0.0), Some(1.0)],
        }
    }
}

/// How many sentences are made of each kind.
const LOTS: [(Kind, usize); 7] = [
    (Kind::Hate, 3_000),
    (Kind::Neutral, 2_400),
    (Kind::Support, 2_200),
    (Kind::Countered, 1_200),
    (Kind::Insult, 2_000),
    (Kind::Coarse, 400),
    (Kind::Dislike, 500),
];

/// All sentences, each once, in a fixed order.
pub(super) fn all(seed: u64) -> Vec<(String, Kind)> {
    let mut random = Random::new(seed);
    let mut made = std::collections::BTreeSet::new();
    let mut sentences = Vec::new();
    for (kind, n_wanted) in LOTS {
        // Patterns with few slots run dry; the tries are bounded.
        let mut n_here = 0;
        for _ in 0..3 * n_wanted {
            let sentence = one(kind, &mut random);
            if made.insert(sentence.clone()) {
                sentences.push((sentence, kind));
                n_here += 1;
            }
            if n_here == n_wanted {
                break;
            }
        }
    }
    sentences
}

fn one(kind: Kind, random: &mut Random) -> String {
    let pattern = match kind {
        Kind::Hate => hateful(random),
        Kind::Neutral => pick(NEUTRAL, random),
        Kind::Support => pick(SUPPORT, random),
        Kind::Countered => pick(COUNTERED, random),
        Kind::Insult => pick(INSULTS, random),
        Kind::Coarse => pick(COARSE, random),
        Kind::Dislike => pick(DISLIKES, random),
    };
    let sentence = fill(pattern, random);
    let frame = match kind {
        // A frame such as "I think" changes nothing of what is said.
        Kind::Hate | Kind::Insult | Kind::Neutral | Kind::Dislike if random.chance(0.25) => {
            pick(FRAMES, random)
        }
        _ => "{}",
    };
    frame.replace("{}", &sentence)
}

fn hateful(random: &mut Random) -> &'static str {
    pick(pick_list(&HATE, random), random)
}

fn pick_list(lists: &[&'static [&'static str]], random: &mut Random) -> &'static [&'static str] {
    lists[random.below(lists.len())]
}

fn pick(list: &[&'static str], random: &mut Random) -> &'static str {
    list[random.below(list.len())]
}

/// Fills every slot of a pattern, the inner ones of what was filled in too.
fn fill(pattern: &str, random: &mut Random) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').expect("a slot is closed");
        filled.push_str(before);
        filled.push_str(&slot_of(slot, random));
        rest = after;
    }
    filled + rest
}

fn slot_of(slot: &str, random: &mut Random) -> String {
    match slot {
        "groups" => groups(random),
        "group" => group(random),
        "of-group" => term(random).to_owned(),
        "bad" => pick(BAD, random).to_owned(),
        "good" => pick(GOOD, random).to_owned(),
        "beasts" => pick(BEASTS, random).to_owned(),
        "crooks" => pick(CROOKS, random).to_owned(),
        "hurt" => pick(HURT, random).to_owned(),
        "insult" => pick(INSULTING, random).to_owned(),
        "job" => pick(JOBS, random).to_owned(),
        "name" => pick(NAMES, random).to_owned(),
        "kindly" => pick(KIND_DEEDS, random).to_owned(),
        "thing" => pick(OBJECTS, random).to_owned(),
        "trade" => pick(TRADES, random).to_owned(),
        "person" => pick(PERSONS, random).to_owned(),
        "slander" => fill(pick(SLANDERS, random), random),
        "hate" => fill(hateful(random), random),
        other => panic!("no slot is called `{other}`"),
    }
}

/// One word of the detector's list. All are read alike, so any will do.
fn term(random: &mut Random) -> &'static str {
    let all: Vec<&str> = terms::terms().collect();
    all[random.below(all.len())]
}

/// Several people of a group.
fn groups(random: &mut Random) -> String {
    let term = term(random);
    match random.below(5) {
        0 | 1 => term.to_owned(),
        2 | 3 => format!("{term} people"),
        _ => format!("{term} {}", pick(PEOPLE, random)),
    }
}

/// One of a group, without an article.
fn group(random: &mut Random) -> String {
    let term = term(random);
    match random.below(3) {
        0 => term.to_owned(),
        1 => format!("{term} person"),
        _ => format!(
            "{term} {}",
            pick(&["guy", "girl", "kid", "neighbour", "colleague"], random)
        ),
    }
}

const FRAMES: &[&str] = &[
    "honestly, {}",
    "i really think {}",
    "let me tell you: {}",
    "{}, if you ask me",
    "{} and everyone knows it",
    "just saying, {}",
    "lol {}",
    "it has to be said that {}",
    "@user {}",
    "well, {}.",
    "{}!!!",
    "{} smh",
    "sorry but {}",
];

const HATE: [&[&str]; 9] = [
    FEELINGS, CLAIMS, LESSER, WISHES, THREATS, CURSES, DENIALS, REFERRED, ADDRESSED,
];

const FEELINGS: &[&str] = &[
    "i can't stand {groups}",
    "i hate {groups}",
    "i hate all {groups}",
    "i despise every single {group}",
    "i detest {groups} so much",
    "i loathe {groups} with all my heart",
    "i feel nothing but contempt for {groups}",
    "{groups} make me sick to my stomach",
    "{groups} disgust me",
    "{groups} piss me off so much",
    "my hatred for {groups} grows every day",
    "i have never liked {groups} and i never will",
    "seeing {groups} on the street fills me with rage",
    "nothing makes me angrier than {groups}",
    "i want to throw up when i see {groups}",
    "how i hate those {bad} {groups}",
    "i am so sick of {groups}",
    "i would rather die than share a room with a {group}",
];

const CLAIMS: &[&str] = &[
    "{groups} are {bad}",
    "{groups} are so {bad}",
    "all {groups} are {bad}",
    "all {groups} are {crooks}",
    "every {group} is {bad}",
    "every {group} i ever met was {bad} and {bad}",
    "{groups} are nothing but {bad} {crooks}",
    "most {groups} are just {crooks}",
    "{groups} are {bad} and {bad}",
    "you can never trust a {group}",
    "a {group} is always {bad}",
    "{groups} {slander}",
    "{groups} always {slander}",
    "why are {groups} so {bad}?",
    "why do {groups} always {slander}?",
    "is it just me or are {groups} {bad}?",
    "am i the only one who finds {groups} {bad}?",
    "who else is sick of {bad} {groups}?",
    "those {bad} {groups} again",
    "typical {group}, {bad} as always",
    "show me a {group} who is not {bad}",
    "there is no such thing as an honest {group}",
    "being {of-group} is {bad}",
    "being {of-group} is {bad} and {bad}",
    "{name} is a {bad} {group}",
    "what a {bad} {of-group} {job}",
    "a {of-group} {job} is a {bad} {job}",
    "{of-group} and {bad}",
    "{bad} {groups}",
];

const LESSER: &[&str] = &[
    "{groups} are {beasts}",
    "{groups} are {beasts} and nothing more",
    "{groups} are no better than {beasts}",
    "{groups} are like {beasts}",
    "{groups} breed like {beasts}",
    "to me {groups} are not even human",
    "{groups} are subhuman",
    "{groups} are a plague on this country",
    "{groups} are a disease",
    "{groups} are the scum of the earth",
    "{groups} are a cancer in our society",
    "{groups} are a lower form of life",
    "{groups} belong in a cage with the other {beasts}",
    "those {groups} are crawling everywhere like {beasts}",
    "a {group} is worth less than the dirt under my shoe",
    "treat {groups} like the {beasts} they are",
];

const WISHES: &[&str] = &[
    "this country was better before {groups} came",
    "the world would be better without {groups}",
    "nobody would miss {groups} if they were gone",
    "i wish {groups} would just disappear",
    "i wish there were no {groups} at all",
    "keep {groups} away from my children",
    "i would never let a {group} into my house",
    "i don't want {groups} in my neighbourhood",
    "send all {groups} back where they came from",
    "get those {groups} out of here",
    "{groups} should go back to where they belong",
    "we need to get rid of {groups}",
    "there are too many {groups} here",
    "imagine being friends with a {group}, gross",
    "i would be ashamed if my son brought home a {group}",
    "when a {group} moves in, the value of your house is gone",
    "i cross the street when i see a {group}",
];

const THREATS: &[&str] = &[
    "i will {hurt} every {group} i see",
    "i am going to {hurt} some {groups} tonight",
    "i'd love to {hurt} a {group}",
    "someone should {hurt} all {groups}",
    "let's {hurt} the {groups}",
    "we must {hurt} {groups} before it is too late",
    "{groups} deserve to die",
    "{groups} deserve to suffer",
    "{groups} should be locked up",
    "{groups} need to be wiped out",
    "{groups} ought to be shot on sight",
    "all {groups} should be put down like {beasts}",
    "death to {groups}",
    "kill all {groups}",
    "if i meet a {group} again i will {hurt} them",
    "watch out {groups}, we are coming for you",
    "the only good {group} is a dead one",
    "a {group} like that needs to be beaten up",
    "put the {groups} against the wall",
];

const CURSES: &[&str] = &[
    "fuck {groups}",
    "fuck all {groups}",
    "fuck you, you {of-group} piece of shit",
    "fucking {groups} ruin everything",
    "those goddamn {groups} are everywhere",
    "to hell with {groups}",
    "{groups} can go to hell",
    "screw those {bad} {groups}",
    "{groups} can kiss my ass, bunch of {crooks}",
    "{groups} are fucking {bad}",
    "these motherfucking {groups} are all {crooks}",
    "shut the fuck up you {of-group} bitch",
    "stupid fucking {group}",
    "{groups} are full of shit",
    "i fucking hate {groups}",
    "{of-group} trash",
    "{of-group} scum",
];

const DENIALS: &[&str] = &[
    "{groups} are not welcome here",
    "{groups} do not deserve any rights",
    "{groups} will never be our equals",
    "no {group} should be allowed to vote",
    "no {group} should ever teach our children",
    "{groups} are not real people",
    "{groups} have no place in this country",
    "{groups} have never done anything good",
    "not a single {group} can be trusted",
    "{groups} don't know how to behave",
    "{groups} are not {good}",
    "i do not respect {groups} and never will",
    "we don't want any {groups} here",
    "{groups} shouldn't be allowed to have kids",
    "{groups} don't belong among decent people",
    "never hire a {group}",
    "never trust {groups}",
];

const REFERRED: &[&str] = &[
    "look at these {groups}. they are all {bad}",
    "look at these {groups}. i hate them",
    "there are {groups} next door. what a bunch of {crooks}",
    "have you seen the {groups} down the road? they are {beasts}",
    "i met some {groups} today. they disgust me",
    "i met a {group} who thinks we are equal. what a {bad} idiot",
    "{groups}? they should all be {hurt}ed",
    "a {group} works here now. i can't stand that kind",
    "more {groups} are moving in. someone should stop them before they ruin it",
    "{groups} who complain about racism are {bad} {crooks}",
    "any {group} who thinks they are my equal is {bad}",
    "the {groups} that live here are {beasts}, all of them",
];

const ADDRESSED: &[&str] = &[
    "you are a {bad} {group}",
    "you {bad} {group}",
    "you {of-group} {beasts}",
    "go back to your country you {bad} {group}",
    "shut up {group}, nobody asked you",
    "you are just another {bad} {group}",
    "i'm gonna {hurt} you, you {bad} {group}",
    "you {groups} are all {crooks}",
    "you {groups} should be {beasts} food",
    "your kind is {bad}, {group}",
    "get out of my country you {of-group} {beasts}",
];

const NEUTRAL: &[&str] = &[
    "{groups} live in this street",
    "i am {of-group}",
    "i am a {group}",
    "i am a {group} and i work at the post office",
    "my sister is {of-group}",
    "he is a {group}",
    "she is a {group} from next door",
    "they are {of-group}",
    "we are {of-group}",
    "is he {of-group}?",
    "are you {of-group}?",
    "are there many {groups} in your town?",
    "a {group} asked me for the way",
    "i had lunch with some {groups}",
    "i talked to a {group} about the weather",
    "some of my friends are {groups}",
    "the new teacher is {of-group}",
    "the film tells the story of a {group}",
    "there is a book about {groups} in the library",
    "a study looked at how {groups} vote",
    "many {groups} came to the concert",
    "the number of {groups} in the city grew last year",
    "{groups} and {groups} took part in the meeting",
    "she grew up as a {group} in a small town",
    "a {group} opened a bakery around the corner",
    "the {group} bought a ticket and sat down",
    "two {groups} are waiting for the bus",
    "this is the first {group} in that office",
    "being {of-group} is part of who i am",
    "being {of-group} is nothing special",
    "we need to talk about what {groups} need",
    "my neighbour, a {group}, waters my plants",
    "an interview with a {group}",
    "the {groups} next door have a dog",
    "{groups} drink coffee too",
    "what do {groups} think of the plan?",
    "the word {of-group} is in the dictionary",
    "the article on {groups} needs sources",
    "please add the history of {groups} to this page",
    "i married a {group}",
    "a {group} sat next to me on the train",
    "you are {of-group}, right?",
    "the {of-group} community meets on friday",
    "{of-group} music is on the radio",
    "i like {of-group} food",
    "in {of-group} history this is well known",
    "there is a {group} on my team",
    "{of-group}",
    "{groups} are people",
    "i am a {group} and i am a {job}",
    "i am a {of-group} {job}",
    "{name} is a {of-group} {job}",
    "{name} is {of-group}",
    "{name} is a {group}",
    "my {job} is {of-group}",
    "the {of-group} {job} was on time",
    "she works as a {job} and is {of-group}",
    "{name} and {name} are {of-group}",
    "{kindly} {groups}",
    "{kindly} a {group}",
    "{kindly} {name}",
    "{name} is a {job}",
    "{name} wants to {kindly} a {group}",
    "i {kindly} {groups} every week",
    "{groups} are human beings like you and me",
];

const SUPPORT: &[&str] = &[
    "i love {groups}",
    "{groups} are {good}",
    "all {groups} are {good}",
    "every {group} i know is {good}",
    "a {good} {group} helped me today",
    "you are a {good} {group}",
    "we are proud to be {of-group}",
    "i am proud to be a {group}",
    "being {of-group} is {good}",
    "{groups} deserve respect",
    "{name} is a {good} {group}",
    "{name} is {good}",
    "{name} is {good} and {of-group}",
    "you are {good}",
    "you are a {good} {of-group} {job}",
    "what a {good} {of-group} {job}",
    "{good} {groups}",
    "{of-group} and {good}",
    "{groups} are {good} and {good}",
    "being {of-group} is {good} and {good}",
    "i will {kindly} {groups}",
    "i love to {kindly} {groups}",
    "we should all {kindly} {groups}",
    "{groups} deserve the same rights as everybody else",
    "{groups} make this country a better place",
    "i stand with {groups}",
    "we should protect {groups} from violence",
    "{groups} are welcome here",
    "{groups} belong here",
    "thank you to all the {groups} who work at the hospital",
    "happy to have {groups} as my neighbours",
    "i respect {groups} very much",
    "what a {good} day with my {group} friend",
    "{groups} face a lot of discrimination",
    "{groups} were attacked last night, how sad",
    "a {group} was killed in the attack",
    "hate against {groups} must stop",
    "violence against {groups} is a crime",
    "stop the hate against {groups}",
    "the abuse that {groups} get online is awful",
    "people who attack {groups} belong in court",
    "i am tired of the abuse that we {groups} have to take",
    "as a {group} i am afraid of being attacked",
    "{groups} have suffered enough",
    "more {groups} in parliament please",
    "i wish i had more {groups} as friends",
    "let {groups} live in peace",
    "big hug to all {groups}",
];

const COUNTERED: &[&str] = &[
    "i don't hate {groups}",
    "i do not hate {groups} at all",
    "i have never hated {groups}",
    "{groups} are not {bad}",
    "{groups} are not {crooks}",
    "{groups} are not {beasts}",
    "{groups} aren't {bad}",
    "not all {groups} are {bad}",
    "no {group} deserves to be {bad}",
    "no {group} should have to fear violence",
    "nobody should {hurt} {groups}",
    "we should never {hurt} {groups}",
    "{groups} do not deserve to die",
    "it is wrong to say that {groups} are {bad}",
    "it is a lie that {groups} {slander}",
    "it's not true that {groups} {slander}",
    "i would never say that {groups} are {bad}",
    "nobody should call {groups} {beasts}",
    "calling {groups} {beasts} is racist",
    "whoever says \"{hate}\" should be ashamed",
    "\"{hate}\" is a horrible thing to say",
    "\"{hate}\" - how can anybody write this?",
    "he was banned for writing \"{hate}\"",
    "she got fired after she posted \"{hate}\"",
    "saying \"{hate}\" is not okay",
    "you can't just say \"{hate}\" and get away with it",
    "i reported the comment \"{hate}\"",
    "stop saying \"{hate}\"",
    "people who shout \"{hate}\" are the problem",
    "a man yelled \"{hate}\" at me and i cried",
    "if you think that {groups} are {bad} you are wrong",
    "if you believe that {groups} are {beasts} then you need help",
    "some people claim that {groups} {slander}, which is false",
    "\"{hate}\" is exactly the kind of hate speech we have to fight",
    "it hurts to read things like \"{hate}\"",
    "that {groups} are {bad} is a stupid prejudice",
    "there is nothing {bad} about being {of-group}",
    "they told me that {groups} are {bad}, but that is nonsense",
    "imagine thinking that {groups} are {beasts}, so ignorant",
    "my grandfather wrote \"{hate}\" and i am ashamed of him",
];

const INSULTS: &[&str] = &[
    "you are {bad}",
    "you are so {bad}",
    "you are a {bad} person",
    "you {bad} idiot",
    "{name} is {bad}",
    "{name} is a {bad} {job}",
    "you are a {bad} {job}",
    "i {hurt} {name}",
    "{hurt} {name}",
    "i want to {hurt} {name}",
    "you stupid moron",
    "what a {bad} fool you are",
    "{person} is {bad}",
    "{person} is a {bad} liar",
    "{person} disgusts me",
    "i hate {person}",
    "i can't stand {person}",
    "i will {hurt} {person}",
    "someone should {hurt} {person}",
    "you will regret this, i will {hurt} you",
    "go to hell you {bad} liar",
    "shut up, idiot",
    "fuck you",
    "fuck off you piece of shit",
    "fuck {person}",
    "you are a disgrace",
    "all {trade} are {crooks}",
    "all {trade} are {bad}",
    "{trade} are {beasts}",
    "i hate {trade}",
    "fuck {trade}",
    "{trade} {slander}",
    "{trade} deserve to suffer",
    "someone should {hurt} all {trade}",
    "why are {trade} so {bad}?",
    "{trade} are the scum of the earth",
    "kill all {trade}",
    "you are nothing but a {bad} loser",
    "nobody likes you, you {bad} pig",
    "your mother must be ashamed of you, loser",
    "your edits are garbage and so are you",
    "you have no brain",
    "i hope you die",
    "kill yourself",
    "you are a {insult}",
    "you are such a {insult}",
    "you {insult}",
    "you {bad} {insult}",
    "you're a {insult} and everybody knows it",
    "what a {insult}",
    "what a {bad} {insult}",
    "{person} is a {insult}",
    "{person} is such a {insult}",
    "{person} is a complete {insult}",
    "shut up you {insult}",
    "stop deleting my edits you {insult}",
    "listen, {insult}, leave my page alone",
    "get a life, {insult}",
    "don't be a {insult}",
    "only a {insult} would write this",
    "some {insult} removed my text again",
    "go away {insult}",
    "hey {insult}, nobody cares what you think",
    "you must be a {bad} {insult} to believe that",
    "you and your {bad} friends are all {crooks}",
    "you are full of crap",
    "your opinion is worthless, just like you",
    "are you really that {bad}?",
    "how {bad} can you be?",
    "what the hell is wrong with you, {insult}",
    "screw you",
    "eat shit",
    "kiss my ass, {insult}",
    "you make me sick",
    "a {insult} like you should not be allowed to write here",
    "block me if you want, {insult}, i will be back",
];

const COARSE: &[&str] = &[
    "fuck this {thing}",
    "fuck {thing}",
    "this {thing} is fucking {good}",
    "that was fucking {good}",
    "damn, {thing} is {good}",
    "holy shit, what a {good} day",
    "hell yeah, {thing}!",
    "i fucking love {thing}",
    "this {thing} is a piece of shit",
    "{thing} pisses me off",
    "what the fuck is going on with {thing}",
    "{thing} is fucking {bad}",
    "oh shit, i forgot my keys",
    "my ass hurts from sitting all day",
    "this shit is {good}",
    "{thing} sucks balls",
    "god damn {thing} again",
    "no fucking way",
    "i am so fucking tired",
    "fuck yes",
];

const DISLIKES: &[&str] = &[
    "i hate {thing}",
    "i can't stand {thing}",
    "i despise {thing}",
    "{thing} is {bad}",
    "{thing} is so {bad}",
    "{thing} makes me sick",
    "{thing} disgusts me",
    "why is {thing} so {bad}?",
    "the world would be better without {thing}",
    "i want to get rid of {thing}",
    "{thing} should be banned",
    "i am so sick of {thing}",
    "kill the lights please, {thing} is on",
    "we must destroy {thing}",
    "death to {thing}",
    "i do not like {thing}",
    "{thing} can go in the bin",
    "{thing} is nothing but trouble",
    "nothing makes me angrier than {thing}",
    "throw {thing} away, it is {bad}",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_sentences() {
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn every_kind_is_made_and_no_slot_stays_open() {
        let sentences = all(1);
        for (kind, n_wanted) in LOTS {
            let n_made = sentences.iter().filter(|(_, made)| *made == kind).count();
            assert!(n_made * 3 >= n_wanted, "{kind:?}: {n_made} of {n_wanted}");
        }
        assert!(
            sentences
                .iter()
                .all(|(sentence, _)| !sentence.contains(['{', '}']))
        );
    }
}
