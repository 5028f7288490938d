//! What is asked of the directory: sessions by device and by the other names that they have, and all of them, part by part.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use duologue::DeviceId;
use duologue_native::{ByteStream, Channel, Line, LineError};

use super::{super::memory::Unit, Directory, Name, OfDevice, Session};
use crate::{
    door::{seat::Seat, standing::Level},
    watch::bans::network,
};

impl Directory {
    /// Opens a channel to a connected device: to its newest line at whose end somebody is.
    ///
    /// # Errors
    /// None if the device is not connected; else what the line says, `not-here` if its pages have gone.
    pub fn channel(&self, device: DeviceId, label: &str) -> Option<Result<Channel, LineError>> {
        Some(self.newest(device)?.channel(label))
    }

    /// Opens a stream to a connected device, as [`Self::channel`].
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn stream(&self, device: DeviceId, label: &str) -> Option<Result<ByteStream, LineError>> {
        Some(self.newest(device)?.stream(label))
    }

    /// The devices that have a line now, even one whose connection is being replaced.
    #[must_use]
    pub fn connected(&self) -> Vec<DeviceId> {
        self.lock().devices.iter().map(|(device, _)| *device).collect()
    }

    /// The sessions that are so, as somebody says who looks at each.
    pub(crate) fn sessions(&self, mut pick: impl FnMut(&Session) -> bool) -> Vec<Session> {
        let mut picked = Vec::new();
        self.for_each(|session| {
            if pick(&session) {
                picked.push(session);
            }
        });
        picked
    }

    /// Gives every session to somebody who may ask the directory for anything: others have it in between, and who comes meanwhile may
    /// not be among them.
    pub(crate) fn for_each(&self, mut work: impl FnMut(Session)) {
        for part in 0.. {
            let sessions: Vec<_> = {
                let inner = self.lock();
                let Some(devices) = inner.devices.values_of_part(part) else { return };
                devices.flat_map(|of| &of.sessions).cloned().collect()
            };
            sessions.into_iter().for_each(&mut work);
        }
    }

    /// The sessions of a device.
    pub(crate) fn sessions_of(&self, device: DeviceId) -> Vec<Session> {
        self.lock().of(device).to_vec()
    }

    /// The sessions that have a name.
    pub(crate) fn sessions_named(&self, name: Name<'_>) -> Vec<Session> {
        let is_it = |session: &&Session| match name {
            Name::Network(it) => network(session.seat.address()) == it,
            Name::Subject(it) => session.seat.subject().is_some_and(|subject| subject.as_str() == it),
            Name::Branch(it) => self.0.memory.unit(&session.seat) == Unit::Branch(it),
        };
        self.lock().named(name).filter(is_it).cloned().collect()
    }

    /// Where somebody is a subject at this time: of each device the best line, those first at whose end somebody is, of these the one
    /// that came last. Another line of such a device may be somebody's who has not shown to be that.
    pub(crate) fn lines_of(&self, subject: &str, at: u64) -> Vec<(DeviceId, Line)> {
        let mut sessions = self.sessions_named(Name::Subject(subject));
        // Who has signed out is not there, whosever the device is.
        sessions.retain(|session| session.seat.standing(at).subject.as_ref().is_some_and(|is| is.as_str() == subject));
        sessions.sort_by_cached_key(|session| {
            let is_here = session.line.command(|line, _| !line.is_parked() && !line.is_away());
            Reverse((is_here, session.seat.began(), session.id.0))
        });
        let mut seen = HashSet::new();
        let lines = sessions.into_iter().map(|session| (session.seat.device(), session.line));
        lines.filter(|(device, _)| seen.insert(*device)).collect()
    }

    /// How many devices have a line.
    pub(crate) fn len(&self) -> usize {
        self.lock().devices.len()
    }

    /// How many lines each device has, parked ones among them.
    pub(crate) fn counts(&self) -> HashMap<DeviceId, usize> {
        self.lock().devices.iter().map(|(device, of)| (*device, of.sessions.len())).collect()
    }

    /// The highest level that a session of each device has at this time.
    pub(crate) fn levels(&self, at: u64) -> HashMap<DeviceId, Level> {
        let highest = |of: &OfDevice| of.sessions.iter().map(|session| session.seat.standing(at).level).max();
        self.lock().devices.iter().filter_map(|(device, of)| Some((*device, highest(of)?))).collect()
    }

    /// Who sits in a device's newest session.
    pub(crate) fn seat(&self, device: DeviceId) -> Option<Arc<Seat>> {
        self.lock().of(device).last().map(|session| Arc::clone(&session.seat))
    }

    /// Every line.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.for_each(|session| lines.push(session.line));
        lines
    }

    /// Sessions of devices that nobody has let in.
    pub(crate) fn strangers(&self) -> Vec<Session> {
        self.sessions(|session| session.seat.is_stranger())
    }

    /// The sessions of guests.
    pub(crate) fn guests(&self) -> Vec<Session> {
        let inner = self.lock();
        let session = |(device, id)| inner.session(device, id).cloned();
        inner.guests.all().into_iter().filter_map(session).collect()
    }

    /// A device's newest line at whose end somebody is, else the newest.
    pub(crate) fn newest(&self, device: DeviceId) -> Option<Line> {
        let inner = self.lock();
        let sessions = inner.of(device);
        let is_here = |session: &&Session| session.line.command(|line, _| !line.is_away());
        sessions.iter().rev().find(is_here).or(sessions.last()).map(|session| session.line.clone())
    }
}
