//! Why the emulated vendor says no. Each vendor has its own words for these, in its own module.

/// A reason for an error answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The body is not a JSON object; the text says where.
    NotJson(String),
    /// A member that must be there is not.
    Missing(&'static str),
    /// A member has a value this vendor does not take.
    Unfit {
        /// Name of the member.
        param: &'static str,
        /// What it should have been.
        want: &'static str,
    },
    /// No model of that name for that purpose.
    UnknownModel(String),
    /// No such path.
    UnknownPath(String),
    /// The path exists with the method named here.
    MethodNotAllowed(&'static str),
    /// The body is larger than [`crate::BODY_BYTES_MAX`].
    TooLarge,
    /// The Anthropic API wants its version header on every call.
    NoVersion,
    /// The text has a steering directive that cannot be followed; the text says why.
    Steering(String),
    /// The call asked to be refused.
    Asked {
        /// HTTP status, 400 to 599.
        status: u16,
        /// The vendor's error code, else the usual one of that status.
        code: Option<String>,
        /// Value of `retry-after` in seconds.
        retry_after_s: Option<u32>,
    },
    /// The call asked to fail in the middle.
    Interrupted {
        /// The vendor's error code, else the usual one.
        code: Option<String>,
    },
}

/// What a fault says in one vendor's words.
pub(crate) struct Wording {
    /// HTTP status.
    pub(crate) status: u16,
    /// `error.type`.
    pub(crate) kind: String,
    /// `error.code`, where the vendor has one.
    pub(crate) code: Option<String>,
    /// `error.param`, where the vendor has one.
    pub(crate) param: Option<&'static str>,
    /// `error.message`.
    pub(crate) message: String,
}

impl Fault {
    /// Header fields that go with this fault, whichever vendor.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::MethodNotAllowed(allow) => vec![("allow", (*allow).to_owned())],
            Self::Asked {
                retry_after_s: Some(seconds),
                ..
            } => {
                vec![("retry-after", seconds.to_string())]
            }
            Self::NotJson(_)
            | Self::Missing(_)
            | Self::Unfit { .. }
            | Self::UnknownModel(_)
            | Self::UnknownPath(_)
            | Self::TooLarge
            | Self::NoVersion
            | Self::Steering(_)
            | Self::Asked { .. }
            | Self::Interrupted { .. } => Vec::new(),
        }
    }
}
