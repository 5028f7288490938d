//! Who has an account, in place of a table of them. The passwords are `note G` and `six strings`.

use std::sync::{Arc, LazyLock};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::Semaphore;

/// Who, how they are called, and their password by Argon2id with the parameters of OWASP (19 MiB, 2 passes).
const PEOPLE: [(&str, &str, &str); 2] = [
    ("ada", "Ada", "$argon2id$v=19$m=19456,t=2,p=1$Cjm1vg+wrWnX2WHZ9ulOuQ$QMIxo7MVmdWIn6P48S1f88w/UUE5g/Ie+4x4QPiooGA"),
    ("bob", "Bob", "$argon2id$v=19$m=19456,t=2,p=1$wmK8U8mgmFQkP9vRi/ImLw$+NSPuudA/r5abRwjnnE3CoC8M/dlBlLMtfrx9Jq+vcA"),
];
/// Looked at for names that nobody has, so that a stranger's attempt takes as long as a person's; of a random password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$FHox4k96I1c7HvF6cbQ29A$K9Nntdx/HByRmlwV8RDvCVfkpcZFxpa1cTpinorgPIk";
/// In bytes.
const PASSWORD_LEN_MAX: usize = 1_000;
/// At a time: each takes 19 MiB and a thread.
const CHECKS_MAX: usize = 4;

static CHECKS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(CHECKS_MAX)));

pub(crate) fn name_of(who: &str) -> Option<&'static str> {
    PEOPLE.iter().find(|(known, ..)| *known == who).map(|(_, name, _)| *name)
}

/// Whose name and password these are; none if they are nobody's.
pub(crate) async fn check(name: &str, password: &str) -> Option<&'static str> {
    let known = PEOPLE.iter().find(|(known, ..)| *known == name);
    let hash = known.map_or(NOBODY, |(.., hash)| hash);
    // As it is typed on one keyboard and on another.
    let password = ComposingNormalizerBorrowed::new_nfc().normalize(password).into_owned();
    if password.len() > PASSWORD_LEN_MAX {
        return None;
    }
    let turn = Arc::clone(&CHECKS).acquire_owned().await.ok()?;
    let check = move || {
        let _turn = turn;
        let hash = PasswordHash::new(hash).expect("it was made by this library");
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    };
    let is_right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
    known.filter(|_| is_right).map(|(who, ..)| *who)
}
