//! What is sold and how it is paid, for machines that look for it: made once, from the settings
//! alone, and nothing in it that callers may not know.

use crate::price::Price;
use crate::pricing::{Origin, Pricing};
use crate::session::{Billing, CreditTerms, Model};
use serde_json::{Map, Value, json};

/// Something that callers without an account may call.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its methods; empty: all.
    pub methods: Vec<&'static str>,
    /// Its path as routes write it, `/v1/x/:name/*`.
    pub path: String,
    /// What it costs; `None` is nothing.
    pub pricing: Option<Pricing>,
    /// Whether something else than its prices may say what a request costs.
    pub is_computed: bool,
    /// What a payment buys, where that is more than one call.
    pub billing: Option<Billing>,
    /// The tokens it is paid in: symbol and network.
    pub accepts: Vec<(String, String)>,
    /// Whether its answers may come as streams of events, whatever its operator says of that.
    pub streams: bool,
    /// What its operator says of it.
    pub metadata: Map<String, Value>,
}

/// The documents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Documents {
    /// `/.well-known/x402`.
    pub x402: String,
    /// `/.well-known/openapi.json`.
    pub openapi: String,
    /// `/llms.txt`.
    pub llms: String,
}

/// Bytes of one document; what is beyond is left out from the end.
const BYTES_MAX: usize = 1024 * 1024;

/// Makes the documents; `base` is the URL that callers know the gateway by, `credit` how they may pay
/// ahead for what is sold by the request.
pub fn documents(
    endpoints: &[Endpoint],
    base: Option<&str>,
    credit: Option<CreditTerms>,
) -> Documents {
    let credit = credit.filter(|_| endpoints.iter().any(Endpoint::takes_credit));
    Documents {
        x402: bounded(endpoints, |shown| x402(shown, credit)),
        openapi: bounded(endpoints, |shown| openapi(shown, base)),
        llms: bounded(endpoints, |shown| llms(shown, base.unwrap_or(""), credit)),
    }
}

fn bounded(endpoints: &[Endpoint], make: impl Fn(&[Endpoint]) -> String) -> String {
    let mut shown = endpoints;
    loop {
        let text = make(shown);
        if text.len() <= BYTES_MAX || shown.is_empty() {
            return text;
        }
        shown = shown.get(..shown.len() / 2).unwrap_or_default();
    }
}

/// What OpenAPI is told that a route of all methods takes. HEAD goes with GET.
const ANY: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Endpoint {
    /// Whether it is paid call by call.
    const fn takes_credit(&self) -> bool {
        self.pricing.is_some() && self.billing.is_none()
    }

    fn description(&self) -> Option<&str> {
        self.metadata.get("description")?.as_str()
    }

    /// Whether its answers may come as streams of events.
    fn streams(&self) -> bool {
        self.streams || self.metadata.get("streaming") == Some(&Value::Bool(true))
    }

    /// How its price is found, and what it is where nothing about a request matters.
    fn price(&self) -> (&'static str, String) {
        let Some(pricing) = &self.pricing else {
            return ("static", "$0".to_owned());
        };
        let kind = match (pricing.rules().is_empty(), pricing.is_by_model()) {
            (_, true) => "dynamic",
            _ if pricing.is_by_tokens() => "dynamic",
            _ if self.is_computed => "dynamic",
            (false, false) => "match",
            (true, false) => "static",
        };
        let mut all = pricing.all();
        let usual = all.find(|(origin, _)| {
            matches!(origin, Origin::Price | Origin::Fallback | Origin::Default)
        });
        (
            kind,
            usual.map_or(String::new(), |(_, price)| price.to_string()),
        )
    }

    fn accepts(&self) -> Value {
        let pair =
            |(asset, network): &(String, String)| json!({"asset": asset, "network": network});
        self.accepts.iter().map(pair).collect()
    }

    /// Its methods, with one word for all of them.
    fn named(&self) -> &[&'static str] {
        if self.methods.is_empty() {
            &["ANY"]
        } else {
            &self.methods
        }
    }
}

fn x402(endpoints: &[Endpoint], credit: Option<CreditTerms>) -> String {
    let one = |endpoint: &Endpoint, method: &str| {
        let (kind, price) = endpoint.price();
        let of = endpoint.pricing.as_ref();
        let by_tokens = of.is_some_and(Pricing::is_by_tokens);
        let model = if by_tokens { "tokens" } else { "request" };
        let mut pricing = json!({"type": kind, "model": model});
        if let Some(billing) = &endpoint.billing {
            describe(&mut pricing, billing);
        }
        if !price.is_empty() {
            set(&mut pricing, "defaultPrice", price.into());
        }
        let mut told = json!({
            "method": method,
            "path": endpoint.path,
            "pricing": pricing,
            "accepts": endpoint.accepts(),
        });
        if let Some(description) = endpoint.description() {
            set(&mut told, "description", description.into());
        }
        if !endpoint.metadata.is_empty() {
            set(&mut told, "metadata", endpoint.metadata.clone().into());
        }
        told
    };
    let all: Vec<Value> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.named().iter().map(|method| one(endpoint, method)))
        .collect();
    let mut told = json!({"x402Version": 2, "provider": "tollkeep", "endpoints": all});
    if let Some(terms) = credit {
        let sold = json!({
            "header": "X-Tollkeep-Credit",
            "min": Price::Usd(terms.min).to_string(),
            "max": Price::Usd(terms.max).to_string(),
            "duration": format!("{}m", terms.lasts.as_secs() / 60),
        });
        set(&mut told, "credit", sold);
    }
    told.to_string()
}

/// What a payment buys, in the words that clients know.
fn describe(pricing: &mut Value, billing: &Billing) {
    let minutes = billing.lasts.as_secs() / 60;
    let model = match billing.model {
        Model::TimePass => "time",
        Model::TokenBucket => {
            set(pricing, "tokenBudget", billing.calls.into());
            billing.model.as_str()
        }
        Model::Metered | Model::PerKb => billing.model.as_str(),
    };
    set(pricing, "model", model.into());
    set(pricing, "duration", format!("{minutes}m").into());
    if let Some(unit) = &billing.unit {
        set(pricing, "unitCost", unit.to_string().into());
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn openapi(endpoints: &[Endpoint], base: Option<&str>) -> String {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let (path, names) = templated(&endpoint.path);
        let methods = if endpoint.methods.is_empty() {
            &ANY[..]
        } else {
            &endpoint.methods
        };
        let item = paths.entry(path).or_insert_with(|| json!({}));
        for method in methods {
            set(
                item,
                &method.to_ascii_lowercase(),
                operation(endpoint, &names),
            );
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Paid API", "version": "1"},
        "paths": paths,
    });
    if let Some(base) = base {
        set(&mut document, "servers", json!([{"url": base}]));
    }
    document.to_string()
}

/// `/a/:name/*` as `/a/{name}/{rest}`, and the names in it.
fn templated(path: &str) -> (String, Vec<String>) {
    let mut names = Vec::new();
    let mut template = |segment: &str| {
        let name = match segment.strip_prefix(':') {
            Some(name) => name,
            None if segment == "*" => "rest",
            None => return segment.to_owned(),
        };
        names.push(name.to_owned());
        format!("{{{name}}}")
    };
    let segments: Vec<String> = path.split('/').map(&mut template).collect();
    (segments.join("/"), names)
}

fn operation(endpoint: &Endpoint, names: &[String]) -> Value {
    let mut told = json!({
        "responses": {"default": {"description": "The answer."}},
        "x-streaming": endpoint.streams(),
    });
    if let Some(description) = endpoint.description() {
        set(&mut told, "description", description.into());
    }
    if !names.is_empty() {
        let parameter = |name: &String| {
            let schema = json!({"type": "string"});
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        };
        let parameters: Vec<Value> = names.iter().map(parameter).collect();
        set(&mut told, "parameters", parameters.into());
    }
    if endpoint.pricing.is_none() {
        return told;
    }
    let (kind, price) = endpoint.price();
    if !price.is_empty() {
        set(&mut told, "x-x402-price", price.into());
    }
    set(&mut told, "x-x402-pricing-type", kind.into());
    set(&mut told, "x-x402-accepts", endpoint.accepts());
    let text = json!({"schema": {"type": "string"}});
    let responses = json!({
        "default": {"description": "The answer."},
        "402": {
            "description": "What it costs and how it is paid, or why a payment did not do.",
            "headers": {"PAYMENT-REQUIRED": text},
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    });
    set(&mut told, "responses", responses);
    told
}

const HOW: &str = "\
## How to pay

1. Call without payment. The answer is 402 and says the price, the tokens and who is paid: in the \
field `PAYMENT-REQUIRED` (x402 version 2) and in the body (version 1).
2. Sign the payment and send the same request again with it in `PAYMENT-SIGNATURE` (version 2) or \
`X-PAYMENT` (version 1). Stock x402 clients do both.
3. The receipt is in `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE`. A payment that was taken for \
nothing serves the same request again, without a new one. After 503 `payment_pending` repeat the \
same payment; don't make another.
";

fn llms(endpoints: &[Endpoint], base: &str, credit: Option<CreditTerms>) -> String {
    let mut text = String::from(
        "# Paid API\n\n> Calls are paid one by one, with x402. No account is needed.\n\n## What is sold\n\n",
    );
    for endpoint in endpoints {
        text.push_str(&line(endpoint));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(HOW);
    if let Some(terms) = credit {
        let sold = terms.told();
        text.push_str(&format!(
            "\n## Paying ahead\n\nCall with `X-Tollkeep-Credit: $5` ({sold}): the 402 asks for that \
             amount. The answer to the paid call brings `X-Session-Token`. Send it instead of payments \
             with all calls that are priced one by one; `X-Tollkeep-Credit` of each answer says what is left.\n"
        ));
    }
    text.push_str(&format!(
        "\n## For machines\n\n- [x402]({base}/.well-known/x402)\n- \
         [OpenAPI]({base}/.well-known/openapi.json)\n"
    ));
    text
}

fn line(endpoint: &Endpoint) -> String {
    let (kind, price) = endpoint.price();
    let methods = endpoint.named().join(",");
    let mut text = format!("- `{methods} {}`: ", endpoint.path);
    text.push_str(match (kind, price.as_str()) {
        (_, "$0") => "free",
        (_, "") => "priced by the model that the body names",
        (_, price) => price,
    });
    match kind {
        "dynamic" if !price.is_empty() => text.push_str(", or the price of the model"),
        "match" => text.push_str(", other prices for some requests"),
        _ => {}
    }
    let tokens: Vec<String> = endpoint
        .accepts
        .iter()
        .map(|(asset, network)| format!("{asset} on {network}"))
        .collect();
    if !tokens.is_empty() {
        text.push_str(&format!(", in {}", tokens.join(" or ")));
    }
    if let Some(billing) = &endpoint.billing {
        text.push_str(&format!(". {}", billing.told().trim_end_matches('.')));
    }
    if let Some(description) = endpoint.description() {
        let words: Vec<&str> = description.split_whitespace().collect();
        text.push_str(&format!(". {}", words.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::{Condition, Parts, Rule, Wanted};

    fn priced(price: &str) -> Option<Pricing> {
        let parts = Parts {
            price: Some(price.parse().unwrap()),
            ..Parts::default()
        };
        Pricing::new(parts).unwrap()
    }

    fn endpoint(methods: &[&'static str], path: &str, pricing: Option<Pricing>) -> Endpoint {
        Endpoint {
            methods: methods.to_vec(),
            path: path.to_owned(),
            pricing,
            is_computed: false,
            billing: None,
            accepts: vec![("USDC".to_owned(), "base".to_owned())],
            streams: false,
            metadata: Map::new(),
        }
    }

    // PAY-41 PAY-43
    #[test]
    fn what_lasts_longer_than_a_call_is_told_with_its_model() {
        let mut pass = endpoint(&["GET"], "/x", priced("$0.50"));
        pass.billing = Some(Billing {
            model: Model::TimePass,
            lasts: std::time::Duration::from_secs(3600),
            calls: 0,
            unit: None,
            step_kib: 256,
        });
        let mut metered = pass.clone();
        if let Some(billing) = &mut metered.billing {
            billing.model = Model::Metered;
            billing.unit = Some("$0.001".parse().unwrap());
        }
        let made = documents(&[pass, metered], None, None);
        let x402 = read(&made.x402);
        let pricing = |at: usize| x402["endpoints"][at]["pricing"].clone();
        assert_eq!(pricing(0)["model"], "time");
        assert_eq!(pricing(0)["duration"], "60m");
        assert_eq!(pricing(1)["model"], "metered");
        assert_eq!(pricing(1)["unitCost"], "$0.001");
        assert!(made.llms.contains("A pass for 60 minutes"), "{}", made.llms);
    }

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    // PAY-41
    #[test]
    fn endpoints_are_told_with_price_and_tokens() {
        let mut sold = endpoint(&["GET", "POST"], "/v1/x/:id", priced("$0.01"));
        sold.metadata
            .insert("description".to_owned(), "Weather.".into());
        let told = read(&documents(&[sold], None, None).x402);
        assert_eq!(told["x402Version"], 2);
        let mut computed = endpoint(&["GET"], "/v1/y", priced("$0.01"));
        computed.is_computed = true;
        let computed = read(&documents(&[computed], None, None).x402);
        assert_eq!(computed["endpoints"][0]["pricing"]["type"], "dynamic");
        assert_eq!(
            told["endpoints"][1],
            json!({
                "method": "POST", "path": "/v1/x/:id", "description": "Weather.",
                "pricing": {"type": "static", "model": "request", "defaultPrice": "$0.01"},
                "accepts": [{"asset": "USDC", "network": "base"}],
                "metadata": {"description": "Weather."},
            })
        );
    }

    // PAY-41
    #[test]
    fn prices_that_depend_on_the_request_are_told_as_such() {
        let rule = Rule {
            conditions: vec![Condition::new("body.stream", Wanted::Bool(true)).unwrap()],
            price: "$2.5".parse().unwrap(),
            pay_to: None,
        };
        let parts = Parts {
            rules: vec![rule],
            fallback: Some("$0.02".parse().unwrap()),
            ..Parts::default()
        };
        let told = endpoint(&[], "/x", Pricing::new(parts).unwrap());
        assert_eq!(told.price(), ("match", "$0.02".to_owned()));
        assert_eq!(told.named(), ["ANY"]);
    }

    // PAY-42
    #[test]
    fn openapi_describes_public_operations_and_no_server_of_ours() {
        let mut sold = [
            endpoint(&["GET"], "/v1/:name/*", priced("$0.01")),
            endpoint(&["POST"], "/v1/:name/*", None),
        ];
        sold[1].streams = true;
        let told = read(&documents(&sold, Some("https://api.example.com"), None).openapi);
        assert_eq!(told["openapi"], "3.1.0");
        assert_eq!(told["servers"][0]["url"], "https://api.example.com");
        let item = &told["paths"]["/v1/{name}/{rest}"];
        assert_eq!(item["get"]["x-x402-price"], "$0.01");
        assert_eq!(item["get"]["parameters"][1]["name"], "rest");
        assert!(item["get"]["responses"]["402"].is_object());
        assert!(item["post"]["responses"]["402"].is_null());
        assert!(item["post"]["x-x402-price"].is_null());
        assert_eq!(item["get"]["x-streaming"], false);
        assert_eq!(item["post"]["x-streaming"], true);
        assert!(told["components"].is_null());
    }

    // PAY-43
    #[test]
    fn the_text_tells_prices_and_how_to_pay() {
        let mut sold = endpoint(&["GET"], "/v1/x", priced("$0.01"));
        let broken = "Weather\n\n# of today";
        sold.metadata
            .insert("description".to_owned(), broken.into());
        let told = documents(&[sold], None, None).llms;
        let line = "- `GET /v1/x`: $0.01, in USDC on base. Weather # of today\n";
        assert!(told.contains(line), "{told}");
        assert!(told.contains("PAYMENT-SIGNATURE"));
    }

    // PAY-41, PAY-42, PAY-43
    #[test]
    fn no_document_is_larger_than_a_mebibyte() {
        let mut large = endpoint(&[], "/x", None);
        large
            .metadata
            .insert("description".to_owned(), "x".repeat(8000).into());
        let told = documents(&vec![large; 1_000], None, None);
        for text in [&told.x402, &told.openapi, &told.llms] {
            assert!(text.len() <= BYTES_MAX, "{}", text.len());
        }
        assert!(!read(&told.x402)["endpoints"].as_array().unwrap().is_empty());
    }
}
