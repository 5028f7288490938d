//! The picture of `duologue watch`: five tables and a line of keys, in 80 × 24 and more. What is told by colour is told by a word or
//! a sign as well.

use duologue_server::{BanInfo, EventInfo, SessionInfo, WatchRule, shown};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::{
    super::owner::when,
    view::{Mode, View},
    words,
};

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(5),
        Constraint::Fill(6),
        Constraint::Fill(4),
        Constraint::Fill(7),
        Constraint::Length(1),
    ]);
    let [head, sessions, middle, bans, events, foot] = rows.areas(frame.area());
    let [rates, rules] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(middle);
    frame.render_widget(Paragraph::new(title(view)), head);
    let lines = view.shown_sessions().map(session).collect();
    table(frame, view, sessions, &format!("Sessions ({})", view.all), lines, "nobody is here");
    let lines = view.rates.iter().map(|(kind, count)| Line::raw(format!("{count:>7}  {kind}"))).collect();
    table(frame, view, rates, "Events in the last minute", lines, "none");
    let mut by_match: Vec<_> = view.rules.iter().collect();
    by_match.sort_by_key(|rule| std::cmp::Reverse((rule.matched, rule.counted)));
    let lines = by_match.into_iter().map(|one| rule(view, one)).collect();
    table(frame, view, rules, "Rules (matched, counted)", lines, "no rule");
    // The chosen one is always seen.
    let room = usize::from(bans.height.saturating_sub(1)).max(1);
    let first = (view.chosen + 1).saturating_sub(room);
    let lines = view.shown_bans().enumerate().skip(first).map(|(at, one)| ban(view, at == view.chosen, one)).collect();
    table(frame, view, bans, &format!("Bans ({})", view.bans.len()), lines, "nobody is kept out");
    let lines = view.shown_events().map(|one| event(view, one)).collect();
    table(frame, view, events, "Events, the newest first", lines, "nothing has happened");
    frame.render_widget(Paragraph::new(keys(view)), foot);
}

fn title(view: &View) -> Line<'static> {
    let held = if view.is_paused { "  HELD" } else { "" };
    let filter = if view.filter.is_empty() { String::new() } else { format!("  with \"{}\"", shown(&view.filter)) };
    let gone = match (view.lost, view.missed) {
        (0, 0) => String::new(),
        (lost, missed) => format!("  lost {lost}, not shown {missed}"),
    };
    Line::styled(format!("duologue watch{held}{filter}{gone}"), Style::new().add_modifier(Modifier::BOLD))
}

fn keys(view: &View) -> Line<'static> {
    match &view.mode {
        Mode::Filter => Line::raw(format!("filter: {}_  (Enter: keep, Esc: none)", shown(&view.filter))),
        Mode::Sure { what, which } => Line::raw(format!("let {what} {} in again? y/n", shown(which))),
        Mode::Look if !view.said.is_empty() => Line::raw(shown(&view.said)),
        Mode::Look => Line::raw("q quit  p hold  / filter  up/down choose a ban  l let in again"),
    }
}

fn table(frame: &mut Frame<'_>, view: &View, area: Rect, title: &str, mut lines: Vec<Line<'static>>, none: &str) {
    let heading = if view.colours { Style::new().fg(Color::Cyan) } else { Style::new() };
    let block = Block::new().borders(Borders::TOP).title(Span::styled(format!("{title} "), heading));
    let room = usize::from(block.inner(area).height);
    if lines.is_empty() {
        lines.push(Line::raw(format!("  {none}")));
    } else if lines.len() > room && room > 0 {
        let more = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(Line::raw(format!("  and {more} more")));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn session(one: &SessionInfo) -> Line<'static> {
    let SessionInfo { device, name, subject, level, address, since, connected, received, sent, .. } = one;
    let name = name.as_deref().map_or_else(|| "not let in".to_owned(), shown);
    let short: String = device.chars().take(8).collect();
    let subject = subject.as_ref().map(|subject| shown(subject.as_str())).unwrap_or_default();
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let moved = if *connected { format!("↓{} ↑{}", size(*received), size(*sent)) } else { "away".to_owned() };
    Line::raw(format!(
        "{} {} {} {} {} {}  {}",
        fit(&short, 8),
        fit(&name, 16),
        level.number(),
        fit(&subject, 8),
        fit(&address, 15),
        clock(*since),
        moved
    ))
}

fn rule(view: &View, rule: &WatchRule) -> Line<'static> {
    let WatchRule { name, measure, dry, counted, matched, .. } = rule;
    let dry = if *dry { ", dry" } else { "" };
    let text = format!("{matched:>4} {counted:>7}  {} ({measure}{dry})", shown(name));
    Line::styled(text, warns(view, *matched > 0))
}

fn ban(view: &View, is_chosen: bool, ban: &BanInfo) -> Line<'static> {
    let BanInfo { what, which, by, until, .. } = ban;
    let sign = if is_chosen { '>' } else { ' ' };
    let text = format!("{sign} {what} {}  by {}  until {}", fit(&shown(which), 28), shown(by), when(*until));
    let style = if is_chosen { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
    Line::styled(text, if view.colours && is_chosen { style.fg(Color::Yellow) } else { style })
}

fn event(view: &View, event: &EventInfo) -> Line<'static> {
    let is_bad = matches!(event.level.as_str(), "warn" | "error");
    let sign = if is_bad { '!' } else { ' ' };
    let text = format!("{}{sign}{} {}", clock(event.at / 1_000), fit(&event.event, 22), words(event));
    Line::styled(text, warns(view, is_bad))
}

fn warns(view: &View, is_bad: bool) -> Style {
    if view.colours && is_bad { Style::new().fg(Color::Red) } else { Style::new() }
}

/// Hours, minutes and seconds, UTC, as everywhere in the terminal.
fn clock(secs: u64) -> String {
    let secs = secs % 86_400;
    format!("{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

/// In this many columns, with a dot where something is left out.
fn fit(text: &str, width: usize) -> String {
    let is_longer = Span::raw(text).width() > width;
    let room = if is_longer { width - 1 } else { width };
    let mut fitted = String::new();
    for char in text.chars() {
        if Span::raw(format!("{fitted}{char}")).width() > room {
            break;
        }
        fitted.push(char);
    }
    if is_longer {
        fitted.push('…');
    }
    let missing = width.saturating_sub(Span::raw(&*fitted).width());
    fitted + &" ".repeat(missing)
}

fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10_000 && unit + 1 < units.len() {
        (value, unit) = (value / 1_000, unit + 1);
    }
    format!("{value} {}", units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests;
