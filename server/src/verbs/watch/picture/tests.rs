use std::time::{Duration, Instant};

use duologue_server::{EventList, KindCount, Level, SessionList, WatchList};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::*;
use crate::verbs::watch::{Seen, view::Asked};

fn session(name: Option<&str>, device: &str, level: Level, connected: bool) -> SessionInfo {
    SessionInfo {
        id: device.to_owned(),
        device: device.to_owned(),
        name: name.map(str::to_owned),
        subject: None,
        level,
        address: Some([192, 0, 2, 1].into()),
        since: 1_790_000_000,
        connected,
        received: 12_345_678,
        sent: 4_321,
    }
}

fn event(number: u64, event: &str, level: &str, note: &str) -> EventInfo {
    EventInfo {
        number,
        at: 1_790_000_000_000 + number * 1_000,
        event: event.to_owned(),
        whose: "device".to_owned(),
        level: level.to_owned(),
        device: Some("J4sCGqfwIO".to_owned()),
        subject: None,
        address: Some([192, 0, 2, 7].into()),
        label: None,
        code: None,
        note: Some(note.to_owned()),
    }
}

fn ban(which: &str, by: &str) -> BanInfo {
    let which = which.to_owned();
    BanInfo { what: "address".to_owned(), which, by: by.to_owned(), since: 1, until: 1_790_003_600, repeats: 0 }
}

fn rule(name: &str, counted: u64, matched: u64) -> WatchRule {
    WatchRule {
        name: name.to_owned(),
        events: Vec::new(),
        by: "address".to_owned(),
        threshold: 20,
        window_secs: 60,
        measure: "slow".to_owned(),
        dry: false,
        counted,
        matched,
    }
}

fn seen(at: Instant, failed: u64, bans: &[&str]) -> Seen {
    let count = |event: &str, count| KindCount { event: event.to_owned(), count };
    Seen {
        sessions: SessionList {
            sessions: vec![
                session(Some("Ada\u{2019}s phone \u{1b}[2J"), "J4sCGqfwIO", Level::Present, true),
                session(None, "_WIrtEggYt", Level::Guest, false),
            ],
            all: 2,
        },
        watch: WatchList {
            rules: vec![rule("handshakes-failed", failed, 0), rule("invites-guessed", 40, 2)],
            events: vec![count("handshake-failed", failed), count("line-open", 2)],
            lost: vec![count("connection-failed", 3)],
            ways: Vec::new(),
        },
        bans: bans.iter().map(|which| ban(which, "invites-guessed")).collect(),
        events: EventList {
            events: vec![
                event(1, "line-open", "info", "Ada\u{2019}s phone"),
                event(2, "invite-refused", "warn", "invite-used"),
            ],
            next: 2,
            missed: 0,
        },
        at,
    }
}

fn drawn(view: &View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("in memory");
    terminal.draw(|frame| draw(frame, view)).expect("in memory");
    terminal.backend().to_string()
}

fn press(view: &mut View, code: KeyCode) -> Asked {
    view.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn everything_is_seen_in_80_by_24_without_colours() {
    let (mut view, start) = (View::new(false), Instant::now());
    view.see(seen(start, 10, &["192.0.2.7", "2001:db8::/64"]));
    view.see(seen(start + Duration::from_secs(30), 25, &["192.0.2.7", "2001:db8::/64"]));
    let picture = drawn(&view);
    println!("{picture}");
    for text in [
        "duologue watch  lost 3",
        "Sessions (2)",
        "J4sCGqfw Ada\u{2019}s phone \u{fffd}[2J 3",
        "↓12 MB ↑4321 B",
        "_WIrtEgg not let in",
        "away",
        "     15  handshake-failed",
        "   2      40  invites-guessed (slow)",
        "> address 192.0.2.7",
        "  address 2001:db8::/64",
        "!invite-refused",
        "q quit  p hold  / filter",
    ] {
        assert!(picture.contains(text), "{text}\n{picture}");
    }
    let cells = {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("in memory");
        terminal.draw(|frame| draw(frame, &view)).expect("in memory");
        terminal.backend().buffer().content.clone()
    };
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "no colour");
    view.colours = true;
    assert!(drawn(&view).contains("Sessions (2)"));
}

#[test]
fn keys_hold_filter_and_lift_only_after_a_question() {
    let (mut view, start) = (View::new(false), Instant::now());
    view.see(seen(start, 10, &["192.0.2.7", "198.51.100.9"]));
    // Held, nothing changes.
    assert_eq!(press(&mut view, KeyCode::Char('p')), Asked::Nothing);
    view.see(seen(start, 10, &[]));
    let picture = drawn(&view);
    assert!(picture.contains("HELD") && picture.contains("198.51.100.9"), "{picture}");
    press(&mut view, KeyCode::Char('p'));
    // The second one, and no.
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::Char('l'));
    assert!(drawn(&view).contains("let address 198.51.100.9 in again? y/n"));
    assert_eq!(press(&mut view, KeyCode::Char('n')), Asked::Nothing);
    press(&mut view, KeyCode::Char('l'));
    let lift = Asked::Lift { what: "address".to_owned(), which: "198.51.100.9".to_owned() };
    assert_eq!(press(&mut view, KeyCode::Char('y')), lift);
    // A filter, whose letters are no commands.
    for char in "/invite-q".chars() {
        assert_eq!(press(&mut view, KeyCode::Char(char)), Asked::Nothing);
    }
    press(&mut view, KeyCode::Backspace);
    press(&mut view, KeyCode::Enter);
    let picture = drawn(&view);
    assert!(picture.contains("invite-refused") && !picture.contains("line-open  "), "{picture}");
    press(&mut view, KeyCode::Esc);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Asked::Quit);
    let interrupted = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(interrupted), Asked::Quit);
}

#[test]
fn a_server_that_was_started_again_and_one_that_is_small_are_drawn_too() {
    let (mut view, start) = (View::new(true), Instant::now());
    view.see(seen(start, 1_000, &[]));
    view.see(seen(start + Duration::from_secs(1), 5, &[]));
    assert_eq!(view.rates.first(), Some(&("handshake-failed".to_owned(), 5)));
    for (width, height) in [(80, 24), (20, 5), (1, 1), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
        terminal.draw(|frame| draw(frame, &view)).expect("in memory");
    }
}
