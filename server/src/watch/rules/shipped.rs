//! The rules that a server has without being told. Each is harmless to everybody honest: what a page that is reloaded, a phone
//! between two networks, an office behind one address or a wrong clock can do stays far below the threshold, or is only told.
//!
//! Who is let in is known by his device, so that a device is stopped and not its address, where others may be; addresses are banned
//! only for what no client sends by itself.

use std::time::Duration;

use super::{By, HOUR, Meant, Measure, Rule};
use crate::watch::events::Kind;

/// Name, events, by what, how many, in how many minutes, and what then.
type Row = (&'static str, &'static [Kind], By, u32, u64, Measure);

const ROWS: &[Row] = &[
    (
        "failed-handshakes",
        &[Kind::ConnectionFailed, Kind::HandshakeFailed, Kind::SignatureBad],
        By::Address,
        120,
        5,
        Measure::Slow,
    ),
    ("wrong-key", &[Kind::WrongKey], By::Address, 60, 5, Measure::Slow),
    ("replays", &[Kind::HandshakeReplayed], By::Address, 30, 5, Measure::Slow),
    ("bad-tags", &[Kind::RecordAltered], By::Address, 30, 10, Measure::Observe),
    ("text-injected", &[Kind::TextInjected, Kind::FrameBroken], By::Address, 10, 10, Measure::Observe),
    ("revoked-devices", &[Kind::RevokedCame], By::Address, 30, 10, Measure::Slow),
    ("unknown-devices", &[Kind::DeviceUnknown], By::Address, 120, 10, Measure::Slow),
    ("invites-used", &[Kind::InviteRefused], By::Address, 60, 10, Measure::Slow),
    ("invites-guessed", &[Kind::InviteUnknown], By::Address, 30, 10, Measure::Slow),
    ("tokens-refused", &[Kind::TokenRefused], By::Address, 120, 10, Measure::Slow),
    ("labels-refused", &[Kind::LabelUnknown, Kind::NotAllowed], By::Device, 600, 1, Measure::Close),
    ("smuggling", &[Kind::RequestSmuggled], By::Device, 20, 10, HOUR),
    ("smuggling-of-many", &[Kind::RequestSmuggled], By::Address, 40, 10, HOUR),
    ("path-tricks", &[Kind::PathTrick], By::Device, 10, 10, HOUR),
    ("protocol-broken", &[Kind::ProtocolBroken], By::Device, 5, 10, HOUR),
    ("protocol-broken-by-many", &[Kind::ProtocolBroken], By::Address, 40, 10, HOUR),
    ("message-floods", &[Kind::MessageFlood], By::Device, 10, 1, Measure::Observe),
    ("channel-floods", &[Kind::ChannelFlood], By::Device, 10, 1, Measure::Observe),
    ("datagram-floods", &[Kind::DatagramFlood], By::Device, 10, 1, Measure::Observe),
    ("ping-floods", &[Kind::PingFlood], By::Address, 10, 1, Measure::Slow),
    ("slow-handshakes", &[Kind::HandshakeSlow, Kind::ConnectionSlow], By::Address, 120, 5, Measure::Slow),
    ("slow-readers", &[Kind::ReaderSlow], By::Address, 60, 10, Measure::Slow),
    ("two-networks", &[Kind::TwoNetworks], By::Device, 30, 60, Measure::Observe),
    ("impossible-clock", &[Kind::ClockImpossible], By::Device, 10, 10, Measure::Observe),
];

/// All of them.
pub(crate) fn shipped() -> Vec<Rule> {
    let rule = |row: &Row| {
        let (name, events, by, threshold, minutes, measure) = *row;
        let window = Duration::from_secs(minutes * 60);
        let meant =
            Meant { name: name.to_owned(), events: events.to_vec(), by, window, threshold, measure, dry: false };
        // A test holds that each of them is as it may be.
        Rule::new(meant).ok()
    };
    ROWS.iter().filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shipped_rule_is_one_that_may_be_and_has_a_name_of_its_own() {
        let rules = shipped();
        assert_eq!(rules.len(), ROWS.len(), "none was left out");
        let mut names: Vec<_> = rules.iter().map(Rule::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn the_owners_document_has_each_as_it_is() {
        let document = include_str!("../../../../docs/WATCH.md");
        for (name, events, by, threshold, minutes, measure) in ROWS {
            let events: Vec<_> = events.iter().map(|kind| format!("`{}`", kind.name())).collect();
            let then = if *measure == HOUR { "ban, an hour" } else { measure.word() };
            let row =
                format!("| `{name}` | {} | {} | {threshold} | {minutes} min | {then} |", events.join(", "), by.word());
            assert!(document.contains(&row), "docs/WATCH.md lacks: {row}");
        }
    }
}
