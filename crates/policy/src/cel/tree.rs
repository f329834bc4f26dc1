//! A condition as a tree.

/// Most parts of a condition.
pub(super) const PARTS_MAX: usize = 1000;
/// How deep it may nest, and how long a row of members or of one operator may be.
pub(super) const DEPTH_MAX: usize = 32;

/// A part of a condition.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    /// Milliseconds since 1970.
    Time(i64),
    /// Milliseconds.
    Span(i64),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Fact(Fact),
    /// A variable that a hook is handed.
    Root(&'static str),
    /// A variable of a macro: the how many-th from the outermost.
    Own(usize),
    /// A member by its name.
    Member(Box<Self>, Box<str>),
    /// Whether there is a member of this name.
    Has(Box<Self>, Box<str>),
    Index(Box<[Self; 2]>),
    Not(Box<Self>),
    Minus(Box<Self>),
    Both(Vec<Self>),
    Either(Vec<Self>),
    If(Box<[Self; 3]>),
    Binary(Binary, Box<[Self; 2]>),
    Call(Call, Vec<Self>),
    Macro(Box<Macro>),
}

/// What is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fact {
    Method,
    Path,
    Query,
    Size,
    Headers,
    Ip,
    IsKnown,
    Token,
    Project,
    ProjectId,
    TenantId,
    Model,
    TokensIn,
    Now,
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Binary {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    LowerAscii,
    UpperAscii,
    ToInt,
    ToDouble,
    ToText,
    ToTime,
    ToSpan,
    Year,
    Month,
    /// Of the month, from 1.
    Date,
    /// Of the month, from 0.
    DayOfMonth,
    /// From Sunday, which is 0.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Millis,
}

/// Something about every entry of a list, or every key of a map.
#[derive(Clone, Debug)]
pub(super) struct Macro {
    pub(super) what: Each,
    pub(super) over: Expr,
    /// Of `map` with three parts: which entries.
    pub(super) only: Option<Expr>,
    pub(super) body: Expr,
}

/// What of every entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Each {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// What can be said of a value before it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// Certainly something else.
    Other,
    Any,
}

impl Expr {
    /// What its value will be.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Bool(_)
            | Self::Has(..)
            | Self::Not(_)
            | Self::Both(_)
            | Self::Either(_)
            | Self::Fact(Fact::IsKnown)
            | Self::Call(Call::StartsWith | Call::EndsWith | Call::Contains, _) => Kind::Bool,
            Self::Null
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::Span(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Minus(_)
            | Self::Call(..)
            | Self::Fact(_) => Kind::Other,
            Self::Root(_) | Self::Own(_) | Self::Member(..) | Self::Index(_) => Kind::Any,
            Self::If(parts) => {
                let [_, yes, no] = &**parts;
                match (yes.kind(), no.kind()) {
                    (Kind::Other, _) | (_, Kind::Other) => Kind::Other,
                    (Kind::Bool, Kind::Bool) => Kind::Bool,
                    _ => Kind::Any,
                }
            }
            Self::Binary(sign, _) => match sign {
                Binary::Equal
                | Binary::Unequal
                | Binary::Less
                | Binary::AtMost
                | Binary::More
                | Binary::AtLeast
                | Binary::In => Kind::Bool,
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Divide
                | Binary::Remainder => Kind::Other,
            },
            Self::Macro(each) => match each.what {
                Each::All | Each::Exists | Each::ExistsOne => Kind::Bool,
                Each::Filter | Each::Map => Kind::Other,
            },
        }
    }

    /// Whether it asks how many tokens of input there are.
    pub(super) fn reads_tokens(&self) -> bool {
        let is_so = matches!(self, Self::Fact(Fact::TokensIn));
        is_so || self.parts().into_iter().any(Self::reads_tokens)
    }

    /// Whether it asks about a variable of a hook.
    pub(super) fn reads(&self, root: &str) -> bool {
        let is_so = matches!(self, Self::Root(own) if *own == root);
        is_so || self.parts().into_iter().any(|part| part.reads(root))
    }

    /// How many parts stand within each other.
    pub(super) fn depth(&self) -> usize {
        let deepest = self.parts().into_iter().map(Self::depth).max();
        deepest.unwrap_or_default().saturating_add(1)
    }

    /// The parts right below it.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::Span(_)
            | Self::Fact(_)
            | Self::Root(_)
            | Self::Own(_) => Vec::new(),
            Self::List(parts) | Self::Call(_, parts) | Self::Both(parts) | Self::Either(parts) => {
                parts.iter().collect()
            }
            Self::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Member(of, _) | Self::Has(of, _) | Self::Not(of) | Self::Minus(of) => vec![of],
            Self::Index(parts) | Self::Binary(_, parts) => parts.iter().collect(),
            Self::If(parts) => parts.iter().collect(),
            Self::Macro(each) => [&each.over, &each.body]
                .into_iter()
                .chain(&each.only)
                .collect(),
        }
    }
}
