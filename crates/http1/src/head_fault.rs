//! Why a request head is refused, under the names that metrics and audit use.

use crate::field_lines::LineFault;

/// A head that is refused. The connection closes after the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("request head refused: {kind}")]
pub struct HeadRefusal {
    /// Why.
    pub kind: HeadFault,
}

impl HeadRefusal {
    /// The name of the reason in metrics and audit.
    pub const fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

/// Why a head is refused. The first fault in the order of the bytes is told, then version,
/// method, authority and target form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadFault {
    /// 400: the request line is malformed, or more than one empty line precedes it.
    #[error("malformed request line")]
    StartLine,
    /// 400: a CR without LF or an LF without CR.
    #[error("a line does not end with CRLF")]
    LineEnding,
    /// 400: a field has no name, no colon, or a byte in its name that names do not have.
    #[error("malformed field name")]
    FieldName,
    /// 400: a field value holds a control byte.
    #[error("control byte in a field value")]
    FieldValue,
    /// 400: a field goes on in the next line.
    #[error("folded field line")]
    ObsFold,
    /// 400: a name with an underscore stands for a field that must not be spelled so.
    #[error("reserved field name spelled with an underscore")]
    Underscore,
    /// 400: a single-valued field was sent twice or as a list.
    #[error("single-valued field sent twice or as a list")]
    Duplicate,
    /// 400: the content length is no plain number.
    #[error("malformed content length")]
    ContentLength,
    /// 400: a transfer coding other than `chunked`, or any under HTTP/1.0.
    #[error("transfer coding not understood")]
    TransferEncoding,
    /// 400: content length and transfer coding together.
    #[error("content length and transfer coding together")]
    BothLengths,
    /// 400: `Host` is missing or malformed.
    #[error("missing or malformed host")]
    Host,
    /// 400: the target's authority is not that of `Host`.
    #[error("target and host disagree")]
    Authority,
    /// 400: a form of target that is not served.
    #[error("target form not served")]
    Target,
    /// 400: `Connection` holds what is no option, or names a field that must stay.
    #[error("malformed or harmful connection option")]
    Connection,
    /// 414.
    #[error("target too long")]
    TargetTooLong,
    /// 431: too many fields, too long a line, or too long a head.
    #[error("head too large")]
    HeadersTooLarge,
    /// 505.
    #[error("protocol version not supported")]
    VersionUnsupported,
    /// 405: CONNECT, TRACE, TRACK.
    #[error("method never allowed")]
    MethodNotAllowed,
    /// 501.
    #[error("method not known")]
    MethodUnknown,
}

impl HeadFault {
    /// The name of the reason in metrics and audit.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::StartLine => "start_line",
            Self::LineEnding => "line_ending",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::ObsFold => "obs_fold",
            Self::Underscore => "underscore",
            Self::Duplicate => "duplicate",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::BothLengths => "both_lengths",
            Self::Host => "host",
            Self::Authority => "authority",
            Self::Target => "target",
            Self::Connection => "connection",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::VersionUnsupported => "version_unsupported",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MethodUnknown => "method_unknown",
        }
    }
}

impl From<LineFault> for HeadFault {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::Ending => Self::LineEnding,
            LineFault::Name => Self::FieldName,
            LineFault::Value => Self::FieldValue,
            LineFault::Fold => Self::ObsFold,
            LineFault::TooLarge => Self::HeadersTooLarge,
        }
    }
}
