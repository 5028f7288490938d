//! What can be asked, by whom, and how it is answered: once, for the roles (`access.rs`) and for the OpenAPI 3.1 document that is
//! served as `/openapi.json`. What is not in this list is the owner's alone.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    Router,
    http::{Method, StatusCode, header},
    response::IntoResponse,
    routing::get as getting,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    AccountList, AccountShown, AddBan, BanInfo, BanList, Bind, Bound, ChangeGroups, Deliveries, DeviceList, EventList,
    ExplainPolicy, HandedOver, Health, InGroups, InviteList, Invited, KeysInfo, LiftBan, NewInvite, NextKey,
    PolicyAnswer, Refused, Reloaded, RemovePasskeys, RemovedPasskeys, Rename, Renamed, Restored, Revoke, Revoked,
    ServerState, SessionList, SignedKey, Target, WatchList, Withdrawn, messages, once, sight,
};
use crate::{
    door::programs::Role,
    door::standing::{GROUP_BYTES_MAX, SUBJECT_BYTES_MAX},
    watch::audit::writer::AuditState,
};

/// What a caller must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// A role, or `admin`.
    Role(Role),
    /// Any role.
    Nothing,
}

const ADMIN: Needs = Needs::Role(Role::Admin);
const SEND: Needs = Needs::Role(Role::Send);
const WATCH: Needs = Needs::Role(Role::Watch);

/// Makes the schema of a type, its parts by reference.
type Shape = fn(&mut SchemaGenerator) -> Schema;

struct Operation {
    method: Method,
    path: &'static str,
    needs: Needs,
    /// A sentence, and what else there is to know.
    does: (&'static str, &'static str),
    parameters: Vec<Value>,
    body: Option<Body>,
    status: u16,
    answers: Vec<(&'static str, Option<Shape>)>,
}

enum Body {
    Json(Shape, bool),
    /// Any bytes, so many at most.
    Bytes,
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn ask(method: Method, path: &'static str, needs: Needs, does: &'static str) -> Operation {
    let (parameters, answers) = (Vec::new(), Vec::new());
    let mut operation =
        Operation { method, path, needs, does: (does, ""), parameters, body: None, status: 200, answers };
    for name in path.split(['{', '}']).skip(1).step_by(2) {
        operation.parameters.push(in_path(path, name));
    }
    operation
}

fn get(path: &'static str, needs: Needs, does: &'static str) -> Operation {
    ask(Method::GET, path, needs, does)
}

fn post(path: &'static str, needs: Needs, does: &'static str) -> Operation {
    ask(Method::POST, path, needs, does)
}

impl Operation {
    fn more(mut self, more: &'static str) -> Self {
        self.does.1 = more;
        self
    }

    /// A body of JSON; without one it is `{}`.
    fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body::Json(shape::<T>, false));
        self
    }

    /// The same, where `{}` is not enough.
    fn needs_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body::Json(shape::<T>, true));
        self
    }

    fn takes_bytes(mut self) -> Self {
        self.body = Some(Body::Bytes);
        self
    }

    fn asks(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    fn gives<T: JsonSchema>(mut self) -> Self {
        self.answers.push(("application/json", Some(shape::<T>)));
        self
    }

    fn makes<T: JsonSchema>(mut self) -> Self {
        self.status = 201;
        self.gives::<T>()
    }

    fn gives_lines(mut self, kind: &'static str) -> Self {
        self.answers.push((kind, None));
        self
    }
}

/// A name in a path.
fn in_path(path: &str, name_of: &str) -> Value {
    let schema = match (path.split('/').nth(1).unwrap_or_default(), name_of) {
        ("devices", _) => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$" }),
        ("invites", _) => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
        ("tokens", _) => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
        ("groups", _) => name(GROUP_BYTES_MAX),
        _ => name(SUBJECT_BYTES_MAX),
    };
    json!({ "name": name_of, "in": "path", "required": true, "schema": schema })
}

/// Of a subject, or a group. That it is printable, and how many bytes its characters have, no schema says: it is 400.
fn name(bytes_max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max })
}

fn in_query(name: &str, is_required: bool, does: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "required": is_required, "description": does, "schema": schema })
}

fn in_header(name: &str, does: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "header", "description": does, "schema": schema })
}

fn of_messages() -> Vec<Value> {
    let label = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
    let deadline = json!({ "type": "integer", "minimum": 1, "maximum": messages::DEADLINE_MS_MAX, "default": messages::DEADLINE_MS });
    let key =
        json!({ "type": "string", "minLength": 1, "maxLength": once::KEY_CHARS_MAX, "pattern": "^[\\x21-\\x7E]+$" });
    vec![
        in_query("label", true, "The channel's label", &label),
        in_query("deadline_ms", false, "For how long it waits to be taken, in milliseconds", &deadline),
        in_query(
            "datagram",
            false,
            "Best effort: sent if there is room now",
            &json!({ "type": "boolean", "default": false }),
        ),
        in_header(
            "Idempotency-Key",
            "Under one key the same is said once, however often it is asked within ten minutes; another body under it is 409",
            &key,
        ),
    ]
}

static ALL: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let after = json!({ "type": "integer", "minimum": 0 });
    let whom = json!({ "type": "string", "enum": ["newest", "each"], "default": "newest" });
    vec![
        get("/devices", WATCH, "The devices that were let in, the oldest first, and guests who are here").gives::<DeviceList>(),
        post("/devices/{id}/revoke", ADMIN, "Shuts a device out, and with it what it has let in").takes::<Revoke>().gives::<Revoked>(),
        post("/devices/{id}/bind", ADMIN, "Makes a device somebody's: its lines end, and it comes again as that subject's")
            .needs_body::<Bind>()
            .gives::<Bound>(),
        post("/devices/{id}/release", ADMIN, "Makes a device nobody's").gives::<Bound>(),
        post("/devices/{id}/messages", SEND, "Says something to a device, on its newest line")
            .more("The body is the message, any bytes. The answer says what became of it.")
            .asks(of_messages())
            .takes_bytes()
            .gives::<Deliveries>(),
        post("/subjects/{subject}/messages", SEND, "Says something to somebody: at the device that came last, or at each in turn")
            .more("The body is the message, any bytes. The answer says what became of it, at each device.")
            .asks(of_messages())
            .asks([in_query("to", false, "At the device that came last, or at each in turn", &whom)])
            .takes_bytes()
            .gives::<Deliveries>(),
        get("/accounts", WATCH, "The subjects that are known, by name").gives::<AccountList>(),
        get("/accounts/{subject}", WATCH, "A subject, with its devices and passkeys").gives::<AccountShown>(),
        post("/accounts/{subject}/groups", ADMIN, "Puts a subject into groups, or takes it out")
            .takes::<ChangeGroups>()
            .gives::<InGroups>(),
        post("/accounts/{subject}/revoke", ADMIN, "Shuts a subject out, with all its devices").takes::<Revoke>().gives::<Revoked>(),
        post("/accounts/{subject}/restore", ADMIN, "Makes a subject's name good again; devices stay out").gives::<Restored>(),
        post("/accounts/{subject}/passkeys/remove", ADMIN, "Removes one passkey of a subject, or all")
            .takes::<RemovePasskeys>()
            .gives::<RemovedPasskeys>(),
        post("/groups/{group}/revoke", ADMIN, "Shuts a group out").gives::<Revoked>(),
        post("/groups/{group}/restore", ADMIN, "Makes a group's name good again").gives::<Restored>(),
        post("/tokens/{id}/revoke", ADMIN, "Shuts out whoever shows the token with this id").gives::<Revoked>(),
        post("/tokens/{id}/restore", ADMIN, "Takes a token's id again").gives::<Restored>(),
        get("/invites", ADMIN, "Invites, without what is secret in them").gives::<InviteList>(),
        post("/invites", ADMIN, "Makes an invite").needs_body::<NewInvite>().makes::<Invited>(),
        post("/invites/{id}/withdraw", ADMIN, "Makes an invite that was not used worth nothing").gives::<Withdrawn>(),
        post("/policy/explain", ADMIN, "Whether a device may open something, and by which rule")
            .needs_body::<ExplainPolicy>()
            .gives::<PolicyAnswer>(),
        post("/reload", ADMIN, "Reads the configuration again").gives::<Reloaded>(),
        post("/hand-over", ADMIN, "Gives the server's place to a new process").gives::<HandedOver>(),
        get("/watch", WATCH, "Rules of the watch, and what they have counted").gives::<WatchList>(),
        get("/sessions", WATCH, "The sessions, the newest first, 1,000 at most").gives::<SessionList>(),
        get("/events", WATCH, "The last events; or those that come, as they come")
            .more(
                "With `Accept: text/event-stream` they are server-sent events, each with its kind as `event` and itself as `data`, from now \
                 on or behind `Last-Event-ID`; `missed` where some are not kept any more.",
            )
            .asks([
                in_query("after", false, "The number behind which they begin: `next` of the answer before", &after),
                in_header(sight::LAST_EVENT_ID, "The id of the last event that is known", &json!({ "type": "string" })),
            ])
            .gives::<EventList>()
            .gives_lines(sight::EVENT_STREAM),
        get("/bans", WATCH, "Bans that are in force, the one that ends first at first").gives::<BanList>(),
        post("/bans", ADMIN, "Bans an address, a device or a subject; lines that are there end")
            .needs_body::<AddBan>()
            .makes::<BanInfo>(),
        post("/bans/lift", ADMIN, "Lifts a ban").needs_body::<LiftBan>().gives::<BanInfo>(),
        get("/audit", ADMIN, "The audit log's head, signed now, to be kept elsewhere").gives::<AuditState>(),
        post("/keys/init", ADMIN, "Takes an owner's key, who has signed the server's key as the first")
            .needs_body::<SignedKey>()
            .gives::<KeysInfo>(),
        post("/keys/prepare", ADMIN, "The next key, for its owner to sign").gives::<NextKey>(),
        post("/keys/rotate", ADMIN, "Makes that one good too").needs_body::<SignedKey>().gives::<KeysInfo>(),
        post("/keys/retire", ADMIN, "Ends the older key").gives::<KeysInfo>(),
        post("/rename", ADMIN, "Gives the server another address").needs_body::<Rename>().gives::<Renamed>(),
        get("/backup", ADMIN, "All of the state, with the private key, a line of JSON each").gives_lines("application/jsonl"),
        get("/export", ADMIN, "What the store has, without the private key, a line of JSON each").gives_lines("application/jsonl"),
        get("/health", WATCH, "Whether the threads of lines answer, and why no new lines are taken").gives::<Health>(),
        get("/state", WATCH, "What of the state is in force and not on disk").gives::<ServerState>(),
        get("/openapi.json", Needs::Nothing, "This document").gives::<Map<String, Value>>(),
    ]
});

/// What is asked of whoever asks for that.
pub(super) fn needs(method: &Method, path: &str) -> Needs {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    ALL.iter().find(|it| it.method == *method && it.path == path).map_or(ADMIN, |it| it.needs)
}

pub(super) fn routes() -> Router<std::sync::Arc<Target>> {
    let document = || async {
        let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (StatusCode::OK, kind, DOCUMENT.as_str()).into_response()
    };
    Router::new().route("/openapi.json", getting(document))
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// OpenAPI 3.1.1, whose schemas are JSON Schema 2020-12.
fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.meta_schema = None;
            settings.definitions_path = "/components/schemas".into();
        })
    };
    let (mut told, mut asked) =
        (settings().for_serialize().into_generator(), settings().for_deserialize().into_generator());
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in ALL.iter() {
        let described = describe(operation, &mut asked, &mut told);
        paths.entry(operation.path).or_default().insert(operation.method.as_str().to_ascii_lowercase(), described);
    }
    let refused = told.subschema_for::<Refused>();
    let mut schemas = asked.take_definitions(true);
    schemas.extend(told.take_definitions(true));
    let failed = |does: &str| json!({ "description": does, "content": { "application/json": { "schema": refused } } });
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Duologue, the local API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a server's owner and the programs beside it may ask of it. Never for browsers.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Asked": failed("What was asked cannot be: 400 it makes no sense, 401 without a good key, 403 not by this caller, 404, 405, \
                                 409 something else stands in the way, 413"),
                "Failed": failed("It cannot be done now"),
            },
            "schemas": schemas,
        },
    })
}

fn describe(operation: &Operation, asked: &mut SchemaGenerator, told: &mut SchemaGenerator) -> Value {
    let Operation { method, path, needs, does, parameters, body, status, answers } = operation;
    let content: Map<String, Value> = answers
        .iter()
        .map(|(kind, shape)| {
            let schema = shape.map_or_else(|| json!({ "type": "string" }), |shape| shape(told).into());
            ((*kind).to_owned(), json!({ "schema": schema }))
        })
        .collect();
    let words = path.split(['/', '-', '.']).filter(|word| !word.is_empty() && !word.starts_with('{'));
    let words = words.chain(path.ends_with('}').then_some("one"));
    let id = words.fold(method.as_str().to_ascii_lowercase(), |id, word| format!("{id}-{word}"));
    let role = match needs {
        Needs::Role(role) => role.word(),
        Needs::Nothing => "any",
    };
    let mut described = json!({
        "operationId": id,
        "summary": does.0,
        "description": format!("{} Role: {role}.", does.1).trim_start(),
        "responses": {
            status.to_string(): { "description": "It was done", "content": content },
            "4XX": { "$ref": "#/components/responses/Asked" },
            "5XX": { "$ref": "#/components/responses/Failed" },
        },
    });
    if !parameters.is_empty() {
        described["parameters"] = json!(parameters);
    }
    described["requestBody"] = match body {
        None => return described,
        Some(Body::Json(shape, is_needed)) => {
            let schema: Value = shape(asked).into();
            json!({ "required": is_needed, "content": { "application/json": { "schema": schema } } })
        }
        Some(Body::Bytes) => json!({
            "required": false,
            "description": format!("The message, {} bytes at most; a datagram has 16 KiB", messages::MESSAGE_LEN_MAX),
            "content": { "application/octet-stream": {} },
        }),
    };
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

    #[test]
    fn the_document_in_docs_is_the_one_that_is_served() {
        let is = std::fs::read_to_string(FILE).unwrap_or_default();
        if is != *DOCUMENT {
            std::fs::write(FILE, DOCUMENT.as_str()).expect("it can be written");
            panic!("docs/openapi.json was another one, and was written anew: look at it, and commit it");
        }
    }

    #[test]
    fn each_operation_is_there_once_and_has_a_name_of_its_own() {
        let document = document();
        let mut ids: Vec<_> = ALL
            .iter()
            .map(|it| document["paths"][it.path][it.method.as_str().to_ascii_lowercase()]["operationId"].to_string())
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), all), (ALL.len(), ALL.len()));
    }

    #[test]
    fn what_is_not_listed_is_the_owners() {
        assert_eq!(needs(&Method::POST, "/nowhere"), ADMIN);
        assert_eq!(needs(&Method::DELETE, "/devices"), ADMIN);
        assert_eq!(needs(&Method::HEAD, "/devices"), WATCH);
        assert_eq!(needs(&Method::POST, "/subjects/{subject}/messages"), SEND);
    }
}
