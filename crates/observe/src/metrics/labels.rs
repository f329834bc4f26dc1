//! The values labels may take.

use std::collections::HashMap;

/// The names labels may take; whatever else turns up counts as `none` or `other`.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Configured routes.
    pub routes: Vec<String>,
    /// Configured providers and upstreams.
    pub providers: Vec<String>,
    /// Models of the settings and the catalogue.
    pub models: Vec<String>,
}

/// A route as a label.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct RouteLabel(pub(super) u16);

/// A provider as a label.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProviderLabel(pub(super) u16);

/// A model as a label.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ModelLabel(pub(super) u16);

impl RouteLabel {
    /// No route was found.
    pub const NONE: Self = Self(0);
}

impl ProviderLabel {
    /// No provider was asked.
    pub const NONE: Self = Self(0);
}

impl ModelLabel {
    /// A model nobody configured.
    pub const OTHER: Self = Self(0);
}

/// How many names one label may have; later ones count as the first. A worker keeps a table of
/// routes by providers, so this bounds its memory.
const NAMES_MAX: usize = 1024;

/// The names of one label; the first is for what has none.
pub(super) struct Names {
    names: Vec<String>,
    index: HashMap<String, u16>,
}

impl Names {
    pub(super) fn new(nameless: &str, configured: Vec<String>) -> Self {
        let mut names = vec![nameless.to_owned()];
        let mut index = HashMap::new();
        for name in configured {
            let next = u16::try_from(names.len()).unwrap_or(0);
            if names.len() < NAMES_MAX && !index.contains_key(&name) && name != nameless {
                index.insert(name.clone(), next);
                names.push(name);
            }
        }
        Self { names, index }
    }

    pub(super) fn find(&self, name: &str) -> u16 {
        self.index.get(name).copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.names.get(at).map_or("other", String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Which listener it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Listener {
    Data,
    Management,
    Metrics,
}

impl Listener {
    /// The word in labels and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
            Self::Metrics => "metrics",
        }
    }
}

/// How one attempt at an upstream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum AttemptResult {
    Answered,
    ConnectFailed,
    Timeout,
    ProtocolError,
    Reset,
    Cancelled,
    EgressRefused,
}

impl AttemptResult {
    /// Every result, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::ConnectFailed,
        Self::Timeout,
        Self::ProtocolError,
        Self::Reset,
        Self::Cancelled,
        Self::EgressRefused,
    ];

    /// The word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::ProtocolError => "protocol_error",
            Self::Reset => "reset",
            Self::Cancelled => "cancelled",
            Self::EgressRefused => "egress_refused",
        }
    }
}

/// Classes of rate limits.
pub(super) const RATE_CLASSES: [&str; 6] = ["global", "ip", "route", "token", "project", "strict"];

/// Classes of a status, with one for requests that were never answered.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status in [`STATUS_CLASSES`].
pub(super) fn status_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}
