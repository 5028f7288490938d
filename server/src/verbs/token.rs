//! `duologue token`: what a token is worth here, and why not, as the server would judge it. For whoever sets up a login.

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use duologue_server::{
    BoundTo, DeviceBinding, Refused, TOKEN_BYTES_MAX, TokenSettings, Tokens, Verified, parse_span, utc,
};
use serde_json::json;

use super::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Verifies a token as the server does, and says what it is worth. It goes nowhere: only the issuer's keys are asked for.
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The file that has the token; - reads it from standard input. Never an argument: those are seen by other programs.
    #[arg(value_name = "FILE")]
    token: PathBuf,
    #[command(flatten)]
    settings: TokenOptions,
    /// Whether the token is of the device with this thumbprint (`link.device.jkt`), as far as it is bound by one.
    // One in 64 begins with a hyphen, as one nonce in 64 does.
    #[arg(long, value_name = "THUMBPRINT", allow_hyphen_values = true)]
    jkt: Option<String>,
    /// Whether the token is of the device with this nonce (`link.device.nonce`), as far as it is bound by one.
    #[arg(long, value_name = "NONCE", allow_hyphen_values = true)]
    nonce: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Whose tokens are taken, and what is read of them.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenOptions {
    /// Whose tokens are taken: their `iss`, letter by letter.
    #[arg(long, value_name = "ISSUER")]
    issuer: String,
    /// For whom: what must be in the token's `aud`. May be repeated.
    #[arg(long, value_name = "AUDIENCE", required = true)]
    audience: Vec<String>,
    /// Where the issuer's keys are (JWKS): an https address, or a file. Default: where its OpenID configuration says.
    #[arg(long, value_name = "URL|FILE")]
    keys: Option<String>,
    /// The claim that names the subject.
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    subject_claim: String,
    /// The claim that lists the subject's groups; a.b is b within a.
    #[arg(long, value_name = "CLAIM")]
    groups_claim: Option<String>,
    /// The claim that has the level, 1 or 2. Without it each token is worth level 2.
    #[arg(long, value_name = "CLAIM")]
    level_claim: Option<String>,
    /// How long standing by one token lasts at most, from when it was issued.
    #[arg(long, value_name = "SPAN", default_value = "12h", value_parser = parse_span)]
    max_age: u64,
}

impl TokenOptions {
    fn tokens(self) -> anyhow::Result<Tokens> {
        let Self { issuer, audience, keys, subject_claim, groups_claim, level_claim, max_age } = self;
        let settings = TokenSettings {
            issuer,
            audience,
            keys,
            subject_claim,
            groups_claim,
            level_claim,
            max_age,
            bearer_binds: false,
        };
        Ok(Tokens::new(settings, Path::new(""))?)
    }
}

impl Token {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Check(Check { token, settings, jkt, nonce, json }) = self;
        let tokens = settings.tokens()?;
        let token = read(&token)?;
        // What is wrong with the keys is said here as it is; of a token it would only be that they are not there.
        tokens.load_keys().await?;
        tokens.unfit_keys().iter().for_each(|why| tracing::warn!("{why}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let device = device(jkt, nonce);
        let judged = match tokens.verify(&token, now).await {
            Ok(verified) => match &device {
                Some(device) => verified.standing(device, now).map(|_| verified),
                None => Ok(verified),
            },
            Err(refused) => Err(refused),
        };
        match judged {
            Ok(verified) if json => say(&as_json(&verified)),
            Ok(verified) => in_lines(&verified, now, device.is_some()).iter().for_each(|line| say(line)),
            Err(refused) => {
                if json {
                    say(&refused_as_json(&refused));
                }
                bail!("{refused}");
            }
        }
        Ok(())
    }
}

/// A device of which one of the two names is known: the other is none that any token has.
fn device(jkt: Option<String>, nonce: Option<String>) -> Option<DeviceBinding> {
    (jkt.is_some() || nonce.is_some())
        .then(|| DeviceBinding { jkt: jkt.unwrap_or_default(), nonce: nonce.unwrap_or_default() })
}

/// The token of a file, without the white space that editors and shells put around it.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than a token and its line end may have: what is longer is refused as that.
    let len_max = TOKEN_BYTES_MAX as u64 + 64;
    if path == Path::new("-") {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            eprintln!("the token, then Ctrl+D:");
        }
        stdin.lock().take(len_max).read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(len_max).read_to_end(&mut bytes).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(bytes.trim_ascii().to_vec())
}

fn in_lines(verified: &Verified, now: u64, is_of_device: bool) -> Vec<String> {
    let Verified { subject, groups, level, until, id, issuer, key, bound_to, .. } = verified;
    let when = utc(i64::try_from(*until).unwrap_or(i64::MAX));
    let bound = match (bound_to, is_of_device) {
        (BoundTo::Bearer, _) => "to no device: it serves whoever has it, until its end".to_owned(),
        (_, true) => "to this device".to_owned(),
        (BoundTo::Thumbprint(jkt), false) => {
            format!("to the device whose `link.device.jkt` is {}", duologue_server::shown(jkt))
        }
        (BoundTo::Nonce(nonce), false) => {
            format!("to the device whose `link.device.nonce` is {}", duologue_server::shown(nonce))
        }
    };
    let mut lines = vec![format!("subject  {subject}")];
    if !groups.is_empty() {
        let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
        lines.push(format!("groups   {}", groups.join(", ")));
    }
    lines.push(format!("level    {level}"));
    lines.push(format!("until    {when}, for {} s more", until.saturating_sub(now)));
    lines.push(format!("bound    {bound}"));
    lines.push(format!("id       {}", duologue_server::shown(id)));
    lines.push(format!("issuer   {issuer}"));
    if let Some(key) = key {
        lines.push(format!("key      {}", duologue_server::shown(key)));
    }
    lines
}

fn as_json(verified: &Verified) -> String {
    let Verified { subject, groups, level, from, until, id, issuer, key, auth_time, bound_to, .. } = verified;
    let bound_to = match bound_to {
        BoundTo::Thumbprint(jkt) => json!({ "jkt": jkt }),
        BoundTo::Nonce(nonce) => json!({ "nonce": nonce }),
        BoundTo::Bearer => json!(null),
    };
    json!({
        "subject": subject, "groups": &groups[..], "level": level, "from": from, "until": until, "id": &id[..],
        "issuer": &issuer[..], "key": key.as_deref(), "auth_time": auth_time, "bound_to": bound_to,
    })
    .to_string()
}

fn refused_as_json(refused: &Refused) -> String {
    json!({
        "error": refused.error.word(), "cause": refused.error.cause(), "detail": refused.detail,
        "remedy": refused.error.remedy(),
    })
    .to_string()
}
