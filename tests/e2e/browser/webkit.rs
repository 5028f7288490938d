//! WebKitGTK's MiniBrowser, by WebKitWebDriver, on a display of its own (Xvfb): `WEBKIT_DRIVER` and `MINIBROWSER`, else
//! WebKitWebDriver on PATH and Debian's place for the other.
//!
//! The driver is told which certificate belongs to `localhost`, and nothing else is accepted there; told of none, the browser
//! asks on its screen, and the driver knows nothing of it: `by_hand.rs` does without. A browser keeps
//! nothing beyond its end, has the language of the machine, and no window narrower than 447 pixels; there is no way to give
//! it a name that nobody resolves.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{net::TcpStream, process::Command};

use super::{Driver, Profile, screen::Screen};
use crate::{tls::pem, within};

pub(super) async fn driver(profile: &Profile) -> Driver {
    if let Some(trust) = &profile.trust {
        std::fs::write(certificate_file(profile), pem(&trust.leaf)).unwrap();
    }
    let screen = Screen::start().await;
    let program = std::env::var_os("WEBKIT_DRIVER").unwrap_or_else(|| "WebKitWebDriver".into());
    for _ in 0..10 {
        // It takes no port of its own choice, and ends if another program was faster.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(&program);
        command.arg(format!("--port={port}")).env("DISPLAY", &screen.name);
        // In others the engine says that its user reads the language "C".
        command.env("LC_ALL", "C").env_remove("LANGUAGE").env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let listens = async {
            while child.try_wait().expect("a child can be asked").is_none() {
                if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        };
        if within(20, "the driver to listen", listens).await {
            return Driver { child, port, _screen: Some(screen) };
        }
    }
    panic!("{} found no free port in ten attempts", program.display());
}

fn certificate_file(profile: &Profile) -> PathBuf {
    profile.directory.path().join("trusted.pem")
}

pub(super) fn minibrowser() -> PathBuf {
    let debian = || format!("/usr/lib/{}-linux-gnu/webkit2gtk-4.1/MiniBrowser", std::env::consts::ARCH).into();
    std::env::var_os("MINIBROWSER").map_or_else(debian, PathBuf::from)
}

pub(super) fn capabilities(profile: &Profile) -> Value {
    let mut options = json!({ "binary": minibrowser(), "args": ["--automation", "--geometry=1280x900"] });
    if profile.trust.is_some() {
        options["certificates"] = json!([{ "host": "localhost", "certificateFile": certificate_file(profile) }]);
    }
    json!({ "webkitgtk:browserOptions": options })
}
