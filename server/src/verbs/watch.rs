//! `duologue watch`: what happens, live: in a terminal as a picture, else as lines. By the local API, as all of the owner's verbs.
//!
//! ```text
//! each second ─► /sessions, /watch, /bans, /events?after=N ─► View ─► draw (watch/picture.rs)
//! a key ─► View ─► perhaps /bans/lift
//! ```

mod picture;
mod view;

use std::{
    io::{IsTerminal, stdin, stdout},
    time::{Duration, Instant},
};

use duologue_server::{BanInfo, BanList, EventInfo, EventList, LiftBan, SessionList, WatchList, shown};
use hyper::Method;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::sync::mpsc;

use super::{
    bans,
    owner::{Owner, when},
    say,
};
use view::{Asked, View};

/// How often it is asked what there is.
const LOOK: Duration = Duration::from_secs(1);
/// The same where events are lines.
const LISTEN: Duration = Duration::from_millis(500);
/// How often it is looked whether somebody has pressed a key, after the picture has gone.
const KEYS: Duration = Duration::from_millis(200);

/// What happens here, live; in a terminal q ends it, p holds it, / filters, and l lets somebody in again. Where its output goes
/// elsewhere, and with --json, each event is a line.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Watch {
    #[command(flatten)]
    owner: Owner,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists the rules and what they have counted, all events since the start, what was lost, and on which networks' way lines
    /// are altered.
    List {
        #[command(flatten)]
        owner: Owner,
    },
}

impl Watch {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.what {
            Some(What::List { owner }) => {
                let list: WatchList = owner.get("/watch").await?;
                owner.tell(&list, bans::lines);
                Ok(())
            }
            None if self.owner.is_json() || !stdin().is_terminal() || !stdout().is_terminal() => {
                listen(&self.owner).await
            }
            None => {
                // What goes wrong at once is said in the terminal as it was.
                let first = look(&self.owner, 0).await?;
                let mut terminal = ratatui::try_init()?;
                let ended = live(&self.owner, &mut terminal, first).await;
                ratatui::try_restore()?;
                ended
            }
        }
    }
}

/// Says each event as a line, until nobody answers any more.
async fn listen(owner: &Owner) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let EventList { events, next, missed } = owner.get(&format!("/events?after={after}")).await?;
        // Before the first answer nobody has missed anything.
        if missed > 0 && after > 0 {
            match owner.is_json() {
                true => say(&format!("{{\"missed\":{missed}}}")),
                false => say(&format!("{missed} events came too fast to be told")),
            }
        }
        for event in &events {
            match owner.is_json() {
                true => say(&serde_json::to_string(event)?),
                false => say(&line(event)),
            }
        }
        after = next;
        tokio::time::sleep(LISTEN).await;
    }
}

fn line(event: &EventInfo) -> String {
    format!("{}  {:<24}  {}", when(event.at / 1_000), event.event, words(event)).trim_end().to_owned()
}

/// Who, from where, and what else is known.
fn words(event: &EventInfo) -> String {
    let EventInfo { device, subject, address, label, code, note, .. } = event;
    let short = device.as_ref().map(|device| device.chars().take(8).collect::<String>());
    let address = address.map(|address| address.to_string());
    let parts = [subject, &short, &address, label, code, note];
    parts.into_iter().flatten().map(|part| shown(part)).collect::<Vec<_>>().join("  ")
}

/// What there is, as the server says it.
struct Seen {
    sessions: SessionList,
    watch: WatchList,
    bans: Vec<BanInfo>,
    events: EventList,
    at: Instant,
}

async fn look(owner: &Owner, after: u64) -> anyhow::Result<Seen> {
    let BanList { bans } = owner.get("/bans").await?;
    Ok(Seen {
        sessions: owner.get("/sessions").await?,
        watch: owner.get("/watch").await?,
        bans,
        events: owner.get(&format!("/events?after={after}")).await?,
        at: Instant::now(),
    })
}

async fn live(owner: &Owner, terminal: &mut DefaultTerminal, first: Seen) -> anyhow::Result<()> {
    let mut keys = keys()?;
    let mut view = View::new(std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()));
    view.see(first);
    let mut tick = tokio::time::interval(LOOK);
    loop {
        terminal.draw(|frame| picture::draw(frame, &view))?;
        tokio::select! {
            _ = tick.tick() => match look(owner, view.next()).await {
                Ok(seen) => view.see(seen),
                Err(error) => view.say(format!("{error:#}")),
            },
            event = keys.recv() => match event {
                // The terminal has another size: it is drawn again.
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => match view.press(key) {
                    Asked::Nothing => {}
                    Asked::Quit => return Ok(()),
                    Asked::Lift { what, which } => lift(owner, &mut view, what, which).await,
                },
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

async fn lift(owner: &Owner, view: &mut View, what: String, which: String) {
    let asked = LiftBan { what, which };
    let lifted: anyhow::Result<BanInfo> = owner.ask(Method::POST, "/bans/lift", Some(&asked)).await;
    view.say(match lifted {
        Ok(ban) => format!("{} {} may come again", ban.what, shown(&ban.which)),
        Err(error) => format!("{error:#}"),
    });
    if let Ok(seen) = look(owner, view.next()).await {
        view.see(seen);
    }
}

/// What is pressed, read on a thread of its own: a terminal is no socket.
fn keys() -> std::io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(32);
    let read = move || {
        while !sender.is_closed() {
            match event::poll(KEYS) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(receiver)
}
