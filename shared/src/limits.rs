//! Every bound of the protocol, with its unit in the name and its arithmetic beside it.

// Records.

/// Longest record, sealed: what one Noise message may have, and one binary WebSocket message.
pub const RECORD_LEN_MAX: usize = 65_535;
/// Longest plaintext of a record: the record less its tag.
pub const RECORD_PLAINTEXT_LEN_MAX: usize = RECORD_LEN_MAX - 16;
/// Records that one key seals before `Rekey()`: 2^16, far below ChaCha20-Poly1305's bounds even for 64 KiB records.
pub const REKEY_INTERVAL_RECORDS: u64 = 1 << 16;

// Handshake.

/// Clear header of M1: type, version, suite, server key id (8), flags.
pub const M1_HEADER_LEN: usize = 12;
/// Payload of M1, padded to one length whatever is offered.
pub const M1_PAYLOAD_LEN: usize = 64;
/// Noise part of M1: e 32, e1 1184 + 16, payload 64 + 16.
pub const M1_NOISE_LEN: usize = 32 + 1184 + 16 + M1_PAYLOAD_LEN + 16;
/// M1 in full: 1,324 bytes, 1,766 as base64url in a header.
pub const M1_LEN: usize = M1_HEADER_LEN + M1_NOISE_LEN;
/// What is decoded of an M1 at most; longer ones are refused unread.
pub const M1_LEN_MAX: usize = 2_048;
/// Payload of M2.
pub const M2_PAYLOAD_LEN: usize = 64;
/// Noise part of M2: e 32, ekem1 1088 + 16, payload 64 + 16.
pub const M2_NOISE_LEN: usize = 32 + 1088 + 16 + M2_PAYLOAD_LEN + 16;
/// M2 in full: its type byte, then the Noise part.
pub const M2_LEN: usize = 1 + M2_NOISE_LEN;
/// Plaintext of record 0, each way and whatever it says, so that its length tells nothing.
pub const RECORD_0_LEN: usize = 1_024;
/// From the accepted socket to a verified AUTH, at the server.
pub const HANDSHAKE_SECS: u64 = 5;
/// From the opened socket to AUTH_OK, at the client: the server's 5 s and a slow path.
pub const CONNECT_SECS: u64 = 10;
/// How long a client waits for M2 behind the opened socket before it dials in the second form: as long as a handshake over
/// most paths, and not so long that a person gives up.
pub const FIRST_FORM_MILLIS: u64 = 2_000;
/// And never below so many times what the socket took to open: TCP, TLS and upgrade are three round trips and more.
pub const FIRST_FORM_FACTOR: u32 = 4;
/// How long a server waits for AUTH behind M2 before it sends a WebSocket ping: some proxies withhold what came with the 101
/// until more follows.
pub const PUSH_MILLIS: u64 = 100;
/// How long a client that has woken waits before it dials.
pub const WAKE_MILLIS: u64 = 100;
/// A waking within so many seconds of the last one does not start the backoff anew.
pub const WAKE_QUIET_SECS: u64 = 10;
/// Sealed bytes that a client may send behind AUTH before the server has let it in.
pub const EARLY_DATA_LEN_MAX: usize = 64 * 1_024;
/// What a record of evidence fills behind AUTH, and a frame on an open line: one of three lengths, so that a token's own says
/// little.
pub const EVIDENCE_BUCKET_MIN: usize = 2 * 1_024;
/// The longest of the three; 4 KiB lie between.
pub const EVIDENCE_BUCKET_MAX: usize = 4 * EVIDENCE_BUCKET_MIN;
/// Type, kind, number 4, length 2.
pub const EVIDENCE_HEADER_LEN: usize = 8;
/// The longest evidence: 8,184 bytes. A JWT has one to four KiB.
pub const EVIDENCE_LEN_MAX: usize = EVIDENCE_BUCKET_MAX - EVIDENCE_HEADER_LEN;
/// Records of evidence behind one AUTH.
pub const EVIDENCE_MAX: u8 = 2;
/// A subject: the owner's own name for a person.
pub const SUBJECT_LEN_MAX: usize = 128;
/// Why evidence raises nothing, as a word.
pub const REFUSED_LEN_MAX: usize = 32;
/// A STANDING in full: type, level, flags, evidence, seconds, and both texts behind their lengths.
pub const STANDING_LEN_MAX: usize = 1 + 1 + 1 + 4 + 4 + (1 + REFUSED_LEN_MAX) + (1 + SUBJECT_LEN_MAX);
/// What AUTH_OK tells of the server's keys: the owner's key, number, server key, signature, number.
pub const KEYS_LEN: usize = 64 + 4 + 32 + 64 + 4;
/// Origin and host as the client saw them: a host name has at most 253 bytes, then scheme and port.
pub const ORIGIN_LEN_MAX: usize = 280;
/// A device's own name for itself.
pub const DEVICE_NAME_LEN_MAX: usize = 64;
/// Reason in words beside a close code.
pub const CLOSE_REASON_LEN_MAX: usize = 256;

// Liveness.

/// From one PING of the server to the next, where both ends are [patient](crate::Capabilities::PATIENT): nginx, AWS and others cut
/// links that were idle for 60 s.
pub const PING_INTERVAL_SECS: u64 = 45;
/// The same where one of them is not.
pub const PING_INTERVAL_SHORT_SECS: u64 = 25;
/// How long the server waits for a PONG.
pub const PONG_SECS: u64 = 10;
/// The silence that a client takes for death, where both ends are patient: an interval, a PONG's time, and 5 s for the way.
pub const SILENCE_SECS: u64 = PING_INTERVAL_SECS + PONG_SECS + 5;
/// The same where one of them is not: an interval and a PONG's time.
pub const SILENCE_SHORT_SECS: u64 = PING_INTERVAL_SHORT_SECS + PONG_SECS;
/// How long a client waits for a PONG when it has reason to doubt.
pub const PROBE_SECS: u64 = 2;
/// For how long the server asks nothing of a client whose page does not run.
pub const FROZEN_SECS: u64 = 120;
/// Bytes of records that it sends to such a one at most: the browser has to hold them.
pub const FROZEN_LEN_MAX: usize = 64 * 1_024;

// The life of a session across connections.

/// How long a server keeps a session without a connection.
pub const RESUME_TTL_SECS: u64 = 120;
/// The age at which a connection's keys are given up: 54 to 60 minutes, by chance, so that clients do not come together.
pub const KEYS_TTL_MIN_SECS: u64 = 54 * 60;
/// See [`KEYS_TTL_MIN_SECS`].
pub const KEYS_TTL_MAX_SECS: u64 = 60 * 60;
/// The first redial comes within this time, by chance ("full jitter"), and each further one within twice the time before.
pub const BACKOFF_FIRST_MILLIS: u64 = 250;
/// No redial waits longer.
pub const BACKOFF_MAX_MILLIS: u64 = 15_000;
/// Whoever refuses an upgrade may say when to come again; nobody is kept for longer, since what says it is not authenticated.
pub const RETRY_AFTER_MAX_SECS: u64 = 60;
/// Records in a row that do not authenticate, each of which cost a connection, before the session is given up too.
pub const FORGERIES_MAX: u8 = 3;
/// How long a server that stops waits until nothing is on its way any more.
pub const DRAIN_SECS: u64 = 30;
/// The clients of a server that stops come back within this time of each other at least, each in a slot of its own.
pub const DRAIN_SLOTS_MILLIS: u32 = 2_000;
/// The longest such time, where they are many.
pub const DRAIN_SLOTS_MAX_MILLIS: u32 = 60_000;

/// What a service may note on a channel for whoever goes on with it, in a process that comes after this one.
pub const NOTE_LEN_MAX: usize = 128 * 1_024;
/// A client's session as a snapshot, which a page leaves to the next one: what a browser's `sessionStorage` has room for, with a byte
/// as a character.
pub const SNAPSHOT_LEN_MAX: usize = 4 * 1_024 * 1_024;

// Acknowledgements.

/// The latest moment for an ACK after the counted frame that it acknowledges.
pub const ACK_MILLIS: u64 = 25;
/// Of eight TAKEN so many that left with nothing else end ping-pong, in which a TAKEN waits for the ACK that is owed.
pub const ALONE_MAX: u32 = 2;
/// For how long then none waits: an application that sends only when it knows the last message to be taken loses 50 ms a second.
pub const ALONE_SECS: u64 = 1;
/// Bytes of counted frames after which an ACK leaves at once.
pub const ACK_LEN: usize = 64 * 1_024;
/// Sealed and unacknowledged bytes that a server's session holds, before load gives it more.
pub const RESEND_LEN_SERVER: usize = 1_024 * 1_024;
/// The same in a page or native client; and what a session under load may have at most.
pub const RESEND_LEN_MAX: usize = 4 * 1_024 * 1_024;
/// The step by which resend memory grows.
pub const RESEND_LEN_STEP: usize = 512 * 1_024;
/// Sealed and unacknowledged bytes that a connection begins with. As long as they are acknowledged without queueing they
/// double with each round trip; what queues makes them fewer. So a bulk transfer does not delay a small message that follows
/// it by more than a few milliseconds, and a long fat path is filled all the same.
pub const FLIGHT_LEN_FIRST: usize = 1_024 * 1_024;
/// Their least: three full records, so that what follows the first makes the peer acknowledge it at once.
pub const FLIGHT_LEN_MIN: usize = 192 * 1_024;
/// What a connection adds to them with each round trip, once they were too many.
pub const FLIGHT_LEN_STEP: usize = 64 * 1_024;
/// For so long after a message of the first priority has left, what is on its way follows the path more closely: somebody is typing.
pub const PRESSED_SECS: u64 = 2;
/// And for so long its shortest round trip is held to.
pub const PRESSED_KEPT_SECS: u64 = 10;
/// How much longer than that, beside a quarter of it, an acknowledgement may take meanwhile.
pub const PRESSED_QUEUEING_MICROS: u64 = 250;
/// How much longer than the shortest round trip an acknowledgement may take before it counts as queueing.
pub const QUEUEING_MILLIS: u64 = 2;
/// What each retained frame counts beside its bytes.
pub const RETAINED_FRAME_COST: usize = 64;
/// How far RESET and DONE may go beyond the bound of unacknowledged bytes, so that a channel's end does not wait behind data:
/// 1,024 of them. Those beyond wait too.
pub const FAREWELLS_LEN_MAX: usize = 1_024 * RETAINED_FRAME_COST;
/// What all sessions of a server may hold, unless it is told otherwise.
pub const SERVER_BUDGET_LEN: usize = 1_024 * 1_024 * 1_024;
/// What each unit may hold in any case, however many there are: a first window.
pub const SHARE_LEN_MIN: usize = 256 * 1_024;
/// What one session's windows and resend memory may grow by beyond what they begin with: three windows of 4 MiB, and resend
/// memory.
pub const SESSION_GROWTH_LEN: usize = 16 * 1_024 * 1_024;
/// A session that holds less than this part of what its unit does leaves it to others to give way at once: a unit has at most
/// 16 lines, so that one of them holds a sixteenth.
pub const FAIR_PART_OF_UNIT: usize = 32;
/// By how much what a session holds may differ from what the budget knows of it, so that not every message is told.
pub const ACCOUNT_STEP_LEN: usize = 4 * 1_024;
/// What a channel takes beside its bytes.
pub const CHANNEL_COST: usize = 640;

// Invites.

/// Random bytes in an invite link.
pub const INVITE_SECRET_LEN: usize = 32;
/// How long an invite is good for, unless it says otherwise.
pub const INVITE_TTL_SECS: u64 = 24 * 60 * 60;
/// How long a ticket is good for: a device that stayed away longer proves itself by its key alone.
pub const TICKET_TTL_SECS: u64 = 7 * 24 * 60 * 60;

// Channels.

/// Live channels of one session.
pub const CHANNELS_MAX: usize = 256;
/// Channels of the peer's that a session keeps: the live ones, and those that are over and that the application has not let go
/// of, three for each. Further ones are reset as `busy`.
pub const CHANNELS_HELD_MAX: usize = 4 * CHANNELS_MAX;
/// RESET and DONE that wait: RESET of live channels of both ends; and RESET and DONE behind a FIN, of channels that were here
/// when there was room last.
pub const FAREWELLS_MAX: usize = 2 * CHANNELS_MAX + 2 * CHANNELS_HELD_MAX;
/// Spans of ids that were passed over, of both ends, that a session remembers as never opened: 512 bytes. Frames for one that
/// was forgotten are ignored, as those for a channel that is gone.
pub const PASSED_OVER_MAX: usize = 64;
/// Bytes that have come and were not read, of all channels of a session, above which no further channel is taken: a first
/// window of each live one.
pub const SESSION_UNREAD_LEN_MAX: usize = CHANNELS_MAX * len(CHANNEL_WINDOW);
/// What a session can hold at most for a peer that does its worst, whatever its budget says. Unread: what was there at the last
/// OPEN; then a first window of each live channel, twice, because an empty message costs 32 bytes of a window and takes 64;
/// windows that have grown, twice; messages in assembly slots. To be sent: queues, resend memory and a turn beyond it, RESET
/// and DONE. Datagrams of both directions. Channels. 64 + 128 + 32 + 40 + 64 + 4 + 1.3 + 0.8 = 334 MiB; and without assembly
/// slots, and with messages that are not empty, half of it.
pub const SESSION_HELD_LEN_MAX: usize = SESSION_UNREAD_LEN_MAX
    + 2 * CHANNELS_MAX * len(CHANNEL_WINDOW)
    + 2 * SESSION_GROWTH_LEN
    + ASSEMBLING_CHANNELS_MAX * (MESSAGE_LEN_MAX + len(CHANNEL_WINDOW_MAX))
    + SESSION_QUEUE_LEN_MAX
    + (RESEND_LEN_MAX + FIRST_RESERVE_LEN + TURN_LEN_MAX + FAREWELLS_LEN_MAX)
    + (DATAGRAM_QUEUE_LEN_MAX + SESSION_DATAGRAMS_LEN_MAX)
    + (CHANNELS_HELD_MAX + CHANNELS_MAX) * CHANNEL_COST;
/// A channel's label, UTF-8.
pub const LABEL_LEN_MAX: usize = 64;
/// Longest message.
pub const MESSAGE_LEN_MAX: usize = 16 * 1_024 * 1_024;
/// What a peer may send on a channel before the application has taken anything.
pub const CHANNEL_WINDOW: u64 = 256 * 1_024;
/// What a window may grow to, where a fast reader is far away: 4 MiB carry 320 Mbit/s over 100 ms.
pub const CHANNEL_WINDOW_MAX: u64 = 4 * 1_024 * 1_024;
/// What each DATA frame costs of the window beside its bytes, so that empty messages are bounded too: 256 KiB hold 8,192.
pub const DATA_FRAME_COST: u64 = 32;
/// Channels of one session that may assemble a message larger than their window at the same time.
pub const ASSEMBLING_CHANNELS_MAX: usize = 2;
/// What one channel puts into a record before the next channel's turn.
pub const TURN_LEN_MAX: usize = 16 * 1_024;
/// What a channel of the first priority may have unacknowledged beyond the bound that holds for all of a session's channels, so
/// that a key press does not wait for a flood's acknowledgement.
pub const FIRST_RESERVE_LEN: usize = TURN_LEN_MAX;
/// Bytes that an application may have queued on a channel before `send` says that it must wait: one largest message.
pub const SEND_QUEUE_LEN_MAX: usize = MESSAGE_LEN_MAX;
/// Of messages that were thrown away before they left, how many runs are remembered.
pub const LEFT_OUT_MAX: usize = 256;
/// What each queued message counts beside its bytes, so that empty ones are bounded too: its place in a queue that doubles.
pub const QUEUED_MESSAGE_COST: usize = 64;
/// Bytes that a stream's writer may have queued: one window, so that a slow reader is felt by the writer at once.
pub const STREAM_QUEUE_LEN_MAX: usize = 256 * 1_024;
/// Bytes queued on all channels of a session: four largest messages. A peer that grants no credit on many channels makes
/// its own session wait, and no more memory than this is held for it.
pub const SESSION_QUEUE_LEN_MAX: usize = 4 * (MESSAGE_LEN_MAX + QUEUED_MESSAGE_COST);

// Datagrams.

/// Longest datagram: a channel's turn in a record.
pub const DATAGRAM_LEN_MAX: usize = TURN_LEN_MAX;
/// Datagrams that wait at either end, for the link or for the application; the oldest makes room.
pub const DATAGRAMS_MAX: usize = 1_024;
/// Bytes of the datagrams that wait at either end.
pub const DATAGRAM_QUEUE_LEN_MAX: usize = 256 * 1_024;
/// Bytes of the datagrams that wait for the application on all channels of a session.
pub const SESSION_DATAGRAMS_LEN_MAX: usize = 4 * DATAGRAM_QUEUE_LEN_MAX;
/// How long a datagram is worth sending, unless it says otherwise.
pub const DATAGRAM_TTL_MILLIS: u64 = 1_000;
/// An acknowledgement that takes longer than this, and than three round trips, shows that the link stalls: datagrams wait
/// where they can still be dropped or replaced. A peer acknowledges within 25 ms; the rest is scheduling.
pub const STALL_MILLIS: u64 = 100;

/// A window as a length in memory.
#[expect(clippy::cast_possible_truncation, reason = "4 MiB at most")]
const fn len(window: u64) -> usize {
    window as usize
}
