//! What routes and requests cost, as the configuration says it: nothing is asked, nothing runs.

use super::config::Source;
use super::output;
use crate::assemble::prices;
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tollkeep_config::settings::{Access, Method, RateLimit, Route, Sale, Settings, TokenPrices};
use tollkeep_gateway::token_bound;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::{Asked, Origin, Quote};
use tollkeep_payments::session::Billing;
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Challenge, Extensions, Offer, Resource, Scheme};
use tollkeep_store::KeptPrices;
use tollkeep_types::Clock;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::path::{PathRules, canonicalize, split_target};

/// A request that is not sent.
#[derive(Args, Debug)]
pub(super) struct Request {
    /// A file with its body
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A field of it, as `x-tier: gold`; may be given again
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

/// Bytes of a body at most, as the longest that a gateway would look into.
const BODY_BYTES_MAX: u64 = 20 << 20;
/// What a call costs whose price is what it uses.
const BY_TOKENS: &str = "by tokens: what the call uses, at most its bound";
/// What a bound is known by.
const NO_BODY: &str = "give the call as --body FILE";
/// What is said of a bound.
const KEPT_PRICES: &str = "by the price table and the configuration; what was written while a gateway ran is not known here";
/// What a request costs whose price is an expression: only a running gateway works it out.
const COMPUTED: &str = "by an expression, between `min_price` and `max_price`";
/// What is said of steps that may give a request another price.
const UNASKED: &str =
    "`onPriceResolved` is not asked here: a running gateway may ask another price";

/// A request and what the configuration says of it.
pub(super) struct Quoted {
    pub(super) told: Map<String, Value>,
    pub(super) offers: Vec<Offer>,
}

impl Request {
    /// Whether anything of a request is given.
    pub(super) fn is_given(&self) -> bool {
        self.body.is_some() || !self.headers.is_empty()
    }

    fn body(&self) -> anyhow::Result<Vec<u8>> {
        let Some(path) = &self.body else {
            return Ok(Vec::new());
        };
        let failed = |problem: String| Failed::new(2, format!("{}: {problem}", path.display()));
        let unreadable = |error: std::io::Error| failed(error.to_string());
        if std::fs::metadata(path).map_err(unreadable)?.len() > BODY_BYTES_MAX {
            return Err(failed("is too large".to_owned()).into());
        }
        Ok(std::fs::read(path).map_err(unreadable)?)
    }

    fn headers(&self) -> anyhow::Result<Vec<(&str, &str)>> {
        let headers = self.headers.iter().map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| {
                Failed::new(2, format!("--header: want NAME: VALUE, not {line:?}"))
            })?;
            Ok((name.trim(), value.trim()))
        });
        let mut headers = headers.collect::<anyhow::Result<Vec<_>>>()?;
        let is_type = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-type");
        // A file with a body is JSON unless something else is said, as everywhere in this program.
        if self.body.is_some() && !headers.iter().any(is_type) {
            headers.push(("content-type", "application/json"));
        }
        Ok(headers)
    }

    /// What this request costs.
    ///
    /// # Errors
    /// What is given of it can't be read.
    pub(super) fn quote(
        &self,
        settings: &Settings,
        method: &str,
        target: &str,
    ) -> anyhow::Result<Quoted> {
        let (headers, body) = (self.headers()?, self.body()?);
        let mut told = Map::new();
        let mut path = String::new();
        let (raw, query) = split_target(without_authority(target).as_bytes());
        let query = query.and_then(|query| std::str::from_utf8(query).ok());
        if canonicalize(raw, PathRules::PERMISSIVE, &mut path).is_err() {
            refuse(&mut told, 400, "bad_request");
            return Ok(Quoted::nothing(told));
        }
        told.insert("path".to_owned(), path.clone().into());
        let route = match choose(&settings.routes, method, &path) {
            Ok(route) => route,
            Err((status, code)) => {
                refuse(&mut told, status, code);
                return Ok(Quoted::nothing(told));
            }
        };
        let params = route.path.params(&path);
        told.insert("route".to_owned(), route.name().into());
        told.insert("access".to_owned(), route.access.name().into());
        let named = params
            .iter()
            .map(|(name, text)| ((*name).to_owned(), json!(text)));
        told.insert("params".to_owned(), named.collect::<Map<_, _>>().into());
        let mut quoted = Quoted {
            told,
            offers: Vec::new(),
        };
        let asked = Asked {
            params: &params,
            query: query.unwrap_or_default(),
            headers: &headers,
            body: &body,
        };
        match route
            .sale
            .as_ref()
            .map(|sale| (sale, sale.pricing.quote(&asked)))
        {
            None => {}
            Some((sale, _)) if let Some(tokens) = sale.tokens => {
                let of = (tokens, route.upstream.as_str());
                quoted.tell_bound(settings, (sale, of), &asked, target)?;
            }
            Some((sale, _)) if sale.computed.is_some() => {
                quoted.told.insert("price".to_owned(), COMPUTED.into());
            }
            Some((_, Err(fault))) => refuse(&mut quoted.told, fault.status(), fault.code()),
            Some((sale, Ok(quote))) => quoted.tell(settings, sale, &quote, target),
        }
        if !route.hooks.price.is_empty() && route.is_paid() {
            quoted.told.insert("hooks".to_owned(), UNASKED.into());
        }
        Ok(quoted)
    }
}

impl Quoted {
    fn nothing(told: Map<String, Value>) -> Self {
        Self {
            told,
            offers: Vec::new(),
        }
    }

    /// The most that a call costs whose price is what it uses.
    fn tell_bound(
        &mut self,
        settings: &Settings,
        (sale, of): (&Sale, (TokenPrices, &str)),
        asked: &Asked<'_>,
        target: &str,
    ) -> anyhow::Result<()> {
        let mut put = |name: &str, value: Value| self.told.insert(name.to_owned(), value);
        if asked.body.is_empty() {
            put("price", BY_TOKENS.into());
            put("bound", NO_BODY.into());
            return Ok(());
        }
        let is_type = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case("content-type");
        let kind = asked.headers.iter().find(is_type);
        let call = (kind.map_or("", |(_, kind)| *kind), asked.body);
        let book = prices::book(&settings.prices, &KeptPrices::default());
        let book = book.map_err(|problem| Failed::new(exit::INVALID, problem))?;
        let bound = token_bound(settings, of, call, &book, SystemClock::new().wall());
        let bound = match bound {
            Ok(bound) => bound,
            Err((status, code)) => {
                refuse(&mut self.told, status, code);
                return Ok(());
            }
        };
        put("model", (*bound.model).into());
        put("input_tokens", bound.input_tokens.into());
        put("output_tokens", bound.output_tokens.into());
        put("bound", KEPT_PRICES.into());
        match sale.pricing.by_tokens(bound.most) {
            Ok(quote) => self.tell(settings, sale, &quote, target),
            Err(fault) => refuse(&mut self.told, fault.status(), fault.code()),
        }
        Ok(())
    }

    fn tell(&mut self, settings: &Settings, sale: &Sale, quote: &Quote, target: &str) {
        let mut put = |name: &str, value: Value| self.told.insert(name.to_owned(), value);
        put("price", quote.price.to_string().into());
        put("from", quote.origin.to_string().into());
        put("raised_to_min_price", quote.is_raised.into());
        if quote.price.is_free() {
            return;
        }
        self.offers = sale.offers(quote);
        let offers = self.offers.iter().map(|offer| {
            json!({
                "network": offer.network().to_string(), "asset": &*offer.asset.symbol,
                "amount": offer.amount.to_string(), "pay_to": offer.pay_to.to_string(),
                "max_timeout_seconds": offer.max_timeout_s,
            })
        });
        put("offers", offers.collect());
        let resource = Resource {
            url: target.to_owned(),
            ..Resource::default()
        };
        let challenge = Challenge {
            resource: &resource,
            offers: &self.offers,
            quotes: &[],
            reason: None,
            extensions: &Extensions::new(settings.payments.x402.requires_identifier),
        };
        let field = challenge.payment_required(settings.payments.challenge_bytes_max);
        put("payment_required", field.into());
    }
}

fn refuse(told: &mut Map<String, Value>, status: u16, code: &str) {
    told.insert("refused".to_owned(), code.into());
    told.insert("status".to_owned(), status.into());
}

/// The route of a request, chosen as a gateway would, or why there is none.
fn choose<'r>(
    routes: &'r [Route],
    method: &str,
    path: &str,
) -> Result<&'r Route, (u16, &'static str)> {
    if !Method::ALL.iter().any(|known| known.as_str() == method) {
        return Err((501, "method_unknown"));
    }
    let mut fitting: Vec<&Route> = routes
        .iter()
        .filter(|route| route.path.fits(path))
        .collect();
    fitting.sort_by_cached_key(|route| (route.path.precedence(), route.methods.precedence()));
    let found = fitting.iter().find(|route| route.methods.take(method));
    found.copied().ok_or(if fitting.is_empty() {
        (404, "endpoint_not_found")
    } else {
        (405, "method_not_allowed")
    })
}

/// The path and query of a URL; what is none already is one.
fn without_authority(target: &str) -> &str {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let path = rest.find(['/', '?']).and_then(|at| rest.get(at..));
            path.filter(|path| path.starts_with('/')).unwrap_or("/")
        }
        _ => target,
    }
}

/// Loads what is only looked at, and says on the way what there is to say.
///
/// # Errors
/// The configuration is not valid.
pub(super) fn look(source: &Source) -> anyhow::Result<Settings> {
    let loaded = source.look()?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded.settings)
}

/// What requests of each route cost: an entry for each price.
pub(super) fn prices(settings: &Settings) -> Vec<Value> {
    let of_route = |route: &Route| {
        let common = json!({
            "route": route.name(), "access": route.access.name(), "upstream": route.upstream,
            "limit": route.rate.as_ref().map(limit),
        });
        let Some(sale) = &route.sale else {
            return vec![common];
        };
        let (min, max) = sale.pricing.bounds();
        if sale.tokens.is_some() {
            let told = (&Origin::Tokens, BY_TOKENS, Mode::Upto);
            return vec![worked_out(common, told, (min, max))];
        }
        if sale.computed.is_some() {
            let told = (&Origin::Price, COMPUTED, sale.terms.mode);
            return vec![worked_out(common, told, (min, max))];
        }
        let rules = sale.pricing.rules();
        let entry = |(at, (origin, price)): (usize, (Origin, &Price))| {
            let quote = Quote {
                price: price.clone(),
                origin,
                is_raised: false,
                pay_to: rules.get(at).and_then(|rule| rule.pay_to),
            };
            let conditions = rules.get(at).map(|rule| {
                let conditions = rule.conditions.iter().map(ToString::to_string);
                conditions.collect::<Vec<_>>().join(" and ")
            });
            let mut units = sale.offers(&quote);
            // Nothing is asked for.
            units.retain(|_| !quote.price.is_free());
            let units = units.iter().map(unit);
            let mut entry = common.clone();
            let dollars = |usd: NanoUsd| Price::Usd(usd).to_string();
            let rails = if units.len() == 0 {
                json!([])
            } else {
                json!(["x402"])
            };
            let quoted = json!({
                "from": quote.origin.to_string(),
                "when": conditions,
                "price": quote.price.to_string(),
                "billing": sale.billing.as_ref().map_or("per_request", |it| it.model.as_str()),
                "buys": sale.billing.as_ref().map(Billing::told),
                "token_cost": token_cost(route, sale, price),
                "rails": rails,
                "settlement": settlement(sale.terms.mode),
                "units": units.collect::<Vec<_>>(),
                "min_price": min.map(dollars),
                "max_price": max.map(dollars),
            });
            if let (Some(entry), Value::Object(quoted)) = (entry.as_object_mut(), quoted) {
                entry.extend(quoted);
            }
            entry
        };
        sale.pricing.all().enumerate().map(entry).collect()
    };
    settings.routes.iter().flat_map(of_route).collect()
}

const fn settlement(mode: Mode) -> &'static str {
    match mode {
        Mode::Before => "before-response",
        Mode::After => "after-response",
        Mode::Upto => "upto",
    }
}

/// The entry of a route whose price is worked out for each request.
fn worked_out(
    mut entry: Value,
    (origin, price, mode): (&Origin, &str, Mode),
    (min, max): (Option<NanoUsd>, Option<NanoUsd>),
) -> Value {
    let dollars = |usd: NanoUsd| Price::Usd(usd).to_string();
    let told = json!({
        "from": origin.to_string(), "price": price, "rails": ["x402"],
        "settlement": settlement(mode),
        "min_price": min.map(dollars), "max_price": max.map(dollars),
    });
    if let (Some(entry), Value::Object(told)) = (entry.as_object_mut(), told) {
        entry.extend(told);
    }
    entry
}

/// How much of what an offer asks for.
fn unit(offer: &Offer) -> String {
    let upto = match offer.scheme {
        Scheme::Exact => "",
        Scheme::Upto => "up to ",
    };
    let (amount, symbol) = (offer.amount, &offer.asset.symbol);
    format!("{upto}{amount} {symbol} on {}", offer.network())
}

/// What a call costs access tokens, where they are taken.
fn token_cost(route: &Route, sale: &Sale, price: &Price) -> Option<String> {
    let takes = matches!(route.access, Access::Token | Access::TokenOrPayment);
    let cost = sale.token_cost(price).filter(|_| takes)?;
    Some(Price::Usd(cost).to_string())
}

fn limit(limit: &RateLimit) -> String {
    let (requests, ms) = (limit.requests, limit.window.as_millis());
    if ms.is_multiple_of(1_000) {
        format!("{requests} in {} s", ms / 1_000)
    } else {
        format!("{requests} in {ms} ms")
    }
}

/// Prints what routes cost, for people.
pub(super) fn print(prices: &[Value]) {
    let columns = [
        ("ROUTE", "/route"),
        ("ACCESS", "/access"),
        ("PRICE", "/price"),
        ("BUYS", "/buys"),
        ("FROM", "/from"),
        ("WHEN", "/when"),
        ("UNITS", "/units"),
        ("MIN", "/min_price"),
        ("MAX", "/max_price"),
        ("RAILS", "/rails"),
        ("SETTLED", "/settlement"),
        ("LIMIT", "/limit"),
    ];
    let mut rows = prices.to_vec();
    for row in &mut rows {
        for name in ["/units", "/rails"] {
            if let Some(all) = row.pointer_mut(name) {
                let texts = all.as_array().into_iter().flatten();
                let texts: Vec<_> = texts.filter_map(Value::as_str).collect();
                *all = if texts.is_empty() {
                    Value::Null
                } else {
                    texts.join(", ").into()
                };
            }
        }
    }
    output::table(&rows.iter().collect::<Vec<_>>(), &columns);
}

/// Reads a file of one line, or the text itself.
///
/// # Errors
/// The file can't be read.
pub(super) fn text_or_file(given: &str) -> anyhow::Result<String> {
    let Some(path) = given.strip_prefix('@') else {
        return Ok(given.to_owned());
    };
    let read = std::fs::read_to_string(Path::new(path));
    let text = read.map_err(|error| Failed::new(2, format!("{path}: {error}")))?;
    Ok(text.trim_end().to_owned())
}
