//! Devices by number: whoever enrols them and whoever connects as them make the same keys without a file between them.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use duologue::{DeviceKey, Invite, ServerKey, SignatureAlgorithm};
use duologue_server::{Device as Stored, State};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// The first number of devices that no server knows before they come.
pub(crate) const NEW_DEVICES: u32 = 1_000_000;

/// A device of the benchmark. Its key is as public as its number.
pub(crate) struct Device(Ed25519KeyPair);

impl Device {
    pub(crate) fn number(number: u32) -> Self {
        let mut seed = [0xd0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Self(Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes"))
    }

    pub(crate) fn key(&self) -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), self.0.public_key().as_ref()].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("prefix and key make an SPKI")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Lets devices 0 to `count` in, each by an invite of its own, as the server would.
pub(crate) fn enrol(state: &State, count: u32) -> anyhow::Result<()> {
    for number in 0..count {
        let invite = state.new_invite(Duration::from_secs(3_600)).context("cannot make an invite")?;
        let device = Stored::new(&Device::number(number).key(), "bench");
        let verdict = state.store().enrol(invite.id(), &device).context("cannot enrol a device")?;
        verdict.map_err(|code| anyhow!("device {number} was not enrolled: {}", code.word()))?;
    }
    Ok(())
}

/// An invite by number, as public as that. It is good only if it was added to the store.
pub(crate) fn invite(number: u32, server: ServerKey) -> Invite {
    let mut secret = [0x1e; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Invite::new(secret, server)
}

/// The one that [`use_invite`] has used.
pub(crate) fn used_invite(server: ServerKey) -> Invite {
    invite(u32::MAX, server)
}

/// Lets device 0 in by that invite.
pub(crate) fn use_invite(state: &State) -> anyhow::Result<()> {
    let invite = used_invite(state.identity().public());
    state.store().add_invite(&invite, Duration::from_secs(3_600))?;
    let device = Stored::new(&Device::number(0).key(), "bench");
    let verdict = state.store().enrol(invite.id(), &device)?;
    verdict.map_err(|code| anyhow!("the invite was not used: {}", code.word()))
}
