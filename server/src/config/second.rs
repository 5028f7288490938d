//! Tests only: a second evaluator of the policy, written from docs/POLICY.md alone, over the texts of a file; it shares no code with
//! the first. Both are asked the same in random cases, by `explain` and by real lines, and must name the same rule.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use axum::{Router, routing::any};
use duologue::{ChannelError, DeviceId, ResetCode};
use duologue_client::{Client, Keyring, Line, LineError, Target};
use fastrand::Rng;
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::Config;
use crate::{
    door::{
        evidence::Transport,
        gate::now,
        policy::Policy,
        seat::Has,
        standing::{Group, Level, Proof, Standing, Subject},
    },
    front::http::serve,
    lines::{
        Duologue,
        explain::{File, Question, explain},
    },
    services::{self, http::Http},
    state::{State, store::Known},
    watch::text,
};

/// A rule as it stands in a file: its keys and their entries.
#[derive(Clone, Debug, Default)]
struct Written {
    open: Vec<&'static str>,
    lists: Vec<(&'static str, Vec<String>)>,
    level: Option<u8>,
    age: Option<u64>,
}

/// What is asked, and by whom.
#[derive(Clone, Debug)]
struct Asked {
    device: DeviceId,
    subject: Option<&'static str>,
    groups: Vec<&'static str>,
    level: u8,
    /// How many seconds ago.
    present: Option<i64>,
    address: IpAddr,
    origin: Option<&'static str>,
    label: &'static str,
    request: Option<(String, &'static str)>,
}

const LABELS: [&str; 11] =
    ["echo", "http", "http", "http", "echo", "Echo", "app/a", "app/", "echo\0", "\u{ff45}cho", "owner"];
const OPENS: [&str; 8] = ["echo", "http", "app/*", "*", "app/a", "htt*", "owner", "own*"];
const SUBJECTS: [&str; 4] = ["ada", "Ada", "ben", "\u{e9}ve"];
const GROUPS: [&str; 3] = ["staff", "Staff", "admins"];
const NETWORKS: [&str; 6] = ["10.0.0.0/8", "192.0.2.0/25", "127.0.0.1", "fd00::/8", "::1", "0.0.0.0/1"];
const ADDRESSES: [&str; 9] =
    ["10.1.2.3", "192.0.2.127", "192.0.2.128", "127.0.0.1", "fd12::1", "fe80::1", "::ffff:10.9.9.9", "0.0.0.0", "::1"];
const ORIGINS: [&str; 3] = ["https://a.example", "https://a.example:8443", "http://localhost:5173"];
const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "PUT"];
const ASKED_METHODS: [&str; 5] = ["GET", "POST", "DELETE", "PUT", "post"];
const PATTERNS: [&str; 8] = ["/*", "/api/*", "/admin/*", "/login", "/api/admin/*", "/caf%C3%A9/*", "/", "/Users/*"];
const PARTS: [&str; 30] = [
    "api",
    "admin",
    "login",
    "Admin",
    "users",
    "u\u{17f}ers",
    "a",
    "%61dmin",
    "%2561pi",
    "%41PI",
    "caf%C3%A9",
    "CAF%c3%89",
    "",
    ";x",
    "admin;a=b",
    "api.",
    "login%20",
    "%2e%2e",
    "%252e%252e",
    "...",
    "%00",
    "%E2%80%8B",
    "%FF",
    "%EF%BD%81pi",
    "a%2fb",
    "admin%5ca",
    "%25252525252e",
    "100%",
    "%zz",
    "login",
];

fn some<T: Copy>(random: &mut Rng, all: &[T]) -> Vec<T> {
    let number = random.usize(1..=2);
    random.choose_multiple(all.iter().copied(), number)
}

fn one<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(0..all.len())]
}

fn path(random: &mut Rng) -> String {
    let parts: Vec<_> = (0..random.usize(0..4)).map(|_| one(random, &PARTS)).collect();
    let written = format!("/{}", parts.join("/"));
    // A client writes what is not ASCII with escapes.
    let escape = |char: char| match char.is_ascii() {
        true => char.to_string(),
        false => char.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    };
    written.chars().map(escape).collect()
}

impl Written {
    fn new(random: &mut Rng, device: DeviceId) -> Self {
        let mut rule = Self { open: some(random, &OPENS), ..Self::default() };
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let lists: [(&'static str, &[&'static str], u32); 7] = [
            ("subjects", &SUBJECTS, 8),
            ("groups", &GROUPS, 8),
            ("networks", &NETWORKS, 9),
            ("origins", &ORIGINS, 12),
            ("methods", &METHODS, 5),
            ("paths", &PATTERNS, 3),
            ("except", &PATTERNS, 4),
        ];
        let is_of_requests = !rule.open.contains(&"echo");
        for (key, all, rarely) in lists {
            if (is_of_requests || !["methods", "paths", "except"].contains(&key)) && random.u32(0..rarely) == 0 {
                rule.lists.push((key, owned(some(random, all))));
            }
        }
        if random.u32(0..8) == 0 {
            let device = if random.bool() { device } else { DeviceId([9; 32]) };
            rule.lists.push(("devices", vec![device.to_string()]));
        }
        match random.u32(0..8) {
            0 => rule.level = Some(random.u8(0..=3)),
            1 => rule.age = Some(one(random, &[60, 600])),
            _ => {}
        }
        rule
    }

    fn toml(&self) -> String {
        let list = |texts: &[String]| format!("{texts:?}");
        let mut text = format!("[[rule]]\nopen = {:?}\n", self.open);
        for (key, entries) in &self.lists {
            text.push_str(&format!("{key} = {}\n", list(entries)));
        }
        if let Some(level) = self.level {
            text.push_str(&match level {
                2 => "level = \"account\"\n".to_owned(),
                number => format!("level = {number}\n"),
            });
        }
        if let Some(age) = self.age {
            text.push_str(&format!("age = \"{}m\"\n", age / 60));
        }
        text
    }

    fn list(&self, key: &str) -> Option<&[String]> {
        self.lists.iter().find(|(other, _)| *other == key).map(|(_, list)| list.as_slice())
    }

    /// Point by point, as the table of the document has it.
    fn opens(&self, asked: &Asked, default_level: u8) -> bool {
        let opens_label = self.open.iter().any(|open| match open.strip_suffix('*') {
            Some(start) => asked.label != "owner" && asked.label.as_bytes().starts_with(start.as_bytes()),
            None => asked.label.as_bytes() == open.as_bytes(),
        });
        let holds =
            |key: &str, is: &dyn Fn(&str) -> bool| self.list(key).is_none_or(|list| list.iter().any(|it| is(it)));
        let level = if self.age.is_some() { 3 } else { self.level.unwrap_or(default_level) };
        opens_label
            && holds("subjects", &|it| asked.subject == Some(it))
            && holds("groups", &|it| asked.groups.contains(&it))
            && holds("devices", &|it| asked.device.to_string() == it)
            && holds("networks", &|it| is_in(asked.address, it))
            && holds("origins", &|it| asked.origin == Some(it))
            && asked.level >= level
            && self
                .age
                .is_none_or(|age| asked.present.is_some_and(|ago| (0..i64::try_from(age).unwrap_or(0)).contains(&ago)))
            && self.opens_request(asked)
    }

    fn opens_request(&self, asked: &Asked) -> bool {
        let Some((path, method)) = &asked.request else {
            let is_of_requests = ["methods", "paths", "except"].iter().any(|key| self.list(key).is_some());
            return asked.label == "http" || !is_of_requests;
        };
        let reading = reading(path);
        let is_one = |it: &String| match it.strip_suffix("/*") {
            Some(base) => *path == base || path.starts_with(&format!("{base}/")),
            None => path == it,
        };
        let is_read_as = |it: &String| {
            let (base, below) = it.strip_suffix("/*").map_or((it.as_str(), false), |base| (base, true));
            let entry = self::reading(base).expect("an entry can be read");
            reading.as_ref().is_some_and(|read| match below {
                true => read.starts_with(&entry),
                false => *read == entry,
            })
        };
        self.list("methods").is_none_or(|list| list.iter().any(|it| it == method))
            && self.list("paths").is_none_or(|list| reading.is_some() && list.iter().any(is_one))
            && self.list("except").is_none_or(|list| reading.is_some() && !list.iter().any(is_read_as))
    }
}

/// "How a path is read": its segments.
fn reading(path: &str) -> Option<Vec<String>> {
    let mut bytes = path.to_owned().into_bytes();
    for layer in 0.. {
        let mut next = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let hex = std::str::from_utf8(after.get(..2).unwrap_or_default()).unwrap_or_default();
            let is_escape = *first == b'%' && hex.len() == 2 && hex.chars().all(|char| char.is_ascii_hexdigit());
            next.push(if is_escape { u8::from_str_radix(hex, 16).expect("two digits") } else { *first });
            rest = if is_escape { &after[2..] } else { after };
        }
        if next.len() == bytes.len() {
            break;
        }
        if layer == 4 {
            return None;
        }
        bytes = next;
    }
    let nfkc = |text: &str| ComposingNormalizerBorrowed::new_nfkc().normalize(text).into_owned();
    let text = nfkc(&nfkc(std::str::from_utf8(&bytes).ok()?).to_uppercase().to_lowercase());
    if text.chars().any(text::is_hiding) {
        return None;
    }
    let mut segments = Vec::new();
    for segment in text.replace('\\', "/").split('/') {
        let name = segment.find(';').map_or(segment, |at| &segment[..at]);
        let cut = name.trim_end_matches(['.', ' ']);
        if cut.is_empty() && !name.is_empty() {
            return None;
        }
        if !cut.is_empty() {
            segments.push(cut.to_owned());
        }
    }
    Some(segments)
}

/// Bit by bit.
fn is_in(address: IpAddr, network: &str) -> bool {
    fn bits(address: IpAddr) -> (bool, u128) {
        match address {
            IpAddr::V4(v4) => (true, u128::from(u32::from(v4)) << 96),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => (true, u128::from(u32::from(v4)) << 96),
                None => (false, u128::from(v6)),
            },
        }
    }
    let (base, len) = network.split_once('/').unwrap_or((network, "128"));
    let (is_v4, base) = bits(base.parse().expect("an address"));
    let len: u32 = len.parse().expect("a number");
    let (other_is_v4, other) = bits(address);
    address != IpAddr::from([0, 0, 0, 0])
        && is_v4 == other_is_v4
        && (base ^ other).checked_shr(128 - len).unwrap_or(0) == 0
}

/// The name of the first rule that opens.
fn second(rules: &[Written], default_level: u8, asked: &Asked) -> Option<String> {
    rules.iter().position(|rule| rule.opens(asked, default_level)).map(|at| format!("rule {}", at + 1))
}

fn file(random: &mut Rng, device: DeviceId) -> (Vec<Written>, u8, Config) {
    let rules: Vec<_> = (0..random.usize(0..9)).map(|_| Written::new(random, device)).collect();
    let (default_level, door) = match random.u32(0..4) {
        0 => (2, "[door]\nlevel = 2\n"),
        _ => (1, ""),
    };
    let text = door.to_owned() + &rules.iter().map(Written::toml).collect::<String>();
    let config = Config::parse("random", &text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    (rules, default_level, config)
}

fn standing(asked: &Asked) -> Standing {
    let ago = |secs: i64| now().checked_add_signed(-secs).expect("after 1970");
    Standing {
        subject: asked.subject.map(|subject| Subject::new(subject).expect("a subject")),
        groups: asked.groups.iter().map(|group| Group::new(group).expect("a group")).collect(),
        level: Level::ALL[usize::from(asked.level)],
        until: None,
        present_at: asked.present.map(ago),
        proof: Proof::Hook,
    }
}

fn asked(random: &mut Rng, device: DeviceId) -> Asked {
    let label = one(random, &LABELS);
    Asked {
        device,
        subject: random.bool().then(|| one(random, &SUBJECTS)),
        groups: if random.bool() { some(random, &GROUPS) } else { Vec::new() },
        level: random.u8(0..=3),
        // Never so near a bound that a second that passes meanwhile decides.
        present: random.bool().then(|| one(random, &[-1_000, 20, 300, 3_000])),
        address: one(random, &ADDRESSES).parse().expect("an address"),
        origin: random.bool().then(|| one(random, &ORIGINS)),
        label,
        request: (label == "http" && random.u32(0..5) > 0).then(|| (path(random), one(random, &ASKED_METHODS))),
    }
}

fn seed() -> u64 {
    let told = std::env::var("DUOLOGUE_POLICY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = told.unwrap_or_else(|| fastrand::u64(..));
    println!("DUOLOGUE_POLICY_SEED={seed}");
    seed
}

#[test]
fn explain_and_a_second_evaluator_name_the_same_rule_in_100_000_random_cases() {
    let mut random = Rng::with_seed(seed());
    let device = DeviceId([7; 32]);
    let (mut opened, mut named) = (0, BTreeSet::new());
    for _ in 0..10_000 {
        let (rules, default_level, config) = file(&mut random, device);
        for _ in 0..10 {
            let asked = asked(&mut random, device);
            let request = asked.request.as_ref().map(|(path, method)| (path.as_str(), *method));
            let transport = Transport {
                address: asked.address,
                origin: asked.origin.map(str::to_owned),
                app_origin: None,
                ..Transport::default()
            };
            let question = Question {
                device,
                label: asked.label,
                request,
                supposed: Some(standing(&asked)),
                transport: Some(transport),
                signed_out_at: None,
            };
            let first = explain(
                None,
                Some(File { rules: config.rules.clone(), hook: None }),
                Has::of(&Known::default()),
                question,
            )
            .expect("there are rules");
            let first_rule = first.rule.clone().filter(|_| first.allowed);
            let second = second(&rules, default_level, &asked);
            assert_eq!(first_rule, second, "{asked:?}\n{}", rules.iter().map(Written::toml).collect::<String>());
            opened += usize::from(second.is_some());
            named.extend(second);
        }
    }
    println!("{opened} of 100,000 are open, by {named:?}");
    assert!((20_000..80_000).contains(&opened), "cases of both kinds");
}

/// Whether a passkey of its person would open it, and no login would, who is known, and whose device was let in.
fn second_when_present(rules: &[Written], default_level: u8, asked: &Asked) -> bool {
    let opens = |level, present| second(rules, default_level, &Asked { level, present, ..asked.clone() }).is_some();
    asked.subject.is_some() && asked.level >= 1 && opens(3, Some(0)) && !opens(2, None)
}

/// How a real line hears of it.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Open,
    NotAllowed,
    StepUpNeeded,
    /// A channel for requests was reset before its request was known.
    Reset,
}

async fn ask(line: &Line, asked: &Asked) -> Result<Heard, String> {
    let Some((path, method)) = &asked.request else {
        return match line.request(asked.label, "a").await {
            Ok(_) | Err(LineError::NoAnswer) => Ok(Heard::Open),
            // Open, and there is no such service.
            Err(LineError::Channel(ChannelError::Reset(ResetCode::Refused))) => Ok(Heard::Open),
            Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed))) => Ok(Heard::NotAllowed),
            Err(LineError::Channel(ChannelError::Reset(ResetCode::StepUpNeeded))) => Ok(Heard::StepUpNeeded),
            other => Err(format!("{other:?}")),
        };
    };
    let mut stream = line.stream("http").map_err(|error| error.to_string())?;
    let head = serde_json::json!({ "method": method, "target": path, "headers": [], "length": 0 });
    let _ = stream.write_all(format!("{head}\n").as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer).await {
        Ok(_) if answer.starts_with("{\"status\":200") => Ok(Heard::Open),
        Ok(_) if answer.starts_with("{\"error\":\"not-allowed\"") => Ok(Heard::NotAllowed),
        Ok(_) if answer.starts_with("{\"error\":\"step-up-needed\"") => Ok(Heard::StepUpNeeded),
        Ok(_) => Err(answer),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(Heard::Reset),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn real_lines_and_a_second_evaluator_agree_in_1_000_random_cases() {
    let mut random = Rng::with_seed(seed());
    let backend = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", backend.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(backend, Router::new().fallback(any(|| async { "ok" }))).await });
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
    let http = Http::new(&address).expect("an address");
    let duologue = Duologue::new(state, Policy::loopback()).service("echo", services::echo).service("http", http);
    // More is refused here than any page asks for.
    let dry = "[[watch.rule]]\nname = \"labels-refused\"\nevents = [\"not-allowed\"]\nby = \"device\"\nthreshold = 600\n\
               window = \"1m\"\nmeasure = \"close\"\ndry = true\n";
    duologue.set_watch(&Config::parse("dry", dry).expect("it is right").watch);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki());
    let target = Target::parse(&invite.to_link(&address)).expect("a link");
    let line = Client::new(keyring).connect(&target).await.expect("the invite is good");
    let seat = duologue.directory().seat(device).expect("it is connected");
    let (mut decided, mut opened, mut stepped_up) = (0, 0, 0);
    // Some seeds meet few who would be let in by a passkey.
    while decided < 1_000 || (stepped_up <= 10 && decided < 5_000) {
        let (rules, default_level, config) = file(&mut random, device);
        duologue.set_rules(config.rules);
        for _ in 0..10 {
            let mut asked = asked(&mut random, device);
            (asked.address, asked.origin) = ([127, 0, 0, 1].into(), None);
            // A session has one subject, as long as it lives.
            asked.subject = Some("ada");
            if matches!(asked.label, "http") && asked.request.is_none() {
                // What such a channel says without a request is nothing.
                continue;
            }
            seat.sign_out();
            seat.prove(standing(&asked)).expect("it has no subject of its own");
            let second = second(&rules, default_level, &asked);
            let shown = format!("{asked:?}\n{}", rules.iter().map(Written::toml).collect::<String>());
            match ask(&line, &asked).await {
                Ok(Heard::Reset) => assert_eq!(second, None, "{shown}"),
                Ok(first) => {
                    let second = match &second {
                        Some(_) => Heard::Open,
                        None if second_when_present(&rules, default_level, &asked) => Heard::StepUpNeeded,
                        None => Heard::NotAllowed,
                    };
                    stepped_up += usize::from(first == Heard::StepUpNeeded);
                    assert_eq!(first, second, "{shown}");
                }
                // Not forwarded at all, whoever asks.
                Err(answer) if answer.contains("bad-request") => continue,
                Err(other) => panic!("{other}: {shown}"),
            }
            decided += 1;
            opened += usize::from(second.is_some());
        }
    }
    println!("{opened} of {decided} were open over a real line, {stepped_up} wanted a person who is there");
    assert!(stepped_up > 10, "cases of each kind");
    assert!((100..900).contains(&opened), "cases of both kinds");
}
