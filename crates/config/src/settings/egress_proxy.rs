//! The proxy that public destinations are reached through.

use super::egress::operator_url;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{maybe, path, proxy_url};
use crate::reader::keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;
use tollkeep_policy::egress::{EgressPolicy, EgressReason, EgressUrl, Exceptions, Host, Purpose};
use tollkeep_types::Secret;

const URL: &str = "egress.proxy.url";

/// A proxy that opens tunnels (CONNECT).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it is.
    pub url: EgressUrl,
    /// The value of `Proxy-Authorization`, where it wants one.
    pub authorization: Option<Secret>,
    /// The only root certificates that count for it, PEM; `None` for those of `egress`.
    pub ca_file: Option<PathBuf>,
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let login = |proxy: &Self| {
            let value = proxy.authorization.as_ref();
            value.map(|value| value.expose().to_owned())
        };
        self.url == other.url && self.ca_file == other.ca_file && login(self) == login(other)
    }
}

impl Eq for Proxy {}

keys! {
    /// A proxy that opens tunnels (HTTP CONNECT). With one, everything on the public internet is
    /// reached through it, by address: names are resolved and judged here. What an `allow_private`
    /// lets in is called directly.
    pub(crate) struct ProxyFile {
        /// Where it is: `http://proxy.example:3128` or `https://…`, a login as
        /// `http://user:password@…` with `%` for what is no plain character. Empty: none.
        url: Option<Secret> = maybe(proxy_url()).or(None),
        /// PEM file with the only root certificates that count for a proxy of `https`. Empty:
        /// those of `egress.roots` and `egress.ca_file`.
        ca_file: Option<PathBuf> = maybe(path()).or(None),
    }
}

impl ProxyFile {
    pub(super) fn check(self, policy: &EgressPolicy, checks: &mut Checks<'_>) -> Option<Proxy> {
        const CA_FILE: &str = "egress.proxy.ca_file";
        let Some(text) = self.url else {
            if self.ca_file.is_some() {
                checks.error(CA_FILE, "has no effect without `egress.proxy.url`");
            }
            return None;
        };
        let read = read(text.expose()).and_then(|read| {
            judge(policy, &read.0)?;
            Ok(read)
        });
        let (url, authorization) = match read {
            Ok(read) => read,
            Err(problem) => {
                checks.error(URL, problem);
                return None;
            }
        };
        if !url.scheme().is_tls() {
            if self.ca_file.is_some() {
                checks.error(CA_FILE, "has no effect: the proxy's URL is not `https`");
            }
            if authorization.is_some() && !is_here(&url) {
                checks.warn(URL, "sends its login in clear text");
            }
        }
        Some(Proxy {
            url,
            authorization,
            ca_file: self.ca_file,
        })
    }
}

fn is_here(url: &EgressUrl) -> bool {
    match url.host() {
        Host::Name(name) => **name == *"localhost",
        Host::V4(ip) => ip.is_loopback(),
        Host::V6(ip) => ip.is_loopback(),
    }
}

fn judge(policy: &EgressPolicy, url: &EgressUrl) -> Result<(), String> {
    let judged = policy.to_proxy().admit(url, &Exceptions::of_proxy());
    judged.map_err(|refusal| match (refusal.reason(), url.port()) {
        (EgressReason::Port, port) if port != 0 => {
            format!("{refusal}; to use it, set `egress.allow_ports: [{port}]`")
        }
        _ => refusal.reason().rule().to_owned(),
    })
}

/// The URL without its login, and what the login is sent as. What is wrong is told without a part
/// of the text, since it may hold a password.
fn read(text: &str) -> Result<(EgressUrl, Option<Secret>), String> {
    const WANT: &str = "want `http://host:port` or `https://host:port`";
    let (scheme, rest) = text.split_once("://").ok_or(WANT)?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or(WANT)?;
    let (login, host) = match authority.split_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    if !matches!(rest, "" | "/") {
        return Err("has a path or more, which has no meaning here".to_owned());
    }
    let url = operator_url(&format!("{scheme}://{host}/"), Purpose::Proxy)?;
    Ok((url, login.map(basic).transpose()?))
}

/// Basic authentication (RFC 7617).
fn basic(login: &str) -> Result<Secret, String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text: &str| super::redis::percent_decoded(text);
    let (Some(user), Some(password)) = (decoded(user), decoded(password)) else {
        return Err("has a `%` in its login that encodes nothing".to_owned());
    };
    let unfit = |byte: &u8| byte.is_ascii_control();
    if user.is_empty() || user.contains(&b':') || user.iter().chain(&password).any(unfit) {
        return Err(
            "has a login that can't be sent: no user, or a colon or control byte".to_owned(),
        );
    }
    let login = [user.as_slice(), b":", &password].concat();
    Ok(Secret::new(format!("Basic {}", STANDARD.encode(login))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_the_url_and_nothing_else_may_be_in_it() {
        #[rustfmt::skip]
        let rows = [
            ("plain", "http://proxy.example:3128", Some(("http://proxy.example:3128/", None))),
            ("with a slash", "https://proxy.example/", Some(("https://proxy.example/", None))),
            ("a login", "http://Aladdin:open%20sesame@10.0.0.1:3128", Some(("http://10.0.0.1:3128/", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")))),
            ("a user alone", "http://u@proxy.example", Some(("http://proxy.example/", Some("Basic dTo=")))),
            ("six", "http://[::1]:3128", Some(("http://[::1]:3128/", None))),
            ("no scheme", "proxy.example:3128", None),
            ("socks", "socks5://proxy.example:1080", None),
            ("a path", "http://proxy.example/x", None),
            ("a query", "http://proxy.example?x", None),
            ("a fragment", "http://proxy.example#x", None),
            ("no host", "http://u:p@", None),
            ("no user", "http://:p@proxy.example", None),
            ("half an escape", "http://u:%2@proxy.example", None),
            ("an escaped colon", "http://u%3a:p@proxy.example", None),
            ("an escaped line break", "http://u:%0d%0a@proxy.example", None),
            ("two at signs", "http://u:p@q@proxy.example", None),
            ("a backslash", "http://u:p\\@proxy.example", None),
        ];
        for (name, text, want) in rows {
            let read = read(text);
            let told = read.as_ref().ok().map(|(url, login)| {
                let login = login.as_ref().map(|login| login.expose().to_owned());
                (url.to_string(), login)
            });
            let want = want.map(|(url, login)| (url.to_owned(), login.map(str::to_owned)));
            assert_eq!(told, want, "{name}: {read:?}");
        }
    }

    #[test]
    fn a_proxy_may_be_private_but_nothing_that_is_none() {
        let policy = EgressPolicy::default();
        for (text, want) in [
            ("http://10.0.0.1:3128", true),
            ("http://127.0.0.1:8080", true),
            ("http://proxy:3128", true),
            ("http://[fd00::1]:3128", true),
            ("https://proxy.example.com", true),
            ("http://169.254.169.254", false),
            ("http://0.0.0.0:3128", false),
            ("http://224.0.0.1:3128", false),
            ("http://[::ffff:10.0.0.1]:3128", false),
            ("http://proxy.example:25", false),
            ("http://proxy.example:0", false),
        ] {
            let (url, _) = read(text).unwrap();
            assert_eq!(judge(&policy, &url).is_ok(), want, "{text}");
        }
    }
}
