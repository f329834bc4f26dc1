//! The hosts that may be called at all, where the operator lists them.

use super::url::{Giver, Host, Purpose, parse_url};
use std::fmt;
use std::str::FromStr;

/// A host, or all names below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostPattern {
    /// This one.
    Exact(Box<str>),
    /// Names that end with this, a dot before it.
    Below(Box<str>),
}

/// The text is no pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("want a host such as `api.example.com`, or `*.example.com` for all names below")]
pub struct HostPatternError;

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (zone, below) = match text.strip_prefix("*.") {
            Some(zone) => (zone, true),
            None => (text, false),
        };
        if zone.contains(['/', '?', '@', '*']) {
            return Err(HostPatternError);
        }
        // Read as the host of a URL is, so that both are written alike.
        let url = parse_url(
            &format!("http://{zone}/"),
            Purpose::Upstream,
            Giver::Operator,
        );
        let url = url.map_err(|_| HostPatternError)?;
        let host: Box<str> = url.host().to_string().into();
        if *url.authority() != *host {
            return Err(HostPatternError);
        }
        match (below, url.host()) {
            (false, _) => Ok(Self::Exact(host)),
            (true, Host::Name(_)) => Ok(Self::Below(host)),
            (true, Host::V4(_) | Host::V6(_)) => Err(HostPatternError),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(zone) => write!(f, "*.{zone}"),
        }
    }
}

/// What becomes of a host that is not listed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HostMode {
    /// It is not called.
    #[default]
    Enforce,
    /// It is called, and the operator is told.
    Report,
}

/// The hosts that may be called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostList {
    /// None: any host.
    pub patterns: Vec<HostPattern>,
    /// What becomes of others.
    pub mode: HostMode,
}

impl HostList {
    pub(super) fn lists(&self, host: &Host) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let host = host.to_string();
        self.patterns.iter().any(|pattern| match pattern {
            HostPattern::Exact(exact) => **exact == *host,
            HostPattern::Below(zone) => host
                .strip_suffix(&**zone)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_by_their_name_or_by_one_above() {
        for (name, pattern, host, want) in [
            ("itself", "api.example.com", "api.example.com", true),
            (
                "in another case",
                "API.Example.com",
                "api.example.com",
                true,
            ),
            ("another", "api.example.com", "apix.example.com", false),
            ("below", "api.example.com", "a.api.example.com", false),
            ("one label below", "*.example.com", "api.example.com", true),
            ("two labels below", "*.example.com", "a.b.example.com", true),
            ("the zone itself", "*.example.com", "example.com", false),
            ("a likeness", "*.example.com", "badexample.com", false),
            (
                "a longer name",
                "*.example.com",
                "example.com.bad.test",
                false,
            ),
            ("an address", "10.1.2.3", "10.1.2.3", true),
            ("in hex", "10.1.2.3", "0x0a010203", true),
            ("another address", "10.1.2.3", "10.1.2.4", false),
            ("six", "[2001:db8::1]", "[2001:db8:0::1]", true),
        ] {
            let url = parse_url(
                &format!("http://{host}/"),
                Purpose::Upstream,
                Giver::Operator,
            );
            let list = HostList {
                patterns: vec![pattern.parse().unwrap()],
                mode: HostMode::Enforce,
            };
            assert_eq!(list.lists(url.unwrap().host()), want, "{name}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_pattern() {
        for text in [
            "",
            "*",
            "*.",
            "*.10.1.2.3",
            "a.*.example.com",
            "example.com:443",
            "example.com/x",
            "https://example.com",
            "user@example.com",
            "two words",
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(HostPatternError), "{text}");
        }
    }
}
