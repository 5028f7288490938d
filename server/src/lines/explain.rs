//! What the policy says of a caller, and by which rule, for its owner. It asks the gate, as everything does that opens.

use std::sync::Arc;

use duologue::DeviceId;

use super::Duologue;
use crate::door::{
    evidence::Transport,
    gate::{Gate, now},
    hook::{self, Hook, HookSettings, Visit},
    policy::{
        Policy,
        patterns::Path,
        rules::{Asked, Evidence, Refusal, Rules, Target, Verdict},
    },
    seat::{Has, Seat},
    standing::{Level, Standing},
};

/// What is asked.
pub(crate) struct Question<'a> {
    /// Any guest's, where it is asked for none.
    pub(crate) device: DeviceId,
    pub(crate) label: &'a str,
    /// Path and method.
    pub(crate) request: Option<(&'a str, &'a str)>,
    /// None: that of the device's newest line, else what it has.
    pub(crate) supposed: Option<Standing>,
    /// None: where its newest line is, else nowhere that is known.
    pub(crate) transport: Option<Transport>,
    /// When somebody last signed out at the device.
    pub(crate) signed_out_at: Option<u64>,
}

/// What is answered.
pub(crate) struct Explained {
    pub(crate) allowed: bool,
    pub(crate) rule: Option<String>,
    pub(crate) why: String,
    pub(crate) standing: Arc<Standing>,
    /// What the hook would be told of the caller, without the values of cookies.
    pub(crate) hook: Option<serde_json::Value>,
    pub(crate) cookies_prove: bool,
}

/// A file that is asked.
pub(crate) struct File {
    pub(crate) rules: Rules,
    pub(crate) hook: Option<HookSettings>,
}

/// The device that is asked for, where it is asked for a guest: no device has this id.
pub(crate) const ANY_GUEST: DeviceId = DeviceId([0; 32]);

/// What the services of the binary ask for, where none runs.
fn binarys_terms(label: &str) -> (Level, bool) {
    let demands = if ["drop", "pair"].contains(&label) { Level::Device } else { Level::Guest };
    (demands, label == "http")
}

/// By a file, else by a running server; none if there is neither. `has` is what the device has where it has no line.
pub(crate) fn explain(
    running: Option<&Duologue>,
    file: Option<File>,
    has: Has,
    question: Question<'_>,
) -> Option<Explained> {
    let Question { device, label, request, supposed, transport, signed_out_at } = question;
    let live = running.and_then(|duologue| duologue.shared.directory.seat(device));
    let transport = transport.or_else(|| live.as_ref().map(|seat| seat.transport()));
    let transport = transport.unwrap_or_default();
    let seat = live.unwrap_or_else(|| Arc::new(Seat::new(device, transport.clone(), has)));
    let of_file = file.as_ref().and_then(|file| file.hook.as_ref());
    let of_server = running.and_then(|duologue| duologue.shared.gate.hook());
    let cookies_prove = of_file.map(|hook| hook.cookies_prove).or_else(|| of_server.map(Hook::cookies_prove));
    let hook = cookies_prove.and_then(|_| {
        let (has, hooked) = (seat.by_key(), seat.hooked());
        let visit = hooked.as_ref().map(|hooked| hooked.visit.without_secrets());
        let visit = visit.unwrap_or_else(|| Visit::unknown(transport.origin.as_deref()));
        let token = hooked.as_ref().and_then(|hooked| hooked.token.as_deref());
        serde_json::to_value(hook::Question::new(device, &has, signed_out_at, token, &transport, &visit)).ok()
    });
    let standing = supposed.map_or_else(|| seat.standing(now()), Arc::new);
    let gate = match (file.map(|file| file.rules), running) {
        // A file says nothing of addresses.
        (Some(rules), _) => {
            let policy = Policy::listed(transport.origin.iter().cloned().collect()).with_rules(rules);
            Arc::new(Gate::new(policy, None))
        }
        (None, Some(duologue)) => Arc::clone(&duologue.shared.gate),
        (None, None) => return None,
    };
    let terms = running.and_then(|duologue| duologue.services.terms(label));
    let terms = terms.map(|terms| (terms.demands, terms.takes_requests));
    let (demands, takes_requests) = terms.unwrap_or_else(|| binarys_terms(label));
    let target = match request {
        Some((path, method)) => Target::Request { method, path: Path::new(path) },
        None if takes_requests => Target::Later,
        None => Target::None,
    };
    let is_later = matches!(target, Target::Later);
    let asked = Asked { label, target, demands };
    let opens = seat.opens();
    let evidence = Evidence::new(device, &standing, &transport).let_in_for(opens.as_deref());
    let (policy, verdict) = gate.judge(&evidence, &asked, now());
    let name = |rule: usize| policy.rules.rule(rule).map(|rule| rule.name.to_string());
    let (allowed, rule, why) = match &verdict {
        Verdict::Opened { rule, .. } => {
            let opened = name(*rule).unwrap_or_default();
            let which = if is_later { ", for some requests: ask with --path" } else { "" };
            let way = match policy.rules.is_as_sent() {
                true => {
                    "; `[door] path = \"as-sent\"` refuses connections whose Host or Origin was rewritten on the way"
                }
                false => "",
            };
            let missing = match (running, terms) {
                (Some(_), None) => ", but no service has this label",
                _ => "",
            };
            (true, Some(opened.clone()), format!("the rule \"{opened}\" opens it{which}{missing}{way}"))
        }
        Verdict::Refused(refusal) => {
            let rule = match refusal {
                Refusal::Misses { rule, .. } | Refusal::Demands { rule } => name(*rule),
                Refusal::Address | Refusal::Rewritten | Refusal::NoRule | Refusal::LetInForOthers => None,
            };
            (false, rule, policy.rules.words(refusal))
        }
    };
    Some(Explained { allowed, rule, why, standing, hook, cookies_prove: cookies_prove.unwrap_or_default() })
}
