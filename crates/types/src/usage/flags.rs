//! What was odd about a report of usage.

/// An oddity. None makes a report wrong; together they say how it was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flag {
    /// Cached and written tokens exceed the prompt they should be part of.
    InconsistentInput,
    /// Reasoning exceeds the output it should be part of.
    InconsistentOutput,
    /// The total exceeds its parts; the excess counts as reasoning.
    ExcessTotal,
    /// The total is less than its parts.
    InconsistentTotal,
    /// A running total became smaller.
    Regressed,
    /// The answer named no service, and the dearer one that was asked for is assumed.
    ServiceAssumed,
    /// The stream had no end mark.
    Cut,
    /// The answer said nothing about usage.
    NoUsage,
    /// Used with a class or unit that has no price.
    Unpriced,
}

impl Flag {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::InconsistentInput,
        Self::InconsistentOutput,
        Self::ExcessTotal,
        Self::InconsistentTotal,
        Self::Regressed,
        Self::ServiceAssumed,
        Self::Cut,
        Self::NoUsage,
        Self::Unpriced,
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InconsistentInput => "inconsistent_input",
            Self::InconsistentOutput => "inconsistent_output",
            Self::ExcessTotal => "excess_total",
            Self::InconsistentTotal => "inconsistent_total",
            Self::Regressed => "regressed",
            Self::ServiceAssumed => "service_assumed",
            Self::Cut => "cut",
            Self::NoUsage => "no_usage",
            Self::Unpriced => "unpriced",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of oddities.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u16);

impl Flags {
    /// No oddity.
    pub const NONE: Self = Self(0);

    /// Adds one.
    pub const fn add(&mut self, flag: Flag) {
        self.0 |= flag.bit();
    }

    /// Whether it is there.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are there.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }
}
