//! Limits of kinds of requests to the management API.

use super::{DAY_MS, Rate};
use crate::field::{KindExt, section};
use crate::kind::{duration, whole};
use crate::reader::keys;
use std::time::Duration;

/// How often something may be tried that guesses, or that calls somebody else (EDGE-85).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StrictRate {
    /// By one address.
    pub address: Rate,
    /// By all together.
    pub all: Rate,
}

const MINUTE: Duration = Duration::from_secs(60);

keys! {
    /// Limits of kinds of requests.
    pub(crate) struct RateClassesFile {
        strict: StrictFile = section(),
    }
}

keys! {
    /// How often one address (IPv6: its /64) may try to sign in to management, prove it again, or
    /// have a credential tested. The local socket is exempt.
    pub(crate) struct StrictFile {
        /// Requests in a window once the burst is used. Few: it is people who sign in.
        requests: u64 = whole(1..=1_000_000_000).or(5),
        /// The window.
        window: Duration = duration(1_000..=DAY_MS).or(MINUTE),
        /// Requests at once. Default: `requests`.
        burst: Option<u64> = whole(1..=1_000_000_000).optional(),
        global: StrictAllFile = section(),
    }
}

keys! {
    /// How often all addresses together may.
    pub(crate) struct StrictAllFile {
        /// Requests in a window once the burst is used.
        requests: u64 = whole(1..=1_000_000_000).or(60),
        /// The window.
        window: Duration = duration(1_000..=DAY_MS).or(MINUTE),
        /// Requests at once. Default: `requests`.
        burst: Option<u64> = whole(1..=1_000_000_000).optional(),
    }
}

impl RateClassesFile {
    pub(super) fn strict(&self) -> StrictRate {
        let rate = |requests: u64, window, burst: Option<u64>| Rate {
            requests,
            window,
            burst: burst.unwrap_or(requests),
        };
        let (own, all) = (&self.strict, &self.strict.global);
        StrictRate {
            address: rate(own.requests, own.window, own.burst),
            all: rate(all.requests, all.window, all.burst),
        }
    }
}
