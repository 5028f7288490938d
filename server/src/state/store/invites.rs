//! Invites: made by the owner or by a device, and used once.
//!
//! An invite is consumed in the same transaction that enrols its device, so that of any number of devices that race for
//! it one wins, and a crash in between leaves both or neither. The device that consumed it may use it again: its AUTH_OK may
//! have been lost.

use std::time::Duration;

use duologue::{CloseCode, DeviceId, Invite, InviteId, Secret};
use redb::ReadableTable;

use super::{
    super::{
        records::{DEVICES, INVITES, PAIRINGS, StoredInvite, encode, invite as read_invite, now},
        turns::Who,
    },
    Device, DeviceStatus, Store, StoreError, lineage,
};

/// An invite that a device has made, and that device.
type Pairing = ([u8; 16], [u8; 32]);

impl Store {
    /// Keeps an invite until some time after it has expired, so that its late users can be told why.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_invite(&self, invite: &Invite, lifetime: Duration) -> Result<(), StoreError> {
        const KEPT_SECS: u64 = 30 * 24 * 60 * 60;
        let now = now();
        let stored = StoredInvite::new(invite, now, lifetime);
        self.write(Who::Owner, |write| {
            let mut invites = write.open_table(INVITES)?;
            let mut over = Vec::new();
            for entry in invites.iter()? {
                let (id, bytes) = entry?;
                if read_invite(id.value(), bytes.value())?.expires_at.saturating_add(KEPT_SECS) <= now {
                    over.push(id.value());
                }
            }
            for id in over {
                invites.remove(id)?;
            }
            invites.insert(invite.id().0, encode(&stored).as_slice())?;
            Ok(())
        })?;
        Ok(())
    }

    /// Keeps an invite that a device has asked for. False, and nothing is kept, if the device is not enrolled, if `live_max` of
    /// its invites could still be used, or if it has let in as many as it may: 10 in a day, 50 in all.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_invite_of(
        &self,
        device: DeviceId,
        invite: &Invite,
        lifetime: Duration,
        live_max: usize,
    ) -> Result<bool, StoreError> {
        let now = now();
        let may = |live: &[Pairing]| {
            let own = live.iter().filter(|(_, maker)| *maker == device.0).count();
            // What is out may be used: it counts as if it had been.
            self.status(device) == Some(DeviceStatus::Enrolled)
                && own < live_max
                && own < self.lineage.room(device, now)
        };
        if !may(&self.read(|read| live_pairings(&read.open_table(INVITES)?, &read.open_table(PAIRINGS)?, now))?) {
            return Ok(false);
        }
        let stored = StoredInvite::new(invite, now, lifetime);
        let (is_kept, _turn) = self.write(Who::Device, |write| {
            let mut invites = write.open_table(INVITES)?;
            let mut pairings = write.open_table(PAIRINGS)?;
            let live = live_pairings(&invites, &pairings, now)?;
            // What was used or has expired counts no more, and its maker need not be known any longer.
            pairings.retain(|id, _| live.iter().any(|(other, _)| *other == id))?;
            let may = may(&live);
            if may {
                invites.insert(invite.id().0, encode(&stored).as_slice())?;
                pairings.insert(invite.id().0, device.0)?;
            }
            Ok(may)
        })?;
        Ok(is_kept)
    }

    /// The secret of an invite, used or not: who may use it is decided when its device has proved itself.
    ///
    /// # Errors
    /// If the store fails.
    pub fn invite_secret(&self, id: InviteId) -> Result<Option<Secret>, StoreError> {
        self.read(|read| {
            let invite = find_invite(&read.open_table(INVITES)?, id)?;
            Ok(invite.map(|invite| Secret::new(invite.psk)))
        })
    }

    /// Whether a device that is not known could use an invite now.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn is_invite_good(&self, id: InviteId) -> Result<bool, StoreError> {
        self.read(|read| Ok(self.judge(&read.open_table(INVITES)?, &read.open_table(PAIRINGS)?, id)?.is_ok()))
    }

    /// Consumes an invite for a device and enrols it; or says why not.
    ///
    /// # Errors
    /// If the store fails.
    pub fn enrol(&self, id: InviteId, device: &Device) -> Result<Result<(), CloseCode>, StoreError> {
        match self.status(DeviceId(device.id)) {
            Some(DeviceStatus::Revoked) => return Ok(Err(CloseCode::DeviceRevoked)),
            // An enrolled device needs no invite, and leaves it to another.
            Some(DeviceStatus::Enrolled) => return Ok(Ok(())),
            None => {}
        }
        let asked = self.read(|read| self.judge(&read.open_table(INVITES)?, &read.open_table(PAIRINGS)?, id))?;
        if let Err(code) = asked {
            return Ok(Err(code));
        }
        // Held until memory knows it too: both change in the same order.
        let (verdict, _turn) = self.write(Who::Device, |write| {
            match self.status(DeviceId(device.id)) {
                Some(DeviceStatus::Revoked) => return Ok(Err(CloseCode::DeviceRevoked)),
                Some(DeviceStatus::Enrolled) => return Ok(Ok(None)),
                None => {}
            }
            let mut invites = write.open_table(INVITES)?;
            let pairings = write.open_table(PAIRINGS)?;
            let verdict = self.judge(&invites, &pairings, id)?;
            Ok(match verdict {
                Err(code) => Err(code),
                Ok(invite) => {
                    let used = StoredInvite { used_by: Some(device.id), ..invite };
                    invites.insert(id.0, encode(&used).as_slice())?;
                    write.open_table(DEVICES)?.insert(device.id, encode(device).as_slice())?;
                    let maker = pairings.get(id.0)?.map(|maker| maker.value());
                    let keep = |maker| lineage::keep(write, device.id, maker, device.enrolled_at);
                    Ok(maker.map(keep).transpose()?)
                }
            })
        })?;
        if let Ok(origin) = verdict {
            if let Some(origin) = origin {
                self.lineage.learn(device.id, origin);
            }
            // Never over a revocation, which waits for nobody's turn.
            self.statuses().entry(device.id).or_insert(DeviceStatus::Enrolled);
        }
        Ok(verdict.map(drop))
    }

    /// The invite, if a device that is not known may use it now.
    fn judge(
        &self,
        invites: &impl ReadableTable<[u8; 16], &'static [u8]>,
        pairings: &impl ReadableTable<[u8; 16], [u8; 32]>,
        id: InviteId,
    ) -> Result<Result<StoredInvite, CloseCode>, StoreError> {
        let Some(invite) = find_invite(invites, id)? else { return Ok(Err(CloseCode::NotEnrolled)) };
        // What a revoked device has made is revoked with it, in the file or not yet.
        let maker = pairings.get(id.0)?.map(|maker| DeviceId(maker.value()));
        if maker.is_some_and(|maker| self.status(maker) != Some(DeviceStatus::Enrolled)) {
            return Ok(Err(CloseCode::NotEnrolled));
        }
        Ok(match invite {
            invite if invite.used_by.is_some() => Err(CloseCode::InviteUsed),
            invite if invite.expires_at <= now() => Err(CloseCode::InviteExpired),
            invite => Ok(invite),
        })
    }
}

impl StoredInvite {
    fn new(invite: &Invite, now: u64, lifetime: Duration) -> Self {
        Self { psk: *invite.psk().expose(), expires_at: now.saturating_add(lifetime.as_secs()), used_by: None }
    }
}

fn find_invite(
    invites: &impl ReadableTable<[u8; 16], &'static [u8]>,
    id: InviteId,
) -> Result<Option<StoredInvite>, StoreError> {
    invites.get(id.0)?.map(|bytes| read_invite(id.0, bytes.value())).transpose()
}

/// Invites that devices have made and that could still be used, with who made them.
fn live_pairings(
    invites: &impl ReadableTable<[u8; 16], &'static [u8]>,
    pairings: &impl ReadableTable<[u8; 16], [u8; 32]>,
    now: u64,
) -> Result<Vec<Pairing>, StoreError> {
    let mut live = Vec::new();
    for entry in pairings.iter()? {
        let (id, maker) = entry?;
        let (id, maker) = (id.value(), maker.value());
        let invite = find_invite(invites, InviteId(id))?;
        if invite.is_some_and(|invite| invite.used_by.is_none() && invite.expires_at > now) {
            live.push((id, maker));
        }
    }
    Ok(live)
}
