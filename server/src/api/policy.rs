//! The policy in the local API: asked for one caller; and the configuration, read again.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State as Extracted},
    http::StatusCode,
    response::Response,
    routing::post,
};
use duologue::DeviceId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Answer, Failure, Target, asked::Said, blocking, by_whom, json, socket::By};
use crate::watch::events::{Event, Kind};
use crate::{
    config::Config,
    door::{
        evidence::Transport,
        seat::Has,
        standing::{Group, Level, Standing, Subject},
    },
    lines::explain::{ANY_GUEST, Explained, File, Question, explain},
    state::store::DeviceStatus,
};

/// Longest question in bytes: a whole file may be in it, whose every character JSON may have as two.
const EXPLAIN_LEN_MAX: usize = 4 * 1_024 * 1_024;

/// What is asked of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainPolicy {
    /// The device's id; none: any guest, which is a device that nobody has let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The channel's label.
    pub label: String,
    /// A request's method; with a path, GET unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A request's path, without a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// As if the device were there; none: where its newest line is, else nowhere that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "address")]
    pub address: Option<IpAddr>,
    /// As if a page of this origin asked; none: what its newest line is of, else a native client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// As if it had this standing; none: that of its newest line, else what the device has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Supposed>,
    /// Rules in TOML, asked in place of the running server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }, { "type": "null" }] })
}

/// A standing that nobody has proved, for a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supposed {
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// In which groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// How sure that is.
    pub level: Level,
}

/// What the policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyAnswer {
    /// Whether it is open.
    pub allowed: bool,
    /// The rule that decides: opens it, or comes nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// In a sentence.
    pub why: String,
    /// Whose the device is, as the answer takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Likewise its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Likewise how sure that is.
    pub level: Level,
    /// What the hook would be told of the device, were it to connect so; without the values of cookies. None if none is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<serde_json::Value>,
    /// Whether cookies of the server's own pages prove who somebody is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cookies_prove: bool,
}

/// The configuration was read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// How many rules it has; none where there is no file, and only what flags name was looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<usize>,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    let explained = post(explained).layer(DefaultBodyLimit::max(EXPLAIN_LEN_MAX));
    Router::new().route("/policy/explain", explained).route("/reload", post(reload))
}

async fn explained(Extracted(target): Extracted<Arc<Target>>, Said(asked): Said<ExplainPolicy>) -> Answer<Response> {
    let bad = |word: &'static str, message: &str| Failure::new(StatusCode::BAD_REQUEST, word, message);
    let device: DeviceId = match &asked.device {
        None => ANY_GUEST,
        Some(device) => device.parse().map_err(|_| {
            bad("no-device-id", &format!("\"{device}\" is no device id: `duologue devices list` shows them"))
        })?,
    };
    if asked.path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(['?', '#'])) {
        return Err(bad("no-path", "a path begins with / and has neither ? nor #: what follows them is not judged"));
    }
    let file = match &asked.config {
        Some(text) => {
            let config = Config::parse("the file", text).map_err(|errors| bad("bad-config", &errors.to_string()))?;
            Some(File { rules: config.rules, hook: config.hook })
        }
        None => None,
    };
    let work = {
        let target = Arc::clone(&target);
        move || {
            let store = target.state.store();
            let status = store.status(device);
            let has = if status.is_some() { Has::of(&store.known(device)) } else { Has::guest() };
            (status, has, store.signed_out_at(device))
        }
    };
    let (status, has, signed_out_at) = blocking(work).await?;
    if status == Some(DeviceStatus::Revoked) {
        let answer = PolicyAnswer {
            allowed: false,
            rule: None,
            why: "the device was revoked: it is not let in at all".to_owned(),
            subject: None,
            groups: Vec::new(),
            level: Level::Guest,
            hook: None,
            cookies_prove: false,
        };
        return Ok(json(StatusCode::OK, &answer));
    }
    let supposed = asked.standing.map(|Supposed { subject, groups, level }| Standing {
        subject,
        groups: groups.into(),
        level,
        // Somebody who is present is so now.
        present_at: (level == Level::Present).then(crate::door::gate::now),
        ..Standing::device()
    });
    let transport = match (asked.address, asked.origin) {
        (None, None) => None,
        (address, origin) => Some(Transport {
            address: address.unwrap_or([0; 4].into()),
            origin,
            app_origin: None,
            ..Transport::default()
        }),
    };
    let method = asked.path.is_some().then(|| asked.method.unwrap_or_else(|| "GET".to_owned()));
    let request = asked.path.as_deref().zip(method.as_deref());
    let question = Question { device, label: &asked.label, request, supposed, transport, signed_out_at };
    let explained = explain(target.running.as_ref(), file, has, question);
    let Some(Explained { allowed, rule, why, standing, hook, cookies_prove }) = explained else {
        let message = "no server runs here, so that no policy is in force: add --config FILE to ask that file's";
        return Err(Failure::new(StatusCode::CONFLICT, "no-policy", message));
    };
    let why = match (status, &asked.device) {
        (None, Some(_)) => format!("no such device is enrolled, so that it is a guest: {why}"),
        _ => why,
    };
    let groups = standing.groups.to_vec();
    let (subject, level) = (standing.subject.clone(), standing.level);
    let answer = PolicyAnswer { allowed, rule, why, subject, groups, level, hook, cookies_prove };
    Ok(json(StatusCode::OK, &answer))
}

async fn reload(Extracted(target): Extracted<Arc<Target>>, by: Option<Extension<By>>) -> Answer<Response> {
    let watch = target.watch();
    let conflict = |message: &str| Failure::new(StatusCode::CONFLICT, "no-config", message);
    let work = move || match (&target.running, &target.config) {
        (None, _) => Err(conflict("no server runs here: it reads its configuration when it starts")),
        (Some(duologue), Some(file)) if file.is_read_again() => {
            let bad = |message: String| Failure::new(StatusCode::BAD_REQUEST, "bad-config", &message);
            let read = file.reload(duologue).map_err(|errors| bad(format!("nothing was changed:\n{errors}")))?;
            Ok(file.is_file().then(|| read.rules.all().len()))
        }
        (Some(_), _) => {
            Err(conflict("the server was started without --config: start it with the file that is to count"))
        }
    };
    let rules = blocking(work).await??;
    let told = rules.map_or(String::new(), |rules| format!("rules={rules} "));
    watch.tell(Event::of(Kind::PolicyReloaded).note(format!("{told}by={}", by_whom(by))));
    Ok(json(StatusCode::OK, &Reloaded { rules }))
}
