//! The configurations of docs/PROXIES.md, which are marked by `<!-- tested: PROXY FILE -->` in the line before.

use std::path::Path;

use crate::server::workspace;

/// What stands for something else on that page, in the order of replacement: each is a whole word there.
const NAME: &str = "example.org";
const FOLDER: &str = "/etc/tls";
/// The ports of the page: where the proxy listens, where the server does, and what Varnish has between itself and hitch.
const PORTS: [&str; 3] = ["443", "8080", "6081"];

/// What the words of the page stand for in a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Where `cert.pem`, `key.pem` and `both.pem` are, and the configuration.
    pub(super) folder: &'a Path,
    /// In the order of [`PORTS`].
    pub(super) ports: [u16; 3],
    /// Lines that have this are left out.
    pub(super) without: Option<&'a str>,
}

/// One marked block.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    proxy: &'a str,
    file: &'a str,
    text: String,
}

/// The files of a proxy's configuration: their names, and what is in them.
pub(super) fn files_of(proxy: &str, place: Place<'_>) -> Vec<(String, String)> {
    let page = read();
    let files: Vec<_> = blocks(&page)
        .into_iter()
        .filter(|block| block.proxy == proxy)
        .map(|block| (block.file.to_owned(), in_place(&block.text, place)))
        .collect();
    assert!(!files.is_empty(), "docs/PROXIES.md has no configuration for {proxy}");
    files
}

fn read() -> String {
    std::fs::read_to_string(workspace().join("docs/PROXIES.md")).expect("docs/PROXIES.md is there")
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- tested: ") else { continue };
        let names = mark.strip_suffix(" -->").and_then(|names| names.split_once(' '));
        let (proxy, file) = names.unwrap_or_else(|| panic!("{line:?} should name a proxy and a file"));
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "{line:?} stands before {fence:?}, not before a block");
        let text = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        blocks.push(Block { proxy, file, text });
    }
    blocks
}

fn in_place(text: &str, place: Place<'_>) -> String {
    let folder = place.folder.to_str().expect("temporary folders are named in UTF-8");
    let is_left = |line: &&str| place.without.is_none_or(|without| !line.contains(without));
    let text: String = text.split_inclusive('\n').filter(is_left).collect();
    let mut text = text.replace(NAME, "localhost").replace(FOLDER, folder);
    for (port, own) in PORTS.into_iter().zip(place.ports) {
        text = with_number(&text, port, own);
    }
    text
}

/// The text with a number replaced where it stands by itself, and is no part of a longer one.
fn with_number(text: &str, number: &str, by: u16) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        let is_part = before.ends_with(|c: char| c.is_ascii_digit()) || after.starts_with(|c: char| c.is_ascii_digit());
        replaced.push_str(before);
        replaced.push_str(&if is_part { number.to_owned() } else { by.to_string() });
        rest = after;
    }
    replaced + rest
}

#[test]
fn every_configuration_of_the_page_is_marked_and_names_the_servers_port() {
    let page = read();
    let (_, configurations) = page.split_once("## Configurations\n").expect("the page has that part");
    let (configurations, _) = configurations.split_once("\n## ").expect("another part follows");
    let fences = configurations.lines().filter(|line| line.starts_with("```")).count();
    let blocks = blocks(configurations);
    assert_eq!(fences, 2 * blocks.len(), "a block is not marked");
    for proxy in blocks.iter().map(|block| block.proxy) {
        assert!(super::cases::ALL.contains(&proxy), "{proxy} is on the page, and no test runs it");
        let files: Vec<_> = blocks.iter().filter(|block| block.proxy == proxy).collect();
        for port in ["443", "8080"] {
            assert!(files.iter().any(|block| with_number(&block.text, port, 1) != block.text), "{proxy}: no {port}");
        }
    }
    for proxy in super::cases::ALL {
        assert!(blocks.iter().any(|block| block.proxy == *proxy), "{proxy} is run, and not on the page");
    }
}

#[test]
fn what_stands_for_something_is_replaced_as_a_whole_word() {
    let place = Place { folder: Path::new("/tmp/x"), ports: [1, 2, 3], without: None };
    let text = "listen 443 example.org; 127.0.0.1:8080, 4430 14430 /etc/tls/key.pem :443";
    assert_eq!(in_place(text, place), "listen 1 localhost; 127.0.0.1:2, 4430 14430 /tmp/x/key.pem :1");
}
