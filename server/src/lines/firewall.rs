//! What the firewall makes of lines: who may begin a handshake, whose lines end when something else counts, and who looks after its
//! files.

use std::{net::IpAddr, path::Path, sync::atomic::Ordering, time::Duration};

use duologue::CloseCode;

use crate::{
    door::{
        firewall::{Firewall, FirewallSettings, InvalidList, Loaded, Looked, Refusal, What},
        seat::Seat,
    },
    watch::events::{Event, Kind},
};

use super::{Duologue, handshake::Stranger, verdict::TurnedAway};

/// What somebody is told whose handshakes are used up.
const TOO_MANY: &str = "too many connections are made with this identity: try again in a minute";

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(2);

impl Duologue {
    /// The firewall of this server, for its listener ([`FrontConfig`](crate::FrontConfig)): who may not connect costs no TLS there. An
    /// app with a listener of its own need not ask it: whoever may not be here is refused at the upgrade.
    #[must_use]
    pub fn firewall(&self) -> Firewall {
        self.shared.gate.firewall.clone()
    }

    /// Changes who may connect, and how much: whole, and at once. Lines from networks that may not be here any more end. Files are
    /// found from `directory`; they are read again when they change.
    ///
    /// # Errors
    /// If one of the files cannot be used; then everything stays as it was.
    pub fn set_firewall(&self, settings: FirewallSettings, directory: &Path) -> Result<(), InvalidList> {
        self.put_firewall(Firewall::load(settings, directory)?);
        Ok(())
    }

    pub(crate) fn put_firewall(&self, loaded: Loaded) {
        self.shared.gate.firewall.set(loaded);
        self.end_denied();
        // What counts on whom is another question now.
        self.shared.gate.look_again();
        self.watch_files();
    }

    /// Whether a stranger may begin a handshake.
    pub(super) fn takes_handshake(&self, stranger: &Stranger) -> Result<(), Refusal> {
        let firewall = &self.shared.gate.firewall;
        firewall.admits(known(stranger.address))?;
        firewall.takes(What::Handshake, stranger.bounded_as())
    }

    /// Takes one of the handshakes of whoever has proved who he is.
    ///
    /// A resumed session ends with it: whoever makes so many is none that loses his connection now and then.
    pub(super) fn takes_proof(&self, seat: &Seat) -> Result<(), TurnedAway> {
        let taken = self.shared.gate.firewall.proves(&seat.holder());
        taken.map_err(|_| TurnedAway::saying(CloseCode::GoingAway, TOO_MANY))
    }

    /// Somebody was let in: from there, others come in also while many come.
    pub(super) fn lets_in(&self, seat: &Seat) {
        if !seat.is_stranger() {
            self.shared.gate.firewall.lets_in(seat.address());
        }
    }

    /// Whether whoever has proved his key may still be there where he is.
    pub(super) fn is_denied(&self, address: IpAddr) -> bool {
        !self.shared.gate.firewall.permits(known(address))
    }

    /// Ends the sessions whose last connection came from where nobody may be any more.
    fn end_denied(&self) {
        let directory = &self.shared.directory;
        for session in directory.sessions(|session| self.is_denied(session.seat.address())) {
            directory.end(&session, CloseCode::GoingAway, &Refusal::Network.to_string());
        }
    }

    /// Looks after the files, if there are any, as long as the server is there.
    fn watch_files(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.shared.gate.firewall.has_files() || self.shared.files_are_watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let own = self.downgrade();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(firewall) = own.upgrade().map(|own| own.firewall()) else { return };
                let Ok(looked) = tokio::task::spawn_blocking(move || firewall.look_again()).await else { continue };
                match looked {
                    Looked::Same => {}
                    Looked::Changed => {
                        if let Some(own) = own.upgrade() {
                            own.tell(Event::of(Kind::FirewallRead));
                            own.end_denied();
                        }
                    }
                    Looked::Broken(error) => {
                        if let Some(own) = own.upgrade() {
                            own.tell(Event::of(Kind::FirewallBroken).note(error.to_string()));
                        }
                    }
                }
            }
        });
    }
}

/// An address, where it is known.
fn known(address: IpAddr) -> Option<IpAddr> {
    Some(address).filter(|address| !address.is_unspecified())
}
