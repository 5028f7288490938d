//! What a device has by its key alone.

use std::sync::{Arc, LazyLock};

use super::super::standing::{Group, Level, Standing, Subject};
use crate::state::store::{Known, Names};

/// What almost every device has: one for all of them.
static DEVICE: LazyLock<Arc<Standing>> = LazyLock::new(|| Arc::new(Standing::device()));

/// What one has that nobody has let in.
static GUEST: LazyLock<Arc<Standing>> =
    LazyLock::new(|| Arc::new(Standing { level: Level::Guest, ..Standing::device() }));

/// What a device has by its key alone, as its owner has said: whose it is, which says nothing of who uses it now, and what it was
/// let in for.
#[derive(Clone, Debug)]
pub(crate) struct Has {
    pub(super) standing: Arc<Standing>,
    /// The labels that it may open; any, if none are told.
    pub(super) opens: Option<Names>,
}

impl Has {
    /// Of a device that nobody has let in. Whoever has this is judged as a guest until he proves more.
    pub(crate) fn guest() -> Self {
        Self { standing: Arc::clone(&GUEST), opens: None }
    }

    pub(crate) fn of(known: &Known) -> Self {
        let Known { subject, groups, opens } = known;
        // Names were read when they were stored.
        let subject = subject.as_ref().and_then(|subject| Subject::new(subject).ok());
        let standing = match subject {
            None => Arc::clone(&DEVICE),
            subject => {
                let groups = groups.iter().filter_map(|group| Group::new(group).ok()).collect();
                Arc::new(Standing { subject, groups, ..Standing::device() })
            }
        };
        Self { standing, opens: opens.clone() }
    }

    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}
