//! What was billed: usage under one model, service and set of modifiers.

use super::Usage;

/// Which of its prices an upstream charges.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Service {
    /// The usual one.
    #[default]
    Default,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
    /// Jobs in batches.
    Batch,
}

impl Service {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Default, Self::Flex, Self::Priority, Self::Batch];

    /// The name in records and price tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
        }
    }

    /// The service of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// What multiplies the price of tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Modifiers {
    /// `speed:<value>`, where it is not the usual one.
    pub speed: Option<Box<str>>,
    /// `inference_geo:<value>`, where the place of the work was chosen.
    pub inference_geo: Option<Box<str>>,
}

impl Modifiers {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.speed.is_none() && self.inference_geo.is_none()
    }

    /// Their kinds and values; the name in price tables is `<kind>:<value>`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let speed = self.speed.as_deref().map(|value| ("speed", value));
        let geo = self.inference_geo.as_deref();
        let geo = geo.map(|value| ("inference_geo", value));
        speed.into_iter().chain(geo)
    }
}

/// What was used of one model.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Line {
    /// The model, where it is another than the one that answered.
    pub model: Option<Box<str>>,
    /// A model that took part: the dearer of the two is charged.
    pub or_dearer: Option<Box<str>>,
    /// Which price applies.
    pub service: Service,
    /// What multiplies it.
    pub modifiers: Modifiers,
    /// The counts.
    pub usage: Usage,
}

/// The lines of one call: at least one, and more where several models were billed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lines {
    /// The model that answered.
    pub first: Line,
    /// The others.
    pub more: Vec<Line>,
}

impl Lines {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// All input tokens.
    pub fn input(&self) -> u64 {
        self.iter()
            .fold(0, |sum, line| sum.saturating_add(line.usage.input()))
    }

    /// All output tokens.
    pub fn output(&self) -> u64 {
        self.iter()
            .fold(0, |sum, line| sum.saturating_add(line.usage.output()))
    }
}

impl From<Usage> for Lines {
    /// One line at the usual price.
    fn from(usage: Usage) -> Self {
        Self {
            first: Line {
                usage,
                ..Line::default()
            },
            more: Vec::new(),
        }
    }
}
