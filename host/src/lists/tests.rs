//! What a list may say, and which items are on it.

use proptest::prelude::*;

use super::*;
use crate::item::Item;

fn list(kind: Kind, text: &str) -> List {
    List::parse("l.txt", kind, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(kind: Kind, text: &str) -> String {
    let read = List::parse("l.txt", kind, text.as_bytes());
    read.expect_err(text).to_string()
}

/// The entry of the one list that the item is on.
fn found(kind: Kind, entries: &str, item: &Item) -> Option<Found> {
    let lists = Lists::default().with("l", list(kind, entries)).unwrap();
    let consulted = lists.consult(item);
    assert_eq!(consulted.len(), 1);
    consulted[0].found.clone()
}

fn in_text(kind: Kind, entries: &str, text: &str) -> Option<String> {
    found(kind, entries, &Item::from_text("1", text)).map(|found| found.entry)
}

fn link(target: &str) -> Item {
    let json = serde_json::json!({ "id": "1", "links": [target] });
    Item::from_json(json.to_string().as_bytes()).unwrap()
}

#[test]
fn keywords_are_whole_words_however_they_are_written() {
    let entries = "# spam\nfree money\n\n  Straße\nкупить\n免费领取\nO'Neill\nfree\u{301}ze\nहिन्दी";
    assert_eq!(list(Kind::Keywords, entries).n_entries(), 7);
    for (text, entry) in [
        ("Free Money!", Some("free money")),
        ("FREE -- money", Some("free money")),
        ("so free\nmoney", Some("free money")),
        ("ｆｒｅｅ 𝐦𝐨𝐧𝐞𝐲", Some("free money")),
        ("fr\u{200b}ee mo\u{ad}ney", Some("free money")),
        ("f\u{335}r\u{336}ee money", Some("free money")),
        ("free free money", Some("free money")),
        ("freemoney", None),
        ("carefree money", None),
        ("free moneys", None),
        ("free of money", None),
        ("STRASSE", Some("Straße")),
        ("КУПИТЬ сейчас", Some("купить")),
        ("покупить", None),
        ("现在免费领取吧", Some("免费领取")),
        ("免费 领取", Some("免费领取")),
        ("免费领", None),
        ("o’neill", Some("O'Neill")),
        ("frééze", None),
        ("FREÉZE", Some("free\u{301}ze")),
        ("हिन्दी।", Some("हिन्दी")),
        ("", None),
    ] {
        let found = in_text(Kind::Keywords, entries, text);
        assert_eq!(found.as_deref(), entry, "{text}");
    }
}

#[test]
fn a_shorter_entry_inside_a_longer_one_is_found_too() {
    let entries = "a b c d\nb c\nc";
    assert_eq!(
        in_text(Kind::Keywords, entries, "a b c").as_deref(),
        Some("b c")
    );
    assert_eq!(
        in_text(Kind::Keywords, entries, "a c").as_deref(),
        Some("c")
    );
    assert_eq!(
        in_text(Kind::Keywords, "a a b", "a a a b").as_deref(),
        Some("a a b")
    );
}

#[test]
fn a_domain_is_found_with_all_below_it_and_nothing_beside_it() {
    let entries = "evil.example # seen in May\n*.Bücher.example\n192.0.2.1\n2001:db8::1\nzip\n";
    assert_eq!(list(Kind::Domains, entries).n_entries(), 5);
    for (target, entry) in [
        ("https://evil.example/a", Some("evil.example")),
        ("https://www.EVIL.example:443", Some("evil.example")),
        ("evil.example", Some("evil.example")),
        ("https://notevil.example", None),
        ("https://evil.example.org", None),
        ("https://example", None),
        ("https://evil.example@good.example", None),
        ("https://good.example/evil.example", None),
        ("https://a.xn--bcher-kva.example", Some("*.Bücher.example")),
        ("http://3221225985", Some("192.0.2.1")),
        ("http://5.192.0.2.1.example", None),
        ("http://[2001:db8:0::1]/", Some("2001:db8::1")),
        ("https://a.zip", Some("zip")),
    ] {
        let found = found(Kind::Domains, entries, &link(target));
        assert_eq!(found.map(|found| found.entry).as_deref(), entry, "{target}");
    }
    for (text, entry) in [
        ("look at www.evil.example.", Some("evil.example")),
        ("https://evil.example/a", Some("evil.example")),
        ("看evil.example吧", Some("evil.example")),
        ("http://3221225985/x", Some("192.0.2.1")),
        ("evil . example", None),
        ("evil.examples", None),
    ] {
        let found = in_text(Kind::Domains, entries, text);
        assert_eq!(found.as_deref(), entry, "{text}");
    }
}

#[test]
fn a_hash_is_of_an_images_bytes_or_of_a_text() {
    let hash = |bytes: &[u8]| ListVersion::of(bytes).to_string();
    let digits = hash(b"\x89PNG")["sha256:".len()..].to_uppercase();
    let entries = format!("{}  # a text\n{digits}\n", hash("Hello".as_bytes()));
    let text = in_text(Kind::Hashes, &entries, "Hello");
    assert_eq!(text, Some(hash(b"Hello")));
    assert_eq!(in_text(Kind::Hashes, &entries, "hello"), None);
    let mut image = Item::from_image_bytes("1", &b"\x89PNG"[..]);
    image
        .parts
        .insert(0, Item::from_text("", "x").parts.remove(0));
    let found = found(Kind::Hashes, &entries, &image).unwrap();
    assert_eq!((found.part, found.entry), (1, digits));
}

#[test]
fn every_list_is_consulted_and_says_its_version() {
    let (words, nothing) = (
        list(Kind::Keywords, "spam"),
        list(Kind::Keywords, "# later"),
    );
    assert_eq!(nothing.n_entries(), 0);
    let lists = Lists::default()
        .with("words", words.clone())
        .and_then(|lists| lists.with("nothing", nothing.clone()))
        .and_then(|lists| lists.with("domains", list(Kind::Domains, "a.example")))
        .unwrap();
    let item = Item::from_text("1", "spam at a.example");
    let consulted = lists.consult(&item);
    let names: Vec<_> = consulted
        .iter()
        .map(|each| (each.list.as_str(), each.found.is_some()))
        .collect();
    assert_eq!(
        names,
        [("domains", true), ("nothing", false), ("words", true)]
    );
    assert_eq!(consulted[2].version, words.version());
    assert_eq!(
        serde_json::to_value(&consulted[1..]).unwrap(),
        serde_json::json!([
            { "list": "nothing", "version": nothing.version() },
            { "list": "words", "version": words.version(), "found": { "part": 0, "entry": "spam" } },
        ])
    );
    // As `printf '# later' | sha256sum` says.
    assert_eq!(
        nothing.version().to_string(),
        "sha256:4ca9e4590b7061ccba67040646b094376a2e0717e12872f29b956f5b57d82d6b"
    );
}

#[test]
fn a_mistake_is_refused_with_its_line_and_the_way_out() {
    for (kind, text, said) in [
        (
            Kind::Keywords,
            "a\n\n!?\n",
            "l.txt:3: `!?` holds no letter or digit, and all else",
        ),
        (
            Kind::Keywords,
            "a\u{7}b",
            "l.txt:1: the entry holds a control character; remove",
        ),
        (
            Kind::Keywords,
            "a b c d e f g h i j k l m n o p q",
            "l.txt:1: `a b c d e f g h i j k l m n o p q` has 17 words, more than 16; write",
        ),
        (
            Kind::Domains,
            "a.example\r\nhttps://b.example/\r\n",
            "l.txt:2: `https://b.example/` is no domain; write it alone, without scheme",
        ),
        (Kind::Domains, "a b", "l.txt:1: `a b` is no domain"),
        (Kind::Domains, "*.", "l.txt:1: `*.` is no domain"),
        (Kind::Domains, &"a".repeat(64), "l.txt:1: `aaaa"),
        (
            Kind::Hashes,
            "# x\nabc",
            "l.txt:2: `abc` is no sha256; write its 64 hex digits",
        ),
        (Kind::Hashes, &"é".repeat(32), "l.txt:1: `ééé"),
        (
            Kind::Keywords,
            &"x".repeat(MAX_ENTRY_CHARS + 1),
            "l.txt:1: the entry has more than 300 characters; shorten it",
        ),
    ] {
        let error = refused(kind, text);
        assert!(error.starts_with(said), "{error}\n  is not {said}");
    }
    let error = List::parse("l.txt", Kind::Keywords, b"a\nb\xff").unwrap_err();
    assert_eq!(
        error.to_string(),
        "l.txt:2: this is not UTF-8; convert the list to it"
    );
}

#[test]
fn a_list_is_bounded_in_entries_and_bytes() {
    let mut text: String = (0..MAX_ENTRIES).map(|n| format!("w{n}\n")).collect();
    text += "w0\n";
    assert_eq!(list(Kind::Keywords, &text).n_entries(), MAX_ENTRIES);
    text += "one more\n";
    assert!(refused(Kind::Keywords, &text).starts_with("l.txt:100002: more than 100000 entries"));
    let long = format!("#{}", "x".repeat(MAX_BYTES));
    assert!(refused(Kind::Hashes, &long).contains("4194305 bytes, more than 4194304"));
}

#[test]
fn lists_are_bounded_in_number_bytes_and_names() {
    let one = list(Kind::Keywords, "a");
    let lists = (0..MAX_LISTS).fold(Lists::default(), |lists, n| {
        lists.with(&format!("l{n}"), one.clone()).unwrap()
    });
    let said = |lists: &Lists, name: &str, list: &List| {
        lists.with(name, list.clone()).unwrap_err().to_string()
    };
    assert_eq!(
        said(&lists, "more", &one),
        "there are 32 lists; remove one first"
    );
    lists.with("l0", list(Kind::Keywords, "b")).unwrap();
    let other = said(&lists, "l0", &list(Kind::Domains, "b"));
    assert!(
        other.starts_with("list `l0` holds keywords, not domains"),
        "{other}"
    );
    let without = lists.without("l0").unwrap();
    assert_eq!((without.get("l0"), without.without("l0")), (None, None));
    for name in ["", "A", "a b", "a/b", "é", &"a".repeat(65)] {
        assert!(
            said(&without, name, &one).contains("is no name for a list"),
            "{name}"
        );
    }
    let large = list(Kind::Hashes, &format!("#{}", "x".repeat(MAX_BYTES - 1)));
    let lists = (0..4).fold(Lists::default(), |lists, n| {
        lists.with(&format!("l{n}"), large.clone()).unwrap()
    });
    assert!(said(&lists, "more", &one).contains("16777217 bytes, more than 16777216"));
}

proptest! {
    /// It comes from whoever reaches the admin API.
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in r"([a-z.:/\[\]@%#*\n -]|é|例|xn--|0x|\.\.|[0-9]{1,11}|\PC){0,60}",
    ) {
        for kind in [Kind::Keywords, Kind::Domains, Kind::Hashes] {
            let _ = List::parse("l.txt", kind, &bytes);
            if let Err(error) = List::parse("l.txt", kind, text.as_bytes()) {
                prop_assert!((1..=text.lines().count()).contains(&error.line), "{error}");
                prop_assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }

    #[test]
    fn an_entry_is_found_in_any_text_that_holds_it(
        words in r"\PC{1,20}",
        domain in r"[a-zé]{1,5}(\.[a-zé]{1,5}){1,3}",
        before in r"(\PC{0,40}[ ,])?",
        after in r"([ ,]\PC{0,40})?",
    ) {
        for (kind, entry) in [(Kind::Keywords, words), (Kind::Domains, domain)] {
            let Ok(list) = List::parse("l", kind, entry.as_bytes()) else { continue };
            if list.n_entries() == 0 {
                continue;
            }
            let lists = Lists::default().with("l", list).unwrap();
            let text = format!("{before}{entry}{after}");
            let found = lists.consult(&Item::from_text("1", text.as_str()));
            prop_assert!(found[0].found.is_some(), "{kind} {entry:?} in {text:?}");
        }
    }

    #[test]
    fn no_link_makes_the_search_panic(
        target in r"([a-z.:/\\\[\]@%#?0-9 -]|é|例|%[0-9a-f]{2}|0x|[0-9]{1,11}|\PC){0,60}",
    ) {
        found(Kind::Domains, "a.example", &link(&format!("x{target}")));
    }
}

#[test]
fn a_search_that_may_not_go_on_says_of_each_list_what_it_does_not_know() {
    let lists = Lists::default()
        .with("early", list(Kind::Keywords, "first"))
        .and_then(|lists| lists.with("empty", list(Kind::Keywords, "")))
        .and_then(|lists| lists.with("hosts", list(Kind::Domains, "last.example")))
        .and_then(|lists| lists.with("late", list(Kind::Keywords, "last")))
        .unwrap();
    let text = format!("first {} last last.example", "word ".repeat(100_000));
    let item = Item::from_text("1", text);
    let mut n_asked = 0;
    let consulted = lists.consult_while(&item, || {
        n_asked += 1;
        n_asked < 4
    });
    assert_eq!(n_asked, 4);
    let said: Vec<_> = consulted
        .iter()
        .map(|each| (each.found.is_some(), each.degraded.is_some()))
        .collect();
    // In the order of their names: an empty list is known to hold nothing.
    let expected = [(true, false), (false, false), (false, true), (false, true)];
    assert_eq!(said, expected, "{consulted:?}");
    let whole = lists.consult_while(&item, || true);
    assert!(whole.iter().all(|each| each.degraded.is_none()));
    assert_eq!(whole.iter().filter(|each| each.found.is_some()).count(), 3);
    assert_eq!(whole, lists.consult(&item));
}

#[test]
fn no_text_is_read_for_long_without_a_look_at_whether_it_may_go_on() {
    let lists = [
        (Kind::Keywords, "nothing of it"),
        (Kind::Domains, "nowhere.example"),
    ];
    for (kind, entry) in lists {
        let lists = Lists::default().with("l", list(kind, entry)).unwrap();
        for piece in [
            "a",
            " ",
            "a ",
            "a.",
            "a.b ",
            "://",
            ".",
            "é",
            "例",
            "例.a",
            "\u{300}",
            "\u{fdfa}",
            "http://a.a@a.a/",
        ] {
            let n_bytes = 1 << 20;
            let item = Item::from_text("1", piece.repeat(n_bytes / piece.len()));
            let mut n_asked = 0;
            let consulted = lists.consult_while(&item, || {
                n_asked += 1;
                true
            });
            assert_eq!(consulted[0].found, None);
            // One run of letters that might be a name is the longest piece for domains.
            let is_one_run = kind == Kind::Domains && !piece.contains([' ', ':']);
            let least = if is_one_run { 1 } else { 150 };
            assert!(n_asked >= least, "{kind} {piece:?}: {n_asked}");
        }
    }
    let hashes = list(Kind::Hashes, &"0".repeat(64));
    let lists = Lists::default().with("l", hashes).unwrap();
    let mut item = Item::default();
    item.push_image(vec![0; 1 << 20].into());
    let mut n_asked = 0;
    let _ = lists.consult_while(&item, || {
        n_asked += 1;
        n_asked < 3
    });
    assert_eq!(n_asked, 3);
}
