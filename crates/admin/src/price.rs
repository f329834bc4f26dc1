//! `/api/v1/prices`: what models cost, and where that is from (LED-34).

use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, number, objects, switch, text, time};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tollkeep_audit::{Action, Key, Value as Told};
use tollkeep_ledger::money::{PicoUsd, Ratio};
use tollkeep_ledger::price::{Book, Choice, Found, Model, Payer, Provider, Rates, Source};
use tollkeep_store::Quarantine;
use tollkeep_types::WallMillis;
use tollkeep_types::usage::{Class, Service};

/// Models that are listed at most.
const LISTED_MAX: usize = 5_000;
/// Where a table is from.
const TABLES: &[&str] = &["shipped", "imported", "file"];
const SERVICES: &[&str] = &["default", "flex", "priority", "batch"];

const LISTED: &[Member] = &[
    text("provider", 256, "A provider's kind or name; null: any").or_null(),
    text("model", 256, "The id"),
    choice("source", &["override", "table"], "Who says so"),
    text(
        "in_text_usd_per_million",
        40,
        "Dollars for a million tokens of text read",
    )
    .or_null(),
    text(
        "out_text_usd_per_million",
        40,
        "Dollars for a million tokens of text written",
    )
    .or_null(),
    time("from", "Since when"),
];

const RATE: &[Member] = &[
    text("class", 256, "Class of tokens, or unit"),
    number("pico_usd", "Pico-dollars for one token or unit"),
    text("usd_per_million", 40, "Dollars for a million"),
];

const TIER: &[Member] = &[
    number(
        "over_input_tokens",
        "Reached by more input tokens than these",
    ),
    objects("rates", RATE, "Rates from there on"),
];

const MODIFIER: &[Member] = &[
    text("name", 256, "The modifier"),
    text("factor", 40, "What multiplies rates of tokens, as 11/10"),
];

const DIFFERENCE: &[Member] = &[
    text("class", 256, "Class of tokens, or unit"),
    number("pico_usd", "What is used; null: nothing").or_null(),
    number(
        "shipped_pico_usd",
        "What the shipped table has; null: nothing",
    )
    .or_null(),
];

const SHOWN: &[Member] = &[
    text("asked", 256, "The name that was asked about"),
    text("provider", 256, "A provider's kind or name; null: any").or_null(),
    text("model", 256, "The id of the entry that applies"),
    choice(
        "source",
        &["override", "table", "dearest", "self_hosted"],
        "Who says so, or what stands in",
    ),
    choice("table", TABLES, "Where the price table in use is from"),
    text("version", 64, "Version of the price table"),
    text("sha256", 64, "Hash of the price table"),
    text(
        "markup",
        40,
        "By how much more calls to this provider are charged; null: by nothing. Projects and tokens may have others",
    )
    .or_null(),
    time("at", "The instant that is asked about"),
    time("from", "Since when these rates hold"),
    choice("service", SERVICES, "The service"),
    objects(
        "rates",
        RATE,
        "Rates of classes and units, those that are derived too",
    ),
    objects("tiers", TIER, "Other rates of long prompts"),
    objects("modifiers", MODIFIER, "What multiplies rates"),
    objects(
        "differences",
        DIFFERENCE,
        "How the rates differ from those of the shipped table",
    ),
    number("max_input", "Most input tokens").or_null(),
    number("max_output", "Most output tokens").or_null(),
    switch("hidden_reasoning", "It may think without showing it"),
];

const QUARANTINED: &[Member] = &[
    text("provider", 256, "The provider, by its name in the settings"),
    text(
        "model",
        256,
        "The model, by the name that goes to the provider",
    ),
    crate::shape::id(
        "hold",
        "hld_",
        "The first call that cost more than its bound",
    ),
    time("since", "When that was"),
];

const ACK: &[Member] = &[
    text("model", 256, "The model").required(),
    text("provider", 256, "Of this provider only"),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "price_list",
        command: "price list",
        about: "Models that have a price",
        method: Method::Get,
        path: "/api/v1/prices",
        also: None,
        right: Right::Read,
        change: None,
        query: &[text("provider", 256, "Only of this kind or name")],
        body: None,
        answers: &[(200, Content::Page(LISTED))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "price_show",
        command: "price show",
        about: "What a model costs",
        method: Method::Get,
        path: "/api/v1/prices/{id}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            text(
                "provider",
                256,
                "A provider's name or kind, where several have such a model",
            ),
            text("at", 40, "Another instant than now, in RFC 3339"),
            choice("service", SERVICES, "Another service than the usual one"),
        ],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[404],
        run: |call| Box::pin(show(call)),
    },
    Operation {
        id: "price_quarantine",
        command: "price quarantine",
        about: "Models whose provider billed more than a call was bounded to",
        method: Method::Get,
        path: "/api/v1/quarantine",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::List(QUARANTINED))],
        refusals: &[],
        run: |call| Box::pin(quarantine(call)),
    },
    Operation {
        id: "price_ack",
        command: "price ack",
        about: "Say that such a model was looked after: hard budgets let it pass again",
        method: Method::Post,
        path: "/api/v1/quarantine/ack",
        also: None,
        right: Right::Configuration,
        change: Some(Action::PriceAck),
        query: &[],
        body: Some(ACK),
        answers: &[(200, Content::List(QUARANTINED))],
        refusals: &[404],
        run: |call| Box::pin(ack(call)),
    },
];

async fn quarantine(call: Call) -> Answer {
    let models = call.state.parts.store.quarantines();
    Ok(ok(&models.iter().map(quarantined).collect::<Value>()))
}

async fn ack(call: Call) -> Answer {
    let Call {
        state,
        operator,
        mut body,
        ..
    } = call;
    let (model, provider) = (body.text("model"), body.text("provider"));
    body.done()?;
    let model = model.unwrap_or_default();
    state.check_audit()?;
    let store = &state.parts.store;
    let ended = store.end_quarantine(model.clone(), provider).await?;
    let event = state
        .event(&operator, Action::PriceAck)
        .with_detail(Key::Model, Told::Text(model.into()));
    state.record(event).await?;
    Ok(ok(&ended.iter().map(quarantined).collect::<Value>()))
}

fn quarantined(one: &Quarantine) -> Value {
    json!({
        "provider": one.provider,
        "model": one.model,
        "hold": one.hold,
        "since": one.since,
    })
}

async fn list(call: Call) -> Answer {
    let book = call.state.parts.runtime.prices();
    let now = call.state.parts.clock.wall();
    let wanted = call.query.get("provider");
    let is_wanted = |model: &&Model| wanted.is_none() || model.provider.as_deref() == wanted;
    let of = |source: Source, models: &[Model]| -> Vec<Value> {
        let models = models.iter().filter(is_wanted);
        let rows = models.filter_map(|model| Some(listed(model, model.at(now)?, source)));
        rows.collect()
    };
    let mut rows = of(Source::Override, book.overrides());
    rows.extend(of(Source::Table, book.models()));
    let more = rows.len() > LISTED_MAX;
    rows.truncate(LISTED_MAX);
    Ok(ok(
        &json!({ "data": rows, "has_more": more, "next_cursor": null }),
    ))
}

fn listed(model: &Model, rates: &Rates, source: Source) -> Value {
    let rate = |class| rates.base.token(class).map(usd_per_million);
    json!({
        "provider": model.provider,
        "model": model.id,
        "source": source.name(),
        "in_text_usd_per_million": rate(Class::InText),
        "out_text_usd_per_million": rate(Class::OutText),
        "from": rates.from,
    })
}

async fn show(call: Call) -> Answer {
    let runtime = &call.state.parts.runtime;
    let book = runtime.prices();
    let at = match call.query.get("at") {
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("at: want a time."))?,
        None => call.state.parts.clock.wall(),
    };
    let service = call.query.get("service").and_then(Service::named);
    let service = service.unwrap_or_default();
    let asked = &*call.id;
    let named = call.query.get("provider");
    let settings = runtime.settings();
    let name = named.map_or_else(|| only(&book, asked, at), Ok)?;
    let mut configured = settings.providers.iter();
    let configured = configured.find(|provider| provider.name == name);
    let provider = configured.map_or_else(
        || of_kind(name),
        |provider| Provider {
            name: &provider.name,
            kind: provider.kind.name(),
            self_hosted: provider.self_hosted,
        },
    );
    // What stands in for a model is of a provider that was named.
    let found = match named {
        Some(_) => book.find(provider, asked, at).ok(),
        None => book.listed(provider, asked, at),
    };
    let found = found.ok_or_else(Problem::not_found)?;
    let table = match (
        &settings.prices.file,
        &call.state.parts.store.prices().table,
    ) {
        (Some(_), _) => "file",
        (None, Some(_)) => "imported",
        (None, None) => "shipped",
    };
    let shipped = runtime.shipped_prices().ok_or_else(Problem::internal)?;
    let before = shipped.listed(provider, asked, at);
    let markup = book.markup(provider, Payer::default());
    let mut answer = shown(&book, found, (asked, at, service));
    if let Some(members) = answer.as_object_mut() {
        let before = before.map(|before| before.rates);
        let rows = differences(found.rates, before, service);
        members.insert("differences".to_owned(), rows.into());
        members.insert("table".to_owned(), table.into());
        let markup = (markup != Ratio::ONE).then(|| markup.to_string());
        members.insert("markup".to_owned(), markup.into());
    }
    Ok(ok(&answer))
}

const fn of_kind(kind: &str) -> Provider<'_> {
    Provider {
        name: kind,
        kind,
        self_hosted: false,
    }
}

/// The name or kind of the one provider that has a model of this name; empty: any has it.
fn only<'b>(book: &'b Book, asked: &str, at: WallMillis) -> Result<&'b str, Problem> {
    let all = book.models().iter().chain(book.overrides());
    let kinds: BTreeSet<&str> = all.filter_map(|model| model.provider.as_deref()).collect();
    let found = |kind: &&str| book.listed(of_kind(kind), asked, at);
    let serving: Vec<&str> = kinds
        .iter()
        .copied()
        .filter(|kind| found(kind).is_some())
        .collect();
    match serving.as_slice() {
        [] => Ok(""),
        [one] => Ok(one),
        several => {
            let problem = format!("provider: want one of {}.", several.join(", "));
            Err(Problem::bad_request(problem))
        }
    }
}

fn shown(book: &Book, found: Found<'_>, asked: (&str, WallMillis, Service)) -> Value {
    let (name, at, service) = asked;
    let (version, sha256) = book.version();
    let rates = found.rates;
    let facts = &found.model.facts;
    let tiers = rates.steps(service, u64::MAX).filter(|step| *step > 0);
    let tiers: BTreeSet<u64> = tiers.collect();
    let tiers = tiers.into_iter().map(|step| {
        json!({
            "over_input_tokens": step.saturating_sub(1),
            "rates": told(rates, Choice { input_tokens: step, service }, Units::Without),
        })
    });
    let modifiers = rates.modifiers.iter();
    let modifiers =
        modifiers.map(|(name, factor)| json!({"name": name, "factor": factor.to_string()}));
    json!({
        "asked": name,
        "provider": found.model.provider,
        "model": found.model.id,
        "source": found.source.name(),
        "version": version,
        "sha256": sha256,
        "at": at,
        "from": rates.from,
        "service": service.name(),
        "rates": told(rates, Choice { input_tokens: 0, service }, Units::With),
        "tiers": tiers.collect::<Vec<_>>(),
        "modifiers": modifiers.collect::<Vec<_>>(),
        "max_input": facts.max_input,
        "max_output": facts.max_output,
        "hidden_reasoning": facts.hidden_reasoning,
    })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Units {
    With,
    Without,
}

/// Rates of all classes that have one, their own or by falling back, and of units.
fn resolved(rates: &Rates, choice: Choice, units: Units) -> Vec<(String, PicoUsd)> {
    let tokens = Class::ALL.into_iter().filter_map(|class| {
        let (rate, factor) = rates.token(class, choice)?;
        let rate = PicoUsd::new(factor.of_rounded_up(rate.get())?)?;
        Some((class.name().to_owned(), rate))
    });
    let mut all: Vec<_> = tokens.collect();
    if units == Units::With {
        let others = rates
            .base
            .named()
            .filter(|(name, _)| Class::named(name).is_none());
        all.extend(others);
    }
    all
}

fn told(rates: &Rates, choice: Choice, units: Units) -> Vec<Value> {
    let all = resolved(rates, choice, units).into_iter();
    let all = all.map(|(class, rate)| {
        json!({
            "class": class,
            "pico_usd": rate.get(),
            "usd_per_million": usd_per_million(rate),
        })
    });
    all.collect()
}

/// How the rates that are used differ from those of the shipped table.
fn differences(now: &Rates, shipped: Option<&Rates>, service: Service) -> Vec<Value> {
    let choice = Choice {
        input_tokens: 0,
        service,
    };
    let named = |rates: &Rates| -> BTreeMap<String, u64> {
        let rates = resolved(rates, choice, Units::With).into_iter();
        rates.map(|(name, rate)| (name, rate.get())).collect()
    };
    let (now, before) = (named(now), shipped.map(named).unwrap_or_default());
    let names: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    let rows = names.into_iter().filter_map(|class| {
        let (now, before) = (now.get(class), before.get(class));
        let row = json!({"class": class, "pico_usd": now, "shipped_pico_usd": before});
        (now != before).then_some(row)
    });
    rows.collect()
}

/// Dollars for a million tokens or units.
fn usd_per_million(rate: PicoUsd) -> String {
    const MILLION: u64 = 1_000_000;
    format!("{}.{:06}", rate.get() / MILLION, rate.get() % MILLION)
}
