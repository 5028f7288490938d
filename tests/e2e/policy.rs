//! What a hostile proxy does to the lines that pass it.

use std::io;

use tokio::io::AsyncBufReadExt;

use crate::wire::Direction;

/// What to do with a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Flip a bit of the byte at this place, counted round.
    Flip(usize),
    /// Keep the message.
    Swallow,
    /// Keep the message and end the connection.
    Cut,
    /// Put a text message before it.
    AddText,
    /// Put a message before it that is a byte longer than a record.
    AddLong,
    /// Put a frame before it that RFC 6455 does not have.
    AddBroken,
}

/// Which message an intervention waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The first one from now on, on any line.
    Now,
    /// The nth binary one (counted from 1) of a line that is yet to come.
    OfANewLine(usize),
    /// Every one from now on, on any line, that belongs to no handshake.
    EachRecord,
}

/// One intervention: once, or for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) direction: Direction,
    pub(crate) when: When,
    pub(crate) act: Act,
    /// Connections that there were when it was made.
    pub(crate) connections: usize,
}

impl Rule {
    /// Whether this binary message is the one.
    pub(crate) fn concerns(&self, direction: Direction, connection: usize, message: usize) -> bool {
        let due = match self.when {
            When::Now => true,
            When::OfANewLine(nth) => connection > self.connections && message == nth,
            // M2 and AUTH_OK before them; AUTH, where M1 came with the upgrade.
            When::EachRecord => message > if direction == Direction::ToClient { 2 } else { 1 },
        };
        due && direction == self.direction
    }
}

/// How hostile a proxy is. The default passes everything on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Take M1 out of upgrade requests.
    pub(crate) strip_m1: bool,
    /// Pass lines on to this port, files to the real server still.
    pub(crate) line_port: Option<u16>,
    pub(crate) rule: Option<Rule>,
    /// Each file whose path has this in it is another, as [`alter`] makes it.
    pub(crate) altered_file: Option<&'static str>,
}

/// Everything up to the empty line; nothing if the client hung up at once.
pub(crate) async fn read_head(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if from.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
        if &head[before..] == b"\r\n" {
            return Ok(Some(head));
        }
        assert!(head.len() < 64 * 1024, "a head of more than 64 KiB");
    }
}

/// Asks for the only answer of its connection, so that the next request is read here too.
pub(crate) fn without_a_next_one(head: &[u8]) -> Vec<u8> {
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let lines = head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    lines.chain(["connection: close", "", ""]).collect::<Vec<_>>().join("\r\n").into_bytes()
}

/// Leaves only the bare subprotocol in the offer.
pub(crate) fn without_m1(head: &[u8]) -> Vec<u8> {
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let lines = head.split("\r\n").map(|line| match line.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-protocol") => {
            let kept =
                value.split(',').map(str::trim).filter(|offer| !offer.starts_with("m1.") && !offer.ends_with("+m1"));
            format!("{name}: {}", kept.collect::<Vec<_>>().join(", "))
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n").into_bytes()
}

/// A request whose answer comes as it is, not packed.
pub(crate) fn unpacked(head: &[u8]) -> Vec<u8> {
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let lines = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("accept-encoding:"));
    lines.collect::<Vec<_>>().join("\r\n").into_bytes()
}

/// Changes a file in an answer so that nothing but its hash tells: a space of a script is a tab, of anything else the last
/// bit is another.
pub(crate) fn alter(answer: &mut [u8]) {
    let body = answer.windows(4).position(|at| at == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let (head, body) = answer.split_at_mut(body);
    let is_script = String::from_utf8_lossy(head).contains("text/javascript");
    match body.iter_mut().find(|byte| is_script && **byte == b' ') {
        Some(space) => *space = b'\t',
        None => body.last_mut().into_iter().for_each(|last| *last ^= 1),
    }
}

/// Whether a request is for a path that has this in it.
pub(crate) fn asks_for(head: &[u8], part: &str) -> bool {
    head.split(|byte| *byte == b' ').nth(1).is_some_and(|path| String::from_utf8_lossy(path).contains(part))
}
