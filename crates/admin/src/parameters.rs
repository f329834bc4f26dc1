//! Parameters of a query: those that are declared, each once.

use crate::State;
use crate::cursor;
use crate::problem::Problem;
use crate::shape::{Kind, Member, bounded, switch, text};
use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use tollkeep_store::{After, Page, PageRequest};
use tollkeep_types::WallMillis;

/// How many entries a part of a list has, and where it goes on.
pub(crate) const LIMIT: Member =
    bounded("limit", 1, 200, "How many entries at most; 50 if not given");
/// See [`LIMIT`].
pub(crate) const CURSOR: Member = text("cursor", 400, "`next_cursor` of the part before");

/// Characters of an unknown name that are told.
const NAME_CHARS_MAX: usize = 100;

/// Entries of a part of a list, unless the request says how many.
const LIMIT_DEFAULT: u32 = 50;

/// Of every change: whether it is tried only.
pub(crate) const DRY_RUN: Member = switch(
    "dry_run",
    "Whether to tell what would change, and change nothing",
);
const TRIAL: &[Member] = &[DRY_RUN];

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = pairs.map_err(|_| Problem::bad_request("The query could not be read."))?;
    Ok(pairs.0)
}

/// Whether a change is to be tried only, as far as that can be read.
pub(crate) fn wants_trial(uri: &Uri) -> bool {
    let pairs = pairs(uri).unwrap_or_default();
    let mut pairs = pairs.iter();
    pairs.any(|(name, value)| name == DRY_RUN.name && value == "true")
}

/// What a query says.
#[derive(Debug)]
pub(crate) struct Parameters {
    declared: &'static [Member],
    given: BTreeMap<String, String>,
}

impl Parameters {
    /// Reads a query of these parameters.
    ///
    /// # Errors
    /// It can't be read, names one twice, or one that is not declared, or one is not as declared.
    pub(crate) fn read(declared: &'static [Member], uri: &Uri) -> Result<Self, Problem> {
        Self::of(declared, pairs(uri)?)
    }

    fn of(declared: &'static [Member], pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut given = BTreeMap::new();
        for (name, value) in pairs {
            let Some(member) = declared.iter().find(|member| member.name == name) else {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                return Err(Problem::bad_request(format!("{name}: unknown parameter.")));
            };
            if let Some(want) = member.kind.refuses(&value) {
                return Err(Problem::bad_request(format!("{name}: want {want}.")));
            }
            if given.insert(name, value).is_some() {
                let problem = format!("{}: given twice.", member.name);
                return Err(Problem::bad_request(problem));
            }
        }
        Ok(Self { declared, given })
    }

    /// Reads the query of a change, and whether the change is to be tried only.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn of_change(
        declared: &'static [Member],
        uri: &Uri,
    ) -> Result<(Self, bool), Problem> {
        let (trials, others) = pairs(uri)?
            .into_iter()
            .partition::<Vec<_>, _>(|(name, _)| name == DRY_RUN.name);
        let trial = Self::of(TRIAL, trials)?;
        Ok((Self::of(declared, others)?, trial.is_on(DRY_RUN.name)))
    }

    /// None of those that are declared.
    pub(crate) const fn none(declared: &'static [Member]) -> Self {
        let given = BTreeMap::new();
        Self { declared, given }
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let is_declared = self.declared.iter().any(|member| member.name == name);
        debug_assert!(is_declared, "`{name}` is taken and not declared");
        self.given.get(name).map(String::as_str)
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Which part of the list that `filters` names is wanted.
    ///
    /// # Errors
    /// The cursor is another list's.
    pub(crate) fn page<Id: FromStr>(
        &self,
        state: &State,
        filters: &str,
    ) -> Result<PageRequest<Id>, Problem> {
        let limit = self.get("limit").and_then(|text| text.parse().ok());
        let after = self.get("cursor");
        let after = after.map(|cursor| cursor::read(&state.cursor_key, filters, cursor));
        Ok(PageRequest {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after: after.transpose()?,
        })
    }
}

/// A part of the list that `filters` names, as an answer. With the part comes where a row stands
/// in the list: when it was made, and its id.
pub(crate) fn listed<Row, Id: Display>(
    state: &State,
    filters: &str,
    (page, place): (&Page<Row>, impl Fn(&Row) -> (WallMillis, Id)),
    shown: impl Fn(&Row) -> Value,
) -> Value {
    let last = page.rows.last().filter(|_| page.more).map(place);
    let last = last.map(|(created_at, id)| After { created_at, id });
    let next = next_cursor(state, filters, last);
    let data: Vec<Value> = page.rows.iter().map(shown).collect();
    json!({ "data": data, "has_more": page.more, "next_cursor": next })
}

/// The cursor behind the last row of a part, if more follow.
pub(crate) fn next_cursor<Id: Display>(
    state: &State,
    filters: &str,
    last: Option<After<Id>>,
) -> Option<String> {
    last.map(|after| cursor::write(&state.cursor_key, filters, &after))
}

impl Kind {
    /// What is wanted instead of this text, if it is not of the kind.
    fn refuses(&self, text: &str) -> Option<String> {
        match self {
            Self::Number(min, max) => {
                let number = text.parse::<u64>().ok();
                let fits = number.is_some_and(|number| (min..=max).contains(&&number));
                (!fits).then(|| format!("{min} to {max}"))
            }
            Self::Switch => (!matches!(text, "true" | "false")).then(|| "true or false".to_owned()),
            Self::Choice(words) => (!words.contains(&text)).then(|| words.join(" or ")),
            Self::Text(max) => {
                let fits = text.chars().count() <= *max && !text.chars().any(char::is_control);
                (!fits).then(|| format!("at most {max} characters"))
            }
            Self::Signed(..)
            | Self::Duration
            | Self::Time
            | Self::Id(_)
            | Self::Texts(..)
            | Self::Pairs(_)
            | Self::Object(_)
            | Self::Objects(_)
            | Self::Lists
            | Self::Document
            | Self::Amount
            | Self::Percents => Some("another kind of parameter".to_owned()),
        }
    }
}
