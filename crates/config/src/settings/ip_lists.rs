//! Who may come at all: the allow and deny lists of a listener (EDGE-65).

use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{denied_network, list, network, switch};
use crate::reader::keys;
use ipnet::IpNet;
use tollkeep_policy::ip_list::{Allow, IpLists, IpSet};

keys! {
    /// Addresses that may come; deny lists beat it.
    pub(crate) struct AllowFile {
        /// Whether the list is in force; off when nothing is written.
        enabled: Option<bool> = switch().optional(),
        /// The addresses.
        allowed_ips: Vec<IpNet> = list(network()).or_empty(),
        /// Whether everybody else is refused. `false` only takes these addresses out of the limit
        /// by address.
        deny_all: bool = switch().or(true),
    }
}

keys! {
    /// Addresses that may not come, whatever an allow list says.
    pub(crate) struct DenyFile {
        /// Whether the list is in force; off when nothing is written. Entries made while the
        /// gateway runs hold either way.
        enabled: Option<bool> = switch().optional(),
        /// The addresses.
        denied_ips: Vec<IpNet> = list(denied_network()).or_empty(),
    }
}

/// The lists of the section at `security`.
pub(super) fn check(
    allow: AllowFile,
    deny: DenyFile,
    security: &str,
    checks: &mut Checks<'_>,
) -> IpLists {
    let key = format!("{security}.ip_denylist");
    let denied = is_on(deny.enabled, &deny.denied_ips, &key, checks);
    let key = format!("{security}.ip_allowlist");
    let allowed = is_on(allow.enabled, &allow.allowed_ips, &key, checks);
    if allowed && allow.deny_all && allow.allowed_ips.is_empty() {
        let problem = "is enabled with nobody in `allowed_ips`: everybody would be refused";
        checks.error(&key, problem);
    }
    IpLists {
        deny: IpSet::new(deny.denied_ips.into_iter().filter(|_| denied)),
        allow: match (allowed, allow.deny_all) {
            (false, _) => Allow::Everybody,
            (true, true) => Allow::Only(IpSet::new(allow.allowed_ips)),
            (true, false) => Allow::Exempt(IpSet::new(allow.allowed_ips)),
        },
    }
}

/// A list that is written without its switch looks as if it guarded something.
fn is_on(enabled: Option<bool>, listed: &[IpNet], key: &str, checks: &mut Checks<'_>) -> bool {
    if enabled.is_none() && !listed.is_empty() {
        let problem = "lists addresses and does not say `enabled`: write `enabled: true`, or \
                       `false` to keep the list for later";
        checks.error(key, problem);
    }
    enabled == Some(true)
}
