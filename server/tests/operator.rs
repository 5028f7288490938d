//! The server as its operator meets it: one file, what stands before it, and a file that is read again while lines are open.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod site;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Command,
    time::{Duration, Instant},
};

use duologue::{ChannelError, ResetCode};
use duologue_client::{Client, Keyring, Line, LineError, Target};
use running::{certificate, free_port, logged, signal, spawn, start};
use site::{BINARY, Server, Site};

/// A whole file for a server on this port, with its state beside it.
fn whole(port: u16, rules: &str) -> String {
    format!(
        "[server]\nurl = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n\n\
         [[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n\n{rules}"
    )
}

const OPEN: &str = "[[rule]]\nname = \"all\"\nopen = [\"echo\"]\n";
const CLOSED: &str = "[[rule]]\nname = \"staff\"\nopen = [\"echo\"]\ngroups = [\"staff\"]\n";

async fn line(site: &Site) -> Line {
    let link = site.verb(&["invite", "new"]);
    let target = Target::parse(&link).expect("a link");
    let client = Client::new(Keyring::in_memory()).trusting(site.directory.path().join("own.pem"));
    client.connect(&target).await.expect("the invite is good")
}

#[tokio::test]
async fn an_operator_writes_a_file_edits_three_lines_checks_it_and_serves() {
    let site = Site::new("");
    let file = site.directory.path().join("duologue.toml");
    let path = file.to_str().expect("text");
    let said = site.verb(&["init", path]);
    assert!(said.contains("is written") && said.contains(&format!("duologue check {path}")), "{said}");
    // What is there is somebody's work.
    fs::write(&file, fs::read_to_string(&file).expect("written") + "# mine\n").expect("written");
    let (code, _, told) = site.try_verb(&["init", path]);
    assert!(code == 1 && told.contains("not overwritten"), "{code}: {told}");
    let written = fs::read_to_string(&file).expect("it is there");
    assert!(written.ends_with("# mine\n"));
    // A certificate that is not there yet is told by its name.
    let (code, _, told) = site.try_verb(&["check", path]);
    assert!(code == 1 && told.contains("[[tls.certificate]]") && told.contains("chain.pem"), "{code}: {told}");
    let port = free_port();
    let edited = written
        .replace("https://line.example", &format!("https://localhost:{port}"))
        .replace("#listen = \"0.0.0.0:443\"", &format!("listen = \"127.0.0.1:{port}\""))
        .replace("#state = \"duologue-state\"", "state = \"state\"");
    fs::write(&file, edited).expect("written");
    certificate(&site, "chain", &["localhost"]);
    fs::rename(site.directory.path().join("chain.key"), site.directory.path().join("key.pem")).expect("renamed");
    assert_eq!(site.verb(&["check", path]), format!("{path}: in order, 1 rules"));
    // Files are beside the configuration, wherever the process is.
    let server = start(&site, &["serve"], &[("DUOLOGUE_CONFIG", path)]);
    fs::copy(site.directory.path().join("chain.pem"), site.directory.path().join("own.pem")).expect("copied");
    let line = line(&site).await;
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    // Nothing has changed, and nothing is said to have.
    assert_eq!(site.verb(&["reload"]), "read again: 1 rules are in force");
    // The owner's verbs find it by the same file, from anywhere.
    let verb = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir("/").env_remove("DUOLOGUE_STATE").env("DUOLOGUE_CONFIG", path);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(verb(&["devices", "list", "--json"]).matches("\"fingerprint\":").count(), 1);
    assert_eq!(verb(&["reload"]), "read again: 1 rules are in force\n");
    assert_eq!(verb(&["keys", "show"]), site.verb(&["keys", "show"]) + "\n");
    drop(server);
    let (code, _, told) = site.try_verb(&["init", "/nowhere/duologue.toml"]);
    assert!(code == 1 && told.contains("No such file") && !told.contains("overwritten"), "{code}: {told}");
}

#[test]
fn a_file_that_is_wrong_is_told_whole_with_places_and_exits_with_2() {
    let site = Site::new("[server]\nurl = \"https://a.example\"\nlisten = \"localhost:1\"\n[srvices]\ndesk = true\n");
    let file = site.config();
    let path = file.to_str().expect("text");
    for arguments in [&["check", path][..], &["serve", "--config", path], &["dev", "--config", path]] {
        let (code, out, told) = site.try_verb(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {told}");
        assert!(told.contains(&format!("{path}:3:10: an address of this machine")), "{told}");
        assert!(told.contains(&format!("{path}:4:2: unknown field `srvices`")), "{told}");
        assert!(told.contains("did you mean `services`?"), "{told}");
    }
    // What no file can say for itself; and no port is asked for before it.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 8_443));
    for (arguments, said) in [
        (&["serve"][..], "name it by --url"),
        (&["serve", "--url", "https://a.example"], "--cert"),
        (&["serve", "--url", "https://a.example", "--cert", "a.pem"], "each --cert has its own --key"),
        (
            &["serve", "--url", "https://a.example", "--behind-proxy", "--cert", "a", "--key", "b"],
            "leave one of them out",
        ),
        (&["dev", "--http-host", "a"], "name it by --http"),
        (&["dev", "--http", "a:3000"], "is no backend"),
        (&["dev", "--hook", "http://app.example/"], "unix:/run/app.sock:/duologue"),
        (&["dev", "--origin", "https://a.example/"], "is no origin"),
        (&["serve", "--url", "http://a.example", "--behind-proxy"], "--url must start with https://"),
        (&["serve", "--url", "https://a.example", "--trusted-proxy", "proxy"], "--trusted-proxy"),
    ] {
        let (code, _, told) = site.try_verb(arguments);
        assert!(code == 2 && told.contains(said), "{arguments:?}: {code}: {told}");
    }
    assert!(!site.state().exists(), "nothing was opened");
}

#[test]
fn what_cannot_be_meant_together_is_told_by_check_as_by_serve_and_by_the_file_as_by_flags() {
    let site = Site::new("");
    let file = site.config();
    let path = file.to_str().expect("text");
    let certificate = "[[tls.certificate]]\ncert = \"a.pem\"\nkey = \"a.key\"\n";
    let acme = "[tls.acme]\nagree_to_terms = true\n";
    let pair = ["--cert", "a.pem", "--key", "a.key"];
    let all: [(&str, &str, &[&str], &str); 8] = [
        (
            "listen = \"192.0.2.7:443\"\nbehind_proxy = true\n",
            "",
            &["--listen", "192.0.2.7:443", "--behind-proxy"],
            "--listen must be a loopback address",
        ),
        ("behind_proxy = true\n", certificate, &[&["--behind-proxy"][..], &pair].concat(), "leave one of them out"),
        ("", &format!("{certificate}{acme}"), &[], "leave one of them out"),
        ("behind_proxy = true\n", acme, &[], "leave one of them out"),
        ("", "[door]\norigins = [\"http://localhost:3000\"]\n", &["--origin", "http://localhost:3000"], "--origin"),
        ("", "[door]\napp_origins = [\"https://b.example\"]\n", &["--app-origin", "https://b.example"], "--app-origin"),
        ("", "[door.passkey]\nrp_id = \"b.example\"\n", &[], "[door.passkey]"),
        ("", "[door.vouch]\npaths = [\"/login\"]\n", &[], "name that server by --http"),
    ];
    for (server, tables, flags, said) in all {
        site.configure(&format!("[server]\nurl = \"https://a.example\"\n{server}{tables}"));
        let by_flags = [&["serve", "--url", "https://a.example"], flags].concat();
        let by_file: [&[&str]; 2] = [&["check", path], &["serve", "--config", path]];
        let mut told = Vec::new();
        for arguments in by_file.into_iter().chain((!flags.is_empty()).then_some(&by_flags[..])) {
            let (code, out, wrong) = site.try_verb(arguments);
            assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {wrong}");
            assert!(wrong.contains(said), "{arguments:?}: {wrong}");
            told.push(wrong);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "each says the same: {told:?}");
    }
    assert!(!site.state().exists() && fs::read_dir(site.directory.path()).expect("it is there").count() == 1);
}

#[test]
fn of_two_that_say_the_same_the_flag_counts_then_the_environment_then_the_file() {
    let site = Site::new("");
    let file = site.config();
    let path = file.to_str().expect("text");
    let state = site.state();
    let state = state.to_str().expect("text");
    let url = ["serve", "--url", "https://a.example", "--behind-proxy", "--listen", "127.0.0.1:0", "--state", state];
    site.configure("[door]\norigins = [\"https://file.example\"]\n[services]\npairing = true\n");
    let flag: &[&str] = &["--origin", "https://flag.example", "--pairing=false"];
    let environment: &[(&str, &str)] =
        &[("DUOLOGUE_ORIGIN", "https://one.example https://two.example"), ("DUOLOGUE_PAIRING", "no")];
    let config: &[&str] = &["--config", path];
    for (arguments, environment, origins, services) in [
        (&[][..], &[][..], "https://a.example\"", "services=\"echo\""),
        (config, &[], "https://a.example https://file.example\"", "services=\"echo pair\""),
        (config, environment, "https://a.example https://one.example https://two.example\"", "services=\"echo\""),
        (&[config, flag].concat(), environment, "https://a.example https://flag.example\"", "services=\"echo\""),
        (&[config, flag].concat(), &[], "https://a.example https://flag.example\"", "services=\"echo\""),
    ] {
        let _ = fs::remove_file(site.directory.path().join("log"));
        let server = start(&site, &[&url, arguments].concat(), environment);
        let log = site.log();
        assert!(log.contains(&format!("origins=\"{origins}")), "{arguments:?} {environment:?}: {log}");
        assert!(log.contains(services), "{arguments:?} {environment:?}: {log}");
        server.stop();
    }
    // Who has TLS is one question: a flag answers the whole of it.
    let port = free_port();
    site.configure(&whole(port, ""));
    let server = start(&site, &["serve", "--config", path, "--behind-proxy"], &[]);
    assert!(site.log().contains("certificate_ends=\"the proxy's\""), "{}", site.log());
    server.stop();
}

/// Says something each few milliseconds on one channel, and fails if an answer is missing or another one.
async fn talk(line: Line, until: Instant) -> usize {
    let channel = line.channel("echo").expect("open");
    let mut said = 0;
    while Instant::now() < until {
        let text = format!("message {said}");
        channel.send(text.clone()).await.expect("it is taken");
        let answer = tokio::time::timeout(Duration::from_secs(10), channel.recv()).await.expect("in time");
        assert_eq!(answer, Ok(Some(text.into_bytes())));
        said += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_again_by_signal_and_by_verb_and_no_line_is_lost() {
    let site = Site::new("");
    certificate(&site, "own", &["localhost"]);
    let port = free_port();
    site.configure(&whole(port, OPEN));
    let file = site.config();
    let path = file.to_str().expect("text");
    let mut server = start(&site, &["serve", "--config", path], &[]);
    let (quiet, busy) = (line(&site).await, line(&site).await);
    let talk = tokio::spawn(talk(busy.clone(), Instant::now() + Duration::from_secs(6)));
    let closed = || Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));
    for round in 1..=10 {
        // One more rule each time, so that it is another file.
        site.configure(&whole(port, &format!("{OPEN}\n[[rule]]\nopen = [\"r{round}\"]\n")));
        if round % 2 == 0 {
            assert_eq!(site.verb(&["reload"]), "read again: 2 rules are in force");
        } else {
            signal(&server, "HUP");
        }
        logged(&site, "the owner has read the policy again", round);
    }
    assert!(site.log().contains("by=\"SIGHUP\""), "{}", site.log());
    assert_eq!(quiet.request("echo", "a").await, Ok(b"a".to_vec()));

    // Whole or not at all, and every reason at once.
    let broken = whole(port, CLOSED).replace("state = ", "stat = ") + "level = 9\n";
    site.configure(&broken);
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("nothing was changed"), "{told}");
    assert!(told.contains(&format!("{path}:4:1: unknown field `stat`")) && told.contains("`state`?"), "{told}");
    assert!(told.contains(&format!("{path}:14:9: a level is")), "{told}");
    signal(&server, "HUP");
    logged(&site, "SIGHUP has changed nothing", 1);
    assert_eq!(quiet.request("echo", "a").await, Ok(b"a".to_vec()));

    // What cannot change while it runs is named, each with its place; and the rule beside it is not taken either.
    let fixed =
        whole(port, CLOSED).replace(&format!("127.0.0.1:{port}"), "127.0.0.1:1") + "[limits]\nmemory = \"1GB\"\n";
    site.configure(&fixed);
    let (code, _, told) = site.try_verb(&["reload"]);
    let cannot = "cannot change while the server runs: start it again";
    assert!(code == 1 && told.contains(&format!("{path}:3:1: `listen` of [server] {cannot}")), "{told}");
    assert!(told.contains(&format!("`memory` of [limits] {cannot}")), "{told}");
    assert_eq!(quiet.request("echo", "a").await, Ok(b"a".to_vec()));

    let said = talk.await.expect("every answer has come");
    println!("{said} messages and their answers across 10 reloads and 3 refused ones");
    assert!(said > 100, "{said}");
    // What is narrowed is narrowed for lines that are open.
    site.configure(&whole(port, CLOSED));
    signal(&server, "HUP");
    logged(&site, "the owner has read the policy again", 11);
    assert_eq!(quiet.request("echo", "a").await, closed());
    assert!(server.process.try_wait().expect("it can be asked").is_none(), "it lives");
    drop(server);
}

#[tokio::test]
async fn pages_that_may_come_follow_the_file() {
    let site = Site::new("");
    certificate(&site, "own", &["localhost"]);
    let port = free_port();
    site.configure(&whole(port, OPEN));
    let file = site.config();
    let server = start(&site, &["serve", "--config", file.to_str().expect("text")], &[]);
    let line = line(&site).await;
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    site.configure(&whole(port, &format!("[door]\nnative_clients = false\n{OPEN}")));
    signal(&server, "HUP");
    logged(&site, "the owner has read the policy again", 1);
    assert!(line.request("echo", "a").await.is_err(), "native clients may open nothing any more");
    // An origin that is none for this server refuses the whole file.
    site.configure(&whole(port, &format!("[door]\norigins = [\"capacitor://localhost\"]\n{OPEN}")));
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("capacitor://localhost") && told.contains("nothing was changed"), "{told}");
    drop(server);
}

#[test]
fn no_sighup_ends_a_server_however_early_or_late() {
    let site = Site::new("");
    let state = site.state();
    let url = ["serve", "--url", "https://a.example", "--behind-proxy", "--listen", "127.0.0.1:0"];
    let arguments = [&url[..], &["--state", state.to_str().expect("text")]].concat();
    let mut server = Server { process: spawn(&site, &arguments, &[]) };
    // From when it hears signals on: before that it is a process that has done nothing yet.
    let heard = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or_default();
        u64::from_str_radix(caught, 16).unwrap_or_default() & 1 == 1
    };
    let begun = Instant::now();
    while !heard() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    for _ in 0..20 {
        signal(&server, "HUP");
    }
    let mut line = String::new();
    BufReader::new(server.process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    assert!(line.starts_with("listening "), "{line}{}", site.log());
    for _ in 0..20 {
        signal(&server, "HUP");
    }
    logged(&site, "there is nothing to read again", 1);
    assert_eq!(site.try_verb(&["state"]).0, 0, "it answers");
    signal(&server, "TERM");
    signal(&server, "HUP");
    assert!(server.process.wait().expect("it ends").success(), "in order");
}

#[test]
fn a_log_is_as_the_file_says_and_its_level_follows() {
    let site = Site::new("");
    certificate(&site, "own", &["localhost"]);
    let port = free_port();
    let log = |level: &str| whole(port, &format!("[log]\nformat = \"json\"\nlevel = \"{level}\"\n"));
    site.configure(&log("warn"));
    let file = site.config();
    let server = start(&site, &["serve", "--config", file.to_str().expect("text")], &[]);
    site.configure(&log("info"));
    signal(&server, "HUP");
    logged(&site, "the owner has read the policy again", 1);
    let written = site.log();
    assert!(!written.contains("\"starting\""), "it was told to say less: {written}");
    for line in written.lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(told["timestamp"].is_string() && told["level"].is_string() && told["message"].is_string(), "{line}");
    }
    site.configure(&log("info").replace("json", "text"));
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("`format` of [log] cannot change"), "{told}");
    server.stop();
}

#[test]
fn what_has_a_flag_has_a_word_in_the_environment() {
    let help = |verb: &str| {
        let output = Command::new(BINARY).args([verb, "--help"]).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let mut flags = 0;
    for block in help("serve").split("\n      --").skip(1) {
        let name = block.split([' ', '[', '\n']).next().expect("a name");
        let word = format!("[env: DUOLOGUE_{}=", name.to_uppercase().replace('-', "_"));
        assert!(block.contains(&word), "--{name} has no {word}");
        flags += 1;
    }
    println!("{flags} flags");
    assert!(flags > 20, "{flags}");
}

#[test]
fn a_shell_completes_each_verb_and_each_verb_has_a_manual_page() {
    let site = Site::new("");
    let help = site.verb(&["--help"]);
    let verbs: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 15 && !verbs.contains(&"man"), "{verbs:?}");
    let file = site.directory.path().join("completions");
    fs::write(&file, site.verb(&["completions", "bash"])).expect("written");
    // As bash asks: what may follow the words, of which the last is not finished.
    let complete = |words: &str| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _duologue duologue \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash is there");
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    for verb in &verbs {
        assert!(complete(&format!("duologue {}", &verb[..2])).split(' ').any(|it| it == *verb), "{verb}");
    }
    assert_eq!(complete("duologue invite w"), "withdraw");
    assert_eq!(complete("duologue serve --behind"), "--behind-proxy");
    assert!(site.verb(&["completions", "zsh"]).starts_with("#compdef duologue"));
    assert!(site.verb(&["completions", "fish"]).contains("complete -c duologue"));
    assert_eq!(site.try_verb(&["completions", "tcsh"]).0, 2);

    let pages = site.directory.path().join("pages");
    fs::create_dir(&pages).expect("made");
    assert_eq!(site.verb(&["man", pages.to_str().expect("text")]), "");
    for verb in &verbs {
        let page = fs::read_to_string(pages.join(format!("duologue-{verb}.1"))).expect(verb);
        assert!(page.contains(".SH NAME") && page.contains(".SH DESCRIPTION"), "{verb}: {page}");
    }
    let serve = fs::read_to_string(pages.join("duologue-serve.1")).expect("it is there");
    assert!(serve.contains("DUOLOGUE_LISTEN"), "the words of the environment are in it");
    assert!(pages.join("duologue.1").is_file() && pages.join("duologue-invite-new.1").is_file());
    assert!(!pages.join("duologue-man.1").exists());
}
