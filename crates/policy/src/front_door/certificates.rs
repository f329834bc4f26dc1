//! The certificate of a client as a factor of the front door.

use super::Shown;
use std::fmt;
use std::str::FromStr;
use tollkeep_types::{
    AlternativeName, CertificateSha256, ClientCertificate, DistinguishedName, WallMillis,
};

/// Which certificates of clients open the door: one of the subjects, or one of the fingerprints.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificates {
    /// Whose.
    pub subjects: Vec<WantedSubject>,
    /// Which.
    pub sha256: Vec<CertificateSha256>,
}

/// Whose certificate is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WantedSubject {
    /// The one of exactly this subject.
    Name(DistinguishedName),
    /// One that has this among its alternative names.
    Alternative(AlternativeName),
}

impl Certificates {
    /// What comes of the certificate of a connection, if it has one. It was verified when the
    /// connection was opened, which may be longer ago than the certificate lives.
    pub fn judge(&self, shown: Option<&ClientCertificate>, now: WallMillis) -> Shown {
        let Some(shown) = shown else {
            return Shown::Absent;
        };
        let (from, until) = shown.validity;
        if now < from || now > until {
            return Shown::Refused("is not valid now");
        }
        let wanted = |subject: &WantedSubject| match subject {
            WantedSubject::Name(name) => *name == shown.subject && !name.is_empty(),
            WantedSubject::Alternative(name) => shown.names.contains(name),
        };
        if self.subjects.iter().any(wanted) || self.sha256.contains(&shown.sha256) {
            Shown::Passed
        } else {
            Shown::Refused("is not listed")
        }
    }
}

impl FromStr for WantedSubject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if AlternativeName::is_meant(text) {
            let name = AlternativeName::from_str(text).map(Self::Alternative);
            return name.map_err(|error| error.to_string());
        }
        let name = DistinguishedName::from_str(text).map(Self::Name);
        name.map_err(|error| error.to_string())
    }
}

impl fmt::Display for WantedSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Alternative(name) => name.fmt(f),
        }
    }
}
