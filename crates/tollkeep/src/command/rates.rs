//! What the models cost that the configuration names, and which of them have no price: nothing is asked,
//! nothing runs.

use super::output;
use crate::assemble::prices;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tollkeep_config::settings::{
    BudgetScope, BudgetSetting, Provider as ProviderSetting, Settings,
};
use tollkeep_ledger::amount::Measure;
use tollkeep_ledger::price::{
    Book, Choice, Found, Override, Payer, Provider, Rates, Source, UnknownModel,
};
use tollkeep_llm::resolve::glob;
use tollkeep_store::KeptPrices;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{PicoUsd, Ratio};
use tollkeep_types::usage::{Class, Service};

/// Models that are shown at most.
const SHOWN_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// A row for each model that is named, and one for each provider with patterns.
    pub(super) models: Vec<Value>,
    /// What is to be told besides.
    pub(super) warnings: Vec<String>,
}

/// The rates of the models that these settings name.
pub(super) fn rates(settings: &Settings, at: WallMillis) -> Shown {
    let mut shown = Shown::default();
    let books = prices::book(&settings.prices, &KeptPrices::default());
    let books = books.and_then(|book| Ok((book, prices::shipped()?)));
    let (book, shipped) = match books {
        Ok(books) => books,
        Err(problem) => {
            shown.warnings.push(format!("prices: {problem}"));
            return shown;
        }
    };
    let look = Look {
        settings,
        book: &book,
        shipped: &shipped,
        at,
    };
    for provider in settings.providers.iter().filter(|one| one.enabled) {
        for model in look.named(provider) {
            if shown.models.len() >= SHOWN_MAX {
                let problem = format!("only the first {SHOWN_MAX} models are shown");
                shown.warnings.push(problem);
                return shown;
            }
            look.one(provider, model, &mut shown);
        }
        shown.models.extend(look.patterns(provider));
    }
    shown
}

/// What is looked at.
struct Look<'s> {
    settings: &'s Settings,
    book: &'s Book,
    shipped: &'s Book,
    at: WallMillis,
}

impl<'s> Look<'s> {
    /// The models that something names at this provider.
    fn named(&self, provider: &'s ProviderSetting) -> BTreeSet<&'s str> {
        let own = provider.models.iter().map(String::as_str);
        let of_credentials = provider.credentials.iter();
        let of_credentials = of_credentials.flat_map(|one| one.models.iter().map(String::as_str));
        let budgets = self.settings.budgets.list.iter();
        let of_budgets = budgets.filter_map(|budget| match &budget.scope {
            BudgetScope::Model(name) => Some(name.as_str()),
            BudgetScope::Tenant
            | BudgetScope::Project(_)
            | BudgetScope::Token(_)
            | BudgetScope::Route(_)
            | BudgetScope::Provider(_)
            | BudgetScope::Credential(_)
            | BudgetScope::Tokens(_)
            | BudgetScope::Metadata(_) => None,
        });
        let overrides = self.settings.prices.overrides.iter();
        let of_prices = overrides.filter_map(|one| match one {
            Override::Model(model) => {
                let of = model.provider.as_deref();
                let is_its = |of: &str| of == provider.name || of == provider.kind.name();
                of.is_none_or(is_its).then_some(&*model.id)
            }
            Override::Markup(_) => None,
        });
        let all = own.chain(of_credentials).chain(of_budgets).chain(of_prices);
        all.filter(|name| !name.contains('*') && serves(provider, name))
            .collect()
    }

    fn one(&self, of: &ProviderSetting, model: &str, shown: &mut Shown) {
        let provider = provider(of);
        let budgets = self.budgets(of, model);
        let mut row = json!({
            "provider": of.name,
            "model": model,
            "budgets": budgets,
            "markup": self.markup(of),
        });
        let found = self.book.find(provider, model, self.at).ok();
        let bounds = found.is_some_and(|found| found.source != Source::Dearest);
        if !bounds {
            let name = &of.name;
            let what = match budgets.first() {
                Some(budget) => {
                    format!("the budget `{budget}` counts its cost, so its calls are refused")
                }
                None => "where a budget of money or an account counts it, its calls are refused"
                    .to_owned(),
            };
            let problem = format!("providers.{name}: the model `{model}` has no price: {what}");
            shown.warnings.push(problem);
        }
        if let (Some(found), Some(members)) = (found, row.as_object_mut()) {
            let before = self.shipped.listed(provider, model, self.at);
            let priced = self.priced(found, before);
            members.extend(priced.as_object().cloned().unwrap_or_default());
        }
        shown.models.push(row);
    }

    fn priced(&self, found: Found<'_>, shipped: Option<Found<'_>>) -> Value {
        let (now, before) = (
            resolved(found.rates),
            shipped.map(|shipped| resolved(shipped.rates)),
        );
        let usd = |class: Class| now.get(class.name()).map(|rate| usd_per_million(*rate));
        let pico: BTreeMap<&str, u64> = now
            .iter()
            .map(|(class, rate)| (class.as_str(), rate.get()))
            .collect();
        json!({
            "source": found.source.name(),
            "price_version": self.book.version().0,
            "in_text_usd_per_million": usd(Class::InText),
            "out_text_usd_per_million": usd(Class::OutText),
            "pico_usd": pico,
            "shipped": match before {
                None => "has none",
                Some(before) if before == now => "the same",
                Some(_) => "differs",
            },
        })
    }

    /// What a provider serves by patterns: how many models have a price.
    fn patterns(&self, of: &ProviderSetting) -> Option<Value> {
        let patterns: Vec<&String> = of.models.iter().filter(|name| name.contains('*')).collect();
        if patterns.is_empty() {
            return None;
        }
        let models = self.book.models().iter().chain(self.book.overrides());
        let is_its =
            |id: &str| serves(of, id) && self.book.listed(provider(of), id, self.at).is_some();
        let priced: BTreeSet<&str> = models
            .map(|model| &*model.id)
            .filter(|id| is_its(id))
            .collect();
        let (priced, unknown) = (priced.len(), self.settings.prices.unknown_model);
        Some(json!({
            "provider": of.name,
            "model": patterns,
            "source": format!("{priced} have a price"),
            "others": match unknown {
                UnknownModel::Dearest => "as the dearest in records; refused where a budget of money counts them",
                UnknownModel::Zero if of.self_hosted => "free",
                UnknownModel::Refuse | UnknownModel::Zero => {
                    "refused where a budget of money counts them"
                }
            },
            "markup": self.markup(of),
        }))
    }

    fn markup(&self, of: &ProviderSetting) -> Option<String> {
        let factor = self.book.markup(provider(of), Payer::default());
        (factor != Ratio::ONE).then(|| factor.to_string())
    }

    /// The budgets of money in the configuration that count calls of it, or some of them.
    fn budgets(&self, of: &ProviderSetting, model: &str) -> Vec<&'s str> {
        let may_count = |budget: &&BudgetSetting| {
            budget.measure == Measure::Cost
                && match &budget.scope {
                    BudgetScope::Provider(name) => *name == of.name,
                    BudgetScope::Model(pattern) => glob(pattern, model),
                    BudgetScope::Tenant
                    | BudgetScope::Project(_)
                    | BudgetScope::Token(_)
                    | BudgetScope::Route(_)
                    | BudgetScope::Credential(_)
                    | BudgetScope::Tokens(_)
                    | BudgetScope::Metadata(_) => true,
                }
        };
        let listed = self.settings.budgets.list.iter().filter(may_count);
        listed.map(|budget| budget.name.as_str()).collect()
    }
}

fn provider(of: &ProviderSetting) -> Provider<'_> {
    Provider {
        name: &of.name,
        kind: of.kind.name(),
        self_hosted: of.self_hosted,
    }
}

fn serves(provider: &ProviderSetting, model: &str) -> bool {
    let is_in = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, model));
    is_in(&provider.models) && !is_in(&provider.excluded_models)
}

/// Rates of the usual service by class and unit, those that are derived too.
fn resolved(rates: &Rates) -> BTreeMap<String, PicoUsd> {
    let choice = Choice {
        input_tokens: 0,
        service: Service::Default,
    };
    let classes = Class::ALL.into_iter().filter_map(|class| {
        let (rate, factor) = rates.token(class, choice)?;
        let rate = PicoUsd::new(factor.of_rounded_up(rate.get())?)?;
        Some((class.name().to_owned(), rate))
    });
    let mut all: BTreeMap<_, _> = rates.base.named().collect();
    all.extend(classes);
    all
}

fn usd_per_million(rate: PicoUsd) -> String {
    const MILLION: u64 = 1_000_000;
    format!("{}.{:06}", rate.get() / MILLION, rate.get() % MILLION)
}

/// Prints what models cost, for people.
pub(super) fn print(models: &[Value]) {
    let columns = [
        ("PROVIDER", "/provider"),
        ("MODEL", "/model"),
        ("INPUT $/M", "/in_text_usd_per_million"),
        ("OUTPUT $/M", "/out_text_usd_per_million"),
        ("SOURCE", "/source"),
        ("SHIPPED TABLE", "/shipped"),
        ("MARKUP", "/markup"),
        ("BUDGETS", "/budgets"),
        ("OTHERS", "/others"),
    ];
    output::table(&models.iter().collect::<Vec<_>>(), &columns);
}
