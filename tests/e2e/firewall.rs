//! The whole server while strangers come from ever more addresses: half of them from 127.0.0.0/8, of which it can tell nobody apart,
//! half from 2001:db8::/32, each from a /64 of its own, in a network that this machine has for the test alone.
//!
//! ```text
//! unshare --net ─► lo up, 2001:db8::/32 and fd00::/8 are local ─► the test's thread moves there: server, clients, all of it
//! flood       2001:db8:x:y::1, 127.x.y.z      each once, and each asks: whom the server answers was let through
//! the worst   fdNN:n::1, 60 times each        a minute's budget, and no more
//! a device    fd99::1, by a relay that binds that address; its neighbours
//! ```

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use duologue_client::{Client, Keyring};
use futures_util::{StreamExt as _, stream};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    forms::rounds,
    server::{Lines, spawn, target},
    tls::{Authority, pem},
    within,
};

const NAME: &str = "firewall::a_flood_of_distinct_addresses_is_bounded_and_the_worst_stay_out";
/// Connections a minute of one address; a /32 has 256 times as many.
const BUDGET: u32 = 10;
const OF_A_PROVIDER: u32 = 256;
/// Those who come again and again, and how often.
const WORST: u32 = 50;
const TIMES: u32 = 60;
/// At the same time.
const AT_ONCE: usize = 64;
/// What the server may hold more than before, in kB.
const GROWS_MAX: u64 = 64 * 1_024;

/// A network that ends with it.
struct Apart(Child);

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves this thread into a network of its own, where these prefixes are local; or says why there can be none.
fn move_apart() -> Result<Apart, String> {
    let prepare = "ip link set lo up && ip -6 route add local 2001:db8::/32 dev lo && ip -6 route add local fd00::/8 dev lo && \
                   echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind && echo ready && exec sleep 3600";
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-c", prepare]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut apart = Apart(unshare.spawn().map_err(|error| format!("there is no unshare: {error}"))?);
    let mut said = String::new();
    BufReader::new(apart.0.stdout.take().expect("it is piped"))
        .read_line(&mut said)
        .map_err(|error| error.to_string())?;
    if said.trim() != "ready" {
        let mut why = String::new();
        let _ = BufReader::new(apart.0.stderr.take().expect("it is piped")).read_line(&mut why);
        return Err(why.trim().to_owned());
    }
    let network = File::open(format!("/proc/{}/ns/net", apart.0.id())).map_err(|error| error.to_string())?;
    let moved = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
    moved.map(|()| apart).map_err(|error| format!("this thread cannot be moved: {error}"))
}

/// Whether the server answers who comes from there. It says in clear that it speaks TLS; whoever may not connect hears nothing.
async fn is_answered(from: IpAddr, server: SocketAddr) -> bool {
    let once = async {
        let socket = if from.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        // Nothing is left of it when it ends.
        socket.set_zero_linger()?;
        socket.bind((from, 0).into())?;
        let mut tcp = socket.connect(server).await?;
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        tcp.read(&mut [0; 16]).await
    };
    within(60, format!("an end of what came from {from}"), once).await.is_ok_and(|len| len > 0)
}

/// A relay on this machine, whose connections to the server come from there.
async fn relay(listener: TcpListener, from: Ipv6Addr, server: SocketAddr) {
    while let Ok((mut near, _)) = listener.accept().await {
        tokio::spawn(async move {
            let socket = TcpSocket::new_v6()?;
            socket.bind((from, 0).into())?;
            let mut far: TcpStream = socket.connect(server).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
    }
}

/// What a process holds, in kB.
fn held(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_flood_of_distinct_addresses_is_bounded_and_the_worst_stay_out() {
    // A thread of its own: those of other tests stay where they are.
    let test = std::thread::spawn(|| match move_apart() {
        Ok(apart) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(flood());
            drop(apart);
        }
        Err(why) => eprintln!("skipped: there is no network for the test alone: {why}"),
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn flood() {
    let directory = TempDir::with_prefix("duologue-state-").unwrap();
    let relays = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", relays.local_addr().unwrap().port());
    let (pid, port, invite, ca, _server) = start(directory.path(), &url).await;
    let (v6, v4) = (SocketAddr::from((Ipv6Addr::LOCALHOST, port)), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    tokio::spawn(relay(relays, "fd99::1".parse().unwrap(), v6));
    let client = Client::new(Keyring::in_memory()).trusting(&ca);
    let line = within(60, "a line", client.connect(&target(&invite))).await.unwrap();
    let before = held(pid);

    let (all, began) = (u32::try_from(rounds(NAME)).unwrap(), Instant::now());
    let (of_v6, of_v4) = (AtomicU32::new(0), AtomicU32::new(0));
    let of_worst: Vec<_> = (0..WORST).map(|_| AtomicU32::new(0)).collect();
    let worst = |number: u32| IpAddr::from(Ipv6Addr::new(0xfd00, u16::try_from(number).unwrap(), 0, 0, 0, 0, 0, 1));
    let gap = (all / (WORST * TIMES)).max(1);
    let come = |number: u32| {
        let (of_v6, of_v4, of_worst) = (&of_v6, &of_v4, &of_worst);
        async move {
            if number.is_multiple_of(2) {
                // Each /64 once, and in no order.
                let mixed = (number / 2).wrapping_mul(0x9e37_79b1).to_be_bytes();
                let [a, b, c, d] = mixed;
                let from = Ipv6Addr::from([0x20, 0x01, 0x0d, 0xb8, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 1]);
                of_v6.fetch_add(u32::from(is_answered(from.into(), v6).await), Ordering::Relaxed);
            } else {
                let [_, a, b, c] = (number / 2 + 0x0001_0001).to_be_bytes();
                let from = Ipv4Addr::new(127, a, b, c.max(1));
                of_v4.fetch_add(u32::from(is_answered(from.into(), v4).await), Ordering::Relaxed);
            }
            if number.is_multiple_of(gap) {
                let whose = number / gap % WORST;
                let answered = is_answered(worst(whose), v6).await;
                of_worst[whose as usize].fetch_add(u32::from(answered), Ordering::Relaxed);
            }
        }
    };
    let flood = stream::iter(0..all).map(come).buffer_unordered(AT_ONCE).collect::<Vec<()>>();
    let (_, echoes) = tokio::join!(flood, async {
        let mut echoes = 0_u32;
        while began.elapsed().as_secs() < 2 || echoes < 20 {
            let echo = within(60, "an echo under the flood", line.request("echo", "here")).await;
            assert_eq!(echo.unwrap(), b"here");
            echoes += 1;
        }
        echoes
    });
    // At its end, where one has been heard of a minute ago and the table is full of others.
    for whose in 0..WORST {
        for _ in 0..TIMES {
            let answered = is_answered(worst(whose), v6).await;
            of_worst[whose as usize].fetch_add(u32::from(answered), Ordering::Relaxed);
        }
    }
    // What a minute's budget comes to in this time, and one more for the minute's fraction.
    let paid = |budget: u32| {
        let paid = u64::from(budget) + u64::from(budget) * u64::try_from(began.elapsed().as_millis()).unwrap() / 60_000;
        u32::try_from(paid).unwrap() + 1
    };
    let [of_v6, of_v4] = [of_v6, of_v4].map(AtomicU32::into_inner);
    let most = of_worst.into_iter().map(AtomicU32::into_inner).max().unwrap();
    let after = held(pid);
    println!(
        "{all} addresses and {WORST} × {TIMES} in {:?}: of IPv6 {of_v6} were answered, of 127.0.0.0/8 {of_v4}, of one of the worst \
         {most} at most; {echoes} echoes; {before} kB, then {after}",
        began.elapsed()
    );
    assert!(of_v6 <= paid(BUDGET * OF_A_PROVIDER), "a flood that widens has what its /32 has: {of_v6}");
    assert_eq!(of_v4, all / 2, "of 127.0.0.0/8 nobody can be told apart, and nobody is shut out for another");
    assert!(most <= paid(BUDGET), "one of the worst was answered {most} times");
    assert!(after < before + GROWS_MAX, "{before} kB, then {after}");
    for number in 0..WORST {
        let neighbour = Ipv6Addr::new(0xfd01, u16::try_from(number).unwrap(), 0, 0, 0, 0, 0, 1);
        assert!(is_answered(neighbour.into(), v6).await, "{neighbour} has done nothing");
    }
    assert_eq!(within(60, "an echo", line.request("echo", "still")).await.unwrap(), b"still");
    drop(line);
    let again = within(60, "a line", client.connect(&target(&url))).await.unwrap();
    assert_eq!(within(60, "an echo", again.request("echo", "again")).await.unwrap(), b"again");
}

/// A server for the world at all addresses of both kinds: its process, its port, an invite, and whom its clients trust.
async fn start(directory: &Path, url: &str) -> (u32, u16, String, std::path::PathBuf, (tokio::process::Child, Lines)) {
    let authority = Authority::for_names(&["localhost"]);
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("leaf.pem", &pem(&authority.leaf)), file("key.pem", &authority.key.serialize_pem()));
    let ca = file("ca.pem", &authority.ca_pem);
    let config = file(
        "duologue.toml",
        &format!("[[rule]]\nopen = [\"echo\"]\n[firewall.address]\nconnections_per_minute = {BUDGET}\n"),
    );
    let state = directory.join("state");
    let [cert, key, config] = [&cert, &key, &config].map(|path| path.to_str().unwrap());
    let all = ["serve", "--listen", "[::]:0", "--url", url, "--cert", cert, "--key", key, "--config", config];
    let (child, _, stdout, stderr) = spawn(&all, &state, false);
    let listening = stdout.with("listening ").await;
    let port = listening.rsplit(':').next().unwrap().parse().unwrap();
    let invite = Command::new(crate::server::binary()).args(["invite", "new", "--state"]).arg(&state).output().unwrap();
    let invite = String::from_utf8(invite.stdout).unwrap().trim().to_owned();
    (child.id().unwrap(), port, invite, ca, (child, stderr))
}
