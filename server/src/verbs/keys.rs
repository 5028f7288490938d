//! `duologue keys`: who this server is, and how that changes.

use std::path::PathBuf;

use anyhow::bail;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue_server::{
    KeyStatement, KeysInfo, Language, NextKey, OwnersPair, SignedKey, exposed_key, parse_span, server_keys, spoken,
};
use hyper::Method;
use serde::Serialize;

use super::owner::{Owner, when};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Shows the public key and its fingerprint, also as words, to compare with what a device shows; the owner's key, and the keys
    /// before and after.
    Show(Owner),
    /// Makes an owner's key, by which server keys are signed: clients keep to it, and follow to the next server key. Its file is to be
    /// kept elsewhere: nobody needs it until then, and whoever has it can lead clients away.
    Init {
        /// The file of the owner's key; one that is there stays as it is.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        owner: Owner,
    },
    /// Makes the next server key: both are good, clients are told of the next, new links name it.
    Rotate {
        /// The file that `duologue keys init` has made.
        #[arg(long = "owner-key", value_name = "FILE")]
        file: PathBuf,
        /// The older one ends by itself after so long, such as 30d. Unless told, `duologue keys retire` ends it.
        #[arg(long, value_name = "TIME", value_parser = span)]
        retire_after: Option<u64>,
        #[command(flatten)]
        owner: Owner,
    },
    /// Ends the older of two keys: who has not been here since the rotation finds the next one at /.well-known/duologue-keys.
    Retire(Owner),
}

fn span(text: &str) -> Result<u64, String> {
    parse_span(text).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    keys: KeysInfo,
    words: String,
    mots: String,
}

/// As the local API takes it.
fn signed(statement: &KeyStatement, retire_after_secs: Option<u64>) -> SignedKey {
    SignedKey {
        owner: statement.owner.to_string(),
        number: statement.number,
        key: statement.key.to_string(),
        signature: BASE64_URL_SAFE_NO_PAD.encode(statement.signature),
        retire_after_secs,
    }
}

impl Keys {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Show(owner) => {
                let state = owner.directory.path()?;
                let keys = server_keys(&state)?;
                if let Some(file) = exposed_key(&state) {
                    tracing::warn!(
                        "{file} is open to other users of this machine: `chmod 600` it, or begin anew if anybody may have read it"
                    );
                }
                let [words, mots] =
                    [Language::English, Language::French].map(|language| spoken(&keys.fingerprint, language));
                owner.tell(&Shown { keys, words, mots }, |shown| {
                    let mut lines = vec![
                        format!("key          {}", shown.keys.key),
                        format!("fingerprint  {}", shown.keys.fingerprint),
                        format!("words        {}", shown.words),
                        format!("mots         {}", shown.mots),
                    ];
                    lines.extend(more(&shown.keys));
                    lines
                });
            }
            Self::Init { file, owner } => {
                let keys = server_keys(owner.directory.path()?)?;
                if keys.owner.is_some() {
                    bail!("this server has an owner's key already: clients keep to it, and would follow no other");
                }
                let signed = signed(&OwnersPair::make(&file)?.sign(1, keys.key.parse()?)?, None);
                let taken: anyhow::Result<KeysInfo> = owner.ask(Method::POST, "/keys/init", Some(&signed)).await;
                let keys = taken.inspect_err(|_| drop(std::fs::remove_file(&file)))?;
                owner.tell(&keys, |keys| {
                    let kept = format!("{} is written: keep it elsewhere, and a copy of it", file.display());
                    [vec![kept], more(keys)].concat()
                });
            }
            Self::Rotate { file, retire_after, owner } => {
                let pair = OwnersPair::open(&file)?;
                let NextKey { number, key } = owner.ask(Method::POST, "/keys/prepare", None::<&()>).await?;
                let signed = signed(&pair.sign(number, key.parse()?)?, retire_after);
                let keys: KeysInfo = owner.ask(Method::POST, "/keys/rotate", Some(&signed)).await?;
                owner.tell(&keys, |keys| [vec![format!("key          {}", keys.key)], more(keys)].concat());
            }
            Self::Retire(owner) => {
                let keys: KeysInfo = owner.ask(Method::POST, "/keys/retire", None::<&()>).await?;
                owner.tell(&keys, |keys| [vec![format!("key          {}", keys.key)], more(keys)].concat());
            }
        }
        Ok(())
    }
}

/// What is known beyond the key itself.
fn more(keys: &KeysInfo) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(keys.number.map(|number| format!("number       {number}")));
    lines.extend(keys.owner.iter().map(|owner| format!("owner        {owner}")));
    lines.extend(keys.older.iter().map(|older| match keys.retire_at {
        Some(at) => format!("older        {older}, good until {} UTC", when(at)),
        None => format!("older        {older}, good until `duologue keys retire`"),
    }));
    lines.extend(keys.past.iter().map(|past| format!("past         {past}")));
    lines
}
