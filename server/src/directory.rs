//! The directory of connected devices: to open a channel to one by its id, and to end its lines when it is revoked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use duologue::{CloseCode, DeviceId};
use duologue_native::{Channel, Line, LineError};

/// Tabs and programs that one device may have open at a time.
const LINES_OF_A_DEVICE_MAX: usize = 16;

/// The lines that are open now, by device. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Mutex<Lines>>);

/// The lines of each device, the newest last, by the connection's number.
type Lines = HashMap<DeviceId, Vec<(u64, Line)>>;

impl Directory {
    /// Opens a channel to a connected device: to its newest line.
    ///
    /// # Errors
    /// None if the device is not connected; else what the line says.
    pub fn channel(&self, device: DeviceId, label: &str) -> Option<Result<Channel, LineError>> {
        let line = self.lock().get(&device).and_then(|lines| lines.last()).map(|(_, line)| line.clone())?;
        Some(line.channel(label))
    }

    /// The devices that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<DeviceId> {
        self.lock().keys().copied().collect()
    }

    /// Ends every line of a device.
    pub fn close(&self, device: DeviceId, code: CloseCode) {
        for (_, line) in self.lock().remove(&device).unwrap_or_default() {
            line.close(code, "");
        }
    }

    /// Ends every line of every device.
    pub fn close_all(&self, code: CloseCode) {
        for (_, line) in std::mem::take(&mut *self.lock()).into_values().flatten() {
            line.close(code, "");
        }
    }

    /// A device has a bounded number of lines; beyond it, the newest takes the oldest one's place.
    pub(crate) fn enter(&self, device: DeviceId, number: u64, line: Line) {
        let replaced = {
            let mut devices = self.lock();
            let lines = devices.entry(device).or_default();
            lines.push((number, line));
            (lines.len() > LINES_OF_A_DEVICE_MAX).then(|| lines.remove(0))
        };
        if let Some((_, line)) = replaced {
            line.close(CloseCode::Replaced, "");
        }
    }

    pub(crate) fn leave(&self, device: DeviceId, number: u64) {
        let mut devices = self.lock();
        if let Some(lines) = devices.get_mut(&device) {
            lines.retain(|(other, _)| *other != number);
            if lines.is_empty() {
                devices.remove(&device);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
