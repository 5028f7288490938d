//! Bans, so that they outlive the server. Whom they are for and what they mean is the watch's (`watch/bans.rs`); here they are
//! records under a name.

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        records::{decode, encode},
        turns::Who,
    },
    Store, StoreError,
};

pub(super) const BANS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bans");

/// A ban as the store has it, under whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredBan {
    #[serde(skip)]
    pub(crate) whom: String,
    /// Seconds since 1970.
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) repeats: u32,
    pub(crate) by: String,
}

impl Store {
    /// The bans that were kept, those that have ended among them.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn bans(&self) -> Result<Vec<StoredBan>, StoreError> {
        self.read(|read| {
            let mut bans = Vec::new();
            for entry in read.open_table(BANS)?.iter()? {
                let (key, bytes) = entry?;
                let ban: StoredBan = decode("bans", key.value().as_bytes(), bytes.value())?;
                bans.push(StoredBan { whom: key.value().to_owned(), ..ban });
            }
            Ok(bans)
        })
    }

    /// Keeps some bans and drops others, in one transaction. The owner's verbs and the watch go before what devices write.
    ///
    /// # Errors
    /// If the store fails; then nothing of it is kept.
    pub(crate) fn change_bans(&self, kept: &[StoredBan], dropped: &[String]) -> Result<(), StoreError> {
        self.write(Who::Owner, |write| {
            let mut bans = write.open_table(BANS)?;
            for whom in dropped {
                bans.remove(whom.as_str())?;
            }
            for ban in kept {
                bans.insert(ban.whom.as_str(), encode(ban).as_slice())?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_outlive_the_server_and_a_lifted_one_is_gone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store.redb");
        let ban = |whom: &str, until| StoredBan {
            whom: whom.to_owned(),
            since: 1_800_000_000,
            until,
            repeats: 2,
            by: "smuggling".to_owned(),
        };
        let (first, second) = (ban("address 192.0.2.7", 1_800_003_600), ban("subject ada", u64::MAX));
        {
            let store = Store::open(&path).expect("it opens");
            assert_eq!(store.bans().expect("it reads"), []);
            let third = ban("device x", 1);
            store.change_bans(&[first.clone(), second.clone(), third.clone()], &[]).expect("it writes");
            store.change_bans(&[], &[third.whom, "address 192.0.2.8".to_owned()]).expect("it writes");
        }
        let store = Store::open(&path).expect("it opens again");
        assert_eq!(store.bans().expect("it reads"), [first, second]);
    }
}
