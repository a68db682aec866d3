//! Input that no human would write: it is refused in good time, and never panics.

use std::time::{Duration, Instant};

use provender_definitions::parse_definitions;

use crate::EXAMPLE;

#[track_caller]
fn assert_refused(text: &str, message: &str) {
    let start = Instant::now();
    let errors = parse_definitions(&[("features/x.yaml", text)]).unwrap_err();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(errors[0].code(), "P101", "{errors:?}");
    assert!(errors[0].message().ends_with(message), "{:?}", errors[0]);
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let list = vec![before; 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert_refused(&text, "the file's aliases repeat too much");
}

#[test]
fn an_alias_of_itself_is_refused() {
    assert_refused(
        "a: &a [*a]\n",
        "an alias refers to a value that contains it",
    );
}

#[test]
fn deep_nesting_is_refused() {
    let deep = "the file is nested more than 32 levels deep";
    let brackets = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert_refused(&brackets, deep);
    assert_refused(&"- ".repeat(5_000), deep);
    let errors = parse_definitions(&[("x.yaml", "[".repeat(100_000))]).unwrap_err();
    assert_eq!(errors[0].code(), "P101");
}

#[test]
fn one_anchor_may_be_used_often() {
    let mut text = String::from(
        "sources: [{name: s, table: t, timestamp: at, tags: &tags {a: b}}]\nfeature_views:\n",
    );
    for i in 0..2_000 {
        text.push_str(&format!(
            "  - {{name: v{i}, source: s, tags: *tags, features: [{{name: f, type: int64}}]}}\n"
        ));
    }
    let loaded = parse_definitions(&[("features/x.yaml", &text)]).unwrap();
    assert_eq!(loaded.definitions.feature_views.len(), 2_000);
}

#[test]
fn a_long_chain_of_on_demand_views_is_fine() {
    let mut text = String::from("on_demand_feature_views:\n");
    for i in 0..5_000 {
        text.push_str(&format!(
            "  - {{name: v{i}, inputs: [v{}], features: [{{name: f, type: int64, sql: f}}]}}\n",
            i + 1
        ));
    }
    text.push_str("  - {name: v5000, features: [{name: f, type: int64, sql: '1'}]}\n");
    text.push_str("feature_services: [{name: s, features: [v0]}]\n");
    let loaded = parse_definitions(&[("features/x.yaml", &text)]).unwrap();
    assert_eq!(loaded.definitions.on_demand_feature_views.len(), 5_001);
}

/// A small generator of random numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64*, https://en.wikipedia.org/wiki/Xorshift
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % n
    }
}

fn mutate(text: &str, random: &mut Random) -> String {
    const PIECES: [&str; 32] = [
        " ", "\n", "\n  ", "\t", ":", ": ", "-", "- ", "[", "]", "{", "}", ",", "'", "\"", "#",
        "&a ", "*a", "!!int ", "<<: ", "|", ">", "?", "@", "é", "\u{0}", "\u{feff}", "null", "-1",
        "1e999", "name: x", "---\n",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len());
        match random.below(6) {
            0 => drop(chars.remove(at)),
            1 => chars
                .splice(at..at, PIECES[random.below(PIECES.len())].chars())
                .for_each(drop),
            2 => {
                let other = random.below(chars.len());
                chars.swap(at, other);
            }
            3 => {
                let end = (at + random.below(60)).min(chars.len());
                drop(chars.drain(at..end));
            }
            4 => {
                let end = (at + random.below(60)).min(chars.len());
                let piece: Vec<char> = chars[at..end].to_vec();
                let to = random.below(chars.len());
                chars.splice(to..to, piece).for_each(drop);
            }
            _ => chars[at] = char::from_u32(u32::try_from(random.below(0x300)).unwrap()).unwrap(),
        }
        if chars.is_empty() {
            chars.push('a');
        }
    }
    chars.into_iter().collect()
}

#[test]
fn random_changes_of_the_example_never_panic_and_always_tell_a_place() {
    let mut random = Random(0x5EED);
    let (mut n_good, mut n_bad) = (0, 0);
    for _ in 0..4_000 {
        let text = mutate(EXAMPLE, &mut random);
        match parse_definitions(&[("features/x.yaml", &text)]) {
            Ok(_) => n_good += 1,
            Err(errors) => {
                n_bad += 1;
                assert!(!errors.is_empty(), "{text}");
                for error in errors {
                    assert!(
                        error.message().starts_with("features/x.yaml:"),
                        "{error:?}\n{text}"
                    );
                    assert!(error.code() < "P111", "{error:?}\n{text}");
                    let message = error.message().to_lowercase();
                    for word in ["struct ", "newtype", "serde", "visitor"] {
                        assert!(!message.contains(word), "{error:?}\n{text}");
                    }
                }
            }
        }
    }
    assert!(n_good > 100 && n_bad > 1_000, "{n_good} {n_bad}");
}
