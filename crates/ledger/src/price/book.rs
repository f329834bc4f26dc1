//! The price table in use with what the operator changed, and which of its models is meant.

use super::markup::{Markups, Payer};
use super::matching::without_date;
use super::model::{Facts, Model};
use super::rates::{RateSet, Rates};
use super::table::{Override, Table};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{PicoUsd, Ratio};
use tollkeep_types::usage::{Class, Unit};

/// What becomes of a model that has no price.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownModel {
    /// It stays without one.
    #[default]
    Refuse,
    /// It costs what the dearest of its provider costs.
    Dearest,
    /// It costs nothing at providers that are our own.
    Zero,
}

/// Who serves a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Provider<'a> {
    /// Its name in the settings.
    pub name: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// It runs on machines of ours.
    pub self_hosted: bool,
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The operator's overrides.
    Override,
    /// The table.
    Table,
    /// The dearest model of the provider stands in for one that is not known.
    Dearest,
    /// Not known, and free since the provider is our own.
    SelfHosted,
}

impl Source {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Table => "table",
            Self::Dearest => "dearest",
            Self::SelfHosted => "self_hosted",
        }
    }
}

/// A model with the rates of an instant.
#[derive(Clone, Copy, Debug)]
pub struct Found<'b> {
    /// The model.
    pub model: &'b Model,
    /// Its rates then.
    pub rates: &'b Rates,
    /// Where they come from.
    pub source: Source,
}

/// A model has no price.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the model has no price")]
pub struct NotPriced;

/// Prices as they are in use.
#[derive(Clone, Debug)]
pub struct Book {
    table: Table,
    overrides: Shelf,
    markups: Markups,
    shelf: Shelf,
    unknown: UnknownModel,
    free: Model,
}

impl Book {
    /// A table, models that replace some of it, and markups.
    pub fn new(mut table: Table, overrides: Vec<Override>, unknown: UnknownModel) -> Self {
        let shelf = Shelf::new(std::mem::take(&mut table.models));
        let (mut models, mut markups) = (Vec::new(), Vec::new());
        for one in overrides {
            match one {
                Override::Model(model) => models.push(*model),
                Override::Markup(markup) => markups.push(markup),
            }
        }
        Self {
            table,
            overrides: Shelf::new(models),
            markups: Markups::new(markups.into_iter()),
            shelf,
            unknown,
            free: free(),
        }
    }

    /// The version of the table, and the hash of its document.
    pub fn version(&self) -> (&str, &str) {
        (&self.table.version, &self.table.sha256)
    }

    /// The same, to be kept.
    pub fn shared_version(&self) -> (Arc<str>, Arc<str>) {
        (
            Arc::clone(&self.table.version),
            Arc::clone(&self.table.sha256),
        )
    }

    /// The table without its models.
    pub const fn about(&self) -> &Table {
        &self.table
    }

    /// The models of the table, in order of their ids.
    pub fn models(&self) -> &[Model] {
        &self.shelf.models
    }

    /// The models that operators wrote, in order of their ids.
    pub fn overrides(&self) -> &[Model] {
        &self.overrides.models
    }

    /// HOT. By how much more than their upstream asks such calls are charged; one, where by nothing.
    pub fn markup(&self, provider: Provider<'_>, payer: Payer) -> Ratio {
        self.markups.of(provider, payer)
    }

    /// HOT. The model that a provider serves under this name, with the rates of an instant.
    ///
    /// # Errors
    /// When there is no price, and none is to stand in for it.
    pub fn find(
        &self,
        provider: Provider<'_>,
        model: &str,
        at: WallMillis,
    ) -> Result<Found<'_>, NotPriced> {
        self.listed(provider, model, at)
            .or_else(|| self.stand_in(provider, at))
            .ok_or(NotPriced)
    }

    /// The same without anything standing in.
    pub fn listed(&self, provider: Provider<'_>, model: &str, at: WallMillis) -> Option<Found<'_>> {
        let named = |name: &str| {
            let ours = self.overrides.find(provider, name);
            let ours = ours.map(|model| (model, Source::Override));
            ours.or_else(|| Some((self.shelf.find(provider, name)?, Source::Table)))
        };
        let (model, source) = named(model).or_else(|| named(without_date(model)?))?;
        let rates = model.at(at)?;
        Some(Found {
            model,
            rates,
            source,
        })
    }

    /// A model of which nothing is known and that costs nothing: for whoever counts tokens alone.
    pub fn free(&self) -> Option<Found<'_>> {
        let rates = self.free.rates.first()?;
        Some(Found {
            model: &self.free,
            rates,
            source: Source::SelfHosted,
        })
    }

    fn stand_in(&self, provider: Provider<'_>, at: WallMillis) -> Option<Found<'_>> {
        let (model, source) = match self.unknown {
            UnknownModel::Refuse => return None,
            UnknownModel::Zero if !provider.self_hosted => return None,
            UnknownModel::Zero => return self.free(),
            UnknownModel::Dearest => {
                let all = self.shelf.models.iter().chain(&self.overrides.models);
                let theirs = all.filter(|model| is_of(model, provider));
                let dearest = theirs.max_by_key(|model| model.at(at).map(dearness))?;
                (dearest, Source::Dearest)
            }
        };
        let rates = model.at(at)?;
        Some(Found {
            model,
            rates,
            source,
        })
    }
}

fn is_of(model: &Model, provider: Provider<'_>) -> bool {
    let of = model.provider.as_deref();
    of == Some(provider.name) || of == Some(provider.kind)
}

/// What decides which model is the dearest: output, then input.
fn dearness(rates: &Rates) -> (Option<PicoUsd>, Option<PicoUsd>) {
    (
        rates.base.token(Class::OutText),
        rates.base.token(Class::InText),
    )
}

/// A model that costs nothing, whatever it does.
fn free() -> Model {
    let nothing = PicoUsd::default();
    let tokens = [
        Class::InText,
        Class::InAudio,
        Class::OutText,
        Class::OutAudio,
        Class::OutImage,
    ];
    let base = RateSet {
        tokens: tokens.map(|class| (class, nothing)).into(),
        units: Unit::ALL.map(|unit| (unit, nothing)).into(),
        images: Vec::new(),
    };
    Model {
        provider: None,
        id: "self-hosted".into(),
        globs: Vec::new(),
        facts: Facts {
            max_input: None,
            max_output: None,
            cap_field: None,
            hidden_reasoning: false,
            reasoning_in_cap: true,
            implicit_cache_write: false,
            image_tokens_max: None,
            image_output_tokens_max: None,
            max_audio_ms: None,
            tokens_per_byte: Ratio::ONE,
            cancel_stops_billing: false,
        },
        rates: vec![Rates {
            from: WallMillis(0),
            until: None,
            base,
            tiers: Vec::new(),
            services: Vec::new(),
            modifiers: Vec::new(),
        }],
    }
}

/// Models where they are found quickly.
#[derive(Clone, Debug)]
struct Shelf {
    /// In order of their ids.
    models: Vec<Model>,
    /// Where those with an id stand: the first and the one behind.
    by_id: HashMap<Box<str>, (usize, usize)>,
    /// Patterns by what stands before their first star, in order of that.
    starts: Vec<Start>,
    /// How many of them begin with a smaller byte, or none.
    smaller: Box<[usize; 257]>,
}

/// The patterns that begin alike.
#[derive(Clone, Debug)]
struct Start {
    text: Box<str>,
    /// The longest other start that this one begins with.
    shorter: Option<usize>,
    patterns: Vec<Pattern>,
}

/// A pattern of a model: both by their places.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    model: usize,
    glob: usize,
}

impl Shelf {
    fn new(mut models: Vec<Model>) -> Self {
        models.sort_by(|left, right| (&left.id, &left.provider).cmp(&(&right.id, &right.provider)));
        let mut by_start: BTreeMap<&str, Vec<Pattern>> = BTreeMap::new();
        for (model, about) in models.iter().enumerate() {
            for (glob, text) in about.globs.iter().enumerate() {
                let patterns = by_start.entry(text.start()).or_default();
                patterns.push(Pattern { model, glob });
            }
        }
        let mut starts: Vec<Start> = Vec::with_capacity(by_start.len());
        for (text, patterns) in by_start {
            let shorter = starts
                .iter()
                .rposition(|other| text.starts_with(&*other.text));
            starts.push(Start {
                text: text.into(),
                shorter,
                patterns,
            });
        }
        let mut by_id: HashMap<Box<str>, (usize, usize)> = HashMap::new();
        for (at, model) in models.iter().enumerate() {
            let place = by_id.entry(model.id.clone()).or_insert((at, at));
            place.1 = at + 1;
        }
        let smaller = std::array::from_fn(|byte| {
            let is_smaller = |start: &Start| {
                let first = start.text.as_bytes().first();
                first.is_none_or(|first| usize::from(*first) < byte)
            };
            starts.partition_point(is_smaller)
        });
        Self {
            models,
            by_id,
            starts,
            smaller: Box::new(smaller),
        }
    }

    /// By its exact id, else by the most literal pattern; of one provider before one of any.
    fn find(&self, provider: Provider<'_>, name: &str) -> Option<&Model> {
        let places = self.by_id.get(name);
        let exact = places.and_then(|(first, behind)| self.models.get(*first..*behind));
        let exact = exact.unwrap_or_default().iter();
        closest(exact, provider).or_else(|| self.find_pattern(provider, name))
    }

    /// The last of the starts up to this name that begins with the same byte; else the empty one.
    fn last_start(&self, name: &str) -> Option<usize> {
        let byte = usize::from(*name.as_bytes().first()?);
        let first = *self.smaller.get(byte)?;
        let alike = self.starts.get(first..*self.smaller.get(byte + 1)?)?;
        match alike.partition_point(|start| *start.text <= *name) {
            0 => self.starts.first()?.text.is_empty().then_some(0),
            up_to => Some(first + up_to - 1),
        }
    }

    fn find_pattern(&self, provider: Provider<'_>, name: &str) -> Option<&Model> {
        // In this order a name stands behind everything it begins with, and between the two
        // stands only what begins so too: one search finds the longest start, and that the others.
        let mut at = self.last_start(name);
        let mut best: Option<(Closeness, &Model)> = None;
        while let Some(start) = at.and_then(|at| self.starts.get(at)) {
            at = start.shorter;
            if !name.starts_with(&*start.text) {
                continue;
            }
            for place in &start.patterns {
                let Some(model) = self.models.get(place.model) else {
                    continue;
                };
                let (Some(glob), Some(rank)) = (model.globs.get(place.glob), rank(model, provider))
                else {
                    continue;
                };
                if glob.matches(name) {
                    // Of those that rank alike, the first.
                    let first = Reverse((place.model, place.glob));
                    let this = (glob.literal_len(), rank, first);
                    if best.is_none_or(|(best, _)| this > best) {
                        best = Some((this, model));
                    }
                }
            }
        }
        best.map(|(_, model)| model)
    }
}

/// How literal a pattern is, how close its model is to the provider, and its place.
type Closeness = (usize, u8, Reverse<(usize, usize)>);

/// How close a model is to a provider; nothing if another one serves it.
fn rank(model: &Model, provider: Provider<'_>) -> Option<u8> {
    match model.provider.as_deref() {
        Some(of) if of == provider.name => Some(2),
        Some(of) if of == provider.kind => Some(1),
        Some(_) => None,
        None => Some(0),
    }
}

fn closest<'m>(
    models: impl Iterator<Item = &'m Model>,
    provider: Provider<'_>,
) -> Option<&'m Model> {
    let ranked = models.filter_map(|model| Some((rank(model, provider)?, model)));
    // The first of those that rank alike.
    ranked
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, model)| model)
}
