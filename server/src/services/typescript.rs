//! The protocol of a line as a TypeScript file, from the message types of its services.
//!
//! ```text
//! Request, Conversation ─► label, types ─► ts-rs: each type and what it is made of ─► one file ─► a test keeps it
//! ```

use std::{
    any::TypeId,
    collections::{BTreeMap, HashSet},
    env, fs,
    path::{Path, PathBuf},
};

use duologue::typed::Request;
use thiserror::Error;
use ts_rs::{Config, TS, TypeVisitor};

use crate::services::json::Conversation;

/// Set to `renew`, [`Declarations::keep`] writes.
const ENVIRONMENT: &str = "DUOLOGUE_DECLARATIONS";
const HEAD: &str = "\
// Generated from the server's message types: do not edit. The server's tests check it, and say how to renew it.
";
const PROTOCOL: &str = "Protocol";

/// Why there is no file.
#[derive(Debug, Error)]
pub enum DeclarationError {
    /// Two types of one name, or a type of the name `Protocol`: rename one by `#[ts(rename = "…")]`.
    #[error("two types have the name {0}: rename one by #[ts(rename = \"…\")]")]
    SameName(String),
    /// Two services of one label.
    #[error("two services have the label {0:?}")]
    SameLabel(String),
    /// The file is missing, or is not what the types say now.
    #[error("{} is stale: renew it by `{renew}`", path.display())]
    Stale {
        /// The file.
        path: PathBuf,
        /// The command.
        renew: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

/// Gathers what a line's services speak as JSON, and writes it as an interface `Protocol` and its types, for
/// `connect<Protocol>()` in a page.
///
/// ```
/// use duologue::typed::Request;
/// use duologue_server::Declarations;
/// use serde::{Deserialize, Serialize};
/// use ts_rs::TS;
///
/// #[derive(Serialize, Deserialize, TS)]
/// struct Add { a: i64, b: i64 }
///
/// impl Request for Add {
///     const LABEL: &'static str = "add";
///     type Response = Option<i64>;
/// }
///
/// let text = Declarations::new().request::<Add>().to_text()?;
/// assert!(text.contains("export type Add = { a: number, b: number, };"));
/// assert!(text.contains(r#""add": { request: Add; response: number | null };"#));
/// # Ok::<(), duologue_server::DeclarationError>(())
/// ```
///
/// What each type becomes is `ts-rs`'s doing, version 12, which reads serde's attributes: an `Option` is `T | null`, an
/// enum a union, bytes are `Array<number>`. `i64`, `u64` and wider are `number`, since that is what JSON becomes in
/// JavaScript: see [`answer_json`](crate::answer_json) for what happens beyond 2^53. A field that is said as a text
/// needs `#[ts(type = "string")]` beside its `#[serde(with = "…")]`. Only what calls this needs the derives: a
/// dev-dependency on this crate's feature and `#[cfg_attr(test, derive(ts_rs::TS))]` leave a server as it is.
#[derive(Debug, Default)]
pub struct Declarations {
    services: Vec<(&'static str, String)>,
    types: Vec<(String, String)>,
    seen: HashSet<TypeId>,
}

impl Declarations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A service of [`answer_json`](crate::answer_json).
    #[must_use]
    pub fn request<R>(mut self) -> Self
    where
        R: Request + TS,
        R::Response: TS,
    {
        let (request, response) = (self.name_of::<R>(), self.name_of::<R::Response>());
        self.services.push((R::LABEL, format!("{{ request: {request}; response: {response} }}")));
        self
    }

    /// A service that speaks by a [`JsonChannel`](crate::JsonChannel).
    #[must_use]
    pub fn conversation<C>(mut self) -> Self
    where
        C: Conversation,
        C::FromClient: TS,
        C::ToClient: TS,
    {
        let (send, receive) = (self.name_of::<C::FromClient>(), self.name_of::<C::ToClient>());
        self.services.push((C::LABEL, format!("{{ send: {send}; receive: {receive} }}")));
        self
    }

    /// The file: the types, then `Protocol`, both in alphabetical order.
    ///
    /// # Errors
    /// If two types have one name, or two services one label.
    pub fn to_text(&self) -> Result<String, DeclarationError> {
        let mut types = BTreeMap::new();
        for (name, declaration) in &self.types {
            // A generic type is declared once for all that it is used with.
            let other = types.insert(name, declaration).filter(|other| *other != declaration);
            if other.is_some() || name == PROTOCOL {
                return Err(DeclarationError::SameName(name.clone()));
            }
        }
        let mut services = BTreeMap::new();
        for (label, messages) in &self.services {
            if services.insert(label, messages).is_some() {
                return Err(DeclarationError::SameLabel((*label).to_owned()));
            }
        }
        let mut text = HEAD.to_owned();
        for declaration in types.values() {
            text += &format!("\n{declaration}\n");
        }
        text += &format!("\n/** What the server speaks, by label. */\nexport interface {PROTOCOL} {{\n");
        for (label, messages) in services {
            // Rust's form of a text with quotes is not JavaScript's for all characters.
            text += &format!("  {}: {messages};\n", serde_json::Value::from(*label));
        }
        text += "}\n";
        Ok(text)
    }

    /// Holds a file to the types, for a test. Where the environment has `DUOLOGUE_DECLARATIONS=renew`, it writes the
    /// file instead. A relative path begins at the package's folder, where `cargo test` runs tests.
    ///
    /// ```no_run
    /// # use duologue_server::Declarations;
    /// #[test]
    /// fn the_declarations_are_fresh() -> anyhow::Result<()> {
    ///     Ok(Declarations::new().keep("web/protocol.d.ts")?)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`DeclarationError::Stale`] with the command that renews it, or why there is no file.
    pub fn keep(&self, path: impl AsRef<Path>) -> Result<(), DeclarationError> {
        let (path, text) = (path.as_ref(), self.to_text()?);
        if env::var_os(ENVIRONMENT).is_some_and(|value| value == "renew") {
            return fs::write(path, text).map_err(|source| DeclarationError::Write { path: path.to_owned(), source });
        }
        if fs::read_to_string(path).is_ok_and(|kept| kept == text) {
            return Ok(());
        }
        // Cargo tells the package whose tests it runs.
        let package = env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
        let renew = format!("{ENVIRONMENT}=renew cargo test{package}");
        Err(DeclarationError::Stale { path: path.to_owned(), renew })
    }

    /// What a type is called there; it and those that it is made of are declared.
    fn name_of<T: TS + 'static>(&mut self) -> String {
        self.declare::<T>();
        T::name(&config())
    }

    fn declare<T: TS + 'static + ?Sized>(&mut self) {
        if !self.seen.insert(TypeId::of::<T>()) {
            return;
        }
        // Others, such as lists and numbers, are written where they are used.
        if T::output_path().is_some() {
            let declaration = format!("{}export {}", T::docs().unwrap_or_default(), T::decl(&config()));
            let lines: Vec<_> = declaration.lines().map(str::trim_end).collect();
            self.types.push((T::ident(&config()), lines.join("\n")));
        }
        T::visit_dependencies(&mut Declare(self));
        T::visit_generics(&mut Declare(self));
    }
}

struct Declare<'a>(&'a mut Declarations);

impl TypeVisitor for Declare<'_> {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        self.0.declare::<T>();
    }
}

/// As `JSON.parse` gives them, which knows no `bigint`.
fn config() -> Config {
    Config::new().with_large_int("number")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize, TS)]
    struct Find {
        name: Option<String>,
        limits: Page<u64>,
    }

    #[derive(Serialize, Deserialize, TS)]
    struct Page<T> {
        first: T,
        bytes: Vec<u8>,
    }

    /// One of many.
    #[derive(Serialize, Deserialize, TS)]
    #[serde(rename_all = "snake_case", tag = "kind")]
    enum Found {
        NoBody,
        Person { device: String, at: Page<i32> },
    }

    impl Request for Find {
        const LABEL: &'static str = "find \"it\"";
        type Response = Vec<Option<Found>>;
    }

    struct Chat;

    impl Conversation for Chat {
        const LABEL: &'static str = "chat";
        type FromClient = (u32, f64);
        type ToClient = Box<Found>;
    }

    #[test]
    fn types_are_declared_with_all_that_they_are_made_of() {
        let text = Declarations::new().request::<Find>().conversation::<Chat>().to_text().expect("no two alike");
        let expected = r#"
export type Find = { name: string | null, limits: Page<number>, };

/**
 * One of many.
 */
export type Found = { "kind": "no_body" } | { "kind": "person", device: string, at: Page<number>, };

export type Page<T> = { first: T, bytes: Array<number>, };

/** What the server speaks, by label. */
export interface Protocol {
  "chat": { send: [number, number]; receive: Found };
  "find \"it\"": { request: Find; response: Array<Found | null> };
}
"#;
        assert_eq!(text, format!("{HEAD}{expected}"));
    }

    #[test]
    fn two_of_one_name_are_told() {
        mod other {
            use super::*;

            #[derive(Serialize, Deserialize, TS)]
            pub(super) struct Find {
                pub(super) number: u8,
            }

            impl Conversation for Find {
                const LABEL: &'static str = "number";
                type FromClient = Self;
                type ToClient = ();
            }
        }
        let error = Declarations::new().request::<Find>().conversation::<other::Find>().to_text();
        assert!(matches!(error, Err(DeclarationError::SameName(name)) if name == "Find"));
        let error = Declarations::new().conversation::<Chat>().conversation::<Chat>().to_text();
        assert!(matches!(error, Err(DeclarationError::SameLabel(label)) if label == "chat"));
    }

    #[test]
    fn a_stale_file_is_told_with_the_command_that_renews_it() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("protocol.d.ts");
        let declarations = Declarations::new().conversation::<Chat>();
        fs::write(&path, declarations.to_text().expect("one service")).expect("it can be written");
        assert!(declarations.keep(&path).is_ok());
        let error = Declarations::new().keep(&path).expect_err("a service is gone");
        let renew = "DUOLOGUE_DECLARATIONS=renew cargo test -p duologue-server";
        assert_eq!(error.to_string(), format!("{} is stale: renew it by `{renew}`", path.display()));
        let error = Declarations::new().keep(folder.path().join("none.d.ts"));
        assert!(matches!(error, Err(DeclarationError::Stale { .. })), "{error:?}");
    }
}
