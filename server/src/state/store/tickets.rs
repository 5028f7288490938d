//! Tickets of lines, which the door keeps in memory and writes in batches (`door/tickets.rs`).

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        records::{decode, encode},
        turns::Who,
    },
    Store, StoreError,
};

pub(super) const TICKETS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("tickets");

/// A ticket as the store has it, under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTicket {
    #[serde(skip)]
    pub(crate) id: [u8; 16],
    pub(crate) device: [u8; 32],
    pub(crate) secret: [u8; 32],
    /// Seconds since 1970.
    pub(crate) issued_at: u64,
    /// The ticket that its line came with.
    pub(crate) before: Option<[u8; 16]>,
}

impl Store {
    /// The tickets that were kept, expired ones among them.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn tickets(&self) -> Result<Vec<StoredTicket>, StoreError> {
        self.read(|read| {
            let mut tickets = Vec::new();
            for entry in read.open_table(TICKETS)?.iter()? {
                let (key, bytes) = entry?;
                let ticket: StoredTicket = decode("tickets", &key.value(), bytes.value())?;
                tickets.push(StoredTicket { id: key.value(), ..ticket });
            }
            Ok(tickets)
        })
    }

    /// Keeps some tickets and drops others, in one transaction.
    ///
    /// # Errors
    /// If the store fails; then nothing of it is kept.
    pub(crate) fn change_tickets(&self, added: &[StoredTicket], removed: &[[u8; 16]]) -> Result<(), StoreError> {
        self.write(Who::Device, |write| {
            let mut tickets = write.open_table(TICKETS)?;
            for id in removed {
                tickets.remove(id)?;
            }
            for ticket in added {
                tickets.insert(ticket.id, encode(ticket).as_slice())?;
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
    fn tickets_outlive_the_server() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store.redb");
        let ticket = |seed: u8| StoredTicket {
            id: [seed; 16],
            device: [1; 32],
            secret: [seed; 32],
            issued_at: 1_700_000_000,
            before: (seed > 1).then_some([seed - 1; 16]),
        };
        {
            let store = Store::open(&path).expect("it opens");
            assert_eq!(store.tickets().expect("it reads"), []);
            store.change_tickets(&[ticket(1), ticket(2), ticket(3)], &[]).expect("it writes");
            store.change_tickets(&[ticket(4)], &[[1; 16], [9; 16]]).expect("it writes");
        }
        let store = Store::open(&path).expect("it opens again");
        assert_eq!(store.tickets().expect("it reads"), [ticket(2), ticket(3), ticket(4)]);
    }

    #[test]
    fn a_ticket_that_cannot_be_read_is_an_error_by_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store.redb")).expect("it opens");
        let damage = |write: &redb::WriteTransaction| {
            drop(write.open_table(TICKETS)?.insert([7; 16], &b"?"[..])?);
            Ok(())
        };
        store.write(Who::Owner, damage).expect("it writes");
        let said = store.tickets().expect_err("damaged").to_string();
        assert!(said.contains("the record 0707070707070707… of the table tickets in it cannot be read"), "{said}");
    }
}
