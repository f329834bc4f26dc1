//! What a served caller is told of its limits: standard fields, and those that official SDKs and
//! older clients read.
//!
//! Figures of an address and of all callers together are never among them.

use crate::grant::{Limits, Told};
use crate::refusal::LimitClass;
use tollkeep_counters::Claim;
use tollkeep_http1::write;
use tollkeep_llm::Dialect;
use tollkeep_policy::rate::{Quota, RateClass, write_go_duration};
use tollkeep_policy::token_rate::TokenQuota;
use tollkeep_types::{MonoNanos, WallMillis};

const SECOND_MS: u64 = 1_000;
const MILLI_NS: u64 = 1_000_000;

/// The policy a worker told last, and its text: most callers are told of the same one.
#[derive(Default)]
pub(crate) struct ToldPolicy {
    of: Option<(Quota, RateClass)>,
    text: Vec<u8>,
}

impl ToldPolicy {
    fn write(&mut self, out: &mut Vec<u8>, quota: &Quota, class: RateClass) {
        if self.of != Some((*quota, class)) {
            self.text.clear();
            quota.write_policy(&mut self.text, class);
            self.of = Some((*quota, class));
        }
        out.extend_from_slice(&self.text);
    }
}

/// Writes what is left of limits that passed, in their order, as field lines of the answer.
pub(crate) fn write(
    out: &mut Vec<u8>,
    policy: &mut ToldPolicy,
    passed: &Limits<'_>,
    now: MonoNanos,
) {
    let mut before: &[u8] = b"ratelimit-policy: ";
    for (claim, told) in passed.each() {
        out.extend_from_slice(before);
        policy.write(out, claim.quota(), told.class.rate());
        before = b", ";
    }
    before = b"\r\nratelimit: ";
    for (claim, told) in passed.each() {
        out.extend_from_slice(before);
        let (quota, tat) = (claim.quota(), claim.tat());
        quota.write_state(out, told.class.rate(), tat, now);
        before = b", ";
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes `X-RateLimit-*` of the tightest limit; its reset is a Unix time, rounded up.
pub(crate) fn write_old(out: &mut Vec<u8>, passed: &Limits<'_>, now: MonoNanos, wall: WallMillis) {
    let Some((claim, told)) = passed.each().next() else {
        return;
    };
    let reset_s = reset_at(claim, now, wall).0.div_ceil(SECOND_MS);
    for (name, value) in [
        (&b"x-ratelimit-limit: "[..], told.requests),
        (b"x-ratelimit-remaining: ", left(claim, now)),
        (b"x-ratelimit-reset: ", reset_s),
    ] {
        number(out, name, value);
    }
}

/// Writes what is left of the caller's own tightest limit as its SDK expects it.
pub(crate) fn write_own(
    out: &mut Vec<u8>,
    dialect: Dialect,
    passed: &Limits<'_>,
    now: MonoNanos,
    wall: WallMillis,
) {
    let own = |(_, told): &(&Claim<'_>, &Told)| told.class == LimitClass::Token;
    let Some((claim, told)) = passed.each().find(own) else {
        return;
    };
    match dialect {
        Dialect::Chat | Dialect::Responses => {
            number(out, b"x-ratelimit-limit-requests: ", told.requests);
            number(out, b"x-ratelimit-remaining-requests: ", left(claim, now));
            out.extend_from_slice(b"x-ratelimit-reset-requests: ");
            write_go_duration(out, claim.quota().reset_ns(claim.tat(), now));
            out.extend_from_slice(b"\r\n");
        }
        Dialect::Anthropic => {
            number(out, b"anthropic-ratelimit-requests-limit: ", told.requests);
            let left = left(claim, now);
            number(out, b"anthropic-ratelimit-requests-remaining: ", left);
            out.extend_from_slice(b"anthropic-ratelimit-requests-reset: ");
            out.extend_from_slice(&reset_at(claim, now, wall).rfc3339_millis());
            out.extend_from_slice(b"\r\n");
        }
        Dialect::Gemini | Dialect::Plain => {}
    }
}

/// Writes what is left of the caller's own limit of tokens, as its SDK expects it.
pub(crate) fn write_tokens(
    out: &mut Vec<u8>,
    dialect: Dialect,
    (quota, tat): (&TokenQuota, u64),
    (now, wall): (MonoNanos, WallMillis),
) {
    let (limit, left) = (quota.tokens(), quota.remaining(tat, now));
    let reset_ns = quota.reset_ns(tat, now);
    match dialect {
        Dialect::Chat | Dialect::Responses => {
            number(out, b"x-ratelimit-limit-tokens: ", limit);
            number(out, b"x-ratelimit-remaining-tokens: ", left);
            out.extend_from_slice(b"x-ratelimit-reset-tokens: ");
            write_go_duration(out, reset_ns);
            out.extend_from_slice(b"\r\n");
        }
        Dialect::Anthropic => {
            number(out, b"anthropic-ratelimit-tokens-limit: ", limit);
            number(out, b"anthropic-ratelimit-tokens-remaining: ", left);
            out.extend_from_slice(b"anthropic-ratelimit-tokens-reset: ");
            let reset_ms = reset_ns.div_ceil(MILLI_NS);
            let reset = WallMillis(wall.0.saturating_add(reset_ms));
            out.extend_from_slice(&reset.rfc3339_millis());
            out.extend_from_slice(b"\r\n");
        }
        Dialect::Gemini | Dialect::Plain => {}
    }
}

fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    write::number(out, value);
    out.extend_from_slice(b"\r\n");
}

fn left(claim: &Claim<'_>, now: MonoNanos) -> u64 {
    claim.quota().remaining(claim.tat(), now)
}

/// When the whole burst is there again.
fn reset_at(claim: &Claim<'_>, now: MonoNanos, wall: WallMillis) -> WallMillis {
    let wait_ms = claim.quota().reset_ns(claim.tat(), now).div_ceil(MILLI_NS);
    WallMillis(wall.0.saturating_add(wait_ms))
}
