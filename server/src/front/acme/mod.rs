//! ACME (RFC 8555): certificates that the server gets itself, and gets again before they end.
//!
//! ```text
//! acme/account.json       the account with the issuer, mode 0600
//! acme/certificate.pem    the chain and its key in one file, mode 0600, moved into its place whole
//! acme/placeholder.pem    self-signed, shown until there is one
//!
//! two thirds of its life are over, a little later by chance ─► order ─► challenge: tls-alpn-01, then http-01 where port 80 is ours
//!    ▲                                                            └─► finalize ─► looked at ─► kept ─► shown
//!    └── a failure is told with the days that are left; again after 1, 3, 9, … minutes, 6 h at most, or when the owner reloads
//! ```

pub(crate) mod challenges;
mod client;
pub(crate) mod settings;

use std::{
    fs::{self, File},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use self::{challenges::Challenges, client::Client, settings::AcmeSettings};
use super::{
    certificate,
    certificates::{CertificateFiles, Certificates, ReadCertificates},
    tls::{TlsError, chain},
};
use crate::{
    state::{StateError, random, replace_private},
    watch::{
        events::{Event, Kind},
        stream::Watch,
    },
};

/// All of an order.
const ORDER: Duration = Duration::from_secs(180);
/// How long an issuer may take to look.
const LOOKS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));
/// Between two tries that fail: the first, by how much each is longer, the longest.
const AGAIN: Duration = Duration::from_secs(60);
const LONGER: u32 = 3;
const AGAIN_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Nothing sleeps for longer: clocks are set, and machines sleep too.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Who gets certificates. Clones are the same.
#[derive(Clone, Debug)]
pub struct Acme(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: AcmeSettings,
    directory: PathBuf,
    challenges: Challenges,
    again: Notify,
}

impl Acme {
    /// By these settings, with what it keeps in a state directory.
    ///
    /// # Errors
    /// If its folder there cannot be made.
    pub fn new(settings: AcmeSettings, state: &Path) -> Result<Self, StateError> {
        let directory = state.join("acme");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|source| StateError::Io {
            verb: "make",
            path: directory.clone(),
            source,
        })?;
        let (challenges, again) = (Challenges::default(), Notify::new());
        Ok(Self(Arc::new(Inner { settings, directory, challenges, again })))
    }

    /// What issuers look for.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    /// What is shown first: the certificate that is kept, or a self-signed one until there is one.
    ///
    /// # Errors
    /// If that cannot be made.
    pub fn first(&self) -> Result<ReadCertificates, TlsError> {
        if let Ok(read) = ReadCertificates::of(&[self.0.files()]) {
            return Ok(read);
        }
        let placeholder = self.0.directory.join("placeholder.pem");
        let made = rcgen::generate_simple_self_signed(self.0.settings.names.clone())?;
        let both = Zeroizing::new(made.cert.pem() + &*Zeroizing::new(made.signing_key.serialize_pem()));
        replace_private(&placeholder, both.as_bytes())?;
        ReadCertificates::of(&[CertificateFiles { certificate: placeholder.clone(), key: placeholder }])
    }

    /// Tries again now, where the last try has failed: the owner may have mended what stood in its way.
    pub fn try_again(&self) {
        self.0.again.notify_one();
    }

    /// Gets certificates as they are due, and has them shown, as long as the server runs.
    pub async fn keep(self, certificates: Certificates, watch: Watch) {
        let (mut failed, chance) = (0_u32, f64::from(u32::from_be_bytes(random())) / f64::from(u32::MAX));
        loop {
            let due = self.0.due_in(SystemTime::now(), chance);
            if failed == 0 && !due.is_zero() {
                tokio::time::sleep(due.min(LOOK)).await;
                continue;
            }
            if failed > 0 {
                let wait = AGAIN.saturating_mul(LONGER.saturating_pow(failed - 1)).min(AGAIN_MAX);
                tokio::select! {
                    () = tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * chance)) => {}
                    () = self.0.again.notified() => {}
                }
            }
            let got = tokio::time::timeout(ORDER, self.0.obtain(failed)).await;
            self.0.challenges.clear();
            match got.unwrap_or_else(|_| Err(format!("it has taken more than {} s", ORDER.as_secs()))) {
                Ok(read) => {
                    certificates.show(read);
                    // One that is due at once, such as one that lacks a name, would be ordered without end.
                    let is_due = self.0.due_in(SystemTime::now(), chance).is_zero();
                    failed = if is_due { failed.saturating_add(1) } else { 0 };
                    let names = self.0.settings.names.join(" ");
                    watch.tell(Event::of(Kind::CertificateRenewed).note(format!("names=\"{names}\"")));
                }
                Err(why) => {
                    failed = failed.saturating_add(1);
                    watch.tell(Event::of(Kind::CertificateNotRenewed).note(format!("{}: {why}", self.0.left())));
                }
            }
        }
    }
}

impl Inner {
    fn files(&self) -> CertificateFiles {
        let file = self.directory.join("certificate.pem");
        CertificateFiles { certificate: file.clone(), key: file }
    }

    /// From when to when what is kept is good, if it is for all names, in seconds since 1970.
    fn kept(&self) -> Option<(i64, i64)> {
        let first = chain(&self.files().certificate).ok()?.into_iter().next()?;
        let is_for_all = self.settings.names.iter().all(|name| certificate::is_for(&first, name));
        certificate::life_of(&first).filter(|_| is_for_all)
    }

    /// When it is time: two thirds of a life are over, and up to a thirtieth of it by chance, so that not all come at once.
    fn due_in(&self, now: SystemTime, chance: f64) -> Duration {
        let Some((from, until)) = self.kept() else { return Duration::ZERO };
        #[expect(clippy::cast_precision_loss, reason = "seconds of centuries are far below 2^52")]
        let due = until as f64 - (until - from) as f64 * (1.0 / 3.0 - chance / 30.0);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Duration::try_from_secs_f64(due - now).unwrap_or_default()
    }

    /// For how long what is shown is good, in words.
    fn left(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.kept() {
            None => "there is no certificate yet, and browsers refuse what is shown in its place".to_owned(),
            Some((_, until)) => match u64::try_from(until).unwrap_or_default().checked_sub(now) {
                None => "the certificate has expired, and browsers refuse it".to_owned(),
                Some(left) => format!("the certificate is good for {} more days", left / 86_400),
            },
        }
    }

    async fn account(&self) -> Result<Account, String> {
        let said = |error: instant_acme::Error| error.to_string();
        let http = Box::new(Client::trusting(self.settings.ca.as_deref())?);
        // One for each issuer.
        let path = self.directory.join("account.json");
        let kept = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.directory == self.settings.directory) {
            return Account::builder_with_http(http).from_credentials(kept.credentials).await.map_err(said);
        }
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.settings.directory.clone();
        let made = Account::builder_with_http(http).create(&new, directory.clone(), None).await;
        let (account, credentials) = made.map_err(said)?;
        let text = serde_json::to_vec(&Kept { directory, credentials }).map_err(|error| error.to_string())?;
        let text = Zeroizing::new(text);
        replace_private(&path, &text).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        Ok(account)
    }

    /// A new certificate, kept and looked at. The try says by which challenge.
    async fn obtain(&self, tried: u32) -> Result<ReadCertificates, String> {
        let said = |error: instant_acme::Error| error.to_string();
        let account = self.account().await?;
        let names: Vec<_> = self.settings.names.iter().cloned().map(Identifier::Dns).collect();
        let ordered = account.new_order(&NewOrder::new(&names)).await;
        if let Err(instant_acme::Error::Api(problem)) = &ordered
            && problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
        {
            // Another one is made by the next try.
            let _ = fs::remove_file(self.directory.join("account.json"));
        }
        let mut order = ordered.map_err(said)?;
        let by_http = self.settings.http.is_some() && tried % 2 == 1;
        let kind = if by_http { ChallengeType::Http01 } else { ChallengeType::TlsAlpn01 };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(said)?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(format!("the issuer's authorization is {other:?}")),
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge = challenge.ok_or_else(|| format!("the issuer does not offer {kind:?}"))?;
            let key = challenge.key_authorization();
            if by_http {
                self.challenges.tell(&challenge.token, key.as_str());
            } else {
                self.challenges.show(&challenge.identifier().to_string(), key.digest().as_ref())?;
            }
            challenge.set_ready().await.map_err(said)?;
        }
        match order.poll_ready(&LOOKS).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(refusal(&mut order, "the issuer has refused the order").await),
            Err(error) => return Err(refusal(&mut order, &error.to_string()).await),
        }
        let key = Zeroizing::new(order.finalize().await.map_err(said)?);
        let chain = order.poll_certificate(&LOOKS).await.map_err(said)?;
        self.keep(&chain, &key).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    /// Looked at before it takes the place of what is there.
    fn keep(&self, chain: &str, key: &str) -> Result<ReadCertificates, TlsError> {
        let files = self.files();
        let beside = files.certificate.with_extension("next");
        let failed = |source| StateError::Io { verb: "write", path: beside.clone(), source };
        replace_private(&beside, Zeroizing::new(format!("{chain}\n{key}")).as_bytes())?;
        ReadCertificates::of(&[CertificateFiles { certificate: beside.clone(), key: beside.clone() }])?;
        let moved = fs::rename(&beside, &files.certificate).and_then(|()| File::open(&self.directory)?.sync_all());
        moved.map_err(failed)?;
        ReadCertificates::of(&[files])
    }
}

/// What the issuer says of the challenges.
async fn refusal(order: &mut instant_acme::Order, otherwise: &str) -> String {
    let mut why = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { break };
        let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        why.extend(problems.map(|problem| format!("{name}: {}", problem.detail.as_deref().unwrap_or("refused"))));
    }
    if why.is_empty() { otherwise.to_owned() } else { why.join("; ") }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory: String,
    credentials: instant_acme::AccountCredentials,
}
