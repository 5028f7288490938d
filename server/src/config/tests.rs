//! What owners write, right and wrong.

use duologue::DeviceId;

use super::*;
use crate::door::{
    firewall::{Budgets, CountryList, Otherwise},
    standing::Level,
};

fn wrong(text: &str) -> Vec<(usize, usize, String)> {
    let errors = Config::parse("a.toml", text).expect_err(text);
    errors.errors().iter().map(|error| (error.line, error.column, error.message.clone())).collect()
}

/// The examples of the document are the test of it: each of them is in order.
#[test]
fn the_documents_examples_are_in_order() {
    let document = include_str!("../../../docs/POLICY.md");
    let examples: Vec<_> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        let config = Config::parse("POLICY.md", example).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
        assert!(!config.rules.all().is_empty(), "{example}");
    }
}

#[test]
fn everything_that_a_rule_can_say_is_read() {
    let device = DeviceId([7; 32]).to_string();
    let text = format!(
        "[door]\nlevel = \"account\"\n[[rule]]\nname = \"all\"\nopen = [\"http\", \"app/*\"]\nsubjects = [\"ada\"]\n\
         groups = [\"staff\"]\ndevices = [\"{device}\"]\nnetworks = [\"10.0.0.0/8\", \"::1\"]\norigins = [\"https://a.example\"]\n\
         age = \"10m\"\nmethods = [\"GET\"]\npaths = [\"/api/*\"]\nexcept = [\"/api/admin/*\"]\nchannels = 8\n\
         messages_per_second = 100\nbytes_per_second = \"1MB\"\nsize = 4096\n[[rule]]\nopen = [\"echo\"]\n\
         [[rule]]\nopen = [\"desk\"]\nlevel = 1\n[[rule]]\nopen = [\"http\"]\npaths = [\"/login\"]\nlevel = \"guest\"\n"
    );
    let config = Config::parse("a.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let [all, echo, desk, login] = config.rules.all() else { panic!("{config:?}") };
    assert_eq!((&*all.name, all.level, all.age), ("all", Level::Present, Some(600)));
    let limits = [all.limits.channels, all.limits.messages, all.limits.bytes, all.limits.size];
    assert_eq!(limits.map(|limit| limit.map(u32::from)), [Some(8), Some(100), Some(1_000_000), Some(4_096)]);
    assert_eq!((all.networks.len(), all.devices.as_slice()), (2, [DeviceId([7; 32])].as_slice()));
    assert_eq!((&*echo.name, echo.level), ("rule 2", Level::Account), "as [door] says");
    assert_eq!((desk.level, login.level), (Level::Device, Level::Guest));
    assert!(Config::parse("a.toml", "").is_ok_and(|config| config.rules.all().is_empty()), "nothing is open");
}

#[test]
fn what_is_wrong_is_told_with_line_column_and_what_was_meant() {
    for (text, line, column, said) in [
        ("[[rule]]\nopne = [\"echo\"]\n", 2, 1, "did you mean `open`?"),
        ("[[rule]]\nopen = [\"echo\"]\nmessage_per_second = 3\n", 3, 1, "did you mean `messages_per_second`?"),
        ("[dor]\n", 1, 2, "did you mean `door`?"),
        ("[[rules]]\nopen = [\"echo\"]\n", 1, 3, "did you mean `rule`?"),
        ("[[rule]]\nname = \"a\"\n", 1, 1, "missing field `open`"),
        ("[[rule]]\nopen = \"echo\"\n", 2, 8, "expected a sequence"),
        ("[[rule]]\nopen = [\"echo\"\n", 2, 15, ""),
        ("[[rule]]\nopen = [\"echo\"]\nopen = [\"a\"]\n", 3, 1, "duplicate"),
        ("[[rule]]\nopen = [\"é\", \"a*b\"]\n", 2, 14, "no label"),
        ("[[rule]]\nopen = []\n", 2, 8, "1 to 1000 entries"),
        ("[[rule]]\nopen = [\"echo\"]\ngroups = []\n", 3, 10, "1 to 1000 entries"),
        ("[[rule]]\nopen = [\"echo\"]\nlevel = \"acount\"\n", 3, 9, "did you mean \"account\"?"),
        ("[[rule]]\nopen = [\"echo\"]\nlevel = 4\n", 3, 9, "a level is 0"),
        ("[[rule]]\nopen = [\"http\", \"drop\"]\nlevel = 0\n", 3, 9, "\"drop\" cannot be open to them"),
        ("[[rule]]\nopen = [\"pair\"]\nlevel = \"guest\"\n", 3, 9, "\"pair\" cannot be open to them"),
        ("[door]\nlevel = 0\n[[rule]]\nopen = [\"echo\"]\n", 2, 9, "`level = 0` in the rule"),
        ("[[rule]]\nopen = [\"echo\"]\nlevel = 0\nage = \"5m\"\n", 4, 7, "level = 3"),
        ("[[rule]]\nopen = [\"echo\"]\nlevel = true\n", 3, 9, "expected a number, or a text"),
        ("[[rule]]\nopen = [\"echo\"]\nlevel = 2\nage = \"5m\"\n", 4, 7, "level = 3"),
        ("[[rule]]\nopen = [\"echo\"]\nage = \"5 minutes\"\n", 3, 7, "90s, 10m or 1h"),
        ("[door.token]\nissuer = \"https://a.example\"\naudience = []\n", 1, 1, "1 to 16 audiences"),
        ("[door.passkey]\nname = \"\"\n", 1, 1, "1 to 64 bytes"),
        ("[door.passkey]\nrpid = \"a.example\"\n", 2, 1, "did you mean `rp_id`?"),
        ("[door.passkey]\nrp_id = \"https://a.example\"\n", 1, 1, "without https://"),
        ("[door.passkey]\nrp_id = \"192.0.2.1\"\n", 1, 1, "no name of a host"),
        ("[door.passkey]\norigins = []\n", 1, 1, "1 to 16 entries"),
        ("[door.passkey]\norigins = [\"http://a.example\"]\n", 1, 1, "write it as https://"),
        ("[door.passkey]\norigins = [\"https://a.example/\"]\n", 1, 1, "write it as https://"),
        ("[door.passkey]\nrp_id = \"a.example\"\norigins = [\"https://ba.example\"]\n", 1, 1, "or end with .a.example"),
        ("[door.passkey]\ntimeout = \"6m\"\n", 1, 1, "`timeout` is 1s to 5m"),
        ("[door.passkey]\ntimeout = \"soon\"\n", 2, 11, "write it as 90s"),
        ("[door.passkey]\n[[rule]]\nname = \"[door.passkey]\"\nopen = [\"a\"]\n", 3, 8, "[door.passkey]"),
        ("[door.token]\nisuer = \"https://a.example\"\naudience = \"a\"\n", 2, 1, "did you mean `issuer`?"),
        ("[door.token]\nissuer = \"a\"\naudience = \"a\"\nmax_age = \"soon\"\n", 4, 11, "write it as 90s"),
        ("[door.hook]\nurl = \"http://app.example/\"\n", 1, 1, "http://127.0.0.1:3000/duologue"),
        ("[door.hook]\ntimeout = \"2s\"\n", 1, 1, "missing field `url`"),
        ("[door.hook]\nurl = \"unix:/run/a\"\ntimeout = \"9s\"\n", 1, 1, "1s to 4s"),
        ("[door.hook]\nurl = \"unix:/run/a\"\ncookie_proves = true\n", 3, 1, "did you mean `cookies_prove`?"),
        ("[door.hook]\nurl = \"unix:/run/a\"\nunreachable = \"open\"\n", 3, 15, "`refuse` or `device`"),
        ("[door.vouch]\nlongest = \"1h\"\n", 1, 1, "missing field `paths`"),
        ("[door.vouch]\npaths = []\n", 2, 9, "1 to 1000 entries"),
        ("[door.vouch]\npaths = [\"login\"]\n", 2, 10, "/api/*"),
        ("[door.vouch]\npaths = [\"/a\"]\nlongest = \"60d\"\n", 3, 11, "1s to 31d"),
        ("[door.vouch]\npaths = [\"/a\"]\nlongst = \"1h\"\n", 3, 1, "did you mean `longest`?"),
        ("[door.vouch]\npaths = [\"/a\"]\ngroups = [\"\"]\n", 3, 11, "1 to 64 bytes"),
        ("[door.vouch]\npath = \"/a\"\n", 2, 1, "did you mean `paths`?"),
        ("[[rule]]\nopen = [\"echo\"]\nsubjects = [\"a\\u0000\"]\n", 3, 13, "printable text"),
        ("[[rule]]\nopen = [\"echo\"]\ndevices = [\"abc\"]\n", 3, 12, "devices list"),
        ("[[rule]]\nopen = [\"echo\"]\nnetworks = [\"10.1.2.3/8\"]\n", 3, 13, "write 10.1.2.3 or 10.0.0.0/8"),
        ("[[rule]]\nopen = [\"echo\"]\norigins = [\"https://a.example/\"]\n", 3, 12, "https://a.example"),
        ("[[rule]]\nopen = [\"echo\"]\norigins = [\"capacitor://localhost\"]\n", 3, 12, "any app made like this one"),
        ("[[rule]]\nopen = [\"echo\"]\norigins = [\"null\"]\n", 3, 12, "sandboxed"),
        ("[[rule]]\nopen = [\"http\"]\nmethods = [\"get\"]\n", 3, 12, "GET or POST"),
        ("[[rule]]\nopen = [\"http\"]\npaths = [\"/a*\"]\n", 3, 10, "/api/*"),
        ("[[rule]]\nopen = [\"http\"]\nexcept = [\"/a/../b\"]\n", 3, 11, "several ways"),
        ("[[rule]]\nopen = [\"http\", \"echo\"]\npaths = [\"/a\"]\n", 3, 9, "a rule of its own"),
        ("[[rule]]\nopen = [\"echo\"]\nchannels = 0\n", 3, 12, "1 to"),
        ("[[rule]]\nopen = [\"echo\"]\nsize = \"5GB\"\n", 3, 8, "64KB"),
        ("[[rule]]\nname = \"a\"\nopen = [\"echo\"]\n[[rule]]\nname = \"a\"\nopen = [\"b\"]\n", 5, 8, "another rule"),
    ] {
        let errors = wrong(text);
        let is_told = errors.iter().any(|(at, from, message)| (*at, *from) == (line, column) && message.contains(said));
        assert!(is_told, "{text}: {errors:?}");
    }
}

#[test]
fn all_that_cannot_be_meant_is_told_at_once_and_a_file_is_bounded() {
    let errors = wrong("[[rule]]\nopen = [\"\"]\nlevel = 9\n[[rule]]\nopen = [\"a\"]\nchannels = -1\n");
    assert_eq!(errors.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [2, 3, 6]);
    let many = "[[rule]]\nopen = [\"a\"]\n".repeat(1_001);
    assert!(wrong(&many)[0].2.contains("1000 rules"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("a.toml");
    let error = Config::read(&file).expect_err("nothing is there").to_string();
    assert!(error.ends_with("cannot be read: No such file or directory (os error 2)"), "{error}");
    fs::write(&file, vec![b'#'; 2_000_000]).expect("written");
    assert!(Config::read(&file).is_err_and(|error| error.to_string().contains("1048576 at most")));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let good = "[door]\nlevel = 2\n[[rule]]\nopen = [\"é\"]\npaths = [\"/a/*\"]\nsize = \"1KB\"\nage = \"1h\"\n";
    for at in 0..good.len() {
        for byte in ["", "\"", "[", "=", "\n", "é", "0"] {
            if let (Some(before), Some(after)) = (good.get(..at), good.get(at + 1..)) {
                let _ = Config::parse("a.toml", &format!("{before}{byte}{after}"));
            }
        }
    }
}

#[test]
fn everything_that_the_firewall_can_be_told_is_read() {
    let text = "[firewall]\nallow = [\"192.0.2.7\", \"::ffff:192.0.2.8\"]\ndeny = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\
                allow_files = [\"office.txt\"]\ndeny_files = [\"/etc/drop.txt\", \"bad.txt\"]\nexempt = [\"10.0.0.0/8\"]\n\
                otherwise = \"deny\"\n[firewall.countries]\nfile = \"c.mmdb\"\nallow = [\"FR\", \"de\"]\nunknown = \"allow\"\n\
                [firewall.address]\nconnections_per_minute = 60\nhandshakes_per_minute = 30\nmessages_per_second = 100\n\
                bytes_per_second = \"1MB\"\nrequests_per_second = 9\n[firewall.identity]\nhandshakes_per_minute = 5\n\
                [firewall.all]\nconnections_per_minute = 6000\nbytes_per_second = \"100MB\"\n";
    let read = |text| Config::parse("a.toml", text).unwrap_or_else(|errors| panic!("{errors}")).firewall;
    let firewall = read(text);
    assert_eq!((firewall.allow.len(), firewall.deny.len(), firewall.exempt.len()), (2, 2, 1));
    assert_eq!((firewall.allow_files.len(), firewall.deny_files.len()), (1, 2));
    assert_eq!(firewall.otherwise, Otherwise::Deny);
    let countries = firewall.countries.expect("they are named");
    assert_eq!(countries.list, CountryList::Allow(vec![*b"FR", *b"DE"]));
    assert_eq!(countries.unknown, Otherwise::Allow);
    let numbers = |it: Budgets| {
        [it.connections, it.handshakes, it.messages, it.bytes, it.requests].map(|number| number.map_or(0, u32::from))
    };
    assert_eq!(numbers(firewall.address), [60, 30, 100, 1_000_000, 9]);
    assert_eq!(numbers(firewall.identity), [0, 5, 0, 0, 0]);
    assert_eq!(numbers(firewall.all), [6_000, 0, 0, 100_000_000, 0]);
    assert_eq!(read(""), FirewallSettings::default());
    let deny = read("[firewall.countries]\nfile = \"c.mmdb\"\ndeny = [\"FR\"]\n").countries.expect("they are named");
    assert_eq!(deny.unknown, Otherwise::Allow, "who is not on the list may come");
}

#[test]
fn the_examples_of_the_watchs_document_are_in_order() {
    let document = include_str!("../../../docs/WATCH.md");
    let examples: Vec<_> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        Config::parse("WATCH.md", example).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
    }
}

#[test]
fn what_is_wrong_in_the_firewall_is_told_with_its_place() {
    for (text, line, column, said) in [
        ("[firewal]\n", 1, 2, "did you mean `firewall`?"),
        ("[firewall]\ndenny = []\n", 2, 1, "did you mean `deny`?"),
        ("[firewall]\ndeny = []\n", 2, 8, "1 to 1000 entries"),
        ("[firewall]\ndeny = [\"10.0.0.0/8\", \"10.1.2.3/8\"]\n", 2, 23, "write 10.1.2.3 or 10.0.0.0/8"),
        ("[firewall]\nallow = [\"example.org\"]\n", 2, 10, "is no network: write it as"),
        ("[firewall]\ndeny_files = [\"\"]\n", 2, 15, "no file's name"),
        ("[firewall]\nallow = [\"10.0.0.0/8\"]\notherwise = \"dney\"\n", 3, 13, "did you mean \"deny\"?"),
        ("[firewall]\notherwise = \"deny\"\n", 2, 13, "nobody in but this machine"),
        ("[firewall.countries]\nfile = \"a\"\n", 1, 1, "either those that may connect, by `allow`"),
        ("[firewall.countries]\nfile = \"a\"\nallow = [\"FR\"]\ndeny = [\"DE\"]\n", 1, 1, "either those"),
        ("[firewall.countries]\nfile = \"a\"\nallow = [\"FRA\"]\n", 3, 10, "two letters, such as FR"),
        ("[firewall.countries]\nallow = [\"FR\"]\n", 1, 1, "missing field `file`"),
        ("[firewall.address]\nconnections_per_minute = 0\n", 2, 26, "leave it out for the default"),
        ("[firewall.address]\nconnections_per_second = 10\n", 2, 1, "did you mean `connections_per_minute`?"),
        ("[firewall.identity]\nconnections_per_minute = 10\n", 2, 1, "unknown field"),
        ("[firewall.all]\nbytes_per_second = \"much\"\n", 2, 20, "is a size of 1 byte to 4GB"),
    ] {
        let all = wrong(text);
        let is_told = all.iter().any(|(at, from, message)| (*at, *from) == (line, column) && message.contains(said));
        assert!(is_told, "{text}: {all:?}");
    }
}

#[test]
fn a_connection_that_was_rewritten_is_told_of_unless_the_file_refuses_it() {
    let read = |path: &str| Config::parse("f.toml", &format!("[door]\n{path}"));
    for (path, as_sent) in [("", false), ("path = \"told\"", false), ("path = \"as-sent\"", true)] {
        assert_eq!(read(path).expect(path).rules.is_as_sent(), as_sent, "{path}");
    }
    for (path, hint) in
        [("\"as_sent\"", "did you mean \"as-sent\"?"), ("\"refuse\"", "\"told\", which"), ("true", "f.toml:2")]
    {
        let error = read(&format!("path = {path}")).expect_err(path).to_string();
        assert!(error.contains(hint) && error.contains("f.toml:2:8"), "{path}: {error}");
    }
}
