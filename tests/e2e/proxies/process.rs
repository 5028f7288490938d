//! Proxies as processes: what each needs around its configuration, how it is started, and that nothing of it is left.
//!
//! All that they write lies in a temporary folder. Each has a process group of its own, which is ended as a whole.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{
    backend::free_port,
    page::{Place, files_of},
};
use crate::{
    server::{Lines, workspace},
    tls::{Authority, Trust, pem},
    within,
};

/// A proxy that runs.
pub(crate) struct Running {
    children: Vec<Child>,
    folder: TempDir,
    said: Vec<Lines>,
    pub(crate) version: String,
    authority: Authority,
}

/// What is run for a proxy.
struct Plan {
    programs: Vec<Command>,
    version: String,
}

impl Running {
    /// The proxy of a case, before a server at that port.
    pub(crate) async fn start(case: &str, port: u16, backend: u16) -> Self {
        Self::start_without(case, None, port, backend).await
    }

    /// The same without those lines of its configuration that have this.
    pub(crate) async fn start_without(case: &str, without: Option<&str>, port: u16, backend: u16) -> Self {
        let folder = TempDir::with_prefix("duologue-proxy-").unwrap();
        let authority = Authority::for_names(&["localhost"]);
        // Some proxies read their certificate as a user that owns nothing; it is good for this test alone.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (leaf, key) = (pem(&authority.leaf), authority.key.serialize_pem());
        for (name, text) in [
            ("cert.pem", &leaf),
            ("key.pem", &key),
            ("both.pem", &format!("{leaf}{key}")),
            ("ca.pem", &authority.ca_pem),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let between = free_port();
        let place = Place { folder: folder.path(), ports: [port, backend, between], without };
        let plan = plan(case, place).await;
        let (mut children, mut said) = (Vec::new(), Vec::new());
        for mut program in plan.programs {
            program.current_dir(folder.path()).process_group(0).kill_on_drop(true);
            program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = program.spawn().unwrap_or_else(|error| panic!("{case} does not start: {error}"));
            said.push(Lines::of(child.stdout.take().expect("stdout is piped")));
            said.push(Lines::of(child.stderr.take().expect("stderr is piped")));
            children.push(child);
        }
        let mut running = Self { children, folder, said, version: plan.version, authority };
        let listens = async {
            // What Varnish has between itself and hitch must listen too.
            let ports = if case == "varnish" { &[port, between][..] } else { &[port] };
            while !all_listen(ports).await {
                for child in &mut running.children {
                    if let Some(status) = child.try_wait().expect("a child can be asked") {
                        // Its last words come a moment later.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        let said: Vec<_> = running.said.iter().flat_map(Lines::seen).collect();
                        panic!("{case} has ended with {status}: {said:#?}");
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(60, format!("{case} to listen"), listens).await;
        running
    }

    /// What a native client is told to trust.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What a browser is told to trust.
    pub(crate) fn trust(&self) -> Trust {
        self.authority.trust()
    }

    /// What it has said, for messages of failures.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.iter().flat_map(Lines::seen).collect()
    }
}

impl Drop for Running {
    /// By hand and without the runtime, which a failed test has no more.
    fn drop(&mut self) {
        let groups: Vec<_> = self.children.iter().filter_map(Child::id).map(|id| format!("-{id}")).collect();
        signal("-TERM", &groups);
        for _ in 0..40 {
            if left_in(self.folder.path()).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        signal("-KILL", &groups);
        // Those that went into a group of their own.
        signal("-KILL", &left_in(self.folder.path()));
    }
}

async fn all_listen(ports: &[u16]) -> bool {
    for port in ports {
        if TcpStream::connect(("localhost", *port)).await.is_err() {
            return false;
        }
    }
    true
}

fn signal(signal: &str, to: &[String]) {
    if !to.is_empty() {
        let _ = std::process::Command::new("kill").args([signal, "--"]).args(to).stderr(Stdio::null()).status();
    }
}

/// Processes that have the folder in their command line, or work in it.
fn left_in(folder: &Path) -> Vec<String> {
    let name = folder.to_str().expect("temporary folders are named in UTF-8");
    let is_in = |process: &Path| {
        let says = fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(name));
        says || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes =
        processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    processes.filter(|entry| is_in(&entry.path())).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Writes the configuration of a case with what it needs around it, and says what to run.
async fn plan(case: &str, place: Place<'_>) -> Plan {
    let folder = place.folder;
    let at = folder.to_str().expect("temporary folders are named in UTF-8");
    let mut files = files_of(case, place);
    for (name, text) in &mut files {
        *text = surrounded(case, name, text, at);
        fs::write(folder.join(&*name), &*text).unwrap();
    }
    let file = |name: &str| folder.join(name);
    let main = file(&files[0].0);
    let (programs, version) = match case {
        "nginx" | "nginx_address" => (vec![program("nginx", &["-c"], &main)], said("nginx", &["-v"]).await),
        "haproxy" | "haproxy_address" => {
            (vec![program("haproxy", &["-db", "-f"], &main)], said("haproxy", &["-v"]).await)
        }
        "apache" | "apache_wstunnel" | "apache_h2websockets" => {
            (vec![program("apache2", &["-DFOREGROUND", "-f"], &main)], said("apache2", &["-v"]).await)
        }
        "caddy" => {
            let mut caddy = program("caddy", &["run", "--adapter", "caddyfile", "--config"], &main);
            caddy.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
            (vec![caddy], said("caddy", &["version"]).await)
        }
        "lighttpd" => (vec![program("lighttpd", &["-D", "-f"], &main)], said("lighttpd", &["-v"]).await),
        "varnish" => {
            let mut varnish =
                program("varnishd", &["-F", "-j", "none", "-s", "malloc,16m", "-f"], &file("default.vcl"));
            varnish.arg("-a").arg(format!("127.0.0.1:{}", place.ports[2])).arg("-n").arg(file("varnish"));
            let version = format!("{}, hitch {}", said("varnishd", &["-V"]).await, said("hitch", &["--version"]).await);
            (vec![varnish, program("hitch", &["--config"], &file("hitch.conf"))], version)
        }
        "squid" => (vec![program("squid", &["-N", "-f"], &main)], said("squid", &["-v"]).await),
        "trafficserver" => {
            let root = format!("--run-root={at}/runroot.yaml");
            (vec![bare("traffic_server", &[&root])], said("traffic_server", &["--version"]).await)
        }
        "h2o" => (vec![program("h2o", &["-m", "worker", "-c"], &main)], said("h2o", &["--version"]).await),
        "nghttpx" => {
            let conf = format!("--conf={}", main.display());
            (vec![bare("nghttpx", &[&conf, "--workers=1"])], said("nghttpx", &["--version"]).await)
        }
        "vite" => {
            fs::write(file("index.html"), "<!doctype html><title>A page of somebody else</title>").unwrap();
            copy_library(&file("public"));
            let vite = modules("vite").join("vite/bin/vite.js");
            (vec![node("vite", &vite, &["--config", &main.display().to_string()])], installed("vite"))
        }
        "webpack_dev_server" | "webpack_dev_server_all_hosts" => {
            fs::create_dir_all(file("src")).unwrap();
            fs::write(file("src/index.js"), "").unwrap();
            copy_library(&file("public"));
            fs::write(file("public/index.html"), "<!doctype html><title>A page of somebody else</title>").unwrap();
            let package = "webpack-dev-server";
            let webpack = modules(package).join("webpack-cli/bin/cli.js");
            (vec![node(package, &webpack, &["serve", "--config", &main.display().to_string()])], installed(package))
        }
        "http_proxy" => required("http-proxy", &main),
        "http_proxy_3" => required("http-proxy-3", &main),
        "http_proxy_middleware" => required("http-proxy-middleware", &main),
        "fastify" | "fastify_with_origin" => required("@fastify/http-proxy", &main),
        "mitmproxy" => {
            let words: Vec<&str> = files[0].1.split_whitespace().collect();
            let (name, arguments) = words.split_first().expect("a command has words");
            let mut mitmproxy = bare(name, arguments);
            mitmproxy.arg("--set").arg(format!("confdir={at}/mitmproxy"));
            (vec![mitmproxy], said("mitmdump", &["--version"]).await)
        }
        other => panic!("there is no proxy {other}"),
    };
    Plan { programs, version }
}

/// What a configuration needs to run by itself in a folder, in place of what the system has in /etc.
fn surrounded(case: &str, name: &str, text: &str, at: &str) -> String {
    let is_root = fs::metadata(at).is_ok_and(|folder| std::os::unix::fs::MetadataExt::uid(&folder) == 0);
    match (case, name) {
        ("nginx" | "nginx_address", _) => {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let paths: String = temporary.map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
            // Its workers would not be let into the folder.
            let user = if is_root { "user root;\n" } else { "" };
            let main = format!("{user}daemon off;\npid {at}/nginx.pid;\nerror_log stderr;\nevents {{}}\n");
            format!("{main}http {{\naccess_log off;\n{paths}{text}}}\n")
        }
        ("apache" | "apache_wstunnel" | "apache_h2websockets", _) => {
            let port = text.split("<VirtualHost *:").nth(1).and_then(|rest| rest.split('>').next()).expect("a port");
            let modules = ["mpm_event", "authz_core", "proxy", "proxy_http", "proxy_wstunnel", "ssl", "http2"];
            let modules = modules.map(|name| format!("LoadModule {name}_module {}/mod_{name}.so\n", apache_modules()));
            let user = if is_root { "User www-data\nGroup www-data\n" } else { "" };
            format!(
                "ServerRoot {at}\nDefaultRuntimeDir {at}\nPidFile {at}/apache.pid\nErrorLog /dev/stderr\n\
                 ServerName localhost\nListen {port}\n{}{user}{text}",
                modules.concat()
            )
        }
        ("caddy", _) => format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}"),
        ("lighttpd", _) => {
            let port = free_port();
            format!("server.port = {port}\nserver.bind = \"127.0.0.1\"\nserver.document-root = \"{at}\"\n{text}")
        }
        // It refuses to run as root.
        ("varnish", "hitch.conf") if is_root => format!("user = \"nobody\"\ngroup = \"nogroup\"\n{text}"),
        ("squid", _) => format!(
            "pid_filename none\naccess_log none\ncache_log /dev/null\ncoredump_dir {at}\npinger_enable off\n\
             shutdown_lifetime 0 seconds\n{text}"
        ),
        ("trafficserver", "records.config") => {
            for (name, mode) in [("run", 0o777), ("log", 0o777), ("cache", 0o777)] {
                let path = Path::new(at).join(name);
                fs::create_dir_all(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let own = [("sysconfdir", ""), ("datadir", "/cache"), ("cachedir", "/cache"), ("logdir", "/log")];
            let own = own.into_iter().chain([("localstatedir", "/run"), ("runtimedir", "/run")]);
            let own = own.map(|(what, place)| format!("{what}: {at}{place}\n"));
            let theirs = [("prefix", ""), ("exec_prefix", ""), ("bindir", "/bin"), ("sbindir", "/sbin")];
            let theirs = theirs.into_iter().chain([("includedir", "/include"), ("libdir", "/lib/trafficserver")]);
            let theirs = theirs.chain([("libexecdir", "/lib/trafficserver/modules")]);
            let theirs = theirs.map(|(what, place)| format!("{what}: /usr{place}\n"));
            fs::write(format!("{at}/runroot.yaml"), own.chain(theirs).collect::<String>()).unwrap();
            fs::write(format!("{at}/storage.config"), format!("{at}/cache 16M\n")).unwrap();
            // Without it nobody is let in.
            let allow = "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";
            fs::write(
                format!("{at}/ip_allow.yaml"),
                format!("{allow}{}", allow.replace("ip_allow:\n", "").replace("0/0", "::/0")),
            )
            .unwrap();
            let user = if is_root { "CONFIG proxy.config.admin.user_id STRING trafficserver\n" } else { "" };
            format!("{text}{user}")
        }
        ("h2o", _) => {
            let user = if is_root { "user: root\n" } else { "" };
            format!("{user}pid-file: {at}/h2o.pid\nerror-log: /dev/stderr\n{text}")
        }
        _ => text.to_owned(),
    }
}

fn apache_modules() -> &'static str {
    let places = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2"];
    places.into_iter().find(|place| Path::new(place).is_dir()).expect("Apache has its modules in one of its places")
}

/// Servers lie where a person's PATH does not always lead.
fn bare(name: &str, arguments: &[&str]) -> Command {
    let places = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let places = places.chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    let mut command = Command::new(found.unwrap_or_else(|| panic!("{name} is not installed")));
    command.args(arguments);
    command
}

fn program(name: &str, arguments: &[&str], last: &Path) -> Command {
    let mut command = bare(name, arguments);
    command.arg(last);
    command
}

/// The first number with a dot in what a program says of itself.
async fn said(name: &str, arguments: &[&str]) -> String {
    let mut command = bare(name, arguments);
    let output = within(20, format!("{name} {arguments:?}"), command.stdin(Stdio::null()).output()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    version_in(&text).unwrap_or_else(|| panic!("no version in {text:?}"))
}

fn version_in(text: &str) -> Option<String> {
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || ".+~-".contains(c);
    let words = text.split(|c: char| !is_of_it(c)).map(|word| word.trim_start_matches(|c: char| !c.is_ascii_digit()));
    words
        .map(str::to_owned)
        .find(|word| word.split('.').take(2).filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).count() == 2)
}

/// Where `cargo xtask test` has put an npm package, with what it needs.
fn modules(package: &str) -> PathBuf {
    let folder = format!("proxy-{}", package.trim_start_matches('@').replace('/', "-"));
    workspace().join("target/tools/npm").join(folder).join("node_modules")
}

/// A script of a package, or one that requires it.
fn node(package: &str, script: &Path, arguments: &[&str]) -> Command {
    let mut node = bare("node", &[]);
    node.arg(script).args(arguments).env("NODE_PATH", modules(package));
    // What is left of a bundler's colours and questions.
    node.env("NO_COLOR", "1").env("CI", "true");
    node
}

/// A script that requires a package, and the version of that.
fn required(package: &str, script: &Path) -> (Vec<Command>, String) {
    (vec![node(package, script, &[])], installed(package))
}

fn installed(package: &str) -> String {
    let manifest = modules(package).join(package).join("package.json");
    let text = fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("a manifest is JSON");
    manifest["version"].as_str().expect("it names its version").to_owned()
}

/// The library, as an app of somebody else serves it.
fn copy_library(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(workspace().join("target/web")).expect("the page is built").flatten() {
        let name = entry.file_name();
        if entry.path().is_file() && name != "index.html" {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_version_is_found_in_what_programs_say() {
    for (text, version) in [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("HAProxy version 2.6.12-1+deb12u2 2025/03/28", "2.6.12-1+deb12u2"),
        ("lighttpd/1.4.69 (ssl) - a light and fast webserver", "1.4.69"),
        ("varnishd (varnish-7.1.1 revision 7cee1c58)", "7.1.1"),
        ("v2.6.2 h1:abc=", "2.6.2"),
        ("hitch 1.7.2", "1.7.2"),
    ] {
        assert_eq!(version_in(text).as_deref(), Some(version), "{text}");
    }
}
