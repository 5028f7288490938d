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
/// Origin and host as the client saw them: a host name has at most 253 bytes, then scheme and port.
pub const ORIGIN_LEN_MAX: usize = 280;
/// A device's own name for itself.
pub const DEVICE_NAME_LEN_MAX: usize = 64;
/// Reason in words beside a close code.
pub const CLOSE_REASON_LEN_MAX: usize = 256;

// Liveness.

/// From one PING of the server to the next: nginx and AWS cut links that were idle for 60 s.
pub const PING_INTERVAL_SECS: u64 = 25;
/// How long the server waits for a PONG.
pub const PONG_SECS: u64 = 10;
/// The silence that a client takes for death: an interval and a PONG's time.
pub const SILENCE_SECS: u64 = PING_INTERVAL_SECS + PONG_SECS;
/// How long a client waits for a PONG when it has reason to doubt.
pub const PROBE_SECS: u64 = 2;

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
/// Records in a row that do not authenticate, each of which cost a connection, before the session is given up too.
pub const FORGERIES_MAX: u8 = 3;
/// How long a server that stops waits until nothing is on its way any more.
pub const DRAIN_SECS: u64 = 30;
/// The clients of a server that stops come back within this time of each other, each in a slot of its own.
pub const DRAIN_SLOTS_MILLIS: u32 = 2_000;

// Acknowledgements.

/// The latest moment for an ACK after the counted frame that it acknowledges.
pub const ACK_MILLIS: u64 = 25;
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
/// How much longer than the shortest round trip an acknowledgement may take before it counts as queueing.
pub const QUEUEING_MILLIS: u64 = 2;
/// What each retained frame counts beside its bytes.
pub const RETAINED_FRAME_COST: usize = 64;
/// What all sessions of a server may hold beyond their first windows and resend memory.
pub const SERVER_BUDGET_LEN: usize = 256 * 1_024 * 1_024;
/// What one session may hold beyond its first windows and resend memory: three windows of 4 MiB, and resend memory.
pub const SESSION_BUDGET_LEN: usize = 16 * 1_024 * 1_024;

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
/// Memory of one session is thus at most 2 × 16 MiB + 256 × 256 KiB = 96 MiB, and only for a peer that uses all of it.
pub const ASSEMBLING_CHANNELS_MAX: usize = 2;
/// What one channel puts into a record before the next channel's turn.
pub const TURN_LEN_MAX: usize = 16 * 1_024;
/// Bytes that an application may have queued on a channel before `send` says that it must wait: one largest message.
pub const SEND_QUEUE_LEN_MAX: usize = MESSAGE_LEN_MAX;
/// Bytes that a stream's writer may have queued: one window, so that a slow reader is felt by the writer at once.
pub const STREAM_QUEUE_LEN_MAX: usize = 256 * 1_024;
/// Bytes queued on all channels of a session: four largest messages. A peer that grants no credit on many channels makes
/// its own session wait, and no more memory than this is held for it.
pub const SESSION_QUEUE_LEN_MAX: usize = 4 * MESSAGE_LEN_MAX;

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
