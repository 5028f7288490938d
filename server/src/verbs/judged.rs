//! What can be wrong in what a server was told, found out before anything is opened, changed or handed over: `check`, `dev` and
//! `serve` judge by the same.

use std::{fs::File, net::SocketAddr};

use anyhow::Context as _;
use duologue_server::{
    AcmeSettings, Address, CertificateFiles, Config, ConfigFile, Policy, TrustedProxies, settings::Settings,
};

use super::{certificates, extras, seeing, wrong_usage};

const NO_BACKEND: &str =
    "[door.vouch] is of an HTTP server's logins: name that server by --http, or by `backend` of [services.http]";

const TWO_KINDS: &str =
    "[tls.acme] beside a certificate's files, or behind a proxy that has TLS: leave one of them out";

const TLS12_OF_A_PROXY: &str =
    "--tls12 and --behind-proxy: which versions of TLS are spoken is said at the proxy that has TLS; leave --tls12 out";

/// What holds wherever the server is.
pub(crate) fn everywhere(file: &ConfigFile, config: &Config) -> anyhow::Result<()> {
    if let Some(hook) = &config.hook {
        hook.check().map_err(|error| wrong_usage(format!("--hook: {error}")))?;
    }
    if config.vouch.is_some() && config.settings.server.http.is_none() {
        return Err(wrong_usage(NO_BACKEND));
    }
    file.check_firewall(config.firewall.clone()).context("[firewall]")?;
    seeing::judge(&config.settings.server)?;
    extras::judge(&config.settings.server)
}

/// What `serve` is told of where it is.
pub(crate) struct Place {
    /// The server's own pages and hosts.
    pub(crate) own: Policy,
    /// And all whom it takes.
    pub(crate) policy: Policy,
    pub(crate) certificates: Vec<CertificateFiles>,
    pub(crate) acme: Option<AcmeSettings>,
    pub(crate) trusted_proxies: TrustedProxies,
}

/// The same of `serve` alone. Where neither its address nor where it listens is known yet, they are not judged.
pub(crate) fn place(
    file: &ConfigFile,
    config: &Config,
    address: Option<&Address>,
    listen: Option<SocketAddr>,
) -> anyhow::Result<Place> {
    let Settings { site, server } = &config.settings;
    let certificates = certificates::files(site)?;
    let behind_proxy = site.behind_proxy.unwrap_or_default();
    match behind_proxy {
        _ if config.acme.is_some() && (behind_proxy || !certificates.is_empty()) => return Err(wrong_usage(TWO_KINDS)),
        true if site.tls12 == Some(true) => return Err(wrong_usage(TLS12_OF_A_PROXY)),
        true if !certificates.is_empty() => {
            return Err(wrong_usage("a certificate and --behind-proxy: leave one of them out"));
        }
        true if listen.is_some_and(|listen| !listen.ip().is_loopback()) => {
            return Err(wrong_usage(
                "--behind-proxy listens without TLS: --listen must be a loopback address such as 127.0.0.1:8080",
            ));
        }
        _ => {}
    }
    let mut trusted_proxies = TrustedProxies::default();
    for network in site.trusted_proxies.iter().flatten() {
        let with = trusted_proxies.with(network);
        trusted_proxies = with.map_err(|error| wrong_usage(format!("--trusted-proxy {error}")))?;
    }
    let mut acme = config.acme.clone();
    if let Some(ca) = acme.as_ref().and_then(|acme| acme.ca.as_ref()) {
        File::open(ca).with_context(|| format!("cannot read {}", ca.display())).context("[tls.acme]")?;
    }
    // Which origins are its own, only the address says.
    let mut own = Policy::loopback();
    if let Some(address) = address {
        let host = address.host_name();
        let named = acme.map(|acme| acme.for_host(host)).transpose();
        acme = named.map_err(|error| wrong_usage(format!("[tls.acme]: {error}")))?;
        file.passkeys(host).context("[door.passkey]")?;
        own = Policy::listed(vec![address.origin()]).with_host(&address.host());
    }
    let policy = super::policy(own.clone(), server)?;
    Ok(Place { own, policy, certificates, acme, trusted_proxies })
}
