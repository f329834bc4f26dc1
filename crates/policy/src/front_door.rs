//! The front door: a second factor that a client shows before its caller is identified.

mod certificates;

pub use certificates::{Certificates, WantedSubject};

use std::fmt;

/// Which of the configured factors must be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Require {
    /// One of them.
    Any,
    /// Every one.
    All,
}

/// A kind of factor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Factor {
    /// An id and a secret in two fields.
    ServiceToken,
    /// A signed token of an identity provider.
    Jwt,
    /// The certificate of the connection.
    Certificate,
}

/// What came of one factor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// Nothing of it is there.
    Absent,
    /// It is there and does not hold.
    Refused(&'static str),
    /// It holds.
    Passed,
}

/// Why a request does not come in. Callers are told none of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("front door: {factor} {why}")]
pub struct NotAdmitted {
    /// The factor that decided it.
    pub factor: Factor,
    /// What was wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceToken => "service token",
            Self::Jwt => "token",
            Self::Certificate => "certificate",
        })
    }
}

/// A path, or all paths below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DoorPath {
    path: String,
    /// It ends in `/*`: all below is meant.
    is_prefix: bool,
}

/// The text is neither a path nor a path with `/*` at its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("want a path such as `/health`, or `/v1/*` for all below")]
pub struct ParseDoorPathError;

impl std::str::FromStr for DoorPath {
    type Err = ParseDoorPathError;

    fn from_str(text: &str) -> Result<Self, ParseDoorPathError> {
        let (path, is_prefix) = match text.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            Some(_) => return Err(ParseDoorPathError),
            None => (text, false),
        };
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"*?#\\".contains(&byte);
        if !path.starts_with('/') || !path.bytes().all(fits) {
            return Err(ParseDoorPathError);
        }
        let path = path.to_owned();
        Ok(Self { path, is_prefix })
    }
}

impl fmt::Display for DoorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(f, "{}{star}", self.path)
    }
}

impl DoorPath {
    fn matches(&self, path: &str) -> bool {
        if self.is_prefix {
            path.starts_with(&self.path)
        } else {
            path == self.path
        }
    }

    /// `/v1` belongs to `/v1/*` where the door is shut, not where it is open.
    fn guards(&self, path: &str) -> bool {
        self.matches(path) || (self.is_prefix && self.path.strip_suffix('/') == Some(path))
    }
}

/// The rules of one listener's front door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrontDoor {
    /// How many of the factors.
    pub require: Require,
    /// Paths behind it; empty is all.
    pub paths: Vec<DoorPath>,
    /// Paths beside it, whatever `paths` says.
    pub exempt: Vec<DoorPath>,
}

impl FrontDoor {
    /// Whether requests for this path must show a factor. `*`, which names no path, must.
    pub fn guards(&self, path: &str) -> bool {
        let guarded = self.paths.is_empty()
            || path == "*"
            || self.paths.iter().any(|guarded| guarded.guards(path));
        guarded && !self.exempt.iter().any(|exempt| exempt.matches(path))
    }

    /// Whether these findings open the door: one for each configured factor. Without any factor
    /// it stays shut.
    ///
    /// # Errors
    /// The factor that was missing: of several the last that was shown at all.
    pub fn decide(
        &self,
        findings: impl IntoIterator<Item = (Factor, Shown)>,
    ) -> Result<(), NotAdmitted> {
        let mut refused: Option<NotAdmitted> = None;
        let mut passed = false;
        for (factor, shown) in findings {
            let why = match shown {
                Shown::Passed => {
                    passed = true;
                    continue;
                }
                Shown::Refused(why) => why,
                Shown::Absent if refused.is_some() => continue,
                Shown::Absent => "is not there",
            };
            refused = Some(NotAdmitted { factor, why });
        }
        match (self.require, passed, refused) {
            (Require::Any, true, _) | (Require::All, true, None) => Ok(()),
            (_, _, Some(refused)) => Err(refused),
            (_, false, None) => Err(NotAdmitted {
                factor: Factor::ServiceToken,
                why: "is not asked for, and nothing else is",
            }),
        }
    }
}
