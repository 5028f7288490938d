//! Every kind of event there is: one closed list. What a kind is called is stable, and stands in docs/SECURITY.md, where what it
//! is seen of stands beside it.
//!
//! A kind of [`Origin::Way`] could be made by somebody between a client and this server, who can send whatever he likes from the
//! client's address: it never counts against a device or a subject, and against an address it leads to a delay at most
//! (`rules.rs`). [`Origin::Sealed`] is what arrived under a seal that was verified, and so is its device's own doing.

use tracing::Level;

/// Who can have caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Anybody on the way between a client and this server.
    Way,
    /// A device: it arrived under a verified seal.
    Sealed,
    /// This server, or what it asks.
    Server,
    /// The owner, by a verb or the API.
    Owner,
}

macro_rules! audited {
    () => {
        false
    };
    (audited) => {
        true
    };
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $origin:ident, $level:ident $(, $audited:ident)?;)*) => {
        /// What an event is of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// All, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// A stable word for programs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Who can have caused it.
            #[must_use]
            pub const fn origin(self) -> Origin {
                match self { $(Self::$variant => Origin::$origin,)* }
            }

            /// Its level in the log.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }

            /// Whether it stands in the audit log: who was let in, refused, raised, revoked, banned, and what the owner did.
            #[must_use]
            pub const fn is_audited(self) -> bool {
                match self { $(Self::$variant => audited!($($audited)?),)* }
            }
        }
    };
}

kinds! {
    // Connections, before anybody has shown anything.

    /// A connection ended before HTTP: TLS did not come about, or it spoke something else.
    ConnectionFailed = "connection-failed", Way, DEBUG;
    /// TLS took too long.
    ConnectionSlow = "connection-slow", Way, DEBUG;
    /// There was no place for one more connection, in all or of its address.
    TooManyConnections = "too-many-connections", Way, DEBUG;
    /// A trusted proxy's PROXY header cannot be read.
    ProxyHeaderBroken = "proxy-header-broken", Way, WARN;
    /// A PROXY header came from behind a trusted proxy.
    ProxyHeaderNested = "proxy-header-nested", Way, INFO;
    /// A PROXY header came from somebody who is no trusted proxy.
    ProxyHeaderUntrusted = "proxy-header-untrusted", Way, WARN;
    /// A connection of a banned address was closed, or its request refused.
    BannedCame = "banned-came", Way, DEBUG;
    /// A connection of a network that the owner does not let in.
    NetworkDenied = "network-denied", Way, DEBUG;
    /// A connection of a country that the owner does not let in.
    CountryDenied = "country-denied", Way, DEBUG;
    /// More than the firewall's budget of somebody.
    BudgetExceeded = "budget-exceeded", Way, DEBUG;
    /// What came is no HTTP, or broke off.
    HttpFailed = "http-failed", Way, DEBUG;
    /// Somebody did not read what was answered.
    ReaderSlow = "reader-slow", Way, DEBUG;
    /// A request for a line that is none.
    UpgradeRefused = "upgrade-refused", Way, DEBUG;
    /// A WebSocket did not come about.
    UpgradeFailed = "upgrade-failed", Way, DEBUG;

    // Handshakes, before a device has signed.

    /// There was no place for one more handshake.
    NoPlace = "no-place", Way, DEBUG;
    /// A handshake gave way to others.
    CrowdedOut = "crowded-out", Way, DEBUG;
    /// A first message was here before.
    HandshakeReplayed = "handshake-replayed", Way, DEBUG;
    /// A handshake for another server's key, or altered on the way.
    WrongKey = "wrong-key", Way, INFO;
    /// A handshake for a key that was this server's, and was retired.
    OldKey = "old-key", Way, DEBUG;
    /// A handshake of which something did not fit.
    HandshakeFailed = "handshake-failed", Way, INFO;
    /// A handshake that was not over in time.
    HandshakeSlow = "handshake-slow", Way, INFO;
    /// A connection was lost, or left, before a device had signed.
    HandshakeLost = "handshake-lost", Way, INFO;
    /// A device's signature does not fit its key and this handshake.
    SignatureBad = "signature-bad", Way, INFO;
    /// Somebody shows an invite that this server does not know.
    InviteUnknown = "invite-unknown", Way, DEBUG;

    // Alterations on the way.

    /// A record did not open: altered, repeated, dropped or put in another order.
    RecordAltered = "record-altered", Way, INFO;
    /// A text message on a WebSocket that carries binary ones alone.
    TextInjected = "text-injected", Way, INFO;
    /// A WebSocket's frame that no client makes.
    FrameBroken = "frame-broken", Way, INFO;
    /// The outer connection was another one at the client than here.
    PathRewritten = "path-rewritten", Way, INFO, audited;

    // Who comes in.

    /// A device that nobody has let in.
    DeviceUnknown = "device-unknown", Sealed, WARN, audited;
    /// A device that the owner has revoked.
    RevokedCame = "revoked-came", Sealed, WARN, audited;
    /// An invite that was used, is too old or is none.
    InviteRefused = "invite-refused", Sealed, WARN, audited;
    /// A device was refused for another reason.
    DeviceRefused = "device-refused", Sealed, WARN, audited;
    /// A device has another key in the place of its own.
    DeviceKeyRenewed = "device-key-renewed", Sealed, INFO, audited;
    /// Somebody comes by a key that another has taken the place of.
    DeviceKeyOld = "device-key-old", Sealed, WARN, audited;
    /// That a device's next key is its own now could not be kept, so that the one before is good too.
    DeviceKeyNotKept = "device-key-not-kept", Server, WARN;
    /// An invite was used, and a device let in.
    DeviceEnrolled = "device-enrolled", Sealed, INFO, audited;
    /// A ticket of another device.
    TicketOfAnother = "ticket-of-another", Sealed, WARN, audited;
    /// A line is open.
    LineOpen = "line-open", Sealed, INFO, audited;
    /// A session goes on over another connection.
    LineResumed = "line-resumed", Sealed, INFO;
    /// A session goes on from another network than before.
    NetworkChanged = "network-changed", Sealed, DEBUG;
    /// One device has lines from two networks at the same time.
    TwoNetworks = "two-networks", Sealed, INFO, audited;
    /// A connection that was let in came to nothing.
    AttachFailed = "attach-failed", Sealed, INFO;
    /// A guest gave way to another.
    GuestEvicted = "guest-evicted", Server, DEBUG;

    // Who somebody is.

    /// A token was taken.
    TokenTaken = "token-taken", Sealed, INFO, audited;
    /// A token was not taken.
    TokenRefused = "token-refused", Sealed, INFO, audited;
    /// A bearer token was shown by another device than before.
    TokenCopied = "token-copied", Sealed, WARN, audited;
    /// What somebody shows is of a time that has not come.
    ClockImpossible = "clock-impossible", Sealed, INFO, audited;
    /// A token has bound a device to its subject.
    TokenBound = "token-bound", Sealed, INFO, audited;
    /// A token could not bind a device.
    TokenNotBound = "token-not-bound", Sealed, INFO;
    /// A token could not bind a device, because the store failed.
    BindingFailed = "binding-failed", Server, WARN;
    /// A subject is on a device on which it was not before.
    SubjectOnNewDevice = "subject-on-new-device", Sealed, INFO, audited;
    /// Somebody else has signed in where a session was.
    SubjectChanged = "subject-changed", Sealed, INFO, audited;
    /// Somebody has signed out.
    SignedOut = "signed-out", Sealed, INFO, audited;
    /// Somebody has signed out while it was judged who it is.
    SignedOutMeanwhile = "signed-out-meanwhile", Sealed, INFO;
    /// What somebody has proved has ended.
    StandingEnded = "standing-ended", Server, INFO, audited;
    /// The hook has said nothing of a device.
    HookSilent = "hook-silent", Server, INFO;
    /// The hook names a subject for whom nothing was proved.
    HookMisnamed = "hook-misnamed", Server, WARN, audited;
    /// The hook has turned out a device that was in.
    HookTurnedOut = "hook-turned-out", Server, INFO, audited;
    /// The backend has vouched for a session.
    Vouched = "vouched", Sealed, INFO, audited;
    /// The backend has ended what it had vouched for.
    VouchEnded = "vouch-ended", Sealed, INFO, audited;
    /// What the backend says of a person is not taken.
    VouchRefused = "vouch-refused", Server, WARN, audited;
    /// Somebody has shown to be there.
    PresenceShown = "presence-shown", Sealed, INFO, audited;
    /// A passkey was not taken.
    PasskeyRefused = "passkey-refused", Sealed, INFO, audited;
    /// A passkey was registered.
    PasskeyRegistered = "passkey-registered", Sealed, INFO, audited;
    /// A passkey was removed by its person.
    PasskeyRemoved = "passkey-removed", Sealed, INFO, audited;
    /// That a passkey was used could not be kept.
    PasskeyNotKept = "passkey-not-kept", Server, WARN;
    /// A device has made an invite for another.
    DevicePaired = "device-paired", Sealed, INFO, audited;

    // What is done on a line.

    /// A label that no service has.
    LabelUnknown = "label-unknown", Sealed, INFO;
    /// The policy does not open this.
    NotAllowed = "not-allowed", Sealed, INFO, audited;
    /// As many channels as the rule has are open.
    RuleFull = "rule-full", Sealed, INFO;
    /// A service failed, as a rule for what it was sent.
    ServiceFailed = "service-failed", Sealed, WARN;
    /// A request went to the backend.
    RequestForwarded = "request-forwarded", Sealed, DEBUG;
    /// A request was not answered.
    RequestFailed = "request-failed", Sealed, WARN;
    /// A request that two readers would read differently, or that puts on what is the server's to say.
    RequestSmuggled = "request-smuggled", Sealed, WARN, audited;
    /// A file was dropped.
    FileDropped = "file-dropped", Sealed, INFO;
    /// A file was not taken.
    FileRefused = "file-refused", Sealed, WARN;
    /// A file's name that leads somewhere else.
    PathTrick = "path-trick", Sealed, WARN, audited;
    /// Bytes under the seal that are no message, or break the rules.
    ProtocolBroken = "protocol-broken", Sealed, INFO, audited;
    /// More messages than anybody sends by hand or by a program that waits.
    MessageFlood = "message-flood", Sealed, INFO;
    /// More channels.
    ChannelFlood = "channel-flood", Sealed, INFO;
    /// More datagrams.
    DatagramFlood = "datagram-flood", Sealed, INFO;
    /// More pings.
    PingFlood = "ping-flood", Way, INFO;
    /// A connection was lost; its session waits.
    ConnectionLost = "connection-lost", Way, INFO;
    /// A line has ended.
    LineEnded = "line-ended", Way, INFO;
    /// A line made room for another of the same branch.
    LineReplaced = "line-replaced", Server, INFO;
    /// A session without a connection made room.
    SessionEvicted = "session-evicted", Server, WARN;
    /// Memory was full, and who held most has made room.
    MemoryFull = "memory-full", Server, WARN;
    /// A line was still busy when the server stopped.
    LineBusy = "line-busy", Server, WARN;

    // The server's own.

    /// The firewall's files have changed, and count as they are now.
    FirewallRead = "firewall-read", Server, INFO, audited;
    /// One of them cannot be used: what was read before still counts.
    FirewallBroken = "firewall-broken", Server, ERROR, audited;
    /// An issuer's keys could not be had.
    IssuerKeysFailed = "issuer-keys-failed", Server, WARN;
    /// They are to be had again.
    IssuerKeysAgain = "issuer-keys-again", Server, INFO;
    /// An issuer's keys are here, and some of them, or all, verify nothing.
    IssuerKeysUnfit = "issuer-keys-unfit", Server, WARN;
    /// The hook does not answer.
    HookFailed = "hook-failed", Server, WARN;
    /// The hook answers again.
    HookAgain = "hook-again", Server, INFO;
    /// A device could not be let in, because the store failed.
    EnrolmentFailed = "enrolment-failed", Server, ERROR;
    /// An invite could not be looked up.
    InviteLookupFailed = "invite-lookup-failed", Server, ERROR;
    /// Tickets could not be kept, or read at the start.
    TicketsNotKept = "tickets-not-kept", Server, WARN;
    /// The listening socket gave no connection.
    AcceptFailed = "accept-failed", Server, WARN;
    /// The listening socket cannot be used: nobody new comes.
    ListenFailed = "listen-failed", Server, ERROR;
    /// The socket of the owner's verbs failed.
    ControlFailed = "control-failed", Server, WARN;
    /// The local API was asked by a browser, by somebody without a good key, or for what its caller has no role for, and did not answer.
    ControlRefused = "control-refused", Server, WARN, audited;
    /// A thread could not be started, and what it would do is not done.
    ThreadFailed = "thread-failed", Server, ERROR;
    /// A file was dropped, and its name, or whose it is, could perhaps not be kept.
    FileNotKept = "file-not-kept", Server, WARN;
    /// The server serves.
    ServerStarted = "server-started", Server, DEBUG, audited;
    /// The server stops.
    ServerStopping = "server-stopping", Server, INFO, audited;
    /// A certificate was got by ACME.
    CertificateRenewed = "certificate-renewed", Server, INFO, audited;
    /// None could be got.
    CertificateNotRenewed = "certificate-not-renewed", Server, ERROR, audited;
    /// No other process could take this server's place, or the two of them do not hear each other.
    HandOverFailed = "hand-over-failed", Server, ERROR, audited;

    // The state directory and its disk.

    /// Others than its owner can read or change the server's key.
    KeyExposed = "key-exposed", Server, WARN, audited;
    /// The store that was found is an older copy: what it has forgotten may come in again.
    StateOlder = "state-older", Server, WARN, audited;
    /// What the older copy did not have as revoked is revoked again.
    RevokedAgain = "revoked-again", Server, WARN, audited;
    /// The store failed, and is opened anew.
    StoreFailed = "store-failed", Server, WARN;
    /// It could be written again.
    StoreAgain = "store-again", Server, INFO;
    /// A revocation, or that one was lifted, is in force and not on disk.
    RevocationNotKept = "revocation-not-kept", Server, ERROR, audited;
    /// There is little room on the disk, or none could be set aside for the owner.
    DiskLow = "disk-low", Server, WARN;
    /// The disk is full: nobody new is let in.
    DiskFull = "disk-full", Server, ERROR, audited;
    /// There is room again.
    DiskAgain = "disk-again", Server, INFO, audited;

    // The watch.

    /// A rule's threshold was passed, and it measures nothing or runs dry.
    RuleMatched = "rule-matched", Server, WARN, audited;
    /// An address waits before its next handshakes.
    Slowed = "slowed", Server, WARN, audited;
    /// Lines were closed by a rule.
    Closed = "closed", Server, WARN, audited;
    /// A ban has begun.
    Banned = "banned", Server, WARN, audited;
    /// A ban could not be kept: it is in force until the server stops.
    BanNotKept = "ban-not-kept", Server, ERROR;
    /// The command of bans could not be run, or did not end well.
    BanCommandFailed = "ban-command-failed", Server, ERROR;
    /// The audit log could not be written, or a file of it not packed.
    AuditFailed = "audit-failed", Server, ERROR;
    /// It can be written again.
    AuditAgain = "audit-again", Server, INFO, audited;
    /// Files of the audit log went after their time.
    AuditFilesRemoved = "audit-files-removed", Server, INFO;
    /// Whoever gets the audit log as well does not take it, or not all of it.
    SinkFailed = "sink-failed", Server, WARN;
    /// It takes it again.
    SinkAgain = "sink-again", Server, INFO;

    // The owner's verbs.

    /// An invite was made.
    InviteMade = "invite-made", Owner, INFO, audited;
    /// An invite was withdrawn.
    InviteWithdrawn = "invite-withdrawn", Owner, INFO, audited;
    /// A device was bound to a subject.
    OwnerBound = "owner-bound", Owner, INFO, audited;
    /// A device was released.
    OwnerReleased = "owner-released", Owner, INFO, audited;
    /// A device, a subject, a group or a token was revoked.
    OwnerRevoked = "owner-revoked", Owner, INFO, audited;
    /// A device was revoked with another, or with its account.
    RevokedWith = "revoked-with", Owner, INFO, audited;
    /// A revocation was taken back.
    OwnerRestored = "owner-restored", Owner, INFO, audited;
    /// A subject's groups were changed.
    GroupsChanged = "groups-changed", Owner, INFO, audited;
    /// A passkey was removed by the owner.
    OwnerRemovedPasskey = "owner-removed-passkey", Owner, INFO, audited;
    /// The owner has ended a session.
    OwnerEnded = "owner-ended", Owner, INFO, audited;
    /// Another process has taken this server's place.
    HandedOver = "handed-over", Owner, INFO, audited;
    /// The configuration was read again.
    PolicyReloaded = "policy-reloaded", Owner, INFO, audited;
    /// The owner has banned somebody.
    OwnerBanned = "owner-banned", Owner, INFO, audited;
    /// The owner has lifted a ban.
    BanLifted = "ban-lifted", Owner, INFO, audited;
    /// An owner's key was taken, or a server key was made, or retired.
    KeysChanged = "keys-changed", Owner, INFO, audited;
    /// The server's address is another one from now on.
    AddressChanged = "address-changed", Owner, INFO, audited;
    /// The owner has made a backup or an export: by it somebody else could be this server, or come in.
    BackupMade = "backup-made", Owner, INFO, audited;
}

impl Kind {
    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Its place among all.
    #[must_use]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_no_two_kinds_share_one() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        for (at, (name, kind)) in names.iter().zip(Kind::ALL).enumerate() {
            assert!(name.len() <= 24 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
            assert_eq!((Kind::named(name), kind.index()), (Some(*kind), at), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        assert_eq!(Kind::named("no-such-kind"), None);
    }

    #[test]
    fn every_event_stands_beside_what_it_is_seen_of_and_in_the_owners_document() {
        let security = include_str!("../../../docs/SECURITY.md");
        let watch = include_str!("../../../docs/WATCH.md");
        // The last column of a table of attacks.
        let seen_as: Vec<_> = security.lines().filter(|line| line.starts_with("| ")).filter_map(last_cell).collect();
        for kind in Kind::ALL {
            let name = format!("`{}`", kind.name());
            assert!(
                seen_as.iter().any(|cell| cell.contains(&name)),
                "{name} is in no column \"seen as\" of docs/SECURITY.md"
            );
            let row = watch.lines().find(|line| line.starts_with(&format!("| {name} | ")));
            let row = row.unwrap_or_else(|| panic!("{name} is in no table of docs/WATCH.md"));
            let whose = match kind.origin() {
                Origin::Way => "the way",
                Origin::Sealed => "a device",
                Origin::Server => "the server",
                Origin::Owner => "the owner",
            };
            let audited = if kind.is_audited() { "yes" } else { "" };
            assert!(row.ends_with(&format!(" | {whose} | {audited} |")), "{row}");
        }
    }

    #[test]
    fn every_event_has_words_for_the_owners_page_in_both_languages() {
        let words = include_str!("../../../web/page/words/text-events.js");
        for kind in Kind::ALL {
            let line = words.lines().find(|line| line.starts_with(&format!("  \"event.{}\": [", kind.name())));
            let line = line.unwrap_or_else(|| panic!("{} is not in text-events.js", kind.name()));
            let texts: Vec<_> = line.split('"').skip(3).step_by(2).collect();
            let [english, french] = texts[..] else { panic!("not two texts: {line}") };
            assert!(!english.is_empty() && !french.is_empty() && english != french, "{line}");
        }
        assert_eq!(words.matches("\n  \"event.").count(), Kind::ALL.len(), "and none is left over");
    }

    /// The fourth of four.
    fn last_cell(line: &str) -> Option<&str> {
        let cells: Vec<_> = line.split(" | ").collect();
        (cells.len() >= 4).then(|| cells.last().copied()).flatten()
    }
}
