//! What `cargo xtask dist` has made, tried as somebody tries it who reads docs/OPERATING.md. That verb runs these, and no other.
//!
//! ```text
//! duologue_…_amd64.deb ─► a Debian made for it ─► the page's commands, by root and by the server's user ─► Chromium
//! duologue-….tar.gz ────► an image, by buildah ─► its health check, and a root that is read-only
//!                    └──► aarch64, in qemu
//! ```
//!
//! systemd starts nothing in a changed root: the test starts what the unit starts, as its user, with its capabilities and a socket in
//! the place of systemd's; the unit itself is judged by `systemd-analyze`. Mounts are made in namespaces, so that nothing stays.
//! The name of a test begins with the program that it needs.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    browser::{Browser, Profile},
    operating::{Block, Place, blocks},
    server::{SERVED_NAME, binary, workspace},
    tls::{Authority, pem},
};

/// A file that was made, by the beginning and the end of its name.
fn made(begin: &str, end: &str) -> PathBuf {
    let dist = std::env::var_os("DUOLOGUE_DIST").map_or_else(|| workspace().join("target/dist"), PathBuf::from);
    let entries =
        fs::read_dir(&dist).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask dist`", dist.display()));
    let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.starts_with(begin) && name.ends_with(end));
    dist.join(name.unwrap_or_else(|| panic!("there is no {begin}…{end}: run `cargo xtask dist`")))
}

fn of(place: Place) -> impl Iterator<Item = Block> {
    blocks().into_iter().filter(move |block| block.place == place)
}

/// Whether it succeeded, and all that it said.
fn tried(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    (output.status.success(), said)
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let (ok, said) = tried(command);
    assert!(ok, "{command:?}: {said}");
    said
}

/// A process and its children, which end with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .process_group(0)
                .stdin(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// In order, with whoever has taken its place meanwhile. Of its group the server alone: whoever runs it would kill it.
    fn stop(mut self) {
        done(Command::new("pkill").args(["-TERM", "--pgroup", &self.0.id().to_string(), "--exact", "duologue"]));
        assert!(self.0.wait().unwrap().success());
        let group = format!("-{}", self.0.id());
        let ended =
            || !Command::new("kill").args(["-0", "--", &group]).stderr(Stdio::null()).status().unwrap().success();
        until("whoever has taken its place to stop", ended);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// Until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited 30 s in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "cargo xtask dist runs it"]
fn lintian_finds_no_error_in_the_package() {
    done(Command::new("lintian").args(["--allow-root", "--fail-on", "error"]).arg(made("duologue_", ".deb")));
}

#[test]
#[ignore = "cargo xtask dist runs it"]
fn hadolint_has_nothing_to_say_of_the_containerfile() {
    let hadolint = workspace().join("target/tools/hadolint/bin/hadolint");
    assert_eq!(done(Command::new(hadolint).arg(workspace().join("dist/Containerfile"))), "");
}

#[test]
#[ignore = "cargo xtask dist runs it"]
fn minisign_tells_what_was_released_from_what_was_changed() {
    let folder = TempDir::with_prefix("duologue-release-").unwrap();
    let here = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(folder.path());
        command
    };
    let files =
        [made("SHA256SUMS", ""), made("duologue_", ".deb"), made("duologue-", "x86_64-unknown-linux-musl.tar.gz")];
    for file in &files {
        fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    done(here("minisign").args(["-G", "-W", "-p", "duologue.pub", "-s", "secret"]));
    done(here("minisign").args(["-S", "-s", "secret", "-m", "SHA256SUMS"]));
    let check = || of(Place::Release).all(|block| tried(here("bash").args(["-euc", &block.text])).0);
    assert!(of(Place::Release).count() > 0 && check());
    for name in ["SHA256SUMS", files[1].file_name().unwrap().to_str().unwrap()] {
        let file = folder.path().join(name);
        let whole = fs::read(&file).unwrap();
        let mut changed = whole.clone();
        changed[100] ^= 1;
        fs::write(&file, changed).unwrap();
        assert!(!check(), "{name} was changed");
        fs::write(&file, whole).unwrap();
    }
    assert!(check());
}

/// The folder that an archive unpacks to.
fn unpacked(into: &Path, target: &str) -> PathBuf {
    done(Command::new("tar").arg("-xzf").arg(made("duologue-", &format!("{target}.tar.gz"))).arg("-C").arg(into));
    fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).expect("a folder")
}

/// What `echo` answers over a line that a link opens.
fn echo(link: &str, text: &str) -> String {
    let device = TempDir::with_prefix("duologue-device-").unwrap();
    let mut connect = Command::new(binary());
    connect.args(["connect", link, "--service", "echo"]).current_dir(device.path());
    let mut connect = connect.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(connect.stdin.take().unwrap(), "{text}").unwrap();
    let output = connect.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "cargo xtask dist runs it"]
fn qemu_runs_the_server_for_aarch64() {
    let folder = TempDir::with_prefix("duologue-aarch64-").unwrap();
    let program = unpacked(folder.path(), "aarch64-unknown-linux-musl").join("duologue");
    let mut server = Command::new("qemu-aarch64-static");
    server.arg(&program).args(["dev", "--port", "0", "--state"]).arg(folder.path().join("own-state"));
    let mut server = Running::start(server.stdout(Stdio::piped()));
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let link = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned)).expect("it is ready");
    assert_eq!(echo(&link, "across architectures"), "across architectures");
}

/// A configuration, and a certificate, as the page has them; `listen` as told.
fn configured(folder: &Path, port: u16) -> Authority {
    let authority = Authority::for_names(&["localhost"]);
    fs::write(folder.join("chain.pem"), pem(&authority.leaf)).unwrap();
    fs::write(folder.join("key.pem"), authority.key.serialize_pem()).unwrap();
    let file = folder.join("duologue.toml");
    done(Command::new(binary()).arg("init").arg(&file));
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("https://line.example", &format!("https://localhost:{port}"))
        .replace("#listen = \"0.0.0.0:443\"", &format!("listen = \"127.0.0.1:{port}\""));
    fs::write(&file, text).unwrap();
    for name in ["duologue.toml", "chain.pem", "key.pem"] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    authority
}

#[test]
#[ignore = "cargo xtask dist runs it"]
fn buildah_makes_an_image_that_runs_as_nobody_with_a_root_that_is_read_only() {
    let folder = TempDir::with_prefix("duologue-container-").unwrap();
    let context = unpacked(folder.path(), "x86_64-unknown-linux-musl");
    let storage = folder.path().join("storage.conf");
    let graph = folder.path().join("graph").display().to_string();
    fs::write(&storage, format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{graph}\"\nrunroot = \"{graph}/run\"\n"))
        .unwrap();
    let here = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&context).env("BUILDAH_ISOLATION", "chroot").env("CONTAINERS_STORAGE_CONF", &storage);
        command
    };
    for block in of(Place::Container) {
        done(here("bash").args(["-euc", &block.text]));
    }
    let image: Value =
        serde_json::from_str(&done(here("buildah").args(["inspect", "--type", "image", "duologue"]))).unwrap();
    let config = &image["Docker"]["config"];
    assert_eq!(config["User"], "65532:65532");
    let check: Vec<_> =
        config["Healthcheck"]["Test"].as_array().expect("it has one").iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(check.first(), Some(&"CMD"));

    let (etc, state) = (folder.path().join("etc"), folder.path().join("lib"));
    for folder in [&etc, &state] {
        fs::create_dir(folder).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&state, Some(65_532), Some(65_532)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _authority = configured(&etc, port);

    // First by buildah, which keeps what the image says of user, environment and volumes.
    done(here("buildah").args(["from", "--pull-never", "--name", "line", "duologue"]));
    // The state is in the image's own volume: beside another for the same place buildah 1.28 shows now the one, now the other.
    let volume = format!("--volume={}:/etc/duologue:ro", etc.display());
    let run = |words: &[&str]| {
        let mut run = here("buildah");
        run.args(["run", &volume, "line", "--"]).args(words);
        run
    };
    let server = Running::start(&mut run(&["duologue", "serve"]));
    until("the health check succeeds", || tried(&mut run(&check[1..])).0);
    let link = done(&mut run(&["duologue", "invite", "new"]));
    assert!(link.starts_with(&format!("https://localhost:{port}/#")), "{link}");
    let own = done(Command::new("find").arg(folder.path()).args(["-name", "identity.key", "-uid", "65532"]));
    assert_eq!(own.lines().count(), 1, "{own}");
    server.stop();
    assert!(!tried(&mut run(&check[1..])).0, "nothing runs any more");

    // Then in the same root, where nothing can be written but its volumes.
    let root = done(here("buildah").args(["mount", "line"]));
    let root = root.trim();
    let read_only = |words: &str| {
        let script = format!(
            "mount --bind {root} {root} && mount --bind /proc {root}/proc \
             && mount --bind {} {root}/etc/duologue && mount --bind {} {root}/var/lib/duologue \
             && mount -o remount,ro,bind {root} && mount -o remount,ro,bind {root}/etc/duologue \
             && exec chroot --userspec=65532:65532 {root} {words}",
            etc.display(),
            state.display()
        );
        let mut command = here("unshare");
        command.args(["--mount", "sh", "-euc", &script]).env_clear().env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin");
        command.envs(
            config["Env"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|it| it.as_str()?.split_once('='))
                .filter(|it| it.0 != "PATH"),
        );
        command
    };
    let server = Running::start(&mut read_only("/usr/bin/duologue serve"));
    until("it is ready", || tried(&mut read_only("/usr/bin/duologue health --ready")).0);
    server.stop();
}

/// A Debian without anything else, and what is run in it.
struct Debian {
    root: TempDir,
}

impl Debian {
    /// Of this machine's own release, from where this machine has its packages.
    fn new() -> Self {
        let root = TempDir::with_prefix("duologue-debian-").unwrap();
        let sites =
            Command::new("apt-get").args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"]).output();
        let sites = String::from_utf8(sites.expect("this is a Debian").stdout).unwrap();
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).expect("a release");
        let mut make = Command::new("debootstrap");
        make.args(["--variant=minbase", "--include=systemd,ca-certificates,curl", name]).arg(root.path());
        done(make.args(sites.lines().next()));
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A program in it, with a root of its own.
    fn command(&self, words: &[&str]) -> Command {
        let root = self.root.path().display();
        let script =
            format!("mount -t proc proc {root}/proc && mount --bind /dev {root}/dev && exec chroot {root} \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", &script, "sh"]).args(words).env_clear();
        command.envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("SYSTEMD_OFFLINE", "1"),
        ]);
        command
    }

    fn by_root(&self, text: &str) -> String {
        println!("# {text}");
        done(&mut self.command(&["bash", "-euo", "pipefail", "-c", &format!("cd /root; {text}")]))
    }

    fn by_owner(&self, text: &str) -> String {
        println!("$ {text}");
        let text = format!("cd \"$(mktemp -d)\"; {text}");
        let words = ["runuser", "-u", "duologue", "--", "bash", "-euo", "pipefail", "-c", &text];
        done(self.command(&words).env("DUOLOGUE_CONFIG", "/etc/duologue/duologue.toml"))
    }

    /// What the unit starts, as it starts it, until it says that it is ready.
    fn start_unit(&self) -> Running {
        let unit = fs::read_to_string(self.path("usr/lib/systemd/system/duologue.service")).unwrap();
        let said = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
        let capability = said("AmbientCapabilities").strip_prefix("CAP_").expect("one").to_lowercase();
        let capabilities = format!("-all,+{capability}");
        assert_eq!((said("Type"), said("StateDirectory"), said("StateDirectoryMode")), ("notify", "duologue", "0700"));
        self.by_root(&format!("install -d -m 0700 -o {0} -g {0} /var/lib/duologue", said("User")));
        let notify = self.path("run/notify");
        let _ = fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).unwrap();
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut words =
            vec!["setpriv", "--reuid", said("User"), "--regid", said("Group"), "--init-groups", "--no-new-privs"];
        for flag in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
            words.extend([flag, &capabilities]);
        }
        words.extend(said("ExecStart").split(' '));
        let server = Running::start(
            self.command(&words).envs(said("Environment").split_once('=')).env("NOTIFY_SOCKET", "/run/notify"),
        );
        let mut told = [0; 1_024];
        let len = manager.recv(&mut told).expect("it says that it is ready");
        assert!(String::from_utf8_lossy(&told[..len]).starts_with("READY=1\n"));
        server
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "cargo xtask dist runs it"]
async fn debootstrap_browser_opens_a_line_to_a_debian_that_was_set_up_by_the_page() {
    let debian = Debian::new();
    let authority = Authority::for_names(&[SERVED_NAME]);
    let package = made("duologue_", ".deb");
    fs::copy(&package, debian.path("root").join(package.file_name().unwrap())).unwrap();
    fs::write(debian.path("root/chain.pem"), pem(&authority.leaf)).unwrap();
    fs::write(debian.path("root/key.pem"), authority.key.serialize_pem()).unwrap();

    // Until something runs: root installs, says three things, and has it started.
    let file = debian.path("etc/duologue/duologue.toml");
    let mut blocks = blocks().into_iter();
    for Block { text, .. } in blocks.by_ref().filter(|block| block.place == Place::Root) {
        debian.by_root(&text);
        if text.contains("apt-get install") {
            let mode = |it: fs::Metadata| it.permissions().mode() & 0o777;
            assert_eq!(fs::metadata(&file).map(mode).ok(), Some(0o640), "it can hold secrets");
            let written = fs::read_to_string(&file).unwrap();
            let edited = written
                .replace("\nurl = \"https://line.example\"", &format!("\nurl = \"https://{SERVED_NAME}\""))
                .replace("\ncert = \"chain.pem\"", "\ncert = \"/etc/duologue/chain.pem\"")
                .replace("\nkey = \"key.pem\"", "\nkey = \"/etc/duologue/key.pem\"");
            let changed = written.lines().zip(edited.lines()).filter(|(before, after)| before != after).count();
            assert_eq!(changed, 3);
            fs::write(&file, edited).unwrap();
        }
        if text.contains("systemctl start") {
            break;
        }
    }
    assert!(debian.path("etc/systemd/system/multi-user.target.wants/duologue.service").symlink_metadata().is_ok());
    let verify = ["systemd-analyze", "verify", "--man=no", "duologue.service"];
    assert_eq!(done(&mut debian.command(&verify)), "", "it exits with 0 even for what it does not know");
    done(&mut debian.command(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=true",
        "--threshold=20",
        "duologue.service",
    ]));

    let server = debian.start_unit();
    let first = blocks.find(|block| block.place == Place::Owner).expect("the first run");
    let said = debian.by_owner(&first.text);
    let link = said.lines().find(|line| line.starts_with("https://")).expect("an invite");
    let browser = Browser::start(&Profile::trusting(authority.trust()).at(443)).await;
    browser.open(link).await;
    browser.wait_for_state("open").await;
    // The page gives its line to nobody: another of the same device.
    let echo = "
        const { connect } = await import('/duologue.js');
        const line = connect();
        return new TextDecoder().decode(await line.request('echo', args, { timeout: 20000 }));";
    assert_eq!(browser.run(echo, Value::from("from a browser")).await, "from a browser");
    drop(browser);
    server.stop();

    // What the page says further on, with its second listener.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("#status = ", "status = ")).unwrap();
    let mut server = debian.start_unit();
    for Block { text, place, line } in blocks {
        println!("docs/OPERATING.md:{line}");
        match place {
            Place::Owner => _ = debian.by_owner(&text),
            Place::Root if text.contains("systemctl stop duologue") => {
                server.stop();
                debian.by_root(&text);
                server = debian.start_unit();
            }
            Place::Root => _ = debian.by_root(&text),
            Place::Container | Place::Release | Place::Untested => {}
        }
    }
    server.stop();
    debian.by_root("apt-get purge --yes duologue");
    assert!(debian.path("var/lib/duologue/identity.key").is_file() && !file.exists());
}
