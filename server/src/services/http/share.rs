//! How many requests may be under way: of a device, so that it leaves something to others, and in all, so that it leaves files
//! to the server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use duologue::DeviceId;
use thiserror::Error;

use crate::state::files;

/// Requests of one device at a time. A browser has six on a host, and a device may have some pages.
const OF_A_DEVICE_MAX: u32 = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<DeviceId, u32>>>);

/// Why a request is not asked.
#[derive(Debug, Error)]
pub(super) enum Busy {
    #[error("this device has {OF_A_DEVICE_MAX} requests under way: ask again when one of them has ended")]
    Device,
    #[error("the server has as many requests under way as it may: ask again in a moment")]
    Server,
}

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    device: DeviceId,
    shares: Shares,
    _file: files::Counted,
}

impl Shares {
    pub(super) fn take(&self, device: DeviceId) -> Result<Share, Busy> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&device).is_some_and(|count| *count >= OF_A_DEVICE_MAX) {
            return Err(Busy::Device);
        }
        let file = files::request().ok_or(Busy::Server)?;
        *all.entry(device).or_default() += 1;
        Ok(Share { device, shares: self.clone(), _file: file })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.device) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_so_many_requests_and_leaves_others_theirs() {
        let shares = Shares::default();
        let of = |device| shares.take(DeviceId([device; 32]));
        let mut own: Vec<_> = (0..OF_A_DEVICE_MAX).map(|_| of(1).expect("within its share")).collect();
        let refused = of(1).expect_err("one too many").to_string();
        assert_eq!(refused, "this device has 32 requests under way: ask again when one of them has ended");
        let _other = of(2).expect("its own share");
        own.pop();
        own.push(of(1).expect("one has ended"));
        drop(own);
        assert_eq!(shares.0.lock().expect("not poisoned").len(), 1, "nothing is left of who is gone");
    }
}
