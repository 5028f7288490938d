//! What the group `page` measures, and what it should be.
//!
//! A figure is a job of the page and a message's length. An end that has no stream or no request of its own does the same
//! with messages, so that each figure has its baselines.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::report::{Comparison, Goal};

/// What is measured. The names are also the page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub(super) enum End {
    Duologue,
    Worker,
    WebSocket,
    SocketIo,
    Libp2p,
}

impl End {
    pub(super) const ALL: [Self; 5] = [Self::Duologue, Self::Worker, Self::WebSocket, Self::SocketIo, Self::Libp2p];
    /// Those that speak over the narrow path.
    pub(super) const ON_PATH: [Self; 2] = [Self::Duologue, Self::WebSocket];
    const BASELINES: [Self; 3] = [Self::WebSocket, Self::SocketIo, Self::Libp2p];

    const fn name(self) -> &'static str {
        match self {
            Self::Duologue => "Duologue",
            Self::Worker => "Duologue in a worker",
            Self::WebSocket => "bare WebSocket",
            Self::SocketIo => "Socket.IO",
            Self::Libp2p => "js-libp2p",
        }
    }
}

/// What the page does: `bench/page/page.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Job {
    Sink,
    Source,
    SinkStream,
    SourceStream,
    Echo,
    RoundTrip,
    Request,
    KeysQuiet,
    KeysBesideUp,
    KeysBesideDown,
}

impl Job {
    /// Measured beside the same end's own quiet.
    const fn is_keys(self) -> bool {
        matches!(self, Self::KeysQuiet | Self::KeysBesideUp | Self::KeysBesideDown)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    MessagesPerSecond,
    MegabytesPerSecond,
    Microseconds,
}

/// One figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figure {
    #[serde(skip)]
    pub(super) name: &'static str,
    job: Job,
    /// Bytes of a message.
    len: u32,
    in_flight: u32,
    /// Over the narrow path, where only a bare WebSocket stands beside ours.
    path: bool,
    #[serde(skip)]
    unit: Unit,
    #[serde(skip)]
    goals: &'static [(End, Goal)],
}

const SMALL_UP: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(45.0)), (End::SocketIo, Goal::AtLeast(80.0))];
const SMALL_DOWN: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(40.0)), (End::SocketIo, Goal::AtLeast(80.0))];
const MEDIUM: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(4.0))];
const BULK_UP: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(0.75)), (End::SocketIo, Goal::AtLeast(1.0))];
const BULK_DOWN: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(0.65)), (End::SocketIo, Goal::AtLeast(1.0))];
const STREAM_UP: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(0.8)), (End::SocketIo, Goal::AtLeast(1.0))];
const STREAM_DOWN: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(0.6)), (End::SocketIo, Goal::AtLeast(1.0))];
const BULK_ON_PATH: &[(End, Goal)] = &[(End::WebSocket, Goal::AtLeast(0.9))];
const MEBI: u32 = 1_024 * 1_024;

/// In the order of the table.
pub(super) const FIGURES: &[Figure] = &[
    figure("64 B messages, page to server", Job::Sink, 64, Unit::MessagesPerSecond, SMALL_UP),
    figure("64 B messages, server to page", Job::Source, 64, Unit::MessagesPerSecond, SMALL_DOWN),
    figure("1 KiB messages, page to server", Job::Sink, 1_024, Unit::MessagesPerSecond, MEDIUM),
    figure("1 KiB messages, server to page", Job::Source, 1_024, Unit::MessagesPerSecond, MEDIUM),
    figure(
        "64 B echo on a channel, 1 in flight, p50",
        Job::RoundTrip,
        64,
        Unit::Microseconds,
        &[(End::WebSocket, Goal::AtMost(1.15))],
    ),
    Figure {
        in_flight: 100,
        ..figure(
            "64 B echo on a channel, 100 in flight",
            Job::Echo,
            64,
            Unit::MessagesPerSecond,
            &[(End::WebSocket, Goal::AtLeast(7.0))],
        )
    },
    figure("64 B echo that comes first, p99", Job::KeysQuiet, 64, Unit::Microseconds, &[]),
    figure(
        "64 B echo that comes first, beside a stream page to server, p99",
        Job::KeysBesideUp,
        64,
        Unit::Microseconds,
        &[],
    ),
    figure(
        "64 B echo that comes first, beside a stream server to page, p99",
        Job::KeysBesideDown,
        64,
        Unit::Microseconds,
        &[],
    ),
    figure("64 B request, 1 in flight, p50", Job::Request, 64, Unit::Microseconds, &[]),
    figure("1 MiB messages, page to server", Job::Sink, MEBI, Unit::MegabytesPerSecond, BULK_UP),
    figure("1 MiB messages, server to page", Job::Source, MEBI, Unit::MegabytesPerSecond, BULK_DOWN),
    figure("byte stream, page to server", Job::SinkStream, MEBI, Unit::MegabytesPerSecond, STREAM_UP),
    figure("byte stream, server to page", Job::SourceStream, MEBI, Unit::MegabytesPerSecond, STREAM_DOWN),
    on_path("1 MiB messages, 500 Mbit/s, page to server", Job::Sink),
    on_path("1 MiB messages, 500 Mbit/s, server to page", Job::Source),
    on_path("byte stream, 500 Mbit/s, page to server", Job::SinkStream),
    on_path("byte stream, 500 Mbit/s, server to page", Job::SourceStream),
];

const fn figure(name: &'static str, job: Job, len: u32, unit: Unit, goals: &'static [(End, Goal)]) -> Figure {
    Figure { name, job, len, in_flight: 1, path: false, unit, goals }
}

const fn on_path(name: &'static str, job: Job) -> Figure {
    Figure { path: true, ..figure(name, job, MEBI, Unit::MegabytesPerSecond, BULK_ON_PATH) }
}

impl Figure {
    /// The page's value in this figure's unit: it says messages a second, and milliseconds.
    pub(super) fn value(&self, value: f64) -> f64 {
        match self.unit {
            Unit::MessagesPerSecond => value,
            Unit::MegabytesPerSecond => value * f64::from(self.len) / 1e6,
            Unit::Microseconds => value * 1e3,
        }
    }

    fn goal(&self, baseline: End) -> Goal {
        self.goals.iter().find(|(end, _)| *end == baseline).map_or(Goal::None, |(_, goal)| *goal)
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::MessagesPerSecond => "messages/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Microseconds => "µs",
        }
    }
}

/// A comparison for each figure and baseline, and one of the line in a worker; `values` are those of a figure and an end, one
/// of each round.
pub(super) fn comparisons(figures: &[&Figure], values: &impl Fn(usize, End) -> Vec<f64>) -> Vec<Comparison> {
    let of = |(number, figure): (usize, &&Figure)| {
        let figure = **figure;
        let compare = |name: String, ours: End, baseline: End, goal: Goal| Comparison {
            name,
            unit: figure.unit.name(),
            ours: values(number, ours),
            baseline: values(number, baseline),
            baseline_name: baseline.name(),
            goal,
        };
        if figure.job.is_keys() {
            let quiet = figures.iter().position(|other| other.job == Job::KeysQuiet);
            let Some(quiet) = quiet.filter(|quiet| *quiet != number) else { return Vec::new() };
            let keys = |name: String, end: End| Comparison {
                baseline: values(quiet, end),
                baseline_name: "without a stream",
                ..compare(name, end, end, Goal::AtMost(2.0))
            };
            let in_worker = format!("{}, in a worker", figure.name);
            return vec![keys(figure.name.to_owned(), End::Duologue), keys(in_worker, End::Worker)];
        }
        let baselines = End::BASELINES.iter().filter(|end| !figure.path || End::ON_PATH.contains(end));
        let mut all: Vec<_> =
            baselines.map(|end| compare(figure.name.to_owned(), End::Duologue, *end, figure.goal(*end))).collect();
        if !figure.path {
            let name = format!("{}, in a worker", figure.name);
            all.push(compare(name, End::Worker, End::WebSocket, Goal::None));
        }
        all
    };
    figures.iter().enumerate().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::{FIGURES, Job};

    #[test]
    fn the_pages_units_become_the_figures() {
        let value =
            |job, len| FIGURES.iter().find(|figure| figure.job == job && figure.len == len).map(|f| f.value(2.0));
        assert_eq!(value(Job::Sink, 64), Some(2.0));
        assert_eq!(value(Job::Sink, 1_024 * 1_024), Some(2.097_152));
        assert_eq!(value(Job::RoundTrip, 64), Some(2_000.0));
    }
}
