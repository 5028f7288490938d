//! `duologue`: the self-hosted server, and the verbs around it. One file each in `verbs/`.

mod verbs;

use std::io::Write;

use clap::{CommandFactory, Parser};

use verbs::log::Log;

/// What a flood made the server hold goes back to the system within seconds: by a thread of the allocator's own. The C library's
/// keeps most of it, because small pieces that live on pin what is around them. With musl that thread is not to be had, and it
/// goes back as memory is asked for; the C library's own has one lock for all threads.
#[cfg(all(target_os = "linux", any(target_env = "gnu", target_env = "musl")))]
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
    /// Writes a configuration for `serve`, with everything that can be said in it.
    Init(verbs::init::Init),
    /// Looks at a configuration, and says everything that is wrong in it.
    Check(verbs::check::Check),
    /// Has the running server read its configuration and its certificates again: whole, or not at all. No line is lost; what is open
    /// and not allowed any more is reset.
    Reload(verbs::reload::Reload),
    /// Has the running server start what lies at its program's path now, and gives it its place: nobody who connects is refused, and
    /// lines that are open come to their end. It starts with the same arguments; where it cannot serve, the running one goes on.
    HandOver(verbs::hand_over::HandOverVerb),
    /// The server's keys.
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
    /// Says something to a device, or to somebody, and tells what became of it: exits with 1 unless it was taken.
    Say(verbs::say::Say),
    /// Makes a key by which a program of this machine may ask the server's local API, and prints what its configuration then says.
    ApiKey(verbs::api_key::ApiKeyVerb),
    /// What happens here, and by which rules somebody is stopped.
    Watch(verbs::watch::Watch),
    /// The audit log: who was let in, refused, raised, revoked and banned, and what the owner did.
    #[command(subcommand)]
    Audit(verbs::audit::AuditVerb),
    /// Writes everything of a server's state into one file, while it runs or not: with its private key, without sessions.
    Backup(verbs::backup::Backup),
    /// Makes a state directory of a backup, in an empty directory: whole, or not at all.
    Restore(verbs::backup::Restore),
    /// Writes what a server knows of devices, people, invites, passkeys and bans as lines of JSON, without its key.
    Export(verbs::backup::Export),
    /// Makes a state directory of such lines: whole, or not at all. A server's key that lies there stays.
    Import(verbs::backup::Import),
    /// Moves the server to another address, and says what its clients then need.
    Rename(verbs::rename::Rename),
    /// Whether a server runs, and whether everything is on disk.
    State(verbs::state::StateVerb),
    /// Whether the running server is well: exits with 1 if its threads of lines do not answer, or none runs.
    Health(verbs::health::HealthVerb),
    /// Opens a line from this terminal: sends its lines, prints what comes back.
    Connect(verbs::connect::Connect),
    /// Has a server put another key in the place of this device's own, as `connect` uses it: it stays the same device there.
    RenewKey(verbs::renew_key::RenewKey),
    /// Prints what has a shell complete these verbs and their options.
    Completions(verbs::manual::Completions),
    /// Writes the manual pages, of this and of each verb, into a directory: for whoever packs it.
    #[command(hide = true)]
    Man(verbs::manual::Man),
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // What this makes is its owner's alone from its first moment, keys and sockets too.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let verb = Verb::parse();
    // A server's configuration says how it logs.
    if !matches!(verb, Verb::Dev(_) | Verb::Serve(_)) {
        Log::of_verb();
    }
    let result = match verb {
        Verb::Dev(verb) => verb.run().await,
        Verb::Serve(verb) => verb.run().await,
        Verb::Init(verb) => verb.run(),
        Verb::Check(verb) => verb.run(),
        Verb::Reload(verb) => verb.run().await,
        Verb::HandOver(verb) => verb.run().await,
        Verb::Keys(verb) => verb.run().await,
        Verb::Invite(verb) => verb.run().await,
        Verb::Devices(verb) => verb.run().await,
        Verb::Policy(verb) => verb.run().await,
        Verb::Token(verb) => verb.run().await,
        Verb::Accounts(verb) => verb.run().await,
        Verb::Bans(verb) => verb.run().await,
        Verb::Say(verb) => verb.run().await,
        Verb::ApiKey(verb) => verb.run(),
        Verb::Watch(verb) => verb.run().await,
        Verb::Audit(verb) => verb.run().await,
        Verb::Backup(verb) => verb.run().await,
        Verb::Restore(verb) => verb.run(),
        Verb::Export(verb) => verb.run().await,
        Verb::Import(verb) => verb.run(),
        Verb::Rename(verb) => verb.run().await,
        Verb::State(verb) => verb.run().await,
        Verb::Health(verb) => verb.run().await,
        Verb::Connect(verb) => verb.run().await,
        Verb::RenewKey(verb) => verb.run().await,
        Verb::Completions(verb) => verb.run(&mut Verb::command()),
        Verb::Man(verb) => verb.run(Verb::command()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody listens, the exit status says it.
            let _ = writeln!(std::io::stderr(), "duologue: {error:#}");
            // As for a flag that is none.
            let is_configuration = error.is::<verbs::WrongUsage>()
                || error.is::<duologue_server::ConfigErrors>()
                || error.is::<duologue_server::InvalidPasskeySettings>();
            if is_configuration { 2.into() } else { std::process::ExitCode::FAILURE }
        }
    }
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
        assert_eq!((device.as_str(), owner.directory.path().expect("it is said").to_str()), (id, Some("elsewhere")));
    }
}
