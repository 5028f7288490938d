//! The gate: the policy as it is now, and the one place where it is asked.
//!
//! ```text
//! OPEN, a request of http, what is told with AUTH_OK, `policy explain` ─► Gate::judge ─► Rules::judge
//! another policy, another standing, another connection ─► changed ─► whoever has something open asks again
//! ```

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use duologue::DeviceId;
use tokio::sync::{Notify, futures::Notified};

use super::{
    firewall::Firewall,
    hook::Hook,
    policy::{
        Policy,
        limits::Meters,
        rules::{Asked, Evidence, OfDevices, Refusal, Rules, Target, Verdict},
    },
    seat::Seat,
    standing::{Level, Proof, Standing},
};
pub(crate) use crate::state::records::now;
use crate::state::{store::Store, whom::Whom};
use crate::watch::stream::Watch;

/// Sessions share what wakes their channels, so that a session that has none open pays nothing for it: a change of one wakes a
/// 64th of the channels that are open, and these find that nothing has changed for them.
const SHARDS: usize = 64;

/// What everything that opens goes through.
#[derive(Debug)]
pub(crate) struct Gate {
    policy: RwLock<Arc<Policy>>,
    /// Has the names that the owner has revoked; none where nobody comes in, and a policy is only asked.
    store: Option<Arc<Store>>,
    changed: [Notify; SHARDS],
    /// Who is asked of everybody that connects. What it has said goes where what it was asked of does.
    hook: OnceLock<Hook>,
    pub(crate) meters: Meters,
    /// Hears what happens.
    pub(crate) watch: Watch,
    pub(crate) firewall: Firewall,
    /// Hears whose standing has changed, before anybody acts by it.
    follower: OnceLock<Follower>,
    /// Which of the services are there that are every device's.
    of_devices: [AtomicBool; OfDevices::ALL.len()],
}

type Follow = Box<dyn Fn(DeviceId) + Send + Sync>;

struct Follower(Follow);

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follower")
    }
}

impl Gate {
    pub(crate) fn new(policy: Policy, store: Option<Arc<Store>>) -> Self {
        let watch = Watch::default();
        Self {
            policy: RwLock::new(Arc::new(policy)),
            store,
            changed: std::array::from_fn(|_| Notify::new()),
            hook: OnceLock::new(),
            meters: Meters::default(),
            firewall: Firewall::new(watch.clone()),
            watch,
            follower: OnceLock::new(),
            of_devices: Default::default(),
        }
    }

    /// Every device that was let in may ask for the report of its own path.
    pub(crate) fn tell_paths(&self) {
        self.open_to_devices(OfDevices::Path);
    }

    /// Every device that was let in may renew its key.
    pub(crate) fn renew_device_keys(&self) {
        self.open_to_devices(OfDevices::Key);
    }

    fn open_to_devices(&self, of: OfDevices) {
        if let Some(is_there) = self.of_devices.get(of as usize) {
            is_there.store(true, Ordering::Relaxed);
        }
    }

    /// Asks this hook from now on, if none is asked so far.
    pub(crate) fn ask_by(&self, hook: Hook) {
        hook.tell_to(&self.watch);
        // A server is told once, before it is used.
        let _ = self.hook.set(hook);
    }

    /// Who is asked.
    pub(crate) fn hook(&self) -> Option<&Hook> {
        self.hook.get()
    }

    /// What the hook was told so far counts no more: somebody was revoked, is bound, or is judged by other rules.
    pub(crate) fn forget_answers(&self) {
        if let Some(hook) = self.hook() {
            hook.forget();
        }
    }

    /// The same of one device, where somebody has signed out.
    pub(crate) fn forget_answers_of(&self, device: DeviceId) {
        if let Some(hook) = self.hook() {
            hook.forget_of(device);
        }
    }

    /// Whether the owner has revoked what somebody is, by the token, the subject or a group.
    pub(crate) fn is_revoked(&self, standing: &Standing) -> bool {
        let Some(store) = &self.store else { return false };
        let token = match &standing.proof {
            Proof::Token { id, .. } => Some(Whom::token(id)),
            Proof::Device | Proof::Hook | Proof::Vouch => None,
        };
        let subject = standing.subject.iter().map(|subject| Whom::subject(subject.as_str()));
        let groups = standing.groups.iter().map(|group| Whom::group(group.as_str()));
        token.into_iter().chain(subject).chain(groups).any(|whom| store.is_revoked(whom))
    }

    /// The first of a device's branch.
    pub(crate) fn root(&self, of: DeviceId) -> DeviceId {
        self.store.as_ref().map_or(of, |store| store.root(of))
    }

    /// As it is now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another policy, whole: from now on, and for what is open.
    pub(crate) fn set(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.forget_answers();
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    /// Other rules, and all else as it is.
    pub(crate) fn set_rules(&self, rules: Rules) {
        {
            let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
            *policy = Arc::new(Policy::clone(&policy).with_rules(rules));
        }
        self.forget_answers();
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    /// Whether another process has the state.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_handed_over())
    }

    /// Something else holds for everybody: whoever has something open asks again.
    pub(crate) fn look_again(&self) {
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    /// Somebody hears of each device of whose sessions something else holds; the first who asks for it.
    pub(crate) fn follow(&self, follow: impl FnOnce() -> Follow) {
        self.follower.get_or_init(|| Follower(follow()));
    }

    /// Something else holds for a device's sessions.
    pub(crate) fn has_changed(&self, device: DeviceId) {
        if let Some(Follower(follow)) = self.follower.get() {
            follow(device);
        }
        self.shard(device).notify_waiters();
    }

    /// Waits for a change that may concern a device; from when it is enabled on.
    pub(crate) fn changed(&self, device: DeviceId) -> Notified<'_> {
        self.shard(device).notified()
    }

    /// What the policy says, and which one that was.
    pub(crate) fn judge(&self, evidence: &Evidence<'_>, asked: &Asked<'_>, now: u64) -> (Arc<Policy>, Verdict) {
        let policy = self.policy();
        let verdict = match policy.takes(evidence.origin, evidence.app_origin) {
            true => policy.rules.judge(evidence, asked, now),
            false => Verdict::Refused(Refusal::Address),
        };
        let verdict = match verdict {
            Verdict::Refused(refusal) => {
                let is_there = |of: &OfDevices| {
                    self.of_devices.get(*of as usize).is_some_and(|is_there| is_there.load(Ordering::Relaxed))
                };
                match Rules::of_devices(evidence, asked, &refusal).filter(is_there) {
                    Some(of) => Verdict::Opened { rule: of.place(), until: None },
                    None => Verdict::Refused(refusal),
                }
            }
            verdict => verdict,
        };
        (policy, verdict)
    }

    /// Whether a label is open to a caller as it is now, or once its person has shown to be there, if passkeys are taken; for one that
    /// takes requests, whether any of them is.
    pub(crate) fn opens(&self, seat: &Seat, label: &str, demands: Level, takes_requests: bool) -> bool {
        let now = now();
        let (standing, transport) = (seat.standing(now), seat.transport());
        let opens = seat.opens();
        let is_open = |standing: &Standing| {
            let target = if takes_requests { Target::Later } else { Target::None };
            let evidence = Evidence::new(seat.device(), standing, &transport).let_in_for(opens.as_deref());
            let (_, verdict) = self.judge(&evidence, &Asked { label, target, demands }, now);
            matches!(verdict, Verdict::Opened { .. })
        };
        is_open(&standing) || seat.if_present(&standing, now).is_some_and(|present| is_open(&present))
    }

    /// The first rule that opens a label to a caller as it is now, by its place and its name.
    pub(crate) fn opened_by(
        &self,
        seat: &Seat,
        label: &str,
        demands: Level,
        takes_requests: bool,
    ) -> Option<(usize, Arc<str>)> {
        let now = now();
        let (standing, transport, opens) = (seat.standing(now), seat.transport(), seat.opens());
        let target = if takes_requests { Target::Later } else { Target::None };
        let evidence = Evidence::new(seat.device(), &standing, &transport).let_in_for(opens.as_deref());
        let (policy, verdict) = self.judge(&evidence, &Asked { label, target, demands }, now);
        match verdict {
            Verdict::Opened { rule, .. } => policy.rules.rule(rule).map(|it| (rule, Arc::clone(&it.name))),
            Verdict::Refused(_) => None,
        }
    }

    fn shard(&self, device: DeviceId) -> &Notify {
        let [first, ..] = device.0;
        let [start, ..] = &self.changed;
        self.changed.get(usize::from(first) % SHARDS).unwrap_or(start)
    }
}
