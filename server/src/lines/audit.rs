//! The audit log of a server: what is told here goes into it from its first moment on.

use std::{io, time::SystemTime};

use duologue::{AuthRequest, Credential};

use super::Duologue;
use crate::{
    door::{fetch, gate::now, report::Poster, seat::Seat, standing::Proof},
    watch::audit::{book::AuditError, running::Audit, settings::AuditSettings, syslog, writer::AuditLog},
};

/// Rules that a line's entry names.
const RULES_MAX: usize = 4;

impl Duologue {
    /// Keeps an audit log in the state directory: who was let in, refused, raised, revoked and banned, and what the owner does. To
    /// be called once, before anybody is served. Full disks do not keep it from starting: what is missing is counted.
    ///
    /// # Errors
    /// If what is there cannot be read or written on.
    pub fn keep_audit(&self, settings: AuditSettings) -> Result<(), AuditError> {
        let state = self.shared.state.directory();
        let (syslog, webhook) = (settings.syslog.clone(), settings.webhook.clone());
        let mut log = AuditLog::open(state, settings, self.watch(), SystemTime::now())?;
        let failed = |source: io::Error| AuditError::Io { verb: "begun", path: state.to_owned(), source };
        if let Some(to) = syslog {
            log.also_to(Box::new(syslog::Post::new(to, fetch::roots()))).map_err(failed)?;
        }
        if let Some(url) = webhook {
            log.also_to(Box::new(Poster::new(url, fetch::roots()).map_err(failed)?)).map_err(failed)?;
        }
        let audit = Audit::start(log).map_err(failed)?;
        self.shared.audit.set(audit).map_err(|_| failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Keeps none: verbs that change something while no server runs write into none either. What was written stays.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub fn keep_no_audit(&self) -> io::Result<()> {
        AuditLog::end_at(self.shared.state.directory())
    }

    /// By what a line is let in: what was shown, how sure that makes of its caller, and the rules that open something to it. None
    /// where nobody will read it.
    pub(super) fn evidence(&self, seat: &Seat, request: &AuthRequest, ticket: bool) -> Option<String> {
        self.audit()?;
        let shown = match request.credential {
            Credential::Invite(_) => "key, invite",
            Credential::Ticket(_) if ticket => "key, ticket",
            Credential::Ticket(_) | Credential::None => "key",
        };
        let standing = seat.standing(now());
        let proof = match &standing.proof {
            Proof::Device => String::new(),
            Proof::Token { issuer, .. } => format!(", token of {issuer}"),
            Proof::Hook => ", hook".to_owned(),
            Proof::Vouch => ", vouch".to_owned(),
        };
        let rules = match self.shared.gate.policy().rules.is_default() {
            true => "default".to_owned(),
            false => self.services.rules(&self.shared.gate, seat, RULES_MAX).join(", "),
        };
        Some(format!("{shown}{proof}; level {}; rules: {rules}", standing.level.number()))
    }

    /// The audit log, if one is kept.
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.shared.audit.get()
    }
}
