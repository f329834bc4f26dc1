//! A model of genai-prices as one of ours, checked against LiteLLM.

use super::Family;
use super::decide::Decisions;
use super::money::{agree, fraction, pico};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// From when on prices hold that have no beginning.
const EVER: &str = "2020-01-01T00:00:00Z";
/// Tokens in the unit of prices.
const MTOK: u128 = 1_000_000;

pub(super) struct Taken {
    pub(super) model: Value,
    /// Why, if the sources differ.
    pub(super) decided: Option<String>,
}

/// Why a model is not taken; `None`: the other source does not know it.
type Left = Option<String>;

/// The models of LiteLLM of one family, by their names without the prefix.
pub(super) fn of_family<'l>(models: &'l Value, family: &Family) -> BTreeMap<&'l str, &'l Value> {
    let all = models.as_object().into_iter().flatten();
    let theirs = all.filter(|(_, model)| model["litellm_provider"] == family.litellm);
    theirs
        .filter_map(|(name, model)| Some((name.strip_prefix(family.prefix)?, model)))
        .collect()
}

pub(super) fn model(
    family: &Family,
    model: &Value,
    theirs: &BTreeMap<&str, &Value>,
    decisions: &Decisions,
) -> Result<Taken, Left> {
    let id = model["id"].as_str().unwrap_or_default();
    let names = names(model, id);
    let Some(other) = counterpart(id, &names, theirs) else {
        return Err(None);
    };
    let mut rates = rates(family, model, other)?;
    let decision = decisions.of(family.kind, id);
    let decided = match (differs(&rates, other), decision) {
        (None, _) => None,
        (Some(difference), Some(decision)) if decision.use_source == "genai-prices" => {
            Some(format!(
                "{difference}; genai-prices is right: {} ({})",
                decision.page, decision.date
            ))
        }
        (Some(difference), Some(decision)) if decision.use_source == "litellm" => {
            let last = rates
                .last_mut()
                .and_then(|rates| rates["base"].as_object_mut());
            if let Some(base) = last {
                correct(base, other);
            }
            Some(format!(
                "{difference}; LiteLLM is right: {} ({})",
                decision.page, decision.date
            ))
        }
        (Some(difference), _) => return Err(Some(difference)),
    };
    let written = rates
        .iter()
        .any(|rates| !rates["base"]["cache_write"].is_null());
    let mut taken = Map::new();
    taken.insert("provider".into(), family.kind.into());
    taken.insert("model".into(), id.into());
    let other_names: Vec<_> = names.into_iter().filter(|name| name != id).collect();
    if !other_names.is_empty() {
        taken.insert("match".into(), other_names.into());
    }
    // The larger of the two: a bound must not be below what an upstream takes.
    let windows = [&other["max_input_tokens"], &model["context_window"]];
    if let Some(window) = windows.iter().filter_map(|window| whole(window)).max() {
        taken.insert("max_input".into(), window.into());
    }
    let most = whole(&other["max_output_tokens"]);
    if let Some(most) = most.filter(|_| other["mode"] != "embedding") {
        taken.insert("max_output".into(), most.into());
    }
    let is_openai = matches!(family.kind, "openai" | "azure-openai");
    if family.kind != "gemini" {
        let field = if is_openai {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        taken.insert("cap_field".into(), field.into());
    }
    if other["supports_reasoning"] == true {
        taken.insert("hidden_reasoning".into(), true.into());
    }
    if written {
        taken.insert("implicit_cache_write".into(), true.into());
    }
    taken.insert("rates".into(), rates.into());
    Ok(Taken {
        model: taken.into(),
        decided,
    })
}

fn whole(value: &Value) -> Option<u64> {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    value.as_u64().or_else(text).filter(|count| *count > 0)
}

/// The names a model goes by. A prefix stands for itself, for its latest and for dated names:
/// never for whatever may begin so one day.
fn names(model: &Value, id: &str) -> Vec<String> {
    let mut names = vec![id.to_owned()];
    let mut clauses = vec![&model["match"]];
    while let Some(clause) = clauses.pop() {
        clauses.extend(clause["or"].as_array().into_iter().flatten().rev());
        if let Some(name) = clause["equals"].as_str() {
            names.push(name.to_owned());
        }
        for member in ["starts_with", "contains"] {
            if let Some(name) = clause[member]
                .as_str()
                .map(|name| name.trim_end_matches('-'))
            {
                names.extend([
                    name.to_owned(),
                    format!("{name}-latest"),
                    format!("{name}-20*"),
                ]);
            }
        }
    }
    names.retain(|name| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn counterpart<'l>(
    id: &str,
    names: &[String],
    theirs: &BTreeMap<&str, &'l Value>,
) -> Option<&'l Value> {
    let exact = std::iter::once(id).chain(names.iter().map(String::as_str));
    let found = exact.clone().find_map(|name| theirs.get(name));
    found.copied().or_else(|| {
        // The newest dated name.
        let mut dated = theirs.iter().rev();
        let is_dated = |name: &str| {
            names.iter().any(|ours| {
                let rest = name
                    .strip_prefix(&**ours)
                    .and_then(|rest| rest.strip_prefix("-20"));
                rest.is_some_and(|rest| rest.len() >= 6)
            })
        };
        dated
            .find(|(name, _)| is_dated(name))
            .map(|(_, model)| *model)
    })
}

fn rates(family: &Family, model: &Value, other: &Value) -> Result<Vec<Value>, Left> {
    let mut all = Vec::new();
    match &model["prices"] {
        Value::Array(list) => {
            for entry in list {
                let constraint = &entry["constraint"];
                let from = match (&constraint["start_date"], constraint.is_null()) {
                    (_, true) => EVER.to_owned(),
                    (Value::String(date), _) => format!("{date}T00:00:00Z"),
                    _ => return Err(Some("its price depends on the hour".to_owned())),
                };
                all.push((from, priced(family, &entry["prices"], other)?));
            }
        }
        prices => all.push((EVER.to_owned(), priced(family, prices, other)?)),
    }
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all.dedup_by(|later, earlier| earlier.0 == later.0);
    let mut entries: Vec<Value> = all
        .into_iter()
        .map(|(from, priced)| {
            let mut entry = json!({"from": from, "base": priced.base});
            if !priced.tiers.is_empty() {
                entry["tiers"] = priced.tiers.into();
            }
            entry
        })
        .collect();
    if let Some(last) = entries.last_mut() {
        variants(family, model, other, last)?;
    }
    Ok(entries)
}

#[derive(Default)]
struct Priced {
    base: Map<String, Value>,
    tiers: Vec<Value>,
}

fn priced(family: &Family, prices: &Value, other: &Value) -> Result<Priced, Left> {
    let is_anthropic = family.kind == "anthropic";
    let mut priced = Priced::default();
    let mut tiers: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for (name, price) in prices.as_object().into_iter().flatten() {
        let (class, per) = match &**name {
            "is" => continue,
            "input_mtok" => ("in_text", MTOK),
            "output_mtok" => ("out_text", MTOK),
            "cache_read_mtok" => ("cache_read_text", MTOK),
            "cache_write_mtok" if is_anthropic => ("cache_write_5m", MTOK),
            "cache_write_mtok" => ("cache_write", MTOK),
            "cache_write_1h_mtok" => ("cache_write_1h", MTOK),
            "input_audio_mtok" => ("in_audio", MTOK),
            "cache_audio_read_mtok" => ("cache_read_audio", MTOK),
            "output_audio_mtok" => ("out_audio", MTOK),
            "input_image_mtok" => ("in_image", MTOK),
            "cache_image_read_mtok" => ("cache_read_image", MTOK),
            "output_image_mtok" => ("out_image", MTOK),
            "input_video_mtok" => ("in_video", MTOK),
            "output_reasoning_mtok" => ("out_reasoning", MTOK),
            "web_searches_kcount" => ("web_search", 1000),
            "storage_searches_kcount" => ("file_search", 1000),
            "requests_kcount" => ("request", 1000),
            other => return Err(Some(format!("no class for `{other}`"))),
        };
        let rate = |price: &Value| {
            let text = price.as_str().unwrap_or_default();
            pico(text, per).ok_or_else(|| Some(format!("`{name}` is {price}")))
        };
        let base = if price.is_object() {
            &price["base"]
        } else {
            price
        };
        priced.base.insert(class.to_owned(), rate(base)?.into());
        for tier in price["tiers"].as_array().into_iter().flatten() {
            let over = tier["start"].as_u64().unwrap_or_default();
            let rates = tiers.entry(over).or_default();
            rates.insert(class.to_owned(), rate(&tier["price"])?.into());
        }
    }
    let tier = |(over, rates)| json!({"over_input_tokens": over, "rates": rates});
    priced.tiers = tiers.into_iter().map(tier).collect();
    if priced.base.get("in_text").is_none_or(Value::is_null) {
        return Err(Some("no price of input".to_owned()));
    }
    units(family, &mut priced.base, other)?;
    Ok(priced)
}

/// What providers charge besides tokens, and what they state as free.
fn units(family: &Family, base: &mut Map<String, Value>, other: &Value) -> Result<(), Left> {
    if family.kind == "gemini"
        && let Some(search) = base.get("web_search").and_then(Value::as_u64)
    {
        /// What Google asks for a grounded prompt; models that count queries ask less for one.
        const PROMPT: u64 = 35_000_000_000;
        let (prompt, query) = if search >= PROMPT {
            (search, 0)
        } else {
            (0, search)
        };
        base.insert("grounded_prompt".to_owned(), prompt.into());
        base.insert("web_search".to_owned(), query.into());
    }
    if family.kind == "anthropic" && base.contains_key("out_text") {
        if base.contains_key("web_search") {
            base.insert("web_fetch".to_owned(), 0.into());
        }
        let hour = &other["cache_creation_input_token_cost_above_1hr"];
        let five = &other["cache_creation_input_token_cost"];
        for (class, theirs) in [("cache_write_1h", hour), ("cache_write_5m", five)] {
            if !base.contains_key(class) {
                let rate = theirs.as_str().and_then(|text| pico(text, 1));
                let rate = rate.ok_or_else(|| Some(format!("no price of `{class}`")))?;
                base.insert(class.to_owned(), rate.into());
            }
        }
    }
    Ok(())
}

/// Services and modifiers, which the newest rates have.
fn variants(family: &Family, model: &Value, other: &Value, last: &mut Value) -> Result<(), Left> {
    for variant in model["price_variants"].as_array().into_iter().flatten() {
        let when = &variant["when"];
        let service = match (when["processing"].as_str(), when["service_tier"].as_str()) {
            (Some("batch"), _) => "batch",
            (_, Some("priority")) => "priority",
            (_, Some("flex")) => "flex",
            _ => {
                if when["speed"] == "fast" {
                    let fast = priced(family, &variant["prices"], other)?;
                    if let Some(factor) = factor(&last["base"], &fast.base) {
                        last["modifiers"]["speed:fast"] = factor.into();
                    }
                }
                continue;
            }
        };
        let mut own = priced(family, &variant["prices"], other)?;
        // Services act on tokens only.
        own.base.retain(|class, _| {
            !matches!(
                &**class,
                "web_search" | "web_fetch" | "file_search" | "request" | "grounded_prompt"
            )
        });
        last["service"][service] = json!({"rates": own.base});
        if !own.tiers.is_empty() {
            last["service"][service]["tiers"] = own.tiers.into();
        }
    }
    let us = other["provider_specific_entry"]["us"].as_str();
    if let Some(factor) = us.filter(|_| family.kind == "anthropic").and_then(fraction) {
        last["modifiers"]["inference_geo:us"] = factor.into();
    }
    Ok(())
}

/// The factor that every token rate has, if they all have one.
fn factor(base: &Value, other: &Map<String, Value>) -> Option<String> {
    let (under, over) = (base["in_text"].as_u64()?, other["in_text"].as_u64()?);
    let (out, other_out) = (base["out_text"].as_u64()?, other["out_text"].as_u64()?);
    let divisor = std::iter::successors(Some((under, over)), |(left, right)| {
        (*left != 0).then(|| (right % left, *left))
    });
    let divisor = divisor.last()?.1;
    let alike = u128::from(out) * u128::from(over) == u128::from(other_out) * u128::from(under);
    alike.then(|| format!("{}/{}", over / divisor, under / divisor))
}

/// What both sources tell, and by what they differ.
const COMPARED: [(&str, &str); 4] = [
    ("in_text", "input_cost_per_token"),
    ("out_text", "output_cost_per_token"),
    ("cache_read_text", "cache_read_input_token_cost"),
    ("cache_write_5m", "cache_creation_input_token_cost"),
];

fn differs(rates: &[Value], other: &Value) -> Option<String> {
    let base = rates.last().map(|rates| &rates["base"])?;
    let differences = COMPARED.iter().filter_map(|(class, theirs)| {
        let ours = base[class].as_u64();
        let theirs = other[theirs].as_str().and_then(|text| pico(text, 1));
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if agree(ours, theirs) => None,
            // What one of them does not tell falls back to a dearer class, or is the other's word.
            (None, None) | (Some(_), None) | (None, Some(_))
                if *class != "in_text" && !(*class == "out_text" && ours.is_some()) =>
            {
                None
            }
            (ours, theirs) => {
                let told =
                    |rate: Option<u64>| rate.map_or("nothing".to_owned(), |rate| rate.to_string());
                Some(format!(
                    "{class}: genai-prices {}, LiteLLM {}",
                    told(ours),
                    told(theirs)
                ))
            }
        }
    });
    let differences: Vec<_> = differences.collect();
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn correct(base: &mut Map<String, Value>, other: &Value) {
    for (class, theirs) in COMPARED {
        let rate = other[theirs].as_str().and_then(|text| pico(text, 1));
        if let Some(rate) = rate.filter(|_| base.contains_key(class)) {
            base.insert(class.to_owned(), rate.into());
        }
    }
}
