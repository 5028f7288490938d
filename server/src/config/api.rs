//! The table `[api]`: where the local API answers besides the owner's socket, and whom. docs/BACKEND.md says the same to owners.

use std::{net::SocketAddr, path::PathBuf};

use nix::unistd::{Group, User};
use serde::Deserialize;
use toml::Spanned;

use super::{
    error::did_you_mean,
    schema::{Number, Reader, Texts},
    settings::parse_socket,
};
use crate::door::programs::{ApiKey, ApiSettings, ApiUser, Role};

/// Users, and keys.
const ENTRIES_MAX: usize = 100;
/// The longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    socket: Option<Spanned<String>>,
    #[serde(default)]
    group: Option<Spanned<Number>>,
    #[serde(default)]
    listen: Option<Spanned<String>>,
    #[serde(default)]
    user: Vec<Spanned<UserTable>>,
    #[serde(default)]
    key: Vec<Spanned<KeyTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserTable {
    name: Spanned<Number>,
    roles: Spanned<Texts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: Spanned<String>,
    sha256: Spanned<String>,
    roles: Spanned<Texts>,
}

impl Table {
    pub(super) fn read(&self, reader: &mut Reader) -> ApiSettings {
        let mut settings = ApiSettings {
            socket: self.socket.as_ref().map(|path| PathBuf::from(path.get_ref())),
            ..ApiSettings::default()
        };
        if let Some(listen) = &self.listen {
            settings.listen = address(reader, listen);
        }
        if let Some(group) = &self.group {
            let of_name = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
            settings.group = number(reader, group, "group", of_name);
        }
        let beyond = [self.user.get(ENTRIES_MAX).map(Spanned::span), self.key.get(ENTRIES_MAX).map(Spanned::span)];
        for span in beyond.into_iter().flatten() {
            reader.says(span, format!("[api] has {ENTRIES_MAX} users and {ENTRIES_MAX} keys at most"));
        }
        for table in self.user.iter().take(ENTRIES_MAX) {
            let UserTable { name, roles } = table.get_ref();
            let of_name = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
            let roles = reader.list(Some(roles), role);
            let Some(user) = number(reader, name, "user", of_name) else { continue };
            if settings.users.iter().any(|its| its.user == user) {
                reader.says(name.span(), "another [[api.user]] is the same user: write all its roles there");
            }
            settings.users.push(ApiUser { user, roles });
        }
        for table in self.key.iter().take(ENTRIES_MAX) {
            let KeyTable { name, sha256, roles } = table.get_ref();
            let roles = reader.list(Some(roles), role);
            let is_name = (1..=NAME_BYTES_MAX).contains(&name.get_ref().len())
                && name.get_ref().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !is_name {
                reader.says(
                    name.span(),
                    format!("a key's name is 1 to {NAME_BYTES_MAX} letters, digits, \"-\", \"_\" and \".\""),
                );
            }
            let mut hash = [0; 32];
            if hex::decode_to_slice(sha256.get_ref(), &mut hash).is_err() {
                let message =
                    "this is no SHA-256 in 64 hexadecimal digits: `duologue api-key` makes a key and writes it here";
                reader.says(sha256.span(), message);
                continue;
            }
            let same = settings.keys.iter().any(|its| its.name == *name.get_ref() || its.sha256 == hash);
            if same {
                reader.says(table.span(), "another [[api.key]] has this name, or is this key: give each its own");
            }
            settings.keys.push(ApiKey { name: name.get_ref().clone(), sha256: hash, roles });
        }
        self.check(reader);
        settings
    }

    /// What is there for nobody, or by no door.
    fn check(&self, reader: &mut Reader) {
        if let Some(listen) = self.listen.as_ref().filter(|_| self.key.is_empty()) {
            reader.says(listen.span(), "nobody has a key to be answered there: `duologue api-key` makes one");
        }
        if let Some(key) = self.key.first().filter(|_| self.listen.is_none()) {
            reader.says(
                key.span(),
                "keys are for `listen` of [api], which is not there: write listen = \"127.0.0.1:9465\"",
            );
        }
        let without_socket = self.socket.is_none();
        if let Some(user) = self.user.first().filter(|_| without_socket) {
            reader.says(
                user.span(),
                "users are for `socket` of [api], which is not there: write socket = \"/run/duologue/api.sock\"",
            );
        }
        if let Some(group) = self.group.as_ref().filter(|_| without_socket) {
            reader.says(group.span(), "`group` is of `socket`, which is not there");
        }
        if let Some(socket) = self.socket.as_ref().filter(|path| path.get_ref().is_empty()) {
            reader.says(socket.span(), "a socket has a path: write it as /run/duologue/api.sock");
        }
    }
}

fn address(reader: &mut Reader, listen: &Spanned<String>) -> Option<SocketAddr> {
    match parse_socket(listen.get_ref()) {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(address) => {
            let port = address.port();
            let message = format!(
                "what is said there is in clear, so that it is for this machine alone: write 127.0.0.1:{port}, or use `socket`"
            );
            reader.says(listen.span(), message);
        }
        Err(error) => reader.says(listen.span(), error),
    }
    None
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|role| role.word() == text).ok_or_else(|| {
        let meant = did_you_mean(text, Role::ALL.into_iter().map(Role::word), '"');
        format!("a role is \"admin\" (everything), \"send\" or \"watch\"{meant}")
    })
}

/// A number of the system's, or a name that has one.
fn number(
    reader: &mut Reader,
    which: &Spanned<Number>,
    what: &str,
    of_name: impl Fn(&str) -> Option<u32>,
) -> Option<u32> {
    let found = match which.get_ref() {
        Number::Number(number) => u32::try_from(*number).ok(),
        Number::Text(name) => of_name(name),
    };
    if found.is_none() {
        reader.says(which.span(), format!("this machine has no such {what}: write its name, or its number"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn everything_that_the_table_can_say_is_read() {
        let text = format!(
            "[api]\nsocket = \"/run/duologue/api.sock\"\ngroup = \"root\"\nlisten = \"[::1]:9465\"\n\
             [[api.user]]\nname = \"root\"\nroles = [\"watch\", \"send\"]\n[[api.user]]\nname = 4242\nroles = [\"admin\"]\n\
             [[api.key]]\nname = \"shop\"\nsha256 = \"{HASH}\"\nroles = [\"send\"]\n"
        );
        let api = Config::parse("a.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).api;
        assert_eq!((api.socket, api.group), (Some(PathBuf::from("/run/duologue/api.sock")), Some(0)));
        assert_eq!(api.listen, "[::1]:9465".parse().ok());
        let roles: Vec<_> = api.users.iter().map(|user| (user.user, user.roles.as_slice())).collect();
        assert_eq!(roles, [(0, &[Role::Watch, Role::Send][..]), (4_242, &[Role::Admin][..])]);
        assert_eq!(api.keys.len(), 1);
        assert_eq!((api.keys[0].name.as_str(), hex::encode(api.keys[0].sha256)), ("shop", HASH.to_owned()));
        assert_eq!(Config::parse("a.toml", "").expect("nothing").api, ApiSettings::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let key = format!("[[api.key]]\nname = \"shop\"\nsha256 = \"{HASH}\"\n");
        for (text, line, said) in [
            ("listen = \"0.0.0.0:9465\"".to_owned(), 2, "write 127.0.0.1:9465"),
            ("listen = \"127.0.0.1:9465\"".to_owned(), 2, "nobody has a key"),
            ("listen = \"9465\"".to_owned(), 2, "a port are needed"),
            ("group = \"root\"".to_owned(), 2, "`group` is of `socket`"),
            ("socket = \"\"".to_owned(), 2, "a socket has a path"),
            ("socket = \"a\"\ngroup = \"no-such-group\"".to_owned(), 3, "no such group"),
            ("[[api.user]]\nname = \"root\"\nroles = [\"send\"]".to_owned(), 2, "users are for `socket`"),
            (format!("{key}roles = [\"send\"]"), 2, "keys are for `listen`"),
            (format!("listen = \"127.0.0.1:1\"\n{key}roles = [\"sent\"]"), 6, "did you mean \"send\"?"),
            (format!("listen = \"127.0.0.1:1\"\n{key}roles = []"), 6, "1 to"),
            (
                format!("listen = \"127.0.0.1:1\"\n{key}roles = [\"send\"]\n{key}roles = [\"send\"]"),
                7,
                "give each its own",
            ),
            (
                format!("listen = \"127.0.0.1:1\"\n{}roles = [\"send\"]", key.replace(HASH, "abc")),
                5,
                "64 hexadecimal digits",
            ),
            (
                format!("listen = \"127.0.0.1:1\"\n{}roles = [\"send\"]", key.replace("shop", "a b")),
                4,
                "letters, digits",
            ),
            ("socket = \"a\"\n[[api.user]]\nname = \"no-such-user\"\nroles = [\"send\"]".to_owned(), 4, "no such user"),
        ] {
            let errors = Config::parse("a.toml", &format!("[api]\n{text}\n")).expect_err(&text);
            let error = &errors.errors()[0];
            assert!(error.line == line && error.message.contains(said), "{text}: {error:?}");
        }
    }
}
