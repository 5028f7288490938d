//! The simulation: two lines, the sockets between them, two applications; one thread, no clock, one seed.
//!
//! ```text
//! plan.rs      what a seed's story is like         fate.rs      what befalls the world
//! world.rs     time, and one step after another    link.rs      a socket: delays, stalls, cuts
//! client.rs    the client's driver                 hostile.rs   a middleman
//! driver.rs    what both drivers do alike          seeds.rs     many stories, and the tests of mutations
//! server.rs    the server's driver and policy      app.rs       both applications
//! ledger.rs    what both applications did          check.rs     what must hold
//! standing.rs  evidence, and what is told of it
//! mutation.rs  faults that must be found           scenarios/   stories with a name
//! ```
//!
//! `DUOLOGUE_SIM_SEEDS` and `DUOLOGUE_SIM_FROM` say how many seeds to run, and from which on. A failure prints its seed and
//! the last things that happened; the seed repeats it. `cargo xtask sim` runs many seeds.
//!
//! What the simulation does not see: cryptography is real, but chance is not; sockets never reorder, as no WebSocket does.

macro_rules! trace {
    ($now:expr, $($what:tt)*) => { crate::sim::trace::note($now, format_args!($($what)*)) };
}

mod app;
pub(crate) mod chance;
mod check;
mod client;
mod driver;
pub(crate) mod earlier;
mod fate;
mod hostile;
mod ledger;
mod link;
pub(crate) mod mutation;
mod plan;
mod reload;
mod scenarios;
mod seeds;
mod server;
mod standing;
mod trace;
mod world;

/// Which end of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A session object at one of the ends, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Uid(usize);

impl core::fmt::Debug for Uid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "session {}", self.0)
    }
}
