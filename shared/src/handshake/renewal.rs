//! A device's next key: what it signs so that it may take the place of the one before.
//!
//! ```text
//! signed by the next key: "duologue/1 device-key" 0x00 ‖ challenge 32 ‖ SHA-256(SPKI) of the key before ‖ SHA-256(SPKI) of the next
//! ```
//!
//! The key before has signed the handshake of the line on which this is shown (service `device-key`). The next one signs too, so that
//! nobody has another's key put in the place of his own, and so becomes two devices, or makes the other one his.

use alloc::vec::Vec;

use super::auth::DeviceKey;
use crate::crypto::{sha256, verify};

/// What is signed begins so, and is thereby never taken for anything else.
const CONTEXT: &[u8] = b"duologue/1 device-key\0";

impl DeviceKey {
    /// The label of the service that puts one in the place of another.
    pub const RENEWAL_LABEL: &str = "device-key";

    /// What this key signs, to take the place of one whose `SubjectPublicKeyInfo` has this SHA-256.
    #[must_use]
    pub fn renewal(&self, challenge: &[u8; 32], before: &[u8; 32]) -> Vec<u8> {
        [CONTEXT, challenge, before, &sha256(self.spki())].concat()
    }

    /// Whether it has.
    #[must_use]
    pub fn is_renewal(&self, challenge: &[u8; 32], before: &[u8; 32], signature: &[u8]) -> bool {
        verify(self.algorithm(), self.spki(), &self.renewal(challenge, before), signature)
    }

    /// What this key signs for a handshake, where the key before was asked: it is to be named beside the signature
    /// ([`Line::provide_signature_by`](crate::Line::provide_signature_by)).
    #[must_use]
    pub fn instead(&self, asked: &[u8]) -> Vec<u8> {
        let context = asked.get(..asked.len().saturating_sub(32)).unwrap_or_default();
        [context, &sha256(self.spki())].concat()
    }
}
