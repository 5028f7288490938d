//! Who is revoked loses his lines at once: a device, a subject, a group, a branch, each with as many lines open as this run is
//! for. The server is the library, in this process, over plain TCP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use duologue::{CloseCode, ConnectionError, DeviceId};
use duologue_client::{Client, Keyring, Line, Target};
use duologue_server::{Duologue, Policy, Revocation, State, Terms, Whom, raise_file_limit, serve, services};
use futures_util::future::join_all;
use tokio::net::TcpListener;

use crate::{forms::rounds, within};

/// As many as one device may have.
const LINES_OF_A_DEVICE: usize = 16;
/// As many as one device lets in here, of the ten that it may in a day.
const CHILDREN: usize = 8;
/// Devices of the whole form, which has the machine for itself: a thousand lines.
const WHOLE: usize = 63;
/// Within which their lines are gone.
const LIMIT: Duration = Duration::from_secs(1);

struct Bench {
    state: State,
    duologue: Duologue,
    address: String,
    /// With all their lines.
    devices: Vec<(DeviceId, Vec<Line>)>,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::TempDir::with_prefix("duologue-state-").unwrap();
        let state = State::open(directory.path()).unwrap();
        let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
        Self { state, duologue, address, devices: Vec::new(), _directory: directory }
    }

    /// One more device, let in by the owner or by one that is here.
    async fn let_in(&mut self, terms: &Terms, by: Option<usize>) {
        const LIFETIME: Duration = Duration::from_secs(3_600);
        let invite = match by {
            None => self.state.new_invite_for(terms, LIFETIME).unwrap(),
            Some(maker) => {
                let made = self.state.new_invite_of(self.devices[maker].0, LIFETIME, CHILDREN).unwrap();
                made.expect("it may let in so many")
            }
        };
        let target = Target::parse(&invite.to_link(&self.address)).unwrap();
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki());
        let client = Client::new(keyring);
        let connect = async || within(60, "a line", client.connect(&target)).await.unwrap();
        let mut lines = vec![connect().await];
        lines.extend(join_all((1..LINES_OF_A_DEVICE).map(|_| connect())).await);
        self.devices.push((id, lines));
    }
}

/// How devices are let in, and who is revoked then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Device,
    Subject,
    Group,
    Branch,
}

async fn revoked(kind: Kind, count: usize) {
    let mut bench = Bench::start().await;
    for number in 0..count {
        let subject =
            |name: String| Terms { subject: Some(name), groups: vec!["staff".to_owned()], ..Terms::default() };
        let (terms, by) = match kind {
            Kind::Device => (Terms::default(), None),
            Kind::Subject => (subject("ada".to_owned()), None),
            Kind::Group => (subject(format!("subject {number}")), None),
            Kind::Branch => (Terms::default(), number.checked_sub(1).map(|before| before / CHILDREN)),
        };
        bench.let_in(&terms, by).await;
    }
    bench.let_in(&Terms::default(), None).await;
    let (_, others) = bench.devices.pop().expect("it was let in last");
    let root = bench.devices[0].0;
    let whom = match kind {
        Kind::Device => Whom::device(root),
        Kind::Subject => Whom::subject("ada"),
        Kind::Group => Whom::group("staff"),
        Kind::Branch => Whom::device(root).with_descendants(),
    };
    // A device has no more lines than that; those of all the others stay.
    let (ended, mut stay) = match kind {
        Kind::Device => bench.devices.split_at(1),
        _ => bench.devices.split_at(count),
    };
    let ended: Vec<&Line> = ended.iter().flat_map(|(_, lines)| lines).collect();
    let open = bench.duologue.directory().connected().len();
    assert_eq!(open, count + 1, "{kind:?}");
    let duologue = Arc::new(bench.duologue.clone());
    let begun = Instant::now();
    let revoking = tokio::task::spawn_blocking(move || duologue.revoke(whom));
    let causes = within(60, "every line's end", join_all(ended.iter().map(|line| line.closed()))).await;
    let took = begun.elapsed();
    for cause in causes {
        let ConnectionError::PeerClosed(close) = cause else { panic!("{kind:?}: {cause}") };
        assert_eq!(close.code, CloseCode::DeviceRevoked, "{kind:?}");
    }
    println!("{kind:?}: {} lines, the last was gone after {} ms", ended.len(), took.as_millis());
    assert_eq!(revoking.await.unwrap(), Revocation::Stored, "{kind:?}");
    // The small form shares the machine with others: it says how long it was, and no more.
    assert!(count < WHOLE || took < LIMIT, "{kind:?}: {took:?}");
    while let Some(((_, lines), rest)) = stay.split_first() {
        assert_eq!(within(60, "an echo", lines[0].request("echo", "here")).await.unwrap(), b"here", "{kind:?}");
        stay = rest;
    }
    assert_eq!(within(60, "an echo", others[0].request("echo", "here")).await.unwrap(), b"here", "{kind:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_whom_a_revocation_is_ends_at_once() {
    raise_file_limit().unwrap();
    let devices = rounds("revoking::every_line_of_whom_a_revocation_is_ends_at_once");
    for kind in [Kind::Device, Kind::Subject, Kind::Group, Kind::Branch] {
        revoked(kind, devices).await;
    }
}
