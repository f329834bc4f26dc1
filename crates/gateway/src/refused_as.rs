//! What a refusal is to those who count and record: its sort, and how the request ended.

use crate::record::RefusedAs;
use crate::refusal::{CountedBy, OriginRule, Refusal};
use tollkeep_http1::{HeadFault, HeadRefusal};
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::permission::BindingRefusal;

impl Refusal {
    /// What sort of no it is, for audit and metrics.
    pub(crate) fn refused_as(&self) -> RefusedAs {
        if let Self::Unauthenticated(failure) = self {
            return RefusedAs::Authn(*failure);
        }
        if let Self::Forbidden(reason) = self {
            return RefusedAs::Denied(reason);
        }
        if matches!(self, Self::ClearText) {
            return RefusedAs::Rejected("clear_text");
        }
        if let Self::TokenBinding(reason) = self {
            return RefusedAs::Binding(reason);
        }
        if let Self::Policy(refused) = self {
            return RefusedAs::Binding(refused.label());
        }
        if let Self::BadRequest(reason) = self {
            return RefusedAs::Rejected(reason);
        }
        if let Self::RateLimited(limited) = self {
            return RefusedAs::RateLimit(limited.class.name(), limited.by);
        }
        if matches!(self, Self::Payment(_)) {
            return RefusedAs::Unpaid;
        }
        if matches!(self, Self::Loop) {
            return RefusedAs::Violation("loop");
        }
        if matches!(self, Self::FrontDoor) {
            return RefusedAs::Violation("front_door");
        }
        if let Self::EgressRefused(reason) = self {
            return RefusedAs::Egress(reason.label());
        }
        if let Self::OriginRequired(rule) = self {
            return match rule {
                OriginRule::Token => RefusedAs::Binding(BindingRefusal::OriginMissing.label()),
                OriginRule::Route | OriginRule::Preflight(_) => {
                    RefusedAs::Rejected(self.public().code)
                }
            };
        }
        if let Self::OriginNotAllowed(rule) = self {
            return match rule {
                OriginRule::Token => RefusedAs::Binding(BindingRefusal::Origin.label()),
                OriginRule::Route => RefusedAs::Rejected(self.public().code),
                OriginRule::Preflight(refused) => RefusedAs::Rejected(refused.label()),
            };
        }
        if matches!(self, Self::ConnectionLimit | Self::LockedOut) {
            return RefusedAs::RateLimit("ip", CountedBy::Address);
        }
        if self.is_of_form() {
            RefusedAs::Rejected(self.public().code)
        } else {
            RefusedAs::Other
        }
    }

    /// Whether it is about how the request is written.
    const fn is_of_form(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge
                | Self::TargetTooLong
                | Self::HeadersTooLarge
                | Self::BadContentType
                | Self::UnsupportedEncoding
                | Self::SigningBodyNotText
                | Self::ExpectationFailed
                | Self::Misdirected
                | Self::MethodUnknown
                | Self::VersionUnsupported
                | Self::MethodNotAllowed { closes: true, .. }
                // Whoever shows a replaced token again may have found it somewhere.
                | Self::TokenRotated
                | Self::LineageOver
                | Self::NotSelfRotating
        )
    }

    /// How the request ended with this refusal.
    pub(crate) fn outcome(&self) -> RequestOutcome {
        if matches!(self, Self::Timeout) {
            return RequestOutcome::Timeout;
        }
        if matches!(self, Self::Internal) {
            return RequestOutcome::Error;
        }
        let of_upstream = matches!(
            self,
            Self::UpstreamError(_)
                | Self::UpstreamProtocol(_)
                | Self::UpstreamInterrupted
                | Self::UpstreamDns(_)
                | Self::UpstreamRedirect
                | Self::ProxyUnavailable(_)
                | Self::ProxyRefused(_)
                | Self::UpstreamAuth(_)
                | Self::UpstreamModelMissing
                | Self::UpstreamOverloaded
                | Self::ModelCooldown { .. }
                | Self::ResponseTooLarge
                | Self::UpstreamPaymentRequired
        );
        if of_upstream {
            RequestOutcome::UpstreamError
        } else {
            RequestOutcome::Refused
        }
    }

    /// Whether the upstream failed, if the refusal says anything about that: what it answered
    /// properly is no failure, and what we refused ourselves is not its doing.
    pub(crate) fn upstream_failed(&self) -> Option<bool> {
        let failed = matches!(
            self,
            Self::Timeout
                | Self::UpstreamError(_)
                | Self::UpstreamProtocol(_)
                | Self::UpstreamInterrupted
                | Self::UpstreamDns(_)
                | Self::UpstreamOverloaded
                | Self::ResponseTooLarge
                // The proxy works, and could not reach it.
                | Self::ProxyRefused(500..)
        );
        let answered = matches!(
            self,
            Self::UpstreamRedirect
                | Self::UpstreamAuth(_)
                | Self::UpstreamModelMissing
                | Self::ModelCooldown { .. }
                | Self::UpstreamPaymentRequired
        );
        (failed || answered).then_some(failed)
    }

    /// The refusal of a head that the codec did not accept.
    pub(crate) fn of_head(refused: HeadRefusal) -> Self {
        match refused.kind {
            HeadFault::TargetTooLong => Self::TargetTooLong,
            HeadFault::HeadersTooLarge => Self::HeadersTooLarge,
            HeadFault::VersionUnsupported => Self::VersionUnsupported,
            HeadFault::MethodNotAllowed => Self::MethodNotAllowed {
                allow: Box::from(""),
                closes: true,
            },
            HeadFault::MethodUnknown => Self::MethodUnknown,
            HeadFault::StartLine
            | HeadFault::LineEnding
            | HeadFault::FieldName
            | HeadFault::FieldValue
            | HeadFault::ObsFold
            | HeadFault::Underscore
            | HeadFault::Duplicate
            | HeadFault::ContentLength
            | HeadFault::TransferEncoding
            | HeadFault::BothLengths
            | HeadFault::Host
            | HeadFault::Authority
            | HeadFault::Target
            | HeadFault::Connection => Self::BadRequest(refused.reason()),
        }
    }
}
