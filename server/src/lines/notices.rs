//! What happens to the state, as events.

use crate::{
    state::{State, notices::Notice},
    watch::{
        events::{Event, Kind},
        stream::Watch,
    },
};

/// Tells it to a watch, first what came before there was one.
pub(crate) fn tell(state: &State, watch: &Watch) {
    let watch = watch.clone();
    state.store().notices().hear(move |notice| watch.tell(event(&notice)));
}

fn event(notice: &Notice) -> Event {
    let (kind, note) = match notice {
        Notice::KeyExposed(note) => (Kind::KeyExposed, note),
        Notice::Older(note) => (Kind::StateOlder, note),
        Notice::RevokedAgain(note) => (Kind::RevokedAgain, note),
        Notice::Failed(note) => (Kind::StoreFailed, note),
        Notice::Again => return Event::of(Kind::StoreAgain),
        Notice::NotOnDisk(note) => (Kind::RevocationNotKept, note),
        Notice::Low(note) => (Kind::DiskLow, note),
        Notice::Full(note) => (Kind::DiskFull, note),
        Notice::RoomAgain(note) => (Kind::DiskAgain, note),
        Notice::NoThread(error) => return Event::without_thread("the store is not looked after", error),
    };
    Event::of(kind).note(note)
}
