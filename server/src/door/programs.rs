//! Programs beside the server: users of its machine, and whoever has a key, each with what it may ask of the local API (`api/access.rs`).

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::state::random;

/// How a key begins, so that it is known for what it is wherever it is found.
const PREFIX: &str = "duologue_api_";

/// What somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Say something to devices.
    Send,
    /// See who is here, and what happens.
    Watch,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Send, Self::Watch];

    /// As the configuration says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Send => "send",
            Self::Watch => "watch",
        }
    }

    fn is_among(self, roles: &[Self]) -> bool {
        roles.contains(&self) || roles.contains(&Self::Admin)
    }
}

/// What `[api]` says: where the local API answers besides the owner's socket, and whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// A Unix socket, of mode 0660.
    pub socket: Option<PathBuf>,
    /// The group that may open it; unless told, that of the server's process.
    pub group: Option<u32>,
    /// A loopback address.
    pub listen: Option<SocketAddr>,
    /// Users of this machine who are answered at the socket, beside the server's own and root.
    pub users: Vec<ApiUser>,
    /// Whoever shows one of these is answered at the address.
    pub keys: Vec<ApiKey>,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUser {
    /// The system's number for it.
    pub user: u32,
    /// What it may ask.
    pub roles: Vec<Role>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What the log calls whoever has it.
    pub name: String,
    /// Its hash: the key itself is nowhere here.
    pub sha256: [u8; 32],
    /// What it may ask.
    pub roles: Vec<Role>,
}

impl ApiKey {
    /// A new one, of 256 random bits, and its hash.
    #[must_use]
    pub fn make() -> (String, [u8; 32]) {
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()));
        let hash = Sha256::digest(&key).into();
        (key, hash)
    }
}

/// Users and keys, as the file says now. Clones share them.
#[derive(Clone, Debug)]
pub struct Access(Arc<watch::Sender<(Vec<ApiUser>, Vec<ApiKey>)>>);

impl Access {
    /// Those of these settings.
    #[must_use]
    pub fn new(settings: &ApiSettings) -> Self {
        Self(Arc::new(watch::Sender::new((settings.users.clone(), settings.keys.clone()))))
    }

    /// From now on those.
    pub fn set(&self, settings: &ApiSettings) {
        self.0.send_replace((settings.users.clone(), settings.keys.clone()));
    }

    /// Hears of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<(Vec<ApiUser>, Vec<ApiKey>)> {
        self.0.subscribe()
    }

    /// Whether a user may ask for what needs that role.
    pub(crate) fn user_may(&self, user: u32, role: Role) -> bool {
        let (users, _) = &*self.0.borrow();
        users.iter().any(|its| its.user == user && role.is_among(&its.roles))
    }

    /// Whether whoever has the key with this name may.
    pub(crate) fn key_may(&self, name: &str, role: Role) -> bool {
        let (_, keys) = &*self.0.borrow();
        keys.iter().any(|its| its.name == name && role.is_among(&its.roles))
    }

    /// The name of a key.
    pub(crate) fn name_of(&self, key: &[u8]) -> Option<Arc<str>> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let (_, keys) = &*self.0.borrow();
        keys.iter().find(|its| its.sha256 == hash).map(|its| its.name.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_its_owners_and_admin_is_all_of_them() {
        let (key, sha256) = ApiKey::make();
        let shop = ApiKey { name: "shop".to_owned(), sha256, roles: vec![Role::Send] };
        let users =
            vec![ApiUser { user: 4_242, roles: vec![Role::Watch] }, ApiUser { user: 4_243, roles: vec![Role::Admin] }];
        let access = Access::new(&ApiSettings { users, keys: vec![shop], ..ApiSettings::default() });
        assert_eq!(access.name_of(key.as_bytes()).as_deref(), Some("shop"));
        assert_eq!(access.name_of(&key.as_bytes()[1..]).or(access.name_of(b"")), None);
        let of_key = Role::ALL.map(|role| access.key_may("shop", role));
        let of_user = |user| Role::ALL.map(|role| access.user_may(user, role));
        assert_eq!((of_key, of_user(4_242)), ([false, true, false], [false, false, true]));
        assert_eq!((of_user(4_243), of_user(0)), ([true; 3], [false; 3]));
        access.set(&ApiSettings::default());
        assert_eq!(access.name_of(key.as_bytes()), None);
        assert!(!access.key_may("shop", Role::Send) && !access.user_may(4_243, Role::Admin));
    }
}
