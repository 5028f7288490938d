//! Invites: made by the owner or by a device, and used once.
//!
//! An invite is consumed in the same transaction that enrols its device, so that of any number of devices that race for
//! it one wins, and a crash in between leaves both or neither. The device that consumed it may use it again: its AUTH_OK may
//! have been lost.

use std::time::Duration;

use duologue::{CloseCode, DeviceId, Invite, InviteId, Secret};
use redb::{ReadableMultimapTable, ReadableTable, WriteTransaction};

use super::{
    super::{
        records::{
            DEVICES, INVITES, OPENINGS, PAIRINGS, PAIRINGS_OF, StoredAccount, StoredInvite, StoredTerms, TERMS, encode,
            invite as read_invite, now, terms as read_terms,
        },
        turns::Who,
    },
    Device, DeviceStatus, Store, StoreError, Terms,
    accounts::{self, Names},
    lineage, signed_out,
};

/// An invite that a device has made, and that device.
type Pairing = ([u8; 16], [u8; 32]);

/// An invite as its owner sees it; times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InviteRecord {
    pub(crate) id: InviteId,
    /// None for one of before that was kept.
    pub(crate) made_at: Option<u64>,
    /// The device that asked for it; none if that was the owner, or if it was never used and is over.
    pub(crate) made_by: Option<DeviceId>,
    pub(crate) expires_at: u64,
    pub(crate) used_by: Option<DeviceId>,
    pub(crate) used_at: Option<u64>,
    pub(crate) withdrawn_at: Option<u64>,
    /// Whether a device could use it now.
    pub(crate) is_good: bool,
    /// Whether its time is over.
    pub(crate) has_ended: bool,
    pub(crate) terms: Terms,
}

/// What became of a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawal {
    /// Nobody comes in by it any more.
    Done,
    /// There is no such invite, or there was one long ago.
    Unknown,
    /// Too late: this device has come in by it.
    UsedBy(DeviceId),
}

impl Store {
    /// Keeps an invite until some time after it has expired, so that its late users can be told why.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_invite(&self, invite: &Invite, lifetime: Duration) -> Result<(), StoreError> {
        self.add_invite_for(invite, &Terms::default(), lifetime)
    }

    /// The same, on terms. Who makes it has looked whether they hold: [`Self::may_enter`].
    pub(crate) fn add_invite_for(&self, invite: &Invite, terms: &Terms, lifetime: Duration) -> Result<(), StoreError> {
        const KEPT_SECS: u64 = 30 * 24 * 60 * 60;
        /// So many are looked at with each that comes, behind a place by chance: none is kept for much longer.
        const LOOKED_AT: usize = 64;
        let now = now();
        let stored = StoredInvite::new(invite, now, lifetime);
        self.write(Who::Owner, |write| {
            let mut invites = write.open_table(INVITES)?;
            let mut over = Vec::new();
            let from = invite.id().0;
            let looked_at = invites.range(from..)?.chain(invites.range(..from)?).take(LOOKED_AT);
            for entry in looked_at {
                let (id, bytes) = entry?;
                if read_invite(id.value(), bytes.value())?.expires_at.saturating_add(KEPT_SECS) <= now {
                    over.push(id.value());
                }
            }
            let mut all_terms = write.open_table(TERMS)?;
            let (mut pairings, mut of) = (write.open_table(PAIRINGS)?, write.open_multimap_table(PAIRINGS_OF)?);
            for id in over {
                invites.remove(id)?;
                all_terms.remove(id)?;
                if let Some(maker) = pairings.remove(id)? {
                    of.remove(maker.value(), id)?;
                }
            }
            invites.insert(invite.id().0, encode(&stored).as_slice())?;
            all_terms.insert(invite.id().0, encode(&StoredTerms::new(terms.clone(), now)).as_slice())?;
            Ok(())
        })?;
        Ok(())
    }

    /// Keeps an invite that a device has asked for. False, and nothing is kept, if the device is not enrolled, if `live_max` of
    /// its invites could still be used, or if it, or its branch, has let in as many as it may: 10 in a day and 50 in all, 64 and
    /// 250.
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
        let branch = self.lineage.branch(device);
        let may = |live: &[Pairing]| {
            let own = live.iter().filter(|(_, maker)| *maker == device.0).count();
            // What is out may be used: it counts as if it had been.
            self.status(device) == Some(DeviceStatus::Enrolled)
                && own < live_max
                && own < self.lineage.room(device, now)
                && live.len() < self.lineage.room_of_branch(device, now)
        };
        let live = self.read(|read| {
            let (invites, terms) = (read.open_table(INVITES)?, read.open_table(TERMS)?);
            live_pairings(&branch, &read.open_multimap_table(PAIRINGS_OF)?, &invites, &terms, now)
        })?;
        if !may(&live) {
            return Ok(false);
        }
        let stored = StoredInvite::new(invite, now, lifetime);
        let (is_kept, _turn) = self.write(Who::Device, |write| {
            let mut invites = write.open_table(INVITES)?;
            let mut pairings = write.open_table(PAIRINGS)?;
            let mut of = write.open_multimap_table(PAIRINGS_OF)?;
            let mut all_terms = write.open_table(TERMS)?;
            let live = live_pairings(&branch, &of, &invites, &all_terms, now)?;
            let may = may(&live);
            if may {
                // What was used or has expired counts no more, and its maker need not be known any longer.
                let own = of.remove_all(device.0)?.map(|id| id.map(|id| id.value())).collect::<Result<Vec<_>, _>>()?;
                for id in own {
                    match live.iter().any(|(other, _)| *other == id) {
                        true => drop(of.insert(device.0, id)?),
                        false => drop(pairings.remove(id)?),
                    }
                }
                invites.insert(invite.id().0, encode(&stored).as_slice())?;
                pairings.insert(invite.id().0, device.0)?;
                of.insert(device.0, invite.id().0)?;
                // Who may open some labels only lets nobody in for others. Whose it is, is not handed on.
                let opens = self.known(device).opens.map(|opens| opens.iter().map(ToString::to_string).collect());
                let terms = StoredTerms::new(Terms { opens, ..Terms::default() }, now);
                all_terms.insert(invite.id().0, encode(&terms).as_slice())?;
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
        self.read(|read| {
            let (invites, pairings) = (read.open_table(INVITES)?, read.open_table(PAIRINGS)?);
            Ok(self.judge(&invites, &pairings, &read.open_table(TERMS)?, id)?.is_ok())
        })
    }

    /// All invites that are kept, the oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn invites(&self) -> Result<Vec<InviteRecord>, StoreError> {
        let mut all = self.read(|read| {
            let (invites, pairings) = (read.open_table(INVITES)?, read.open_table(PAIRINGS)?);
            let terms = read.open_table(TERMS)?;
            let mut all = Vec::new();
            for entry in invites.iter()? {
                let (id, bytes) = entry?;
                let id = InviteId(id.value());
                let StoredInvite { expires_at, used_by, .. } = read_invite(id.0, bytes.value())?;
                let used_by = used_by.map(DeviceId);
                let StoredTerms { made_at, terms: of_it, used_at, withdrawn_at } = find_terms(&terms, id)?;
                let paired = pairings.get(id.0)?.map(|maker| DeviceId(maker.value()));
                let made_by = used_by.and_then(|device| self.invited_by(device)).or(paired);
                let is_good = self.judge(&invites, &pairings, &terms, id)?.is_ok();
                let terms = of_it;
                all.push(InviteRecord {
                    id,
                    made_at,
                    made_by,
                    expires_at,
                    used_by,
                    used_at,
                    withdrawn_at,
                    is_good,
                    has_ended: expires_at <= now(),
                    terms,
                });
            }
            Ok(all)
        })?;
        all.sort_by_key(|invite| (invite.made_at, invite.expires_at));
        Ok(all)
    }

    /// Withdraws an invite, so that nobody comes in by it. Its late users hear that it has expired.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn withdraw_invite(&self, id: InviteId) -> Result<Withdrawal, StoreError> {
        let (done, _turn) = self.write(Who::Owner, |write| {
            let Some(invite) = find_invite(&write.open_table(INVITES)?, id)? else { return Ok(Withdrawal::Unknown) };
            if let Some(device) = invite.used_by {
                return Ok(Withdrawal::UsedBy(DeviceId(device)));
            }
            let mut all = write.open_table(TERMS)?;
            let terms = find_terms(&all, id)?;
            let withdrawn_at = terms.withdrawn_at.or_else(|| Some(now()));
            all.insert(id.0, encode(&StoredTerms { withdrawn_at, ..terms }).as_slice())?;
            Ok(Withdrawal::Done)
        })?;
        Ok(done)
    }

    /// Consumes an invite for a device and enrols it, on the invite's terms; or says why not.
    ///
    /// # Errors
    /// If the store fails.
    pub fn enrol(&self, id: InviteId, device: &Device) -> Result<Result<(), CloseCode>, StoreError> {
        match self.status(DeviceId(device.id)) {
            Some(DeviceStatus::Revoked) => return Ok(Err(CloseCode::DeviceRevoked)),
            // An enrolled device needs no invite, and leaves it to another: nor does a link that somebody has sent it make it
            // somebody else's.
            Some(DeviceStatus::Enrolled) => return Ok(Ok(())),
            None => {}
        }
        let asked = self.read(|read| {
            self.judge(&read.open_table(INVITES)?, &read.open_table(PAIRINGS)?, &read.open_table(TERMS)?, id)
        })?;
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
            let mut all_terms = write.open_table(TERMS)?;
            let (invite, terms) = match self.judge(&invites, &pairings, &all_terms, id)? {
                Err(code) => return Ok(Err(code)),
                Ok(found) => found,
            };
            let used = StoredInvite { used_by: Some(device.id), ..invite };
            invites.insert(id.0, encode(&used).as_slice())?;
            let terms = StoredTerms { used_at: Some(now()), ..terms };
            all_terms.insert(id.0, encode(&terms).as_slice())?;
            let Terms { subject, groups, opens, name } = terms.terms;
            let named = Device { name: name.unwrap_or_else(|| device.name.clone()), ..device.clone() };
            write.open_table(DEVICES)?.insert(device.id, encode(&named).as_slice())?;
            if let Some(opens) = &opens {
                write.open_table(OPENINGS)?.insert(device.id, encode(opens).as_slice())?;
            }
            let account = match subject {
                Some(subject) => {
                    signed_out::let_in(write, device.id, &subject)?;
                    let account = accounts::bind_in(write, device.id, &subject, &groups)?;
                    Some((subject, account))
                }
                None => None,
            };
            let maker = pairings.get(id.0)?.map(|maker| maker.value());
            let keep = |maker| lineage::keep(write, device.id, maker, device.enrolled_at);
            let origin = maker.map(keep).transpose()?;
            Ok(Ok(Some(Enrolment { account, opens: opens.as_deref().map(accounts::names), origin })))
        })?;
        if let Ok(Some(enrolment)) = &verdict {
            self.learn(device.id, enrolment);
        }
        Ok(verdict.map(drop))
    }

    /// Takes into memory that a device has come in. A revocation waits for nobody's turn: what memory refuses by now goes before.
    fn learn(&self, device: [u8; 32], enrolment: &Enrolment) {
        let Enrolment { account, opens, origin } = enrolment;
        let subject = account.as_ref().map(|(subject, account)| (subject.as_str(), account));
        let is_subject_out = self.accounts.learn(device, subject, opens);
        if let Some(origin) = origin {
            self.lineage.learn(device, *origin);
        }
        self.statuses().or_insert_with(device, || DeviceStatus::Enrolled);
        if is_subject_out || origin.is_some_and(|origin| self.accounts.is_branch_refused(origin.invited_by)) {
            self.statuses().insert(device, DeviceStatus::Revoked);
        }
    }

    /// The invite and its terms, if a device that is not known may use it now.
    fn judge(
        &self,
        invites: &impl ReadableTable<[u8; 16], &'static [u8]>,
        pairings: &impl ReadableTable<[u8; 16], [u8; 32]>,
        terms: &impl ReadableTable<[u8; 16], &'static [u8]>,
        id: InviteId,
    ) -> Result<Result<(StoredInvite, StoredTerms), CloseCode>, StoreError> {
        let Some(invite) = find_invite(invites, id)? else { return Ok(Err(CloseCode::NotEnrolled)) };
        // What a revoked device has made is revoked with it, in the file or not yet.
        let maker = pairings.get(id.0)?.map(|maker| DeviceId(maker.value()));
        if maker.is_some_and(|maker| self.status(maker) != Some(DeviceStatus::Enrolled)) {
            return Ok(Err(CloseCode::NotEnrolled));
        }
        let terms = find_terms(terms, id)?;
        // So is what was made for somebody who is revoked.
        let subject = terms.terms.subject.as_deref();
        if invite.used_by.is_none()
            && subject
                .is_some_and(|subject| self.may_enter(subject, &terms.terms.groups).is_err_and(|it| it.is_refusal()))
        {
            return Ok(Err(CloseCode::NotEnrolled));
        }
        Ok(match invite {
            invite if invite.used_by.is_some() => Err(CloseCode::InviteUsed),
            invite if invite.expires_at <= now() || terms.withdrawn_at.is_some() => Err(CloseCode::InviteExpired),
            invite => Ok((invite, terms)),
        })
    }
}

/// What memory must learn of a device that has come in.
struct Enrolment {
    account: Option<(String, StoredAccount)>,
    opens: Option<Names>,
    origin: Option<lineage::Origin>,
}

impl StoredTerms {
    fn new(terms: Terms, now: u64) -> Self {
        Self { made_at: Some(now), terms, used_at: None, withdrawn_at: None }
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

/// None are those of an invite of before there were any.
pub(super) fn find_terms(
    terms: &impl ReadableTable<[u8; 16], &'static [u8]>,
    id: InviteId,
) -> Result<StoredTerms, StoreError> {
    Ok(terms.get(id.0)?.map(|bytes| read_terms(id.0, bytes.value())).transpose()?.unwrap_or_default())
}

/// Keeps by its maker which invites there are, in a file of before that was kept.
pub(super) fn note_makers(write: &WriteTransaction) -> Result<(), StoreError> {
    let mut of = write.open_multimap_table(PAIRINGS_OF)?;
    for entry in write.open_table(PAIRINGS)?.iter()? {
        let (id, maker) = entry?;
        of.insert(maker.value(), id.value())?;
    }
    Ok(())
}

/// Invites that these devices have made and that could still be used, with who made them.
fn live_pairings(
    makers: &[[u8; 32]],
    pairings_of: &impl ReadableMultimapTable<[u8; 32], [u8; 16]>,
    invites: &impl ReadableTable<[u8; 16], &'static [u8]>,
    terms: &impl ReadableTable<[u8; 16], &'static [u8]>,
    now: u64,
) -> Result<Vec<Pairing>, StoreError> {
    let mut live = Vec::new();
    for maker in makers {
        for id in pairings_of.get(maker)? {
            let id = id?.value();
            let invite = find_invite(invites, InviteId(id))?;
            if invite.is_some_and(|invite| invite.used_by.is_none() && invite.expires_at > now)
                && find_terms(terms, InviteId(id))?.withdrawn_at.is_none()
            {
                live.push((id, *maker));
            }
        }
    }
    Ok(live)
}
