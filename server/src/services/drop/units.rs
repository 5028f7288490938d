//! Whose part of the quota a device's files are: its branch's, the devices that one has let in and those that they let in. Else
//! whoever pairs nine devices would have ten parts.

use std::{collections::HashMap, fmt, sync::Arc};

use duologue::DeviceId;

/// The first device of a device's branch.
pub(super) type RootOf = Arc<dyn Fn(DeviceId) -> DeviceId + Send + Sync>;

/// The units of devices that hold something. A device stays in its unit as long as it does, whatever is learnt of it.
#[derive(Default)]
pub(super) struct Units {
    /// Without it each device is a unit of its own.
    root_of: Option<RootOf>,
    known: HashMap<String, String>,
}

impl fmt::Debug for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Units").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Units {
    pub(super) fn new(root_of: Option<RootOf>) -> Self {
        Self { root_of, known: HashMap::new() }
    }

    /// With the same branches, and nobody in them yet.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.root_of.clone())
    }

    /// The unit of a device, by the name that partial files have for it.
    pub(super) fn of(&self, device: &str) -> String {
        self.known.get(device).cloned().unwrap_or_else(|| self.asked(device))
    }

    /// The same, which it stays in.
    pub(super) fn join(&mut self, device: &str) -> String {
        if let Some(unit) = self.known.get(device) {
            return unit.clone();
        }
        let unit = self.asked(device);
        self.known.insert(device.to_owned(), unit.clone());
        unit
    }

    /// Nobody of a unit holds anything any more.
    pub(super) fn leave(&mut self, unit: &str) {
        self.known.retain(|_, of| of != unit);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn asked(&self, device: &str) -> String {
        match (&self.root_of, device.parse::<DeviceId>()) {
            (Some(root_of), Ok(id)) => root_of(id).to_string(),
            _ => device.to_owned(),
        }
    }
}
