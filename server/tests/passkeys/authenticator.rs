//! An authenticator and its browser, for tests: it makes passkeys and answers challenges as Web Authentication Level 3 says, and as it
//! must not.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cbor4ii::core::{Value as Cbor, enc::Encode, utils::BufWriter};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use crate::testing::{A2_E, A2_N, Signer};

/// For whom it is asked.
pub(crate) const RP_ID: &str = "example.org";
/// By this page.
pub(crate) const ORIGIN: &str = "https://app.example.org";

/// What it does other than it must, or otherwise than usual.
#[derive(Clone)]
pub(crate) struct Faults {
    pub(crate) rp_id: &'static str,
    pub(crate) origin: &'static str,
    /// The kind of ceremony that it says.
    pub(crate) kind: Option<&'static str>,
    pub(crate) challenge: Option<Vec<u8>>,
    /// More of what a browser says.
    pub(crate) more: Value,
    pub(crate) is_touched: bool,
    pub(crate) verifies: bool,
    /// More flags.
    pub(crate) flags: u8,
    pub(crate) counter: Option<u32>,
    pub(crate) handle: Option<Vec<u8>>,
    /// Behind its data.
    pub(crate) behind: Vec<u8>,
    /// Alters the signature.
    pub(crate) alters: bool,
    pub(crate) brings_key: bool,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) format: &'static str,
    pub(crate) statement: Option<Value>,
    /// The algorithm and the kind of key that it says.
    pub(crate) algorithm: Option<(i128, i128)>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rp_id: RP_ID,
            origin: ORIGIN,
            kind: None,
            challenge: None,
            more: json!({}),
            is_touched: true,
            verifies: true,
            flags: 0,
            counter: None,
            handle: None,
            behind: Vec::new(),
            alters: false,
            brings_key: true,
            id: None,
            format: "none",
            statement: None,
            algorithm: None,
        }
    }
}

/// One passkey, and how often it was used.
#[derive(Clone)]
pub(crate) struct Authenticator {
    key: Key,
    id: Vec<u8>,
    handle: Vec<u8>,
    counter: Option<u32>,
}

#[derive(Clone)]
enum Key {
    /// As PKCS #8.
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
    /// That of an RFC's example: ring makes none.
    Rs256,
}

impl Authenticator {
    pub(crate) fn es256() -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        Self::with(Key::Es256(key.expect("a key").as_ref().to_vec()))
    }

    pub(crate) fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::with(Key::EdDsa(key.as_ref().to_vec()))
    }

    pub(crate) fn rs256() -> Self {
        Self::with(Key::Rs256)
    }

    fn with(key: Key) -> Self {
        let mut id = vec![0; 32];
        SystemRandom::new().fill(&mut id).expect("the system has randomness");
        Self { key, id, handle: Vec::new(), counter: Some(0) }
    }

    /// It never counts, as those that are on several devices.
    pub(crate) fn without_counter(self) -> Self {
        Self { counter: None, ..self }
    }

    pub(crate) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.id)
    }

    /// `navigator.credentials.create(…)`, as JSON.
    pub(crate) fn create(&mut self, options: &Value, faults: &Faults) -> Value {
        assert_eq!(options["attestation"], "none", "nobody asks who has made an authenticator");
        self.handle = bytes(&options["user"]["id"]);
        let mut auth_data = self.auth_data(faults, if faults.brings_key { 0x40 } else { 0 });
        let id = faults.id.as_ref().unwrap_or(&self.id);
        if faults.brings_key {
            auth_data.extend([0; 16]);
            auth_data.extend(u16::try_from(id.len()).expect("short").to_be_bytes());
            auth_data.extend(id);
            auth_data.extend(self.cose(faults.algorithm));
        }
        auth_data.extend(&faults.behind);
        let client_data = client_data("webauthn.create", options, faults);
        let statement = match (&faults.statement, faults.format) {
            (Some(_), _) => vec![(Cbor::Text("a".to_owned()), Cbor::Integer(1))],
            (None, "packed") => vec![
                (Cbor::Text("alg".to_owned()), Cbor::Integer(-7)),
                (Cbor::Text("sig".to_owned()), Cbor::Bytes(self.sign(&signed(&auth_data, &client_data)))),
            ],
            (None, _) => Vec::new(),
        };
        let object = cbor(&Cbor::Map(vec![
            (Cbor::Text("fmt".to_owned()), Cbor::Text(faults.format.to_owned())),
            (Cbor::Text("attStmt".to_owned()), Cbor::Map(statement)),
            (Cbor::Text("authData".to_owned()), Cbor::Bytes(auth_data)),
        ]));
        json!({
            "type": "public-key", "id": URL_SAFE_NO_PAD.encode(id), "rawId": URL_SAFE_NO_PAD.encode(id),
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(object),
                "transports": ["internal", "Not a transport"],
            },
        })
    }

    /// `navigator.credentials.get(…)`, as JSON.
    pub(crate) fn get(&mut self, options: &Value, faults: &Faults) -> Value {
        if let Some(allowed) = options["allowCredentials"].as_array() {
            assert!(allowed.iter().any(|it| it["id"] == self.id()), "it is asked for others: {options}");
        }
        self.answer(options, faults)
    }

    /// The same, although it is not asked for.
    pub(crate) fn get_whatever(&mut self, options: &Value) -> Value {
        self.answer(options, &Faults::default())
    }

    fn answer(&mut self, options: &Value, faults: &Faults) -> Value {
        self.counter = self.counter.map(|counter| counter + 1);
        let mut auth_data = self.auth_data(faults, 0);
        auth_data.extend(&faults.behind);
        let client_data = client_data("webauthn.get", options, faults);
        let mut signature = self.sign(&signed(&auth_data, &client_data));
        if faults.alters {
            *signature.last_mut().expect("a signature") ^= 1;
        }
        json!({
            "type": "public-key", "id": self.id(), "rawId": self.id(), "clientExtensionResults": {},
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(auth_data),
                "signature": URL_SAFE_NO_PAD.encode(signature),
                "userHandle": URL_SAFE_NO_PAD.encode(faults.handle.as_ref().unwrap_or(&self.handle)),
            },
        })
    }

    fn auth_data(&self, faults: &Faults, flags: u8) -> Vec<u8> {
        let flags = flags | faults.flags | u8::from(faults.is_touched) | if faults.verifies { 0x04 } else { 0 };
        let counter = faults.counter.or(self.counter).unwrap_or(0);
        [sha256(faults.rp_id.as_bytes()).as_slice(), &[flags], &counter.to_be_bytes()].concat()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(key) => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &random).expect("a key");
                key.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Key::EdDsa(key) => Ed25519KeyPair::from_pkcs8(key).expect("a key").sign(message).as_ref().to_vec(),
            Key::Rs256 => Signer::Rs256.sign(message),
        }
    }

    /// Its public key, under this algorithm and kind where it is to say another.
    fn cose(&self, said: Option<(i128, i128)>) -> Vec<u8> {
        let (algorithm, kind, mut rest) = match &self.key {
            Key::Es256(key) => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &SystemRandom::new());
                let key = key.expect("a key");
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                let point = vec![(-1, Cbor::Integer(1)), (-2, Cbor::Bytes(x.into())), (-3, Cbor::Bytes(y.into()))];
                (-7, 2, point)
            }
            Key::EdDsa(key) => {
                let key = Ed25519KeyPair::from_pkcs8(key).expect("a key");
                (-8, 1, vec![(-1, Cbor::Integer(6)), (-2, Cbor::Bytes(key.public_key().as_ref().into()))])
            }
            Key::Rs256 => {
                let part = |text: &str| Cbor::Bytes(URL_SAFE_NO_PAD.decode(text).expect("base64url"));
                (-257, 3, vec![(-1, part(A2_N)), (-2, part(A2_E))])
            }
        };
        let (algorithm, kind) = said.unwrap_or((algorithm, kind));
        if kind == 7 {
            rest = vec![(-1, Cbor::Bytes(vec![1; 1_312]))];
        }
        let entries = [(1, Cbor::Integer(kind)), (3, Cbor::Integer(algorithm))].into_iter().chain(rest);
        cbor(&Cbor::Map(entries.map(|(label, value)| (Cbor::Integer(label), value)).collect()))
    }
}

/// What the browser says.
fn client_data(kind: &str, options: &Value, faults: &Faults) -> Vec<u8> {
    let challenge = faults.challenge.clone().unwrap_or_else(|| bytes(&options["challenge"]));
    let mut said = json!({
        "type": faults.kind.unwrap_or(kind), "challenge": URL_SAFE_NO_PAD.encode(challenge), "origin": faults.origin,
        "crossOrigin": false, "other_keys_can_be_added_here": "do not compare clientDataJSON against a template",
    });
    for (key, value) in faults.more.as_object().expect("a map") {
        said[key] = value.clone();
    }
    serde_json::to_vec(&said).expect("JSON")
}

fn signed(auth_data: &[u8], client_data: &[u8]) -> Vec<u8> {
    [auth_data, &sha256(client_data)].concat()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn bytes(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().expect("a text")).expect("base64url")
}

fn cbor(value: &Cbor) -> Vec<u8> {
    let mut writer = BufWriter::new(Vec::new());
    value.encode(&mut writer).expect("there is room");
    writer.into_inner()
}
