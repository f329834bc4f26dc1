//! Reading a price table, and refusing a bad one.

use super::document::{Document, ModelEntry, RatesEntry, ServiceEntry, TierEntry};
use super::markup::Markup;
use super::matching::Glob;
use super::model::{CapField, Facts, Model};
use super::rates::{RateSet, Rates, ServiceRates, Tier};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{PicoUsd, Ratio};
use tollkeep_types::usage::{Class, Service, Unit};

/// The one format there is.
const FORMAT: &str = "tollkeep-prices/1";
/// Most models of a table.
const MODELS_MAX: usize = 20_000;
/// Most tiers of one set of rates.
const TIERS_MAX: usize = 8;
/// Rates with all factors stay below this many pico-dollars.
const PRODUCT_MAX: u128 = 1_000_000_000_000_000_000;

/// Why a table is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// Not the document it should be.
    #[error("not a price table: {0}")]
    Document(String),
    /// One model is wrong.
    #[error("model `{model}`: {problem}")]
    Model {
        /// Which.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// One markup is wrong.
    #[error("markup: {0}")]
    Markup(String),
}

/// Where a table has its prices from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableSource {
    /// Its name.
    pub name: String,
    /// Its version and date, as far as stated.
    pub version: String,
}

/// A price table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// `YYYY-MM-DD.N`
    pub version: Arc<str>,
    /// When it was published.
    pub published_at: WallMillis,
    /// Where its prices are from.
    pub sources: Vec<TableSource>,
    /// The hash of the document, which its reader computes.
    pub sha256: Arc<str>,
    /// Its models.
    pub models: Vec<Model>,
}

impl Table {
    /// Reads a document. `sha256` is the hash of these bytes.
    ///
    /// # Errors
    /// When it is not of the format, or some model is not valid: a table is good as a whole.
    pub fn read(json: &[u8], sha256: &str) -> Result<Self, TableError> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| TableError::Document(error.to_string()))?;
        if document.format != FORMAT {
            let problem = format!("its format is not `{FORMAT}`");
            return Err(TableError::Document(problem));
        }
        if document.currency.is_some_and(|currency| currency != "USD") {
            return Err(TableError::Document("its currency is not USD".to_owned()));
        }
        if document.version.is_empty() || document.version.len() > 64 {
            let problem = "its version is not 1 to 64 characters long";
            return Err(TableError::Document(problem.to_owned()));
        }
        let published_at = time(&document.published_at)
            .map_err(|problem| TableError::Document(format!("published_at: {problem}")))?;
        if document.models.len() > MODELS_MAX {
            let problem = format!("it has more than {MODELS_MAX} models");
            return Err(TableError::Document(problem));
        }
        let sources = document.sources.into_iter().map(|source| {
            let told = [source.version, source.date];
            let version: Vec<_> = told.into_iter().flatten().collect();
            let (name, version) = (source.name, version.join(" "));
            TableSource { name, version }
        });
        Ok(Self {
            version: document.version.into(),
            published_at,
            sources: sources.collect(),
            sha256: sha256.into(),
            models: models(document.models)?,
        })
    }
}

/// What an operator knows better than a table, or charges besides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Override {
    /// A model in the place of the table's.
    Model(Box<Model>),
    /// What is charged beyond what upstreams ask.
    Markup(Markup),
}

impl Override {
    /// Whether both are of the same model, or of the same calls.
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Model(one), Self::Model(other)) => {
                one.id == other.id && one.provider == other.provider
            }
            (Self::Markup(one), Self::Markup(other)) => one.whose == other.whose,
            (Self::Model(_), Self::Markup(_)) | (Self::Markup(_), Self::Model(_)) => false,
        }
    }
}

/// Reads models that replace those of a table, and markups.
///
/// # Errors
/// When one of them is not valid, or one is there twice.
pub fn read_overrides(entries: Vec<Value>) -> Result<Vec<Override>, TableError> {
    let (markups, replaced): (Vec<_>, Vec<_>) = entries.into_iter().partition(Markup::is_meant);
    let mut of_whom = HashSet::new();
    let mut all = Vec::with_capacity(markups.len() + replaced.len());
    for entry in markups {
        let markup = Markup::read(entry).map_err(TableError::Markup)?;
        if !of_whom.insert(markup.whose.clone()) {
            let problem = format!("that of {} stands there twice", markup.whose);
            return Err(TableError::Markup(problem));
        }
        all.push(Override::Markup(markup));
    }
    let models = models(replaced)?.into_iter();
    all.extend(models.map(|model| Override::Model(Box::new(model))));
    Ok(all)
}

fn models(entries: Vec<Value>) -> Result<Vec<Model>, TableError> {
    let mut names = HashSet::new();
    let mut models = Vec::with_capacity(entries.len());
    for entry in entries {
        let named = entry.get("model").and_then(Value::as_str);
        let name = named.unwrap_or("?").to_owned();
        let wrong = |problem: String| TableError::Model {
            model: name.clone(),
            problem,
        };
        let entry: ModelEntry =
            serde_json::from_value(entry).map_err(|error| wrong(error.to_string()))?;
        let model = model(entry).map_err(wrong)?;
        if !names.insert((model.provider.clone(), model.id.clone())) {
            return Err(wrong("it stands there twice".to_owned()));
        }
        models.push(model);
    }
    Ok(models)
}

type Checked<T> = Result<T, String>;

fn model(entry: ModelEntry) -> Checked<Model> {
    const NAME_BYTES_MAX: usize = 256;
    if entry.model.is_empty() || entry.model.len() > NAME_BYTES_MAX {
        return Err(format!("`model` is not 1 to {NAME_BYTES_MAX} bytes long"));
    }
    let is_anthropic = entry.provider.as_deref() == Some("anthropic")
        || entry.dialect.as_deref() == Some("anthropic");
    let facts = facts(&entry)?;
    let globs = entry.globs.iter().map(|text| {
        Glob::new(text).ok_or_else(|| format!("`match` has `{text}`, which matches everything"))
    });
    let globs = globs.collect::<Checked<_>>()?;
    let rates = entry.rates.into_iter().map(rates);
    let rates: Vec<Rates> = rates.collect::<Checked<_>>()?;
    if rates.is_empty() {
        return Err("`rates` is empty".to_owned());
    }
    if !rates.is_sorted_by(|before, after| before.from < after.from) {
        return Err("`rates` are not strictly ascending by `from`".to_owned());
    }
    for rates in &rates {
        let wants = |class| match rates.base.token(class) {
            Some(_) => Ok(()),
            None => Err(format!("`base` has no `{}`", class.name())),
        };
        if is_anthropic && rates.base.token(Class::OutText).is_some() {
            wants(Class::CacheWrite5m)?;
            wants(Class::CacheWrite1h)?;
        }
        if facts.implicit_cache_write {
            wants(Class::CacheWrite)?;
        }
    }
    Ok(Model {
        provider: entry.provider.map(String::into_boxed_str),
        id: entry.model.into(),
        globs,
        facts,
        rates,
    })
}

fn facts(entry: &ModelEntry) -> Checked<Facts> {
    /// Contexts beyond this are mistakes.
    const TOKENS_MAX: u64 = 1 << 40;
    let numbers = [
        entry.max_input,
        entry.max_output,
        entry.image_tokens_max,
        entry.image_output_tokens_max,
        entry.max_audio_ms,
    ];
    if numbers
        .into_iter()
        .flatten()
        .any(|count| count > TOKENS_MAX)
    {
        return Err("a limit is above 2^40".to_owned());
    }
    let cap_field = match entry.cap_field.as_deref() {
        None => None,
        Some("max_tokens") => Some(CapField::MaxTokens),
        Some("max_completion_tokens") => Some(CapField::MaxCompletionTokens),
        Some(other) => return Err(format!("`cap_field` is `{other}`")),
    };
    let tokens_per_byte = match entry.tokens_per_byte.as_deref() {
        None => Ratio::ONE,
        Some(text) => ratio(text)?,
    };
    Ok(Facts {
        max_input: entry.max_input,
        max_output: entry.max_output,
        cap_field,
        hidden_reasoning: entry.hidden_reasoning,
        reasoning_in_cap: entry.reasoning_in_cap,
        implicit_cache_write: entry.implicit_cache_write,
        image_tokens_max: entry.image_tokens_max,
        image_output_tokens_max: entry.image_output_tokens_max,
        max_audio_ms: entry.max_audio_ms,
        tokens_per_byte,
        cancel_stops_billing: entry.cancel_stops_billing,
    })
}

fn rates(entry: RatesEntry) -> Checked<Rates> {
    let from = time(&entry.from)?;
    let until = entry.until.as_deref().map(time).transpose()?;
    if until.is_some_and(|until| until <= from) {
        return Err("`until` is not after `from`".to_owned());
    }
    let services = entry.service.into_iter().map(|(name, value)| {
        let service = Service::named(&name)
            .filter(|service| *service != Service::Default)
            .ok_or_else(|| format!("`service` has `{name}`, which is not known"))?;
        let entry: ServiceEntry =
            serde_json::from_value(value).map_err(|error| format!("`service.{name}`: {error}"))?;
        let multiply = entry.multiply.as_deref().map(ratio).transpose()?;
        let rates = ServiceRates {
            multiply: multiply.unwrap_or(Ratio::ONE),
            rates: rate_set(entry.rates)?,
            tiers: tiers(entry.tiers)?,
        };
        Ok((service, rates))
    });
    let services = services.collect::<Checked<Vec<_>>>()?;
    let modifiers = entry.modifiers.into_iter().map(|(name, value)| {
        let factor = ratio(value.as_str().unwrap_or_default())?;
        Ok((name.into_boxed_str(), factor))
    });
    let rates = Rates {
        from,
        until,
        base: rate_set(entry.base)?,
        tiers: tiers(entry.tiers)?,
        services,
        modifiers: modifiers.collect::<Checked<_>>()?,
    };
    overflow(&rates)?;
    Ok(rates)
}

/// Refuses rates that services, tiers and all modifiers together would raise beyond all measure.
fn overflow(rates: &Rates) -> Checked<()> {
    let sets = |set: &RateSet, tiers: &[Tier]| {
        let tiers = tiers.iter().flat_map(|tier| &tier.rates.tokens);
        let all = set.tokens.iter().chain(tiers);
        all.map(|(_, rate)| rate.get()).max().unwrap_or(0)
    };
    let own = rates.services.iter();
    let own = own.map(|(_, service)| sets(&service.rates, &service.tiers));
    let dearest = own.fold(sets(&rates.base, &rates.tiers), u64::max);
    let multiply = rates.services.iter().map(|(_, service)| service.multiply);
    let most = multiply.map(rounded_up).max().unwrap_or(1).max(1);
    let factors = rates
        .modifiers
        .iter()
        .map(|(_, factor)| rounded_up(*factor));
    let product = factors.fold(
        u128::from(dearest).saturating_mul(most),
        |product, factor| product.saturating_mul(factor.max(1)),
    );
    if product > PRODUCT_MAX {
        return Err("a rate with its services and modifiers is too large".to_owned());
    }
    Ok(())
}

fn rounded_up(factor: Ratio) -> u128 {
    let (over, under) = factor.parts();
    u128::from(over.div_ceil(under))
}

fn tiers(entries: Vec<TierEntry>) -> Checked<Vec<Tier>> {
    if entries.len() > TIERS_MAX {
        return Err(format!("more than {TIERS_MAX} tiers"));
    }
    let tiers = entries.into_iter().map(|entry| {
        let rates = rate_set(entry.rates)?;
        if !rates.units.is_empty() || !rates.images.is_empty() {
            return Err("tiers are for tokens".to_owned());
        }
        Ok(Tier {
            over_input_tokens: entry.over_input_tokens,
            rates,
        })
    });
    let tiers = tiers.collect::<Checked<Vec<_>>>()?;
    let ascend = |before: &Tier, after: &Tier| before.over_input_tokens < after.over_input_tokens;
    if !tiers.is_sorted_by(ascend) {
        return Err("`tiers` are not strictly ascending".to_owned());
    }
    Ok(tiers)
}

fn rate_set(entries: Map<String, Value>) -> Checked<RateSet> {
    let mut set = RateSet::default();
    for (name, value) in entries {
        let whole = value.as_u64().and_then(PicoUsd::new);
        let rate = whole.ok_or_else(|| {
            format!("`{name}` is not a whole number of pico-dollars up to a thousand dollars")
        })?;
        if let Some(class) = Class::named(&name) {
            set.tokens.push((class, rate));
        } else if let Some(unit) = Unit::named(&name) {
            set.units.push((unit, rate));
        } else if let Some(sort) = name.strip_prefix("image:") {
            set.images.push((sort.into(), rate));
        } else {
            return Err(format!("`{name}` is no class and no unit"));
        }
    }
    Ok(set)
}

fn ratio(text: &str) -> Checked<Ratio> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn time(text: &str) -> Checked<WallMillis> {
    text.parse()
        .map_err(|_| format!("`{text}` is no time, as 2026-01-31T00:00:00Z"))
}
