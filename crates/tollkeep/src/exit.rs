//! Exit codes: the same for every command.

/// Done.
pub(crate) const DONE: i32 = 0;
/// Unexpected.
pub(crate) const UNEXPECTED: i32 = 1;
/// Invalid configuration or input.
pub(crate) const INVALID: i32 = 3;
/// Not found.
pub(crate) const NOT_FOUND: i32 = 4;
/// Not permitted, or locked out.
pub(crate) const NOT_PERMITTED: i32 = 5;
/// In conflict with what is there.
pub(crate) const CONFLICT: i32 = 6;
/// Unreachable, too slow, or unavailable.
pub(crate) const UNREACHABLE: i32 = 7;
/// A certificate ends within a day.
pub(crate) const EXPIRING: i32 = 8;

/// A check found problems.
pub(crate) const CHECK_FAILED: i32 = 8;

/// An error that ends the process with a certain code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failed {
    /// The exit code.
    pub(crate) code: i32,
    /// What to tell.
    pub(crate) message: String,
}

impl Failed {
    /// An error with its code.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The exit code of an error: its own, or "unexpected".
pub(crate) fn code_of(error: &anyhow::Error) -> i32 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failed>())
        .map_or(UNEXPECTED, |failed| failed.code)
}
