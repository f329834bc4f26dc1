//! The values labels may take.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

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
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RouteLabel(pub(super) u16);

/// A provider as a label.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProviderLabel(pub(super) u16);

/// A model as a label.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ModelLabel(pub(super) u16);

impl RouteLabel {
    /// No route was found.
    pub const NONE: Self = Self(0);

    /// Its place among the routes.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl ProviderLabel {
    /// No provider was asked.
    pub const NONE: Self = Self(0);
}

impl ModelLabel {
    /// A model nobody configured.
    pub const OTHER: Self = Self(0);
}

/// How many names one label may have, over all settings of a process's life; later ones count as
/// the first. A worker keeps a table of routes by providers, so this bounds its memory.
pub(super) const NAMES_MAX: usize = 1024;

/// The names of one label; the first is for what has none. Names are added, never taken away, so
/// that a number means the same for as long as the process runs.
pub(super) struct Names(RwLock<Known>);

struct Known {
    names: Vec<Arc<str>>,
    index: HashMap<Arc<str>, u16>,
}

impl Names {
    pub(super) fn new(nameless: &str) -> Self {
        Self(RwLock::new(Known {
            names: vec![Arc::from(nameless)],
            index: HashMap::new(),
        }))
    }

    /// Takes in names that are not there yet.
    pub(super) fn add(&self, configured: Vec<String>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for name in configured.into_iter().map(Arc::<str>::from) {
            let next = u16::try_from(known.names.len()).unwrap_or(0);
            let is_new = !known.index.contains_key(&name) && known.names.first() != Some(&name);
            if known.names.len() < NAMES_MAX && is_new {
                known.index.insert(Arc::clone(&name), next);
                known.names.push(name);
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> u16 {
        self.known().index.get(name).copied().unwrap_or(0)
    }

    /// The names by their numbers.
    pub(super) fn list(&self) -> NameList {
        NameList(self.known().names.clone())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names as they were at one moment.
pub(super) struct NameList(Vec<Arc<str>>);

impl NameList {
    pub(super) fn name(&self, at: usize) -> &str {
        self.0.get(at).map_or("other", |name| name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
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

/// Why no more is known of a call's usage, or its cost.
pub(super) const USAGE_REASONS: [&str; 7] = [
    "none",
    "no_usage",
    "malformed",
    "cut",
    "too_large",
    "unreadable",
    "unpriced",
];

/// Classes of a status, with one for requests that were never answered.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status in [`STATUS_CLASSES`].
pub(super) fn status_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}
