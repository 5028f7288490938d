//! Tests only: the file that `duologue init` writes, with everything in it; and the same with one word mistyped, anywhere.

use fastrand::Rng;

use super::{Config, ConfigError};

const TEXT: &str = include_str!("duologue.toml");

/// With every line that is there to be uncommented.
fn whole() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with('[') || rest.starts_with(|it: char| it.is_ascii_lowercase()))
    };
    TEXT.lines().map(|line| format!("{}\n", if is_setting(line) { &line[1..] } else { line })).collect()
}

fn errors(text: &str) -> Vec<ConfigError> {
    Config::parse("a.toml", text).map_or_else(|errors| errors.errors().to_vec(), |_| Vec::new())
}

/// Keys of each table, with the number of their line: `server`, `url`, 9.
fn keys(text: &str) -> Vec<(String, String, usize)> {
    let mut table = String::new();
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            found.push((table.clone(), key.to_owned(), at + 1));
        }
    }
    found
}

#[test]
fn what_init_writes_is_in_order_as_it_stands_and_with_everything_uncommented() {
    for text in [TEXT.to_owned(), whole()] {
        Config::parse("duologue.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn what_init_writes_has_every_key_that_there_is() {
    let (text, mut seen) = (whole(), 0);
    let keys = keys(&text);
    let mut tables: Vec<_> = keys.iter().map(|(table, ..)| table.clone()).collect();
    tables.dedup();
    for table in tables {
        let line = text.lines().position(|line| line.trim_matches(['[', ']']) == table).expect("it has a head");
        let mut lines: Vec<_> = text.lines().collect();
        lines.insert(line + 1, "zzzzzzzzzz = 1");
        let errors = errors(&lines.join("\n"));
        let [error] = errors.as_slice() else { panic!("{table}: {errors:?}") };
        for key in error.message.split('`').skip(3).step_by(2) {
            seen += 1;
            let is_there = keys.iter().any(|(other, own, _)| *other == table && own == key)
                || text
                    .lines()
                    .any(|line| line.trim_matches(['[', ']']).strip_prefix(&format!("{table}.")) == Some(key));
            // One of two that exclude each other.
            assert!(
                is_there || (table.as_str(), key) == ("firewall.countries", "deny"),
                "`{key}` of [{table}] is missing"
            );
        }
    }
    println!("{seen} keys");
    assert!(seen > 90, "the library names the keys that it expects: {seen}");
}

/// One letter left out, too much, another, or in the place of its neighbour.
fn mistype(random: &mut Rng, word: &str) -> String {
    let mut letters: Vec<_> = word.chars().collect();
    let at = random.usize(0..letters.len());
    match random.u32(0..4) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, random.lowercase()),
        2 => letters[at] = random.lowercase(),
        _ if at + 1 < letters.len() => letters.swap(at, at + 1),
        _ => letters.push('x'),
    }
    letters.into_iter().collect()
}

fn seed() -> u64 {
    let told = std::env::var("DUOLOGUE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = told.unwrap_or_else(|| fastrand::u64(..));
    println!("DUOLOGUE_SEED={seed}");
    seed
}

/// The word that is suggested at this place.
fn suggested(errors: &[ConfigError], line: usize, column: usize) -> Option<&str> {
    let error = errors.iter().find(|error| (error.line, error.column) == (line, column))?;
    error.message.split("did you mean ").nth(1).map(|rest| rest.trim_matches(['`', '"', '?']))
}

#[test]
fn a_key_that_was_mistyped_is_told_with_its_place_and_what_was_meant() {
    let mut random = Rng::with_seed(seed());
    let text = whole();
    let (keys, mut exact, mut tried) = (keys(&text), 0, 0);
    while tried < 3_000 {
        let (table, key, line) = &keys[random.usize(0..keys.len())];
        let typed = mistype(&mut random, key);
        let is_another = keys.iter().any(|(other, own, _)| other == table && *own == typed);
        // No key at all, or the line of another one twice.
        if typed.is_empty() || is_another {
            continue;
        }
        tried += 1;
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines[line - 1] = lines[line - 1].replacen(key, &typed, 1);
        let errors = errors(&lines.join("\n"));
        let found = suggested(&errors, *line, 1);
        let found = found.unwrap_or_else(|| panic!("{typed} for {key} of [{table}], line {line}: {errors:?}"));
        // Another one may be as near.
        let distance = |word: &str| strsim::osa_distance(&typed, word);
        assert!(distance(found) <= distance(key), "{typed} for {key} of [{table}]: {found}");
        if found == key {
            exact += 1;
            assert_eq!(errors.len(), 1, "nothing else is told of {typed} for {key} of [{table}]: {errors:?}");
        }
    }
    println!("{exact} of {tried} suggestions are the key that was meant");
    assert!(exact > tried * 95 / 100, "{exact} of {tried}");
}

#[test]
fn a_word_that_was_mistyped_is_told_with_its_place_and_what_was_meant() {
    let mut random = Rng::with_seed(seed());
    let text = whole();
    let words = [
        ("level = \"info\"", "info"),
        ("format = \"text\"", "text"),
        ("path = \"told\"", "told"),
        ("otherwise = \"allow\"", "allow"),
        ("unknown = \"deny\"", "deny"),
        ("unreachable = \"refuse\"", "refuse"),
        ("addresses = \"whole\"", "whole"),
        ("events = [\"not-allowed\"]", "not-allowed"),
        ("by = \"device\"", "device"),
        ("measure = \"ban\"", "ban"),
    ];
    let (mut exact, mut tried) = (0, 0);
    for (setting, word) in words.iter().cycle().take(500) {
        let typed = mistype(&mut random, word);
        if typed == *word {
            continue;
        }
        let line = text.lines().position(|line| line == *setting).unwrap_or_else(|| panic!("{setting}")) + 1;
        let column = setting.find('"').expect("a text") + 1;
        let errors = errors(&text.replacen(setting, &setting.replace(word, &typed), 1));
        // What was typed may be another word that is right.
        if errors.is_empty() {
            continue;
        }
        tried += 1;
        let found = suggested(&errors, line, column).unwrap_or_else(|| panic!("{typed} in {setting}: {errors:?}"));
        exact += usize::from(found == *word);
    }
    println!("{exact} of {tried} suggestions are the word that was meant");
    assert!(exact > tried * 95 / 100, "{exact} of {tried}");
}

#[test]
fn all_that_is_mistyped_is_told_at_once() {
    let text = "[servr]\nurl = \"https://a.example\"\nlistn = \"127.0.0.1:80\"\nhttp2 = \"yes\"\n[log]\nlevel = \"inf\"\n\
                [[tls.certificate]]\ncrt = \"a\"\nkey = 5\n[services.drop]\nquota = \"10XB\"\n[[rule]]\nopne = [\"\"]\n";
    let found: Vec<_> = errors(text).iter().map(|error| (error.line, error.column)).collect();
    let expected = [(1, 2), (3, 1), (4, 9), (6, 9), (8, 1), (9, 7), (10, 1), (13, 1), (13, 9)];
    assert_eq!(found, expected, "{:#?}", errors(text));
    // As far as its lines can be read at all.
    let broken = errors("[server]\nurl = \"a\nhttp2 = true\nlisten == 4\n[log]\nlevel = \"info\"\n");
    assert_eq!(broken.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 4], "{broken:#?}");
}

#[test]
fn what_flags_can_say_too_is_held_to_what_the_flags_take() {
    for (text, line, column, said) in [
        ("[server]\nurl = \"http://a.example\"\n", 2, 7, "must start with https://"),
        ("[server]\nlisten = \"localhost:443\"\n", 2, 10, "write 127.0.0.1:443"),
        ("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\n", 2, 34, "is no network"),
        ("[server]\nhttp2 = 1\n", 2, 9, "expected a boolean"),
        ("[limits]\nmemory = \"1MB\"\n", 2, 10, "lines need 16MB at least"),
        ("[services.drop]\nquota = \"1GB\"\n", 1, 1, "missing field `directory`"),
        ("[services.drop]\ndirectory = \"d\"\nquota = \"ten\"\n", 3, 9, "is no size"),
        ("[services.http]\nbackend = \"a:3000\"\n", 2, 11, "is no backend"),
        (
            "[services.http]\nbackend = \"http://a\"\nallow_headers = [\"duologue-device\"]\n",
            3,
            18,
            "says that header itself",
        ),
        ("[services.http]\nbackend = \"http://a\"\nhost = \"a b\"\n", 3, 8, "a b"),
        ("[door]\norigins = [\"https://a.example/\"]\n", 2, 12, "https://a.example"),
        ("[log]\nlevel = \"loud\"\n", 2, 9, "`level` is one of \"error\", \"warn\""),
        ("[log]\nformat = \"jsn\"\n", 2, 10, "did you mean \"json\"?"),
        (
            "[log]\ntraces = \"http://collector.example:4318\"\n",
            2,
            10,
            "no collector of this machine: write http://127",
        ),
        ("[log]\ntraces = \"http://127.0.0.1:4318/v1/traces\"\n", 2, 10, "no collector of this machine"),
        ("[log]\ntraces = \"http://a:b@127.0.0.1:4318\"\n", 2, 10, "no collector of this machine"),
        ("[log]\nconsole = \"0.0.0.0:6669\"\n", 2, 11, "write 127.0.0.1:6669"),
        ("[[tls.certificate]]\ncert = \"\"\nkey = \"k\"\n", 2, 8, "no file's name"),
        ("[[tls.certificate]]\ncert = \"c\"\n", 1, 1, "missing field `key`"),
    ] {
        let errors = errors(text);
        let is_told = errors.iter().any(|it| (it.line, it.column) == (line, column) && it.message.contains(said));
        assert!(is_told, "{text}: {errors:?}");
    }
}
