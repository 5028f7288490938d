//! A path with a delay between clients and a server: a TCP proxy of our own, because it needs neither root nor a kernel with
//! netem.
//!
//! ```text
//! client ── SYN ─► proxy                    a round trip passes before the first byte moves, as TCP's handshake would take
//! client ══ bytes, each ONE_WAY later ══► server        each way: by their time of arrival, so that a burst stays a burst
//! ```
//!
//! It has no bandwidth, no loss and no slow start: what is measured through it is the number of round trips, not of bytes. The
//! other way round, [`Path::with_bandwidth`] delays nothing, and lets through so many bytes a second, each way and connection.

use std::{io, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

pub(crate) const ONE_WAY: Duration = Duration::from_millis(25);
/// What a path with a bandwidth lets through: 500 Mbit/s.
pub(crate) const BYTES_PER_SEC: f64 = 62.5e6;
/// What may pass late and yet not be made up for: timers have a millisecond, and the machine has other work.
const SLACK: Duration = Duration::from_millis(5);

pub(crate) struct Path {
    pub(crate) port: u16,
    /// How many cuts there were.
    cuts: watch::Sender<u32>,
    accepting: AbortHandle,
}

impl Drop for Path {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Path {
    /// With a delay.
    pub(crate) async fn to(server: u16) -> anyhow::Result<Self> {
        Self::listen(server, false).await
    }

    /// With a bandwidth.
    pub(crate) async fn with_bandwidth(server: u16) -> anyhow::Result<Self> {
        Self::listen(server, true).await
    }

    async fn listen(server: u16, is_narrow: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let cuts = watch::Sender::new(0);
        let cut = cuts.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        // Its ends see for themselves how it ends.
                        _ = converse(client, server, is_narrow) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { port, cuts, accepting: accepting.abort_handle() })
    }

    /// Ends all connections that there are now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn converse(client: TcpStream, server: u16, is_narrow: bool) -> io::Result<()> {
    // A SYN there, a SYN-ACK back.
    let opened = Instant::now() + 2 * ONE_WAY;
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    if is_narrow {
        return tokio::try_join!(squeeze(from_client, to_server), squeeze(from_server, to_client)).map(drop);
    }
    tokio::try_join!(carry(from_client, to_server, opened), carry(from_server, to_client, opened)).map(drop)
}

/// One direction, to its end. Nothing enters the path before it is open.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, opened: Instant) -> io::Result<()> {
    let (enter, mut leave) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let entering = async move {
        loop {
            let mut bytes = Vec::with_capacity(64 * 1_024);
            if from.read_buf(&mut bytes).await? == 0 {
                return io::Result::Ok(());
            }
            // Whoever would take it is gone only when this direction is.
            let _ = enter.send((Instant::now().max(opened) + ONE_WAY, bytes));
        }
    };
    let leaving = async {
        while let Some((at, bytes)) = leave.recv().await {
            tokio::time::sleep_until(at).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(entering, leaving).map(drop)
}

/// One direction of a narrow path. What has not left yet is not read, so that the sender feels it.
async fn squeeze(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(64 * 1_024);
    let mut free_at = Instant::now();
    while from.read_buf(&mut bytes).await? > 0 {
        free_at = free_at.max(Instant::now() - SLACK) + Duration::from_secs_f64(bytes.len() as f64 / BYTES_PER_SEC);
        tokio::time::sleep_until(free_at).await;
        to.write_all(&bytes).await?;
        bytes.clear();
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_echo_takes_a_round_trip_and_the_first_one_more() -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let path = Path::to(listener.local_addr()?.port()).await?;
        tokio::spawn(async move {
            let (mut read, mut write) = listener.accept().await?.0.into_split();
            tokio::io::copy(&mut read, &mut write).await
        });
        let begun = Instant::now();
        let mut client = TcpStream::connect(("127.0.0.1", path.port)).await?;
        for least in [4 * ONE_WAY, 6 * ONE_WAY] {
            client.write_all(b"echo").await?;
            client.read_exact(&mut [0; 4]).await?;
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        }
        path.cut();
        assert_eq!(client.read(&mut [0; 4]).await.unwrap_or(0), 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_narrow_path_lets_through_what_it_may() -> anyhow::Result<()> {
        const LEN: usize = 12_500_000;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let path = Path::with_bandwidth(listener.local_addr()?.port()).await?;
        let mut client = TcpStream::connect(("127.0.0.1", path.port)).await?;
        let mut server = listener.accept().await?.0;
        let begun = Instant::now();
        let writing = tokio::spawn(async move { client.write_all(&vec![0; LEN]).await });
        server.read_exact(&mut vec![0; LEN]).await?;
        writing.await??;
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        Ok(())
    }
}
