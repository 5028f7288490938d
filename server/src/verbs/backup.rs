//! `duologue backup`, `restore`, `export` and `import`: a state directory in one file, and back.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use duologue_server::{
    BackupError, BackupInfo, check_backup, copy_from, import_export, restore_backup, shown, write_private,
};

use super::{
    owner::{Owner, when},
    say,
};

/// Everything of a server's state in one file.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The file to write, for its owner alone; one that is there stays as it is. `-` is the standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    owner: Owner,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// A file of `duologue backup`. `-` is the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only says whether the file is whole, and what is in it.
    #[arg(long, conflicts_with = "old")]
    check: bool,
    /// The state directory that was there before: whom its journal has as revoked, and the backup has not, is revoked again.
    #[arg(long, value_name = "DIR")]
    old: Option<PathBuf>,
    #[command(flatten)]
    owner: Owner,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The file to write, for its owner alone; one that is there stays as it is. `-` is the standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    owner: Owner,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// A file of `duologue export`. `-` is the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    owner: Owner,
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Writes a copy that the running server, or the state at rest, has made.
async fn write(file: &Path, owner: &Owner, path: &str) -> anyhow::Result<Vec<u8>> {
    let copy = copy_from(&owner.directory.path()?, path).await?;
    if is_standard(file) {
        let mut out = io::stdout().lock();
        out.write_all(&copy).and_then(|()| out.flush()).context("cannot write to the standard output")?;
    } else if file.symlink_metadata().is_ok() {
        return Err(anyhow!("cannot write {}: what is there is not overwritten", file.display()));
    } else {
        write_private(file, &copy)?;
    }
    Ok(copy)
}

fn read(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if is_standard(file) {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Whose fault it is: the file's, by its name, or the directory's.
fn named(file: &Path, error: BackupError) -> anyhow::Error {
    match error {
        BackupError::NotEmpty(_) | BackupError::State(_) | BackupError::Store(_) => error.into(),
        // Its texts are whatever somebody has made of them.
        error => anyhow!("{}: {}", file.display(), shown(&error.to_string())),
    }
}

fn counted(BackupInfo { counts, .. }: &BackupInfo) -> String {
    format!(
        "devices {}, accounts {}, invites {}, passkeys {}, bans {}",
        counts.devices, counts.accounts, counts.invites, counts.passkeys, counts.bans
    )
}

impl Backup {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { file, owner } = self;
        let copy = write(&file, &owner, "/backup").await?;
        if !is_standard(&file) {
            let info = check_backup(&*copy).map_err(|error| named(&file, error))?;
            owner.tell(&info, |info| vec![format!("{} is written: {}", file.display(), counted(info))]);
        }
        Ok(())
    }
}

impl Restore {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { file, check, old, owner } = self;
        if check {
            let info = check_backup(read(&file)?).map_err(|error| named(&file, error))?;
            owner.tell(&info, |info| {
                let mut lines = vec![format!("whole: {}", counted(info))];
                lines.push(format!("made at {} by duologue {}", when(info.made_at), shown(&info.by)));
                lines.push(format!("of the server {}", shown(&info.server_key)));
                lines.extend(info.audit_head.iter().map(|head| format!("audit head {}", shown(head))));
                lines
            });
            return Ok(());
        }
        let directory = owner.directory.path()?;
        let restored = restore_backup(read(&file)?, &directory, old.as_deref());
        let info = restored.map_err(|error| named(&file, error))?;
        owner.tell(&info, |info| {
            let made = when(info.made_at);
            let mut lines = vec![format!("{} is restored: {}", directory.display(), counted(info))];
            lines.extend(info.revoked_again.iter().map(|who| format!("revoked again: {who}")));
            lines.push(match old {
                Some(_) => format!(
                    "it is as it was at {made}: what was banned, withdrawn, released or removed since is not in it, and links that \
                     were used since let in once more"
                ),
                None => format!(
                    "it is as it was at {made}: whoever was REVOKED since comes in again, as do links that were used since. If \
                     the directory of before is still there, restore with --old; else revoke them now"
                ),
            });
            if let Some(head) = &info.audit_head {
                lines.push(format!("the audit log begins anew; that of before: `duologue audit verify --head {head}`"));
            }
            lines
        });
        Ok(())
    }
}

impl Export {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let copy = write(&self.file, &self.owner, "/export").await?;
        if !is_standard(&self.file) {
            let lines = copy.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            say(&format!("{} is written: {lines} records", self.file.display()));
        }
        Ok(())
    }
}

impl Import {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { file, owner } = self;
        let directory = owner.directory.path()?;
        let info = import_export(read(&file)?, &directory).map_err(|error| named(&file, error))?;
        owner.tell(&info, |info| vec![format!("{} is made: {}", directory.display(), counted(info))]);
        Ok(())
    }
}
