//! Refusals of those who sign in, and of sessions.

use super::Problem;
use axum::http::StatusCode;

impl Problem {
    /// One text for all reasons why nobody was signed in.
    pub(crate) fn not_signed_in() -> Self {
        let detail = "These credentials were not accepted.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The password was right.
    pub(crate) fn code_required() -> Self {
        let detail = "Send `code` too: a one-time code of your device, or a recovery code.";
        Self::new(StatusCode::UNAUTHORIZED, "code_required", detail)
    }

    pub(crate) fn wrong_code() -> Self {
        let detail = "The device's code is another one now: look at its clock.";
        Self::new(StatusCode::FORBIDDEN, "wrong_code", detail)
    }

    /// Of somebody who is signed in and changes their own.
    pub(crate) fn wrong_password() -> Self {
        let detail = "The password before is another one.";
        Self::new(StatusCode::FORBIDDEN, "wrong_password", detail)
    }

    pub(crate) fn provider_unavailable() -> Self {
        let detail = "The identity provider can't be reached, or does not answer as it should.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "provider_unavailable",
            detail,
        )
    }

    pub(crate) fn overloaded() -> Self {
        let detail = "Too many passwords are being checked: try again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    pub(crate) fn csrf() -> Self {
        let detail = "A change by a session needs `Origin` or `Sec-Fetch-Site` of this origin, and \
            `X-Tollkeep-CSRF`, or `_csrf` in its body, with the session's `csrf`.";
        Self::new(StatusCode::FORBIDDEN, "csrf", detail)
    }

    pub(crate) fn proof_required(how: &str) -> Self {
        let detail = format!("This needs a proof that it is still you: {how}");
        Self::new(StatusCode::FORBIDDEN, "proof_required", detail)
    }

    pub(crate) fn tls_required() -> Self {
        let detail = "Nobody signs in in clear text from elsewhere: set `management.tls`, or let a \
            trusted proxy with TLS say `X-Forwarded-Proto: https`.";
        Self::new(StatusCode::FORBIDDEN, "tls_required", detail)
    }
}
