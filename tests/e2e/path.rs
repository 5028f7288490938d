//! A path between a client and the server that fails as paths do: it sees TCP only, and cuts, stalls or forgets connections.
//!
//! ```text
//! client ══TLS══ path ══TLS══ server        Cut::Both, Rst     both ends learn of it
//!                                           Cut::ClientOnly    the server keeps a socket that is silent
//!                                           Cut::ServerOnly    the client keeps one, until it asks
//!                                           Cut::Silent        nobody learns of it: nothing arrives any more
//!                                           Cut::Within(n)     after n more bytes to the client: within a record, an answer, M2
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use crate::{
    browser::{Browser, Profile},
    chance::Chance,
    server::{Server, through},
};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Both,
    Rst,
    ClientOnly,
    ServerOnly,
    Silent,
    Within(usize),
}

impl Cut {
    pub(crate) fn any(chance: &mut Chance) -> Self {
        match chance.below(6) {
            0 => Self::Both,
            1 => Self::Rst,
            2 => Self::ClientOnly,
            3 => Self::ServerOnly,
            _ => Self::Within(chance.below(3_000)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Flow,
    /// All connections up to this number.
    Cut(Cut, usize),
}

pub(crate) struct Path {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    target: AtomicU16,
    order: watch::Sender<Order>,
    stalled: watch::Sender<bool>,
    connections: AtomicUsize,
    /// Bytes to the client on each connection that the server has not ended, by its number.
    carried: Mutex<BTreeMap<usize, usize>>,
    /// Half-open sockets, kept as long as the path: nobody hangs up on them.
    forgotten: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn carried(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Path {
    pub(crate) async fn to(server: &Server) -> Self {
        Self::to_port(server.port).await
    }

    pub(crate) async fn to_port(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            order: watch::Sender::new(Order::Flow),
            stalled: watch::Sender::new(false),
            connections: AtomicUsize::new(0),
            carried: Mutex::default(),
            forgotten: Mutex::default(),
        });
        let run = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&run);
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                // A path that leads nowhere is the client's to notice.
                tokio::spawn(async move {
                    let _ = converse(client, number, &shared).await;
                    // Where it was cut, which the server has not.
                    shared.carried().remove(&number);
                });
            }
        });
        Self { port, shared, task: task.abort_handle() }
    }

    /// A fresh browser with the page of a server at the other end, and its line open.
    pub(crate) async fn page(&self, server: &Server) -> Browser {
        let browser = Browser::start(&Profile::trusting(server.trust())).await;
        browser.open(&through(server.link(), self.port)).await;
        browser.wait_for_state("open").await;
        browser
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes have come to the client on each connection that the server has not ended.
    pub(crate) fn carried(&self) -> Vec<usize> {
        self.shared.carried().values().copied().collect()
    }

    /// Ends all connections that there are now.
    pub(crate) fn cut(&self, cut: Cut) {
        self.shared.order.send_replace(Order::Cut(cut, self.connections()));
    }

    /// Nothing passes for so long; nothing is lost.
    pub(crate) async fn stall(&self, time: Duration) {
        self.hold(true);
        tokio::time::sleep(time).await;
        self.hold(false);
    }

    /// Begins or ends to let nothing pass.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.stalled.send_replace(held);
    }

    /// New connections fail until [`Self::lead_to`].
    pub(crate) fn lead_nowhere(&self) {
        self.shared.target.store(1, Ordering::SeqCst);
    }

    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
    }
}

async fn converse(client: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut client, mut server) = (client, server);
    let cut = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let mut order = shared.order.subscribe();
        let ordered = async {
            let mine = |order: &Order| matches!(order, Order::Cut(_, last) if number <= *last);
            let order = *order.wait_for(mine).await.expect("the path lives as long");
            if let Order::Cut(cut, _) = order { cut } else { Cut::Both }
        };
        let there = pump(client_read, server_write, shared, None);
        let within = watch::Sender::new(None);
        let back = pump(server_read, client_write, shared, Some((number, within.subscribe())));
        let (mut there, mut back, mut ordered) = (std::pin::pin!(there), std::pin::pin!(back), std::pin::pin!(ordered));
        tokio::select! {
            // Either end has hung up.
            _ = async { tokio::join!(&mut there, &mut back) } => return Ok(()),
            cut = &mut ordered => match cut {
                Cut::Within(bytes) => {
                    within.send_replace(Some(bytes));
                    // Nothing may come for a while: then it is cut between two records.
                    let rest = async { tokio::join!(&mut there, &mut back) };
                    tokio::select! {
                        _ = rest => {}
                        () = tokio::time::sleep(Duration::from_millis(300)) => {}
                    }
                    Cut::Rst
                }
                cut => cut,
            },
        }
    };
    let forget = |socket| shared.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    match cut {
        Cut::Both => {}
        Cut::Rst | Cut::Within(_) => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        Cut::ClientOnly => forget(server),
        Cut::ServerOnly => forget(client),
        Cut::Silent => {
            forget(client);
            forget(server);
        }
    }
    Ok(())
}

/// Bytes from here to there, until an end or until so many more have passed.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    mut to_client: Option<(usize, watch::Receiver<Option<usize>>)>,
) -> io::Result<()> {
    let mut stalled = shared.stalled.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = None;
    loop {
        let len = match from.read(&mut buffer).await? {
            0 => {
                if let Some((number, _)) = &to_client {
                    shared.carried().remove(number);
                }
                return to.shutdown().await;
            }
            len => len,
        };
        stalled.wait_for(|stalled| !stalled).await.expect("the path lives as long");
        if let Some((number, _)) = &to_client {
            *shared.carried().entry(*number).or_default() += len;
        }
        let limit = to_client.as_mut().and_then(|(_, left)| *left.borrow_and_update());
        let room = limit.map_or(len, |limit| limit.saturating_sub(*passed.get_or_insert(0)).min(len));
        to.write_all(&buffer[..room]).await?;
        to.flush().await?;
        passed = passed.map(|passed: usize| passed + room);
        if room < len {
            return Ok(());
        }
    }
}
