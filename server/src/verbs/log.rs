//! The log on stderr: how much it tells, and for whom. What peers can make it say is bounded, unless it was asked for everything.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use duologue_server::{
    BoundedLog, ConfigFile,
    settings::{LogFormat, LogLevel, ServerSettings},
};
use tracing::{Event, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter},
    layer::{Context, Filter, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use super::seeing::{self, Seeing};

/// The log of a process.
#[derive(Clone)]
pub(crate) struct Log {
    bounded: BoundedLog,
    set: Arc<dyn Fn(LogLevel) + Send + Sync>,
    seeing: Seeing,
}

impl Log {
    /// The log of a server.
    pub(crate) fn of_server(settings: &ServerSettings) -> Self {
        Self::start(settings)
    }

    /// Of other verbs: what went wrong.
    pub(crate) fn of_verb() -> Self {
        Self::start(&ServerSettings { log_level: Some(LogLevel::Warn), ..ServerSettings::default() })
    }

    fn start(settings: &ServerSettings) -> Self {
        let (level, format) = (settings.log_level.unwrap_or_default(), settings.log_format.unwrap_or_default());
        let bounded = BoundedLog::new();
        let writes = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            // There is nowhere to tell that nobody reads what is told.
            .log_internal_errors(false);
        let layer = match format {
            LogFormat::Text => writes.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => writes.with_ansi(false).json().flatten_event(true).boxed(),
        };
        let asked = filter(level);
        let bounds = Bounds { log: bounded.clone(), on: Arc::new(AtomicBool::new(is_bounded(&asked))) };
        let on = Arc::clone(&bounds.on);
        let (asked, handle) = reload::Layer::new(asked);
        let layer: Box<dyn Layer<Registry> + Send + Sync> = layer;
        let (layers, seeing) = seeing::layers(settings);
        // Of the log alone: others ask for other things.
        tracing_subscriber::registry().with(layer.with_filter(asked.and(bounds))).with(layers).init();
        seeing.begin();
        let set = move |level| {
            let another = filter(level);
            on.store(is_bounded(&another), Ordering::Relaxed);
            // It lives as long as the process.
            let _ = handle.reload(another);
        };
        Self { bounded, set: Arc::new(set), seeing }
    }

    /// What it does not tell one by one.
    pub(crate) const fn bounded(&self) -> &BoundedLog {
        &self.bounded
    }

    /// What is still to be sent elsewhere goes.
    pub(crate) fn end(&self) {
        self.seeing.end();
    }

    /// Has the level follow a configuration that is read again.
    pub(crate) fn follow(&self, file: &ConfigFile) {
        if !file.is_file() {
            return;
        }
        let set = Arc::clone(&self.set);
        file.follow(move |settings| {
            let (set, level) = (Arc::clone(&set), settings.server.log_level.unwrap_or_default());
            Ok(Box::new(move || set(level)))
        });
    }
}

/// `RUST_LOG`, where it says something.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.word()))
}

fn is_bounded(filter: &EnvFilter) -> bool {
    filter.max_level_hint().is_none_or(|level| level <= LevelFilter::INFO)
}

/// The bounds of a log, where they are on. Not in a `reload::Layer`: that one asks its filter for no single event.
struct Bounds {
    log: BoundedLog,
    on: Arc<AtomicBool>,
}

impl<S> Filter<S> for Bounds {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        !self.on.load(Ordering::Relaxed) || self.log.event_enabled(event, context)
    }
}
