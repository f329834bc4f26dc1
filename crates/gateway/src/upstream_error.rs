//! What a provider's error becomes for the caller: relayed where it tells the caller something,
//! replaced where it would tell of our account.

use crate::refusal::Refusal;
use std::time::Duration;
use tollkeep_llm::failure::Failure;

/// Longest wait that is passed on.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What to do with an error answer of a provider.
#[derive(Debug)]
pub(crate) enum ErrorFate {
    /// The caller's own doing: the body is passed on.
    Relay,
    /// Told in our words.
    Replace(Refusal),
}

/// What becomes of an error answer: by what it says where that is about our account, else by its
/// status (llm-routing, first table).
pub(crate) fn fate(status: u16, failure: Failure, told: Option<Duration>) -> ErrorFate {
    match failure {
        Failure::Auth | Failure::Billing => {
            return ErrorFate::Replace(Refusal::UpstreamAuth(status));
        }
        Failure::Quota | Failure::RateLimit => {
            return ErrorFate::Replace(Refusal::ModelCooldown {
                retry_after: wait(told),
            });
        }
        Failure::Timeout
        | Failure::Transient
        | Failure::Overload
        | Failure::ModelMissing
        | Failure::ContextOverflow
        | Failure::Policy
        | Failure::BadRequest
        | Failure::Resource
        | Failure::Challenge => {}
    }
    match status {
        _ if failure == Failure::Challenge => {
            ErrorFate::Replace(Refusal::UpstreamError("wants to see a browser".to_owned()))
        }
        401..=403 => ErrorFate::Replace(Refusal::UpstreamAuth(status)),
        404 => ErrorFate::Replace(Refusal::UpstreamModelMissing),
        408 | 504 => ErrorFate::Replace(Refusal::Timeout),
        429 => ErrorFate::Replace(Refusal::ModelCooldown {
            retry_after: wait(told),
        }),
        503 | 529 => ErrorFate::Replace(Refusal::UpstreamOverloaded),
        400..=499 => ErrorFate::Relay,
        _ => ErrorFate::Replace(Refusal::UpstreamError(format!("status {status}"))),
    }
}

/// Whole seconds; nothing that was told counts as one.
fn wait(told: Option<Duration>) -> Duration {
    let seconds = told.map_or(1, |told| {
        told.as_secs() + u64::from(told.subsec_nanos() > 0)
    });
    Duration::from_secs(seconds.max(1)).min(RETRY_AFTER_MAX)
}

/// Replaces every occurrence of `secret` in `body`.
pub(crate) fn redact(body: &[u8], secret: &str) -> Option<Vec<u8>> {
    if secret.is_empty() || memchr::memmem::find(body, secret.as_bytes()).is_none() {
        return None;
    }
    let mut clean = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memmem::find(rest, secret.as_bytes()) {
        clean.extend_from_slice(rest.get(..at).unwrap_or_default());
        clean.extend_from_slice(b"[redacted]");
        rest = rest.get(at + secret.len()..).unwrap_or_default();
    }
    clean.extend_from_slice(rest);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_llm::failure::{of_answer, told_wait};

    // LLM-60
    #[test]
    fn errors_about_the_call_are_relayed_and_those_about_us_are_not() {
        for (status, code) in [
            (400, None),
            (401, Some("upstream_auth")),
            (402, Some("upstream_auth")),
            (403, Some("upstream_auth")),
            (404, Some("model_not_found")),
            (413, None),
            (422, None),
            (429, Some("model_cooldown")),
            (500, Some("upstream_error")),
            (503, Some("overloaded")),
            (504, Some("timeout")),
            (529, Some("overloaded")),
        ] {
            let failure = of_answer(status, false, b"");
            let got = match fate(status, failure, None) {
                ErrorFate::Relay => None,
                ErrorFate::Replace(refusal) => Some(refusal.public().code),
            };
            assert_eq!(got, code, "{status}");
        }
    }

    // LLM-62
    #[test]
    fn waits_are_whole_seconds_within_an_hour() {
        for (value, seconds) in [
            (None, 1),
            (Some("0"), 1),
            (Some("0.25"), 1),
            (Some("20"), 20),
            (Some("20.5"), 21),
            (Some("1555200"), 3600),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), 1),
            (Some("-5"), 1),
        ] {
            let field = |name: &str| (name == "retry-after").then_some(value?.as_bytes());
            let told = told_wait(field, b"");
            assert_eq!(wait(told), Duration::from_secs(seconds), "{value:?}");
        }
    }

    #[test]
    fn a_credential_in_a_body_is_redacted_wherever_it_stands() {
        let clean = redact(b"sk-a and sk-a", "sk-a").unwrap();
        assert_eq!(clean, b"[redacted] and [redacted]");
        assert!(redact(b"nothing", "sk-a").is_none());
    }
}
