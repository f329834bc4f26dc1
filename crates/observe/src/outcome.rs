//! How a request ended, in one word for the access line, the usage line, metrics and audit.

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RequestOutcome {
    /// Answered to the end.
    Served,
    /// We said no.
    Refused,
    /// The upstream could not be reached, broke the protocol, or answered with an error of its own.
    UpstreamError,
    /// A deadline passed.
    Timeout,
    /// The answer began and could not be finished.
    Cut,
    /// The caller went away.
    CallerGone,
    /// Our own fault.
    Error,
}

impl RequestOutcome {
    /// Every outcome, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Served,
        Self::Refused,
        Self::UpstreamError,
        Self::Timeout,
        Self::Cut,
        Self::CallerGone,
        Self::Error,
    ];

    /// The word in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::CallerGone => "caller_gone",
            Self::Error => "error",
        }
    }
}
