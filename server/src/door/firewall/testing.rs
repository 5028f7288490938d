//! Files of countries in MaxMind's format, written here: what is tested has no data of anybody's. By the format's specification,
//! version 2.0; records of 24 bits.

use ipnet::IpNet;

/// What stands between tree and data.
const GAP: u32 = 16;

#[derive(Clone, Copy)]
enum Record {
    Empty,
    Node(u32),
    Data(u32),
}

/// A file in which these networks have these countries.
pub(crate) fn countries(all: &[(&str, &str)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (network, country) in all {
        let at = u32::try_from(data.len()).expect("short");
        map(&mut data, 1);
        text(&mut data, "country");
        map(&mut data, 1);
        text(&mut data, "iso_code");
        text(&mut data, country);
        let (bits, len) = match network.parse::<IpNet>().expect("a network") {
            IpNet::V4(network) => (u128::from(u32::from(network.network())), 96 + network.prefix_len()),
            IpNet::V6(network) => (u128::from(network.network()), network.prefix_len()),
        };
        let mut node = 0_usize;
        for depth in 0..len {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == len {
                nodes[node][side] = Record::Data(at);
            } else {
                node = match nodes[node][side] {
                    Record::Node(next) => next as usize,
                    _ => {
                        nodes.push([Record::Empty; 2]);
                        nodes[node][side] = Record::Node(u32::try_from(nodes.len() - 1).expect("few"));
                        nodes.len() - 1
                    }
                };
            }
        }
    }
    let count = u32::try_from(nodes.len()).expect("few");
    let mut file = Vec::new();
    for record in nodes.into_iter().flatten() {
        let value = match record {
            Record::Empty => count,
            Record::Node(next) => next,
            Record::Data(at) => count + GAP + at,
        };
        file.extend_from_slice(&value.to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; GAP as usize]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    map(&mut file, 9);
    for (name, value) in [
        ("binary_format_major_version", 2_u16),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 24),
    ] {
        text(&mut file, name);
        file.push(5 << 5 | 2);
        file.extend_from_slice(&value.to_be_bytes());
    }
    text(&mut file, "node_count");
    file.push(6 << 5 | 4);
    file.extend_from_slice(&count.to_be_bytes());
    text(&mut file, "build_epoch");
    // An extended type: 9 is 7 and 2.
    file.extend_from_slice(&[8, 2]);
    file.extend_from_slice(&1_795_000_000_u64.to_be_bytes());
    text(&mut file, "database_type");
    text(&mut file, "Test-Country");
    text(&mut file, "description");
    map(&mut file, 1);
    text(&mut file, "en");
    text(&mut file, "made by a test");
    text(&mut file, "languages");
    file.extend_from_slice(&[1, 4]);
    text(&mut file, "en");
    file
}

fn map(to: &mut Vec<u8>, pairs: u8) {
    to.push(7 << 5 | pairs);
}

/// Shorter than 29 bytes.
fn text(to: &mut Vec<u8>, said: &str) {
    to.push(2 << 5 | u8::try_from(said.len()).expect("short"));
    to.extend_from_slice(said.as_bytes());
}
