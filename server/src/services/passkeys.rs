//! `passkeys`: a person registers passkeys, and shows to be there by them, over the line. docs/PROTOCOL.md, section 14, has the messages.
//!
//! ```text
//! client                                                        server
//!   {"ask":"step-up"} ─►
//!                     ◄─ {"publicKey":{…challenge…}}             the session's, kept for `timeout`, taken out before it is judged
//!   {"ask":"present","credential":{…}} ─►                       perhaps over another connection
//!                     ◄─ {"level":3}   or {"refused":"passkey-late"}
//! ```
//!
//! They are messages of a channel, and no evidence behind AUTH: an answer belongs to a question, is given once, and goes on with its
//! session wherever that goes. All are filled with spaces, so that whoever sees records sees no difference between answers.
//!
//! A passkey is its subject's. The first one takes a login of the last five minutes, each further one, and removing one, a person who
//! is present since no longer than that.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

use crate::watch::events::Kind;
use crate::{
    door::{
        error::{DoorError, Refused},
        gate::now,
        passkeys::{
            ALGORITHMS, Assertion, LABEL, Made, Passkeys as Judge, Purpose, Registration, Used,
            presence::may_be_present,
            rate::{A_DAY_MAX, Rate},
        },
        seat::Since,
        standing::{Level, Standing, Subject},
    },
    services::service::{Call, Service, ServiceError},
    state::{
        random,
        store::{PASSKEYS_MAX, Passkey, PasskeyError, Store},
    },
    watch::text,
};

/// The longest message of a client, in bytes.
const MESSAGE_LEN_MAX: usize = 8_192;
/// What messages are filled to. The last is of answers alone: the ids of eight passkeys may be long.
const FILLED: [usize; 4] = [2_048, 4_096, 8_192, 16_384];
/// How long ago a login, or presence, may be by which passkeys are registered and removed, in seconds.
const FRESH_SECS: u64 = 5 * 60;
/// How far the clock of an issuer may be ahead, in seconds.
const LEEWAY_SECS: u64 = 5;
/// Ways to an authenticator that a browser tells of one.
const TRANSPORTS_MAX: usize = 8;
/// The longest name of such a way.
const TRANSPORT_LEN_MAX: usize = 32;

/// The service.
#[derive(Debug)]
pub(crate) struct Passkeys {
    judge: Judge,
    store: Arc<Store>,
    rate: Rate,
}

/// What a client asks for.
#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
enum Ask {
    /// A challenge to be present by.
    StepUp {},
    /// Its answer.
    Present { credential: Present },
    /// A challenge to make a passkey by.
    Register {},
    /// Its answer.
    Registered {
        #[serde(default)]
        name: String,
        credential: Registered,
    },
    /// The subject's passkeys.
    List {},
    /// One of them is to go.
    Remove { id: String },
}

/// As browsers write it (Web Authentication Level 3, section 5.1.1, `AuthenticationResponseJSON`). The rest says nothing here.
#[derive(Deserialize)]
struct Present {
    id: Bytes,
    response: PresentResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresentResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    authenticator_data: Bytes,
    signature: Bytes,
    #[serde(default)]
    user_handle: Option<Bytes>,
}

/// The same of a passkey that was made (`RegistrationResponseJSON`).
#[derive(Deserialize)]
struct Registered {
    response: RegisteredResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisteredResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    attestation_object: Bytes,
    #[serde(default)]
    transports: Vec<String>,
}

/// As base64url.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(|_| de::Error::custom("this is no base64url"))
    }
}

/// What it is answered.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Options {
        #[serde(rename = "publicKey")]
        public_key: Value,
    },
    Level {
        level: Level,
    },
    One {
        passkey: Shown,
    },
    List {
        passkeys: Vec<Shown>,
    },
    Refused {
        refused: &'static str,
    },
}

/// A passkey, to its person.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    name: String,
    made_at: u64,
    used_at: Option<u64>,
    backed_up: bool,
    /// Registered on the device that asks.
    here: bool,
}

impl Shown {
    fn to(call: &Call, passkey: &Passkey) -> Self {
        Self {
            id: passkey.short_id(),
            name: passkey.name.clone(),
            made_at: passkey.made_at,
            used_at: passkey.used_at,
            backed_up: passkey.is_backed_up,
            here: passkey.device() == call.device(),
        }
    }
}

/// An answer, why it is none, or why the service has failed.
type Answer<T> = Result<Result<T, Refused>, ServiceError>;

/// What is given to a person is theirs: the refusal, or on.
macro_rules! or_refused {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refused) => return Ok(Err(refused.into())),
        }
    };
}

impl Service for Passkeys {
    fn needs_state(&self) -> bool {
        true
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        while let Some(message) = call.channel.recv().await? {
            if message.len() > MESSAGE_LEN_MAX {
                return Err("a message about passkeys has 8,192 bytes at most".into());
            }
            let ask = serde_json::from_slice(&message)?;
            let raises = matches!(ask, Ask::Present { .. });
            let told = self.answer(&call, ask).await?.unwrap_or_else(|refused| {
                // The particulars are the owner's.
                let code = refused.error.word();
                call.tell(call.event(Kind::PasskeyRefused).code(code).note(&refused.detail));
                Told::Refused { refused: code }
            });
            // Told whether it has changed or not: on the wire both are the same.
            if raises {
                call.tell_standing(None);
            }
            call.channel.send(filled(&serde_json::to_vec(&told)?)).await?;
        }
        Ok(())
    }
}

impl Passkeys {
    pub(crate) fn new(judge: Judge, store: Arc<Store>) -> Self {
        Self { judge, store, rate: Rate::default() }
    }

    async fn answer(&self, call: &Call, ask: Ask) -> Answer<Told> {
        let (subject, standing) = or_refused!(whose(call));
        match ask {
            Ask::StepUp {} => self.ask_to_be_present(call, &subject).await,
            Ask::Present { credential } => self.present(call, &subject, credential).await,
            Ask::Register {} => self.ask_to_register(call, &subject, &standing).await,
            Ask::Registered { name, credential } => self.register(call, subject, &standing, name, credential).await,
            Ask::List {} => {
                let passkeys = self.known(call, &subject).await?;
                Ok(Ok(Told::List { passkeys: passkeys.iter().map(|it| Shown::to(call, it)).collect() }))
            }
            Ask::Remove { id } => self.remove(call, &subject, &standing, id).await,
        }
    }

    async fn ask_to_be_present(&self, call: &Call, subject: &Subject) -> Answer<Told> {
        let known = self.known(call, subject).await?;
        if known.is_empty() {
            return Ok(Err(DoorError::PasskeyNone.into()));
        }
        let challenge = or_refused!(challenge(call, Purpose::StepUp, [0; 32]));
        Ok(Ok(Told::Options {
            public_key: json!({
                "challenge": URL_SAFE_NO_PAD.encode(challenge),
                "rpId": self.judge.rp_id(),
                "timeout": millis(&self.judge),
                "userVerification": "required",
                "allowCredentials": known.iter().map(described).collect::<Vec<_>>(),
            }),
        }))
    }

    async fn present(&self, call: &Call, subject: &Subject, credential: Present) -> Answer<Told> {
        let since = Since::now();
        let Present { id, response } = credential;
        let client_data = &response.client_data.0;
        or_refused!(self.take_challenge(call, client_data, Purpose::StepUp));
        let known = self.known(call, subject).await?;
        // Another subject's is none: nobody learns whose it is.
        let passkey = known.into_iter().find(|passkey| passkey.credential == id.0);
        let passkey = or_refused!(passkey.ok_or(DoorError::PasskeyUnknown));
        if response.user_handle.is_some_and(|handle| handle.0 != passkey.handle) {
            return Ok(Err(DoorError::PasskeyRefused.because("it is of another person's than it says")));
        }
        let auth_data = &response.authenticator_data.0;
        let assertion = Assertion { client_data, auth_data, signature: &response.signature.0 };
        let origin = call.right.seat.transport().origin;
        let used = self.judge.used(&assertion, &passkey.cose, passkey.may_be_backed_up, origin.as_deref());
        let Used { counter, is_backed_up } = or_refused!(used);
        let (store, owned, id) = (Arc::clone(&self.store), subject.clone(), passkey.id());
        let kept = call.blocking(move || store.use_passkey(owned.as_str(), id, counter, is_backed_up)).await?;
        match kept {
            Ok(kept) => or_refused!(kept.map_err(said)),
            // One without a counter has nothing that must be kept, and a full disk locks nobody out.
            Err(error) if counter == 0 && passkey.counter == 0 => {
                call.tell(call.event(Kind::PasskeyNotKept).note(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        if !call.right.present(id, since) {
            return Ok(Err(DoorError::NoSubject.into()));
        }
        // One that was removed in between has not been found in this session.
        if !self.known(call, subject).await?.iter().any(|it| it.id() == id) {
            call.others.passkey_is_gone(subject, id);
            return Ok(Err(DoorError::PasskeyUnknown.into()));
        }
        call.tell(call.event(Kind::PresenceShown).subject(Some(&subject)).note(passkey.short_id()));
        Ok(Ok(Told::Level { level: Level::Present }))
    }

    async fn ask_to_register(&self, call: &Call, subject: &Subject, standing: &Standing) -> Answer<Told> {
        let known = self.known(call, subject).await?;
        if known.is_empty() {
            if !self.has_just_logged_in(call, subject).await? {
                return Ok(Err(DoorError::LoginTooOld.into()));
            }
        } else if !is_just_present(standing) {
            return Ok(Err(DoorError::StepUpNeeded.into()));
        }
        if known.len() >= PASSKEYS_MAX {
            return Ok(Err(DoorError::PasskeyTooMany.into()));
        }
        // One person is one account to an authenticator, under a number that says nothing of them.
        let handle = known.first().map_or_else(random, |passkey| passkey.handle);
        let challenge = or_refused!(challenge(call, Purpose::Register, handle));
        let parameter = |algorithm| json!({ "type": "public-key", "alg": algorithm });
        Ok(Ok(Told::Options {
            public_key: json!({
                "challenge": URL_SAFE_NO_PAD.encode(challenge),
                "rp": { "id": self.judge.rp_id(), "name": self.judge.name() },
                "user": {
                    "id": URL_SAFE_NO_PAD.encode(handle),
                    "name": subject.as_str(),
                    "displayName": subject.as_str(),
                },
                "pubKeyCredParams": ALGORITHMS.map(parameter),
                "timeout": millis(&self.judge),
                "attestation": "none",
                "authenticatorSelection": { "residentKey": "preferred", "userVerification": "required" },
                "excludeCredentials": known.iter().map(described).collect::<Vec<_>>(),
            }),
        }))
    }

    async fn register(
        &self,
        call: &Call,
        subject: Subject,
        standing: &Standing,
        name: String,
        credential: Registered,
    ) -> Answer<Told> {
        let since = Since::now();
        let RegisteredResponse { client_data, attestation_object, transports } = credential.response;
        let handle = or_refused!(self.take_challenge(call, &client_data.0, Purpose::Register));
        let registration = Registration { client_data: &client_data.0, attestation: &attestation_object.0 };
        let origin = call.right.seat.transport().origin;
        let made = or_refused!(self.judge.made(&registration, origin.as_deref()));
        let Made { id, cose, counter, may_be_backed_up, is_backed_up } = made;
        if !self.rate.take(subject.as_str(), std::time::Instant::now()) {
            return Ok(Err(DoorError::PasskeyTooMany.because(format!("{A_DAY_MAX} were registered in a day"))));
        }
        let name = if name.is_empty() { &call.claims.name } else { &name };
        let passkey = Passkey {
            subject: subject.to_string(),
            credential: id,
            cose,
            counter,
            may_be_backed_up,
            is_backed_up,
            transports: transports.into_iter().filter(|it| is_transport(it)).take(TRANSPORTS_MAX).collect(),
            handle,
            name: text::name(name),
            device: call.device().0,
            made_at: now(),
            used_at: None,
        };
        let (store, kept, is_present) = (Arc::clone(&self.store), passkey.clone(), standing.level == Level::Present);
        let added = call.blocking(move || store.add_passkey(&kept, is_present)).await??;
        or_refused!(added.map_err(said));
        let (device, id) = (call.device(), passkey.short_id());
        // It was asked for before: whoever sits there now may be somebody else.
        if call.right.seat.has_signed_out(since) {
            let store = Arc::clone(&self.store);
            call.blocking(move || store.remove_own_passkey(subject.as_str(), &id)).await??;
            return Ok(Err(DoorError::SignedOut.into()));
        }
        let note = format!("passkey={id:?} name={:?}", passkey.name);
        call.tell(call.event(Kind::PasskeyRegistered).subject(Some(&subject)).note(note));
        let shown = Shown::to(call, &passkey);
        let elsewhere = json!({ "registered": Shown { here: false, ..Shown::to(call, &passkey) } });
        call.others.tell(&subject, device, LABEL, &filled(&serde_json::to_vec(&elsewhere)?));
        Ok(Ok(Told::One { passkey: shown }))
    }

    async fn remove(&self, call: &Call, subject: &Subject, standing: &Standing, id: String) -> Answer<Told> {
        if !is_just_present(standing) {
            return Ok(Err(DoorError::StepUpNeeded.into()));
        }
        let (store, owned) = (Arc::clone(&self.store), subject.clone());
        let removed = call.blocking(move || store.remove_own_passkey(owned.as_str(), &id)).await??;
        let removed = &or_refused!(removed.ok_or(DoorError::PasskeyUnknown));
        let short = removed.short_id();
        call.tell(call.event(Kind::PasskeyRemoved).subject(Some(subject)).note(short));
        call.others.passkey_is_gone(subject, removed.id());
        Ok(Ok(Told::One { passkey: Shown::to(call, removed) }))
    }

    async fn known(&self, call: &Call, subject: &Subject) -> Result<Vec<Passkey>, ServiceError> {
        let (store, subject) = (Arc::clone(&self.store), subject.clone());
        Ok(call.blocking(move || store.passkeys_of(subject.as_str())).await??)
    }

    /// Whether somebody has proved a moment ago who they are: at the issuer of a token, by the app's own login, or by an invite that was
    /// made for them.
    async fn has_just_logged_in(&self, call: &Call, subject: &Subject) -> Result<bool, ServiceError> {
        let at = call.right.seat.presence(|presence| presence.logged_in_at()).flatten();
        // A token that is shown again says when its person logged in, and not that she has signed out since.
        let signed_out_at = self.store.signed_out_at(call.device());
        let is_current = |at: u64| signed_out_at.is_none_or(|out| out <= at.saturating_add(LEEWAY_SECS));
        if at.is_some_and(|at| is_fresh(at) && is_current(at)) {
            return Ok(true);
        }
        let (store, device, subject) = (Arc::clone(&self.store), call.device(), subject.clone());
        let at = call.blocking(move || store.let_in_for(device, subject.as_str())).await??;
        Ok(at.is_some_and(is_fresh))
    }

    /// Takes out the challenge that was answered; gives what goes with it.
    fn take_challenge(&self, call: &Call, client_data: &[u8], purpose: Purpose) -> Result<[u8; 32], Refused> {
        let challenge = Judge::challenge_of(client_data)?;
        let now = std::time::Instant::now();
        let take = call.right.seat.presence(|presence| presence.take(&challenge, purpose, self.judge.timeout(), now));
        take.flatten().ok_or_else(|| DoorError::PasskeyLate.into())
    }
}

/// Whose the session is, and what he is now.
fn whose(call: &Call) -> Result<(Subject, Arc<Standing>), DoorError> {
    let standing = call.right.seat.standing(now());
    let subject = standing.subject.clone().filter(|_| may_be_present(&standing));
    subject.map(|subject| (subject, standing)).ok_or(DoorError::NoSubject)
}

fn challenge(call: &Call, purpose: Purpose, handle: [u8; 32]) -> Result<[u8; 32], DoorError> {
    let (device, random, now) = (call.device(), random(), std::time::Instant::now());
    let given = call.right.seat.presence(|presence| presence.challenge(device, purpose, random, handle, now));
    given.ok_or(DoorError::NoSubject)
}

fn is_fresh(at: u64) -> bool {
    let now = now();
    at <= now.saturating_add(LEEWAY_SECS) && now < at.saturating_add(FRESH_SECS)
}

/// Whether its person has shown to be there in the last five minutes.
pub(crate) fn is_just_present(standing: &Standing) -> bool {
    standing.level == Level::Present && standing.present_at.is_some_and(is_fresh)
}

fn is_transport(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=TRANSPORT_LEN_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

fn millis(judge: &Judge) -> u64 {
    judge.timeout().as_secs().saturating_mul(1_000)
}

/// A passkey as browsers are told of it.
fn described(passkey: &Passkey) -> Value {
    let id = URL_SAFE_NO_PAD.encode(&passkey.credential);
    json!({ "type": "public-key", "id": id, "transports": passkey.transports })
}

fn said(error: PasskeyError) -> Refused {
    let word = match error {
        PasskeyError::NotPresent => DoorError::StepUpNeeded,
        PasskeyError::TooMany => DoorError::PasskeyTooMany,
        PasskeyError::Known => DoorError::PasskeyKnown,
        PasskeyError::Unknown => DoorError::PasskeyUnknown,
        PasskeyError::Copied => DoorError::PasskeyCopied,
        PasskeyError::Revoked => DoorError::NoSubject,
    };
    word.because(error.to_string())
}

/// With spaces behind it, as JSON may have them.
fn filled(json: &[u8]) -> Vec<u8> {
    let len = FILLED.into_iter().find(|len| *len >= json.len()).unwrap_or(json.len());
    let mut filled = json.to_vec();
    filled.resize(len, b' ');
    filled
}
