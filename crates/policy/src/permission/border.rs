//! Bindings as they come in: what the management API takes and what it says no to.

use super::bindings::Bindings;
use crate::client_ip::fold_net;
use crate::origin::is_origin;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Entries one binding may list, and values one header binding may.
const ENTRIES_MAX: usize = 256;
/// Bytes of one entry.
const ENTRY_BYTES_MAX: usize = 256;
/// The methods a route can have (EDGE-30).
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What is wrong with bindings as written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("bindings.{member}: {problem}")]
pub struct BindingsError {
    /// The member.
    pub member: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// A network of `bindings.ips`, or one address.
///
/// # Errors
/// It is neither, or has host bits set.
pub fn parse_network(text: &str) -> Result<IpNet, BindingsError> {
    let fault = |problem: String| BindingsError {
        member: "ips",
        problem,
    };
    let parsed = text
        .parse::<IpAddr>()
        .map(IpNet::from)
        .or_else(|_| text.parse::<IpNet>());
    let net = parsed.map_err(|_| {
        fault(format!(
            "`{text}` is not an address or network such as `10.1.2.0/24`"
        ))
    })?;
    if net.trunc() != net {
        return Err(fault(format!(
            "`{text}` has host bits set; the network is `{}`",
            net.trunc()
        )));
    }
    Ok(fold_net(net))
}

impl Bindings<'_> {
    /// Whether these may be stored. A list written empty can't be seen here: whether that was meant
    /// to allow everything or nothing, it would do the other to somebody, so the reader refuses it.
    ///
    /// # Errors
    /// The first member with an entry that could never match, or with too many.
    pub fn validate(&self) -> Result<(), BindingsError> {
        check_count("ips", self.ips.len())?;
        check_entries("origins", self.origins, |text| {
            if is_origin(text) {
                Ok(())
            } else {
                Err("is not an origin such as `https://app.example.com`")
            }
        })?;
        check_headers(self.headers)?;
        check_entries("methods", self.methods, |text| {
            if METHODS.contains(&text) {
                Ok(())
            } else {
                Err("is not a method that routes have")
            }
        })?;
        check_entries("routes", self.routes, |_| Ok(()))?;
        check_entries("models", self.models, |_| Ok(()))
    }
}

fn check_headers(headers: &BTreeMap<String, Vec<String>>) -> Result<(), BindingsError> {
    check_count("headers", headers.len())?;
    for (at, (name, allowed)) in headers.iter().enumerate() {
        let fault = |problem: &str| BindingsError {
            member: "headers",
            problem: format!("`{name}` {problem}"),
        };
        // A field with `_` in its name is dropped or refused before anything looks at it (EDGE-24).
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(fault("is not the name of a field"));
        }
        if headers
            .keys()
            .take(at)
            .any(|earlier| earlier.eq_ignore_ascii_case(name))
        {
            return Err(fault("is there twice"));
        }
        if allowed.is_empty() {
            return Err(fault("allows no value"));
        }
        check_entries("headers", allowed, |_| Ok(()))?;
    }
    Ok(())
}

fn check_entries(
    member: &'static str,
    entries: &[String],
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<(), BindingsError> {
    check_count(member, entries.len())?;
    for entry in entries {
        let fits =
            (1..=ENTRY_BYTES_MAX).contains(&entry.len()) && !entry.contains(char::is_control);
        if !fits {
            let problem = format!(
                "an entry is empty, longer than {ENTRY_BYTES_MAX} bytes, or holds control characters"
            );
            return Err(BindingsError { member, problem });
        }
        check(entry).map_err(|fault| BindingsError {
            member,
            problem: format!("`{entry}` {fault}"),
        })?;
    }
    Ok(())
}

fn check_count(member: &'static str, count: usize) -> Result<(), BindingsError> {
    if count <= ENTRIES_MAX {
        return Ok(());
    }
    Err(BindingsError {
        member,
        problem: format!("more than {ENTRIES_MAX} entries"),
    })
}
