//! `duologue`: the self-hosted server, and the verbs around it. One file each in `verbs/`.

mod verbs;

use std::io::{IsTerminal, Write};

use clap::Parser;
use duologue_server::BoundedLog;
use tracing_subscriber::{EnvFilter, Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// What a flood made the server hold goes back to the system within seconds: by a thread of the allocator's own. The C library's
/// keeps most of it, because small pieces that live on pin what is around them. Elsewhere that thread is not to be had.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One private line between a web page and this machine.
#[derive(Debug, Parser)]
#[command(name = "duologue", version)]
enum Verb {
    /// Serves the page on this machine with a self-signed certificate, and prints an invite link.
    Dev(verbs::dev::Dev),
    /// Serves pages of listed origins, with certificate files.
    Serve(verbs::serve::Serve),
    /// The server's key.
    #[command(subcommand)]
    Keys(verbs::keys::Keys),
    /// Links that let one device in.
    #[command(subcommand)]
    Invite(verbs::invite::Invite),
    /// The devices that were let in.
    #[command(subcommand)]
    Devices(verbs::devices::Devices),
    /// Who may open what.
    #[command(subcommand)]
    Policy(verbs::policy::Policy),
    /// What a token of a login is worth here.
    #[command(subcommand)]
    Token(verbs::token::Token),
    /// The people whose devices these are, and their groups.
    #[command(subcommand)]
    Accounts(verbs::accounts::Accounts),
    /// Who is kept out for a time.
    #[command(subcommand)]
    Bans(verbs::bans::Bans),
    /// What happens here, and by which rules somebody is stopped.
    Watch(verbs::watch::Watch),
    /// The audit log: who was let in, refused, raised, revoked and banned, and what the owner did.
    #[command(subcommand)]
    Audit(verbs::audit::AuditVerb),
    /// Whether a server runs, and whether everything is on disk.
    State(verbs::state::StateVerb),
    /// Opens a line from this terminal: sends its lines, prints what comes back.
    Connect(verbs::connect::Connect),
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // What this makes is its owner's alone from its first moment, keys and sockets too.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let verb = Verb::parse();
    let log = log(matches!(verb, Verb::Dev(_) | Verb::Serve(_)));
    let result = match verb {
        Verb::Dev(verb) => verb.run(log).await,
        Verb::Serve(verb) => verb.run(log).await,
        Verb::Keys(verb) => verb.run(),
        Verb::Invite(verb) => verb.run().await,
        Verb::Devices(verb) => verb.run().await,
        Verb::Policy(verb) => verb.run().await,
        Verb::Token(verb) => verb.run().await,
        Verb::Accounts(verb) => verb.run().await,
        Verb::Bans(verb) => verb.run().await,
        Verb::Watch(verb) => verb.run().await,
        Verb::Audit(verb) => verb.run().await,
        Verb::State(verb) => verb.run().await,
        Verb::Connect(verb) => verb.run().await,
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody listens, the exit status says it.
            let _ = writeln!(std::io::stderr(), "duologue: {error:#}");
            // As for a flag that is none.
            let is_configuration =
                error.is::<duologue_server::ConfigErrors>() || error.is::<duologue_server::InvalidPasskeySettings>();
            if is_configuration { 2.into() } else { std::process::ExitCode::FAILURE }
        }
    }
}

/// The log on stderr, as `RUST_LOG` says; else what a server does, and of other verbs what went wrong. What peers can make it say
/// is bounded, unless it was asked for everything.
fn log(is_server: bool) -> BoundedLog {
    let bounded = BoundedLog::new();
    let default = if is_server { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let is_bounded = filter.max_level_hint().is_none_or(|level| level <= LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // There is nowhere to tell that nobody reads what is told.
        .log_internal_errors(false)
        .with_filter(is_bounded.then(|| bounded.clone()));
    tracing_subscriber::registry().with(layer).with(filter).init();
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_that_begins_with_a_hyphen_is_no_option() {
        // It once was: one device in 64 could not be revoked.
        let id = "-rf7d4u74Bog4xOpjqU3hAALLt7PqR_4WIwFaTRYKlw";
        let parsed = Verb::try_parse_from(["duologue", "devices", "revoke", id, "--state", "elsewhere"]);
        let Ok(Verb::Devices(verbs::devices::Devices::Revoke { device, owner, .. })) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!((device.as_str(), owner.directory.state.to_str()), (id, Some("elsewhere")));
    }
}
