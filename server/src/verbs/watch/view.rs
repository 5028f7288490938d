//! What `duologue watch` knows, and what keys do to it: no terminal here, and no server.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use duologue_server::{BanInfo, EventInfo, SessionInfo, WatchRule};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Seen, words};

/// Events that are kept.
const EVENTS_MAX: usize = 500;
/// Over which time events are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// The longest filter, in characters.
const FILTER_MAX: usize = 40;

/// What is shown.
pub(super) struct View {
    pub(super) colours: bool,
    pub(super) sessions: Vec<SessionInfo>,
    pub(super) all: usize,
    pub(super) rules: Vec<WatchRule>,
    pub(super) bans: Vec<BanInfo>,
    /// The newest last.
    pub(super) events: VecDeque<EventInfo>,
    /// How many of each kind in the last minute, the most at first.
    pub(super) rates: Vec<(String, u64)>,
    pub(super) lost: u64,
    pub(super) missed: u64,
    pub(super) is_paused: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// Which of the bans that are shown is chosen.
    pub(super) chosen: usize,
    pub(super) said: String,
    next: u64,
    /// What had been counted, each second of the last minute.
    counts: VecDeque<(Instant, HashMap<String, u64>)>,
}

/// What keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each is a command.
    Look,
    /// They are a filter's text.
    Filter,
    /// Whether this ban is to be lifted.
    Sure { what: String, which: String },
}

/// What is to be done for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Quit,
    Lift { what: String, which: String },
}

impl View {
    pub(super) fn new(colours: bool) -> Self {
        Self {
            colours,
            sessions: Vec::new(),
            all: 0,
            rules: Vec::new(),
            bans: Vec::new(),
            events: VecDeque::new(),
            rates: Vec::new(),
            lost: 0,
            missed: 0,
            is_paused: false,
            filter: String::new(),
            mode: Mode::Look,
            chosen: 0,
            said: String::new(),
            next: 0,
            counts: VecDeque::new(),
        }
    }

    /// The number behind which events are new.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Takes what the server says; while it is held, events wait at the server, as far as it keeps them.
    pub(super) fn see(&mut self, seen: Seen) {
        if self.is_paused {
            return;
        }
        let Seen { sessions, watch, bans, events, at } = seen;
        (self.sessions, self.all, self.rules, self.bans) = (sessions.sessions, sessions.all, watch.rules, bans);
        self.lost = watch.lost.iter().map(|lost| lost.count).sum();
        if self.next > 0 {
            self.missed = self.missed.saturating_add(events.missed);
        }
        self.next = events.next;
        self.events.extend(events.events);
        self.events.drain(..self.events.len().saturating_sub(EVENTS_MAX));
        self.chosen = self.chosen.min(self.shown_bans().count().saturating_sub(1));
        let counts = watch.events.into_iter().map(|kind| (kind.event, kind.count)).collect();
        self.count(at, counts);
    }

    fn count(&mut self, at: Instant, counts: HashMap<String, u64>) {
        while self.counts.get(1).is_some_and(|(before, _)| at.duration_since(*before) >= MINUTE) {
            self.counts.pop_front();
        }
        let before = self.counts.front().map(|(_, counts)| counts);
        let since = |(kind, count): (&String, &u64)| {
            let before = before.map_or(*count, |before| before.get(kind).copied().unwrap_or(0));
            // A server that was started again counts from nothing.
            let more = count.checked_sub(before).unwrap_or(*count);
            (more > 0).then(|| (kind.clone(), more))
        };
        self.rates = counts.iter().filter_map(since).collect();
        self.rates.sort_unstable_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        self.counts.push_back((at, counts));
    }

    pub(super) fn say(&mut self, said: String) {
        self.said = said;
    }

    fn has(&self, texts: &[Option<&str>]) -> bool {
        self.filter.is_empty() || texts.iter().flatten().any(|text| text.contains(&self.filter))
    }

    pub(super) fn shown_sessions(&self) -> impl Iterator<Item = &SessionInfo> {
        self.sessions.iter().filter(|one| {
            let (subject, address) =
                (one.subject.as_ref().map(duologue_server::Subject::as_str), one.address.map(|it| it.to_string()));
            self.has(&[Some(&one.device), one.name.as_deref(), subject, address.as_deref()])
        })
    }

    pub(super) fn shown_bans(&self) -> impl Iterator<Item = &BanInfo> {
        self.bans.iter().filter(|ban| self.has(&[Some(&ban.what), Some(&ban.which), Some(&ban.by)]))
    }

    /// The newest first.
    pub(super) fn shown_events(&self) -> impl Iterator<Item = &EventInfo> {
        self.events.iter().rev().filter(|one| self.has(&[Some(&one.event), one.device.as_deref(), Some(&words(one))]))
    }

    /// Somebody has pressed a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Asked {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Asked::Quit } else { Asked::Nothing };
        }
        match std::mem::replace(&mut self.mode, Mode::Look) {
            Mode::Look => return self.command(key.code),
            Mode::Filter => match key.code {
                KeyCode::Enter => {}
                KeyCode::Esc => self.filter.clear(),
                other => {
                    self.mode = Mode::Filter;
                    match other {
                        KeyCode::Char(char) if self.filter.chars().count() < FILTER_MAX => self.filter.push(char),
                        KeyCode::Backspace => drop(self.filter.pop()),
                        _ => {}
                    }
                }
            },
            Mode::Sure { what, which } if matches!(key.code, KeyCode::Char('y')) => {
                return Asked::Lift { what, which };
            }
            Mode::Sure { .. } => self.said = "the ban stays".to_owned(),
        }
        Asked::Nothing
    }

    fn command(&mut self, code: KeyCode) -> Asked {
        self.said.clear();
        match code {
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down => self.chosen = (self.chosen + 1).min(self.shown_bans().count().saturating_sub(1)),
            KeyCode::Char('l') => {
                let chosen = self.shown_bans().nth(self.chosen).cloned();
                match chosen {
                    Some(BanInfo { what, which, .. }) => self.mode = Mode::Sure { what, which },
                    None => self.said = "nobody is kept out".to_owned(),
                }
            }
            _ => {}
        }
        Asked::Nothing
    }
}
