//! Headers by which backends trust a proxy, and which are therefore no client's to say.
//!
//! A backend behind a proxy that logs people in, ends TLS or knows addresses takes what that proxy writes for the truth, and
//! many are left so configured when the proxy is replaced by this line. A page could then write it. The list is data; its owner
//! adds to it (`--http-refuse-header`) and takes from it (`--http-allow-header`), but for what this server says itself.
//!
//! Names are compared as `headers` makes them plain, so that `Remote_User` and `remote-user` are one. `*` at the end stands for
//! whatever follows.

use super::headers::plain;

/// This server's own words, and what frames a message.
const OWN: [&str; 3] = ["duologue-*", "host", "content-length"];

/// A pattern, and who believes it.
const TRUSTED: [(&str, &str); 89] = [
    // Where a request comes from.
    ("forwarded", "RFC 7239"),
    ("forwarded-*", "PHP's customary HTTP_FORWARDED_FOR"),
    ("x-forwarded*", "most proxies; Traefik and oauth2-proxy add -user, -email, -groups, Envoy -client-cert"),
    ("x-original-*", "nginx ingress, Azure Front Door, IIS: -url, -host, -forwarded-for, -uri, -method"),
    ("x-rewrite-*", "IIS: -url"),
    ("x-cluster-*", "Rackspace, Riverbed: -client-ip"),
    ("x-real-*", "nginx: -ip, -port"),
    ("x-client-ip", "Amazon EC2, Heroku, Azure"),
    ("client-ip", "PHP's customary HTTP_CLIENT_IP"),
    ("true-client-ip", "Akamai, Cloudflare Enterprise"),
    ("x-originating-*", "Microsoft: -ip"),
    ("x-proxyuser-ip", "Google's services"),
    ("wl-proxy-*", "WebLogic: -client-ip, -ssl, -client-cert"),
    ("cdn-src-ip", "CDNs of China"),
    ("ali-cdn-real-ip", "Alibaba Cloud CDN"),
    ("incap-client-ip", "Imperva"),
    ("do-connecting-ip", "DigitalOcean App Platform"),
    ("cf-*", "Cloudflare: -connecting-ip, -access-*, -ipcountry, -visitor"),
    ("cloudfront-*", "Amazon CloudFront: -viewer-*"),
    ("fastly-*", "Fastly: -client-ip, -ssl"),
    ("fly-*", "Fly.io: -client-ip, -region"),
    ("x-vercel-*", "Vercel: -forwarded-for, -ip-country"),
    ("x-nf-*", "Netlify: -client-connection-ip, -account-id"),
    ("x-azure-*", "Azure Front Door: -clientip, -socketip, -fdid"),
    ("x-akamai-*", "Akamai EdgeScape"),
    ("x-appengine-*", "Google App Engine: -user-email, -queuename, -cron"),
    ("x-gfe-*", "Google front ends"),
    ("x-arr-*", "IIS Application Request Routing: -clientcert, -ssl"),
    ("x-envoy-*", "Envoy: -external-address, -internal, -original-path"),
    // How it came, and what was asked for.
    ("front-end-https", "Microsoft"),
    ("x-url-scheme", "Django, Paste"),
    ("x-scheme", "nginx ingress, Paste"),
    ("x-script-name", "Paste, Flask behind a prefix"),
    ("disguised-host", "Azure App Service"),
    ("x-host", "frameworks that trust it for links"),
    ("x-host-override", "the same"),
    ("x-http-host-override", "the same"),
    ("x-http-method", "Microsoft OData: another method than the one that was judged"),
    ("x-http-method-override", "Google, Rails, Symfony, Express"),
    ("x-method-override", "IBM, Express"),
    ("x-http-path-override", "frameworks with overrides"),
    ("early-data", "RFC 8470"),
    ("surrogate-*", "Varnish, Fastly: -capability"),
    ("x-accel-*", "nginx and Rack: -mapping, -redirect"),
    ("x-sendfile-*", "Rack::Sendfile: -type"),
    ("x-middleware-*", "Next.js: -subrequest (CVE-2025-29927)"),
    ("x-invoke-*", "Next.js: -path, -query"),
    // Who somebody is: certificates of clients.
    ("client-cert", "RFC 9440"),
    ("client-cert-*", "RFC 9440: -chain"),
    ("x-client-cert*", "nginx and HAProxy by custom"),
    ("x-client-verify", "the same"),
    ("x-client-dn", "the same"),
    ("x-ssl*", "HAProxy, nginx, Puppet, Pound: -client-dn, -client-verify"),
    ("ssl-*", "nginx ingress, Apache: -client-verify, -client-subject-dn"),
    ("x-tls-*", "by custom"),
    // Who somebody is: logins.
    ("remote-*", "CGI's REMOTE_USER, Authelia: -user, -groups, -email; PHP's REMOTE_ADDR by mistake"),
    ("x-remote-*", "Kubernetes' authenticating proxy, Guacamole: -user, -group, -extra-*"),
    ("x-webauth-*", "Grafana, Gitea"),
    ("x-auth-request-*", "oauth2-proxy"),
    ("x-auth-user*", "by custom"),
    ("x-auth-email", "by custom"),
    ("x-auth-groups", "by custom"),
    ("x-auth-roles", "by custom"),
    ("x-authenticated-*", "Kong, Apigee: -userid, -groups"),
    ("x-consumer-*", "Kong"),
    ("x-credential-*", "Kong"),
    ("x-anonymous-consumer", "Kong"),
    ("x-userinfo", "the OpenID Connect plugins of Kong and APISIX"),
    ("x-token-*", "caddy-security: -subject, -user-email, -user-roles"),
    ("x-replit-*", "Replit: -user-id, -user-name, -user-roles"),
    ("sf-context-*", "Snowflake: -current-user"),
    ("x-authentik-*", "authentik"),
    ("x-authelia-*", "Authelia"),
    ("x-pomerium-*", "Pomerium: -jwt-assertion, -claim-*"),
    ("x-vouch-*", "Vouch Proxy"),
    ("x-jwt-*", "Istio, gateways: -payload"),
    ("x-goog-*", "Google Identity-Aware Proxy: -authenticated-user-*, -iap-jwt-assertion"),
    ("x-endpoint-api-userinfo", "Google Cloud Endpoints"),
    ("x-apigateway-api-userinfo", "Google API Gateway"),
    ("x-ms-client-*", "Azure App Service: -principal, -principal-id, -principal-name"),
    ("x-ms-token-*", "Azure App Service"),
    ("x-amzn-*", "Amazon load balancers: -oidc-*, -mtls-*"),
    ("tailscale-*", "Tailscale Serve: -user-login, -user-name, -app-capabilities"),
    ("teleport-*", "Teleport: -jwt-assertion"),
    ("oidc-*", "mod_auth_openidc: -claim-*, -access-token"),
    ("mellon-*", "mod_auth_mellon"),
    ("shib-*", "Shibboleth: -session-id, -identity-provider"),
    ("sm-*", "SiteMinder: -user"),
    ("iv-*", "IBM WebSEAL: -user, -groups, -creds"),
];

/// What is refused: the list, as the owner has changed it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    more: Vec<String>,
    allowed: Vec<String>,
}

impl Refused {
    /// Refuses one more header, or with `*` at its end all that begin so.
    pub(super) fn refuse(&mut self, pattern: &str) -> Result<(), NoPattern> {
        self.more.push(read(pattern)?);
        Ok(())
    }

    /// Takes from the list what this names.
    pub(super) fn allow(&mut self, pattern: &str) -> Result<(), NoPattern> {
        let read = read(pattern)?;
        let own = OWN.iter().any(|own| {
            let (own, read) = (own.trim_end_matches('*'), read.trim_end_matches('*'));
            own.starts_with(read) || matches(OWN[0], read)
        });
        if own {
            return Err(NoPattern::Own(pattern.to_owned()));
        }
        self.allowed.push(read);
        Ok(())
    }

    /// Whether a header whose name is `plain` is no client's to say.
    pub(super) fn contains(&self, plain: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, plain));
        let by_default = || TRUSTED.iter().any(|(pattern, _)| matches(pattern, plain));
        OWN.iter().any(|own| matches(own, plain)) || any(&self.more) || (by_default() && !any(&self.allowed))
    }
}

/// Why a text names no headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPattern {
    /// No name of a header.
    #[error("\"{0}\" names no header: write it as x-remote-user, or as x-remote-* for all that begin so")]
    Unreadable(String),
    /// One that this server says itself.
    #[error(
        "\"{0}\" cannot be allowed: this server says that header itself, and the backend must be able to believe it"
    )]
    Own(String),
}

fn read(pattern: &str) -> Result<String, NoPattern> {
    let (name, star) = pattern.strip_suffix('*').map_or((pattern, ""), |name| (name, "*"));
    let is_name = axum::http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !name.contains('*');
    if is_name { Ok(plain(name.as_bytes()) + star) } else { Err(NoPattern::Unreadable(pattern.to_owned())) }
}

fn matches(pattern: &str, plain: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => plain.starts_with(start),
        None => plain == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(refused: &Refused, name: &str) -> bool {
        refused.contains(&plain(name.as_bytes()))
    }

    #[test]
    fn what_backends_believe_of_proxies_is_refused_however_it_is_spelt() {
        for name in [
            "remote-user",
            "Remote_User",
            "REMOTE_GROUPS",
            "remote.user",
            "X-WEBAUTH-USER",
            "x_webauth_role",
            "X-SSL-Client-DN",
            "x_ssl_client_verify",
            "X-SSL-Cert",
            "SSL-Client-Verify",
            "cf-access-jwt-assertion",
            "Cf_Access_Authenticated_User_Email",
            "x-goog-authenticated-user-email",
            "X-Goog-IAP-JWT-Assertion",
            "x-ms-client-principal",
            "X_MS_CLIENT_PRINCIPAL_ID",
            "tailscale-user-login",
            "Tailscale_User_Name",
            "x-amzn-oidc-data",
            "x-amzn-mtls-clientcert",
            "x-envoy-internal",
            "Fly-Client-IP",
            "x-original-method",
            "X-Original-URL",
            "X-HTTP-Method-Override",
            "x_http_method",
            "X-Method-Override",
            "x-remote-group",
            "x-auth-request-email",
            "X-Authentik-Username",
            "x-consumer-username",
            "client-cert-chain",
            "iv-user",
            "SM_USER",
            "OIDC_CLAIM_sub",
            "x-middleware-subrequest",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "Forwarded_For",
            "Disguised-Host",
            "x-userinfo",
            "X-Token-User-Email",
            "X_Replit_User_Id",
            "Sf-Context-Current-User",
            "x-sendfile-type",
            "x-real-port",
        ] {
            assert!(is_refused(&Refused::default(), name), "{name}");
        }
    }

    #[test]
    fn what_pages_say_of_themselves_goes_through() {
        for name in [
            "accept",
            "authorization",
            "cookie",
            "content-type",
            "range",
            "if-none-match",
            "x-requested-with",
            "x-csrf-token",
            "x-xsrf-token",
            "x-auth-token",
            "x-token",
            "x-api-key",
            "x-amz-date",
            "idempotency-key",
            "x-request-id",
            "traceparent",
            "sec-fetch-site",
            "x-inertia",
            "x-nextjs-data",
            "hx-request",
            "remotely",
            "cfx",
        ] {
            assert!(!is_refused(&Refused::default(), name), "{name}");
        }
    }

    #[test]
    fn the_owner_adds_to_the_list_and_takes_from_it() {
        let mut refused = Refused::default();
        refused.refuse("X_Tenant").expect("a name");
        refused.refuse("x-app-*").expect("a family");
        refused.allow("X-HTTP-Method-Override").expect("a name");
        refused.allow("x_goog_*").expect("a family");
        for (name, is) in [
            ("x-tenant", true),
            ("X_TENANT", true),
            ("x-tenants", false),
            ("x-app-user", true),
            ("x-app", false),
            ("x-http-method-override", false),
            ("X_HTTP_METHOD_OVERRIDE", false),
            ("x-method-override", true),
            ("x-goog-authenticated-user-id", false),
        ] {
            assert_eq!(is_refused(&refused, name), is, "{name}");
        }
        // What was refused by name is not allowed by a family.
        refused.allow("x-*").expect("a family");
        assert!(is_refused(&refused, "x-tenant") && !is_refused(&refused, "x-real-ip"));
    }

    #[test]
    fn this_servers_own_words_stay_its_own() {
        let mut refused = Refused::default();
        for own in [
            "duologue-device",
            "Duologue_Level",
            "duologue-*",
            "duo*",
            "d*",
            "host",
            "content-length",
            "h*",
            "content-*",
        ] {
            assert!(matches!(refused.allow(own), Err(NoPattern::Own(_))), "{own}");
        }
        for bad in ["", "*", "a b", "x:y", "é", "x-*-y", "a\r\n"] {
            assert!(matches!(refused.refuse(bad), Err(NoPattern::Unreadable(_))), "{bad}");
        }
        assert!(is_refused(&refused, "duologue-device"));
    }

    #[test]
    fn each_row_is_a_pattern_as_it_is_compared_and_says_who_believes_it() {
        for (pattern, who) in TRUSTED {
            assert_eq!(read(pattern).as_deref(), Ok(pattern));
            assert!(!who.is_empty());
        }
    }
}
