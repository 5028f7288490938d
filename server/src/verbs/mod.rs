//! The binary's verbs.

pub(crate) mod connect;
pub(crate) mod dev;
pub(crate) mod devices;
pub(crate) mod invite;
pub(crate) mod keys;
pub(crate) mod serve;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use axum::Router;
use duologue::CloseCode;
use duologue_server::{Duologue, Policy, State, listen, page, services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where a server keeps its key and its devices.
#[derive(Debug, clap::Args)]
pub(crate) struct StateDirectory {
    /// The server's state directory; made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "duologue-state", env = "DUOLOGUE_STATE")]
    pub(crate) state: PathBuf,
}

/// Runs a server until the process is told to stop. `ready` is called once it can be reached.
pub(crate) async fn run(
    state: State,
    policy: Policy,
    development: bool,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let desk = services::desk::Desk::default();
    let duologue = Duologue::new(state.clone(), policy).service("echo", services::echo).service("desk", desk.clone());
    let control = listen(state, duologue.clone()).context("cannot make the control socket")?;
    tokio::spawn(control);
    tokio::spawn(desk.read_terminal());

    let app = Router::new().route("/line", duologue.route()).merge(page(development));
    let stop = CancellationToken::new();
    let server = tokio::spawn(duologue_server::serve(listener, tls, app, stop.clone()));
    ready()?;
    stopped().await?;
    tracing::info!("stopping");
    duologue.directory().close_all(CloseCode::GoingAway);
    stop.cancel();
    server.await?;
    // The lines' last records are still on their way out.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    // `read_terminal` may be blocked in a read that nothing can end.
    std::process::exit(0);
}

/// Waits for Ctrl+C or SIGTERM.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A span such as `90s`, `30m`, `24h` or `7d`, in seconds.
pub(crate) fn parse_lifetime(text: &str) -> Result<u64, String> {
    let expected = || format!("\"{text}\" is no span of time: write it as 90s, 30m, 24h or 7d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(secs)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::parse_lifetime;

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(parse_lifetime("90s"), Ok(90));
        assert_eq!(parse_lifetime("24h"), Ok(86_400));
        for bad in ["", "h", "24", "24 h", "-1h", "1w", "99999999999999999999d", "é"] {
            assert!(parse_lifetime(bad).is_err(), "{bad}");
        }
    }
}
