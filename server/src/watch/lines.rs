//! The log, as a reader of the stream: what each kind says there. How much of it peers can make it say is `log.rs`'s.
//!
//! An owner's kinds, and those that happen a bounded number of times, have the target [`OWNERS`] and are always told; their notes
//! are written as `name=value`, as fields are.

use std::{fmt, net::IpAddr, time::Duration};

use tracing::{debug, error, field::display, info, warn};

use super::{
    events::{Event, Kind},
    log::{self, OWNERS},
    stream::{Read, Reader},
};

/// How often it is looked whether something was lost.
const LOOK: Duration = Duration::from_secs(5);

/// Writes what comes until nobody tells any more.
pub(super) fn write_all(reader: &Reader) {
    let mut known = 0;
    loop {
        match reader.next_within(LOOK) {
            Read::Event(event) => write(&event),
            Read::Nothing => {
                let lost = reader.lost();
                let sum = lost.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
                if sum > known {
                    let kinds: Vec<_> = lost.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
                    warn!(target: OWNERS, "more happened than the log could take; lost since the start: {}", kinds.join(", "));
                    known = sum;
                }
            }
            Read::End => return,
        }
    }
}

/// An address as lines show it.
struct From(Option<IpAddr>);

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Writes one event's line.
#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
pub(super) fn write(event: &Event) {
    let _told_as = log::tell_as(event.stranger);
    let Event { code, .. } = *event;
    let (note, label) = (event.note.as_deref(), event.label.as_deref());
    let (device, subject, shown) = (event.device.map(display), event.subject.as_deref(), note.map(display));
    let address = display(From(event.address));
    let beside = note.map(|note| format!(" {note}")).unwrap_or_default();
    match event.kind {
        Kind::ConnectionFailed => debug!(%address, error = shown, "a connection failed before HTTP"),
        Kind::ConnectionSlow => debug!(%address, "it took too long before HTTP"),
        Kind::TooManyConnections => debug!(%address, "there are too many connections, in all or from its address"),
        Kind::ProxyHeaderBroken => warn!(%address, error = shown, "a trusted proxy's connection is closed"),
        Kind::ProxyHeaderNested => {
            info!(%address, "a PROXY header comes from behind a trusted proxy: nobody believes it");
        }
        Kind::ProxyHeaderUntrusted => warn!(
            %address,
            "a PROXY header comes from somebody who is not trusted: if that is your proxy, name its address by \
             --trusted-proxy"
        ),
        Kind::BannedCame => debug!(%address, "a banned address came"),
        Kind::NetworkDenied => debug!(%address, "a network that is not let in"),
        Kind::CountryDenied => debug!(%address, code, "a country that is not let in"),
        Kind::BudgetExceeded => debug!(%address, device, subject, code, "more than its budget"),
        Kind::HttpFailed => debug!(%address, error = shown, "HTTP failed"),
        Kind::ReaderSlow => debug!(%address, "nobody reads what was answered"),
        Kind::UpgradeRefused => debug!(%address, code, "a request for a line was refused"),
        Kind::UpgradeFailed => debug!(%address, error = shown, "an upgrade failed"),
        Kind::NoPlace => debug!(%address, "there was no place in the lobby"),
        Kind::CrowdedOut => debug!(%address, "crowded out before it had proved itself"),
        Kind::HandshakeReplayed => debug!(%address, "a handshake that was here before"),
        Kind::InviteUnknown => debug!(%address, "an invite that is not known here was shown"),
        Kind::OldKey => debug!(%address, "a handshake for a key that was retired"),
        Kind::WrongKey
        | Kind::HandshakeFailed
        | Kind::HandshakeSlow
        | Kind::HandshakeLost
        | Kind::SignatureBad
        | Kind::RecordAltered
        | Kind::TextInjected
        | Kind::FrameBroken
        | Kind::ProtocolBroken
        | Kind::LineEnded => match event.device {
            // Its session lives on.
            Some(_) if code.is_none() => info!(device, %address, "a line was altered on its way"),
            _ => info!(device, %address, code, cause = note, "a line has ended"),
        },
        Kind::PathRewritten => info!(device, %address, code, what = note, "a connection was rewritten on its way"),
        Kind::DeviceUnknown | Kind::RevokedCame | Kind::InviteRefused | Kind::DeviceRefused => {
            // By the address it came from: of keys that nobody knows a stranger makes as many as he likes.
            warn!(key = device, %address, code, "a device was refused");
        }
        Kind::DeviceKeyRenewed => info!(target: OWNERS, device, "a device has another key in the place of its own"),
        Kind::DeviceKeyOld => {
            warn!(%address, of = note, "somebody has come by a key of before: the device was copied, or its key was stolen");
        }
        Kind::DeviceKeyNotKept => warn!(device, error = shown, "that a device has another key could not be kept"),
        Kind::DeviceEnrolled => {
            info!(target: OWNERS, device, %address, name = note, "an invite was used, and a device enrolled");
        }
        Kind::TicketOfAnother => warn!(device, %address, "a ticket of another device was shown"),
        Kind::LineOpen => info!(device, %address, name = note, code, "a line is open"),
        Kind::LineResumed => info!(device, %address, name = note, "a line goes on"),
        Kind::NetworkChanged => debug!(device, %address, "a line goes on from another network"),
        Kind::TwoNetworks => info!(device, %address, "a device is here from two networks at once"),
        Kind::AttachFailed => info!(device, error = shown, "a connection came to nothing"),
        Kind::GuestEvicted => debug!(device, "a guest gives way to another"),
        Kind::TokenTaken => info!(device, subject, "a token was taken{beside}"),
        Kind::TokenRefused => info!(device, code, detail = note, "a token was not taken"),
        Kind::TokenCopied => {
            warn!(device, subject, "a bearer token was shown by another device than before: it may be a copy{beside}");
        }
        Kind::ClockImpossible => info!(device, code, "what was shown is of a time that has not come"),
        Kind::TokenBound => info!(target: OWNERS, device, subject, "a token has bound a device"),
        Kind::TokenNotBound => info!(device, error = shown, "a token has not bound a device"),
        Kind::BindingFailed => warn!(device, error = shown, "a token could not bind a device"),
        Kind::SubjectOnNewDevice => {
            info!(target: OWNERS, device, subject, "a subject is on a device on which it was not before");
        }
        Kind::SubjectChanged => info!(device, "somebody else has signed in: the session that was there is over"),
        Kind::SignedOut => info!(device, subject, "somebody has signed out"),
        Kind::SignedOutMeanwhile => info!(device, "somebody has signed out while it was judged who it is"),
        Kind::StandingEnded => {
            let of_token = code == Some("token-expired");
            info!(device, of_token, "what somebody has proved has ended, and with it what it gave");
        }
        Kind::HookSilent => info!(device, code, detail = note, "the hook has said nothing of a device"),
        Kind::HookMisnamed => {
            warn!(device, code, "the hook names a subject for whom nothing was proved: it is not taken");
        }
        Kind::HookTurnedOut => info!(device, code, "the hook has turned out a device that was in"),
        Kind::Vouched => info!(device, subject, "the backend has vouched for a session{beside}"),
        Kind::VouchEnded => info!(device, "the backend has ended a session's standing"),
        Kind::VouchRefused => warn!(device, error = shown, "what the backend says of a person is not taken"),
        Kind::PresenceShown => info!(device, subject, passkey = note, "somebody has shown to be there"),
        Kind::PasskeyRefused => info!(device, code, detail = note, "a passkey was not taken"),
        Kind::PasskeyRegistered => info!(target: OWNERS, device, subject, "a passkey was registered{beside}"),
        Kind::PasskeyRemoved => {
            info!(target: OWNERS, device, subject, passkey = note, "a passkey was removed by its person");
        }
        Kind::PasskeyNotKept => warn!(device, error = shown, "that a passkey was used could not be kept"),
        Kind::DevicePaired => info!(target: OWNERS, device, "a device has made an invite for another"),
        Kind::LabelUnknown => info!(device, "no such service"),
        Kind::NotAllowed => info!(device, why = note, "not allowed"),
        Kind::RuleFull => info!(device, rule = note, "as many channels as the rule has are open"),
        Kind::ServiceFailed => warn!(label, device, error = shown, "a service failed"),
        Kind::RequestForwarded => debug!(device, "a request was forwarded{beside}"),
        Kind::RequestFailed | Kind::RequestSmuggled => {
            warn!(device, code, cause = note, "a request was not answered");
        }
        Kind::FileDropped => info!(device, size = shown, "a file was dropped"),
        Kind::FileRefused => warn!(device, code, cause = note, "a file was not taken"),
        Kind::PathTrick => warn!(device, "a file's name leads somewhere else"),
        Kind::MessageFlood => info!(device, "a flood of messages"),
        Kind::ChannelFlood => info!(device, "a flood of channels"),
        Kind::DatagramFlood => info!(device, "a flood of datagrams"),
        Kind::PingFlood => info!(%address, "a flood of pings"),
        Kind::ConnectionLost => info!(device, %address, "a connection was lost; its session waits for another"),
        Kind::LineReplaced => {
            info!(device, "a line had to make room for another of the same branch: files are scarce");
        }
        Kind::SessionEvicted => {
            warn!(device, "a session without a connection had to make room: too many wait");
        }
        Kind::MemoryFull => warn!("memory was full: who held most has made room{beside}"),
        Kind::LineBusy => warn!("a line was still busy after{beside}"),
        Kind::FirewallRead => {
            info!(target: OWNERS, "the firewall's files have changed, and count as they are now");
        }
        Kind::FirewallBroken => {
            error!(target: OWNERS, error = shown, "the firewall goes on with what it has read before");
        }
        Kind::IssuerKeysFailed => warn!(target: OWNERS, "an issuer's keys could not be had:{beside}"),
        Kind::IssuerKeysAgain => info!(issuer = note, "the issuer's keys are to be had again"),
        Kind::IssuerKeysUnfit => warn!(target: OWNERS, "an issuer's keys:{beside}"),
        Kind::HookFailed => warn!(target: OWNERS, "{}", note.unwrap_or_default()),
        Kind::HookAgain => info!(target: OWNERS, "the hook answers again"),
        Kind::EnrolmentFailed => error!(error = shown, "a device could not be enrolled"),
        Kind::InviteLookupFailed => error!(error = shown, "an invite could not be looked up"),
        Kind::TicketsNotKept => warn!(error = shown, "tickets could not be kept"),
        Kind::AcceptFailed => warn!(error = shown, "a connection could not be accepted"),
        Kind::ListenFailed => error!(target: OWNERS, error = shown, "the listening socket cannot be used"),
        Kind::ControlFailed => warn!(error = shown, "the control socket failed"),
        Kind::ControlRefused => warn!("the local API has refused who asked{beside}"),
        Kind::ThreadFailed => error!(target: OWNERS, "a thread could not be started:{beside}"),
        Kind::FileNotKept => warn!(device, "{}", note.unwrap_or_default()),
        Kind::KeyExposed => warn!(
            target: OWNERS,
            "{} is open to other users of this machine, and whoever has read it can pose as this server: `chmod 600` it, and if \
             anybody may have read it, begin anew with another state directory",
            note.unwrap_or_default()
        ),
        Kind::StateOlder => warn!(
            target: OWNERS,
            "the store is an older copy:{beside}. Devices that came since are not known any more, and links that were used since \
             let in once more: look at `duologue devices list`"
        ),
        Kind::RevokedAgain => {
            warn!(target: OWNERS, "revoked again, as the journal of revocations has it:{beside}");
        }
        Kind::StoreFailed => warn!(target: OWNERS, cause = shown, "the store failed, and is opened anew"),
        Kind::StoreAgain => info!(target: OWNERS, "the store is written again"),
        Kind::RevocationNotKept => error!(target: OWNERS, "{}", note.unwrap_or_default()),
        Kind::DiskLow => warn!(
            target: OWNERS,
            "the disk of the state directory is nearly full; once it is full, nobody new is let in:{beside}"
        ),
        Kind::DiskFull => error!(
            target: OWNERS,
            "the disk is full: nobody new is let in until there is room; the owner's verbs go on:{beside}"
        ),
        Kind::DiskAgain => info!(target: OWNERS, "there is room again on the disk:{beside}"),
        Kind::ServerStarted => debug!("the server serves"),
        Kind::ServerStopping => info!(target: OWNERS, "stopping"),
        Kind::CertificateRenewed => info!(target: OWNERS, "a certificate was got by ACME{beside}"),
        Kind::CertificateNotRenewed => {
            error!(target: OWNERS, "no certificate could be got by ACME: {}", note.unwrap_or_default());
        }
        Kind::HandOverFailed => error!(target: OWNERS, "{}", note.unwrap_or_default()),
        Kind::HandedOver => info!(target: OWNERS, "this process has taken the server's place{beside}"),
        Kind::RuleMatched => warn!(device, subject, %address, "a rule has matched{beside}"),
        Kind::Slowed => warn!(%address, "slowed{beside}"),
        Kind::Closed => warn!(device, subject, %address, "lines were closed{beside}"),
        // The line that fail2ban may read (docs/WATCH.md): it does not change. Bounded as what peers do is: keys cost nothing.
        Kind::Banned => warn!(device, subject, %address, "banned{beside}"),
        Kind::BanNotKept => error!(error = shown, "a ban is in force until this server stops, and NOT on disk"),
        Kind::BanCommandFailed => error!(error = shown, "the command of bans did not end well"),
        Kind::AuditFailed => error!(error = shown, "the audit log cannot be written"),
        Kind::AuditAgain => info!(target: OWNERS, "the audit log is written again{beside}"),
        Kind::AuditFilesRemoved => {
            info!(target: OWNERS, "files of the audit log were removed after their time{beside}");
        }
        Kind::SinkFailed => warn!(target: OWNERS, "{}", note.unwrap_or_default()),
        Kind::SinkAgain => info!(target: OWNERS, "{}", note.unwrap_or_default()),
        Kind::InviteMade => info!(target: OWNERS, subject, "the owner has made an invite{beside}"),
        Kind::InviteWithdrawn => info!(target: OWNERS, "the owner has withdrawn an invite{beside}"),
        Kind::OwnerBound => info!(target: OWNERS, device, subject, "the owner has bound a device{beside}"),
        Kind::OwnerReleased => info!(target: OWNERS, device, "the owner has released a device{beside}"),
        Kind::OwnerRevoked => info!(target: OWNERS, "the owner has revoked{beside}"),
        Kind::RevokedWith => {
            info!(target: OWNERS, device, with = note, "a device was revoked with another, or with its account");
        }
        Kind::OwnerRestored => info!(target: OWNERS, "the owner has restored{beside}"),
        Kind::GroupsChanged => info!(target: OWNERS, subject, "the owner has changed groups{beside}"),
        Kind::OwnerRemovedPasskey => info!(target: OWNERS, subject, "the owner has removed a passkey{beside}"),
        Kind::OwnerEnded => info!(target: OWNERS, "the owner has ended a session{beside}"),
        Kind::PolicyReloaded => info!(target: OWNERS, "the owner has read the policy again{beside}"),
        Kind::OwnerBanned => info!(target: OWNERS, "the owner has banned{beside}"),
        Kind::BanLifted => info!(target: OWNERS, "the owner has lifted a ban{beside}"),
        Kind::KeysChanged => info!(target: OWNERS, "the owner has changed the server's keys{beside}"),
        Kind::AddressChanged => info!(target: OWNERS, "the owner has changed the server's address{beside}"),
        Kind::BackupMade => info!(target: OWNERS, "the owner has copied the state{beside}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use duologue::DeviceId;
    use tracing::{
        Level, Metadata, Subscriber,
        span::{Attributes, Id, Record},
    };

    use super::*;

    /// The level and the target of each line.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<(Level, String)>>>);

    impl Subscriber for Levels {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let metadata = event.metadata();
            self.0.lock().expect("no panic").push((*metadata.level(), metadata.target().to_owned()));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// docs/WATCH.md has it, and the filter that reads it.
    #[test]
    fn the_line_that_fail2ban_reads_stays_as_it_is() {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_target(false).without_time();
        let log = log.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let note = "rule=smuggling-of-many count=40 secs=3600 until=1795963209";
            write(&Event::of(Kind::Banned).address([192, 0, 2, 13].into()).note(note));
            write(&Event::of(Kind::Banned).device(DeviceId([7; 32])).note(note));
        });
        let written = String::from_utf8(written.0.lock().expect("no panic").clone()).expect("text");
        let [address, device] = &written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
        let line = "WARN banned rule=smuggling-of-many count=40 secs=3600 until=1795963209 address=192.0.2.13";
        assert_eq!(address.trim_start(), line);
        assert!(include_str!("../../../docs/WATCH.md").contains(&format!("Z  {line}\n")), "as documented");
        assert!(device.contains(" device=") && device.ends_with(" address=unknown"), "{device}");
    }

    #[test]
    fn each_kind_has_one_line_of_its_level_and_what_the_owner_did_is_always_told() {
        let levels = Levels::default();
        tracing::subscriber::with_default(levels.clone(), || {
            for kind in Kind::ALL {
                write(&Event::of(*kind));
                write(&Event::of(*kind).device(DeviceId([1; 32])).note("a note"));
            }
        });
        let levels = levels.0.lock().expect("no panic");
        assert_eq!(levels.len(), 2 * Kind::ALL.len());
        for (kind, lines) in Kind::ALL.iter().zip(levels.chunks(2)) {
            for (level, target) in lines {
                assert_eq!(*level, kind.level(), "{kind:?}");
                assert!(kind.origin() != super::super::events::Origin::Owner || target == OWNERS, "{kind:?}: {target}");
            }
        }
    }
}
