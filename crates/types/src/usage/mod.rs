//! What a call used, as disjoint counts: no class contains another, so nothing can be added twice.

mod class;
mod flags;
mod line;

pub use class::{Class, ImageCount, Unit, Usage};
pub use flags::{Flag, Flags};
pub use line::{Line, Lines, Modifiers, Service};

/// Why nothing is known about the usage of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownUsage {
    /// The answer ended properly and said nothing about usage.
    Absent,
    /// Counts that cannot be: negative, fractional, text, or above 2^40.
    Malformed,
    /// The answer broke off before usage was told.
    Cut,
    /// A usage object or line larger than the reader keeps.
    TooLarge,
    /// The body was not in the dialect's form.
    Unreadable,
}

impl UnknownUsage {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Absent,
        Self::Malformed,
        Self::Cut,
        Self::TooLarge,
        Self::Unreadable,
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "no_usage",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a call used. Unknown is never zero; an explicit zero is a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UsageReport {
    /// The upstream said so, or it follows exactly from the request.
    Reported(Lines),
    /// An upper estimate, from what was delivered.
    Estimated(Lines),
    /// Nothing is owed: the upstream refused or failed before any output.
    Released,
    /// It used something and we don't know what.
    Unknown(UnknownUsage),
}

impl UsageReport {
    /// How far to trust it, as records say it.
    pub const fn quality(&self) -> Quality {
        match self {
            Self::Reported(_) => Quality::Reported,
            Self::Estimated(_) => Quality::Estimated,
            Self::Released => Quality::Released,
            Self::Unknown(_) => Quality::Unknown,
        }
    }

    /// What was used, where there are counts.
    pub const fn lines(&self) -> Option<&Lines> {
        match self {
            Self::Reported(lines) | Self::Estimated(lines) => Some(lines),
            Self::Released | Self::Unknown(_) => None,
        }
    }
}

/// How far to trust what is known of a call's usage.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Quality {
    /// The upstream said so.
    Reported,
    /// An upper estimate.
    Estimated,
    /// Nothing is owed.
    Released,
    /// Nothing is known.
    Unknown,
}

impl Quality {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 4] = [
        Self::Reported,
        Self::Estimated,
        Self::Released,
        Self::Unknown,
    ];

    /// The name in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Released => "released",
            Self::Unknown => "unknown",
        }
    }
}

/// What an answer told of its usage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The usage, as far as the answer alone can tell.
    pub report: UsageReport,
    /// What was odd about it.
    pub flags: Flags,
    /// What there is to estimate from, where the report is unknown and an estimate is allowed.
    pub partial: Option<Box<Partial>>,
    /// Tokens of output that the answer brought for certain, whatever it told: no more than that.
    pub certain_output: u64,
}

impl Told {
    /// A report without oddities and without anything to estimate from.
    pub const fn plain(report: UsageReport) -> Self {
        Self {
            report,
            flags: Flags::NONE,
            partial: None,
            certain_output: 0,
        }
    }
}

/// The remains of an answer that told no usage to the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partial {
    /// The last running totals, if there were any.
    pub lines: Option<Lines>,
    /// The service the answer named, or the one that has to be assumed.
    pub service: Service,
    /// UTF-8 bytes of text, reasoning, and names and arguments of tools that were delivered.
    pub delivered_bytes: u64,
}
